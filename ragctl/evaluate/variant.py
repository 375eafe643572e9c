"""Search variants of one collection, as text: "mode=dense,dim=256,quantization=scalar".

The keys are `dim` and `quantization`, which decide the stored vectors, and every search option that
is declared `tunable` (`search/options.py`).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import product
from typing import Any

from ragctl.collection.settings import QUANTIZATIONS
from ragctl.errors import OptionError
from ragctl.records import Json
from ragctl.search.option_spec import DeclaredOption, declared_options, without_ineffective
from ragctl.search.options import Mode, SearchOptions
from ragctl.text import counted

MAX_VARIANTS = 64  # of one sweep
MAX_DIMENSION = 65_536
WHOLE_VECTORS = "none"  # as a value of `quantization`
DEFAULTS = SearchOptions()


@dataclass(frozen=True, slots=True)
class Variant:
    """One way to search a collection.

    `dim`: the vectors cut to this dimension. `quantization`: how they are quantised; "none": not.
    None: as in the collection.
    """

    dim: int | None = None
    quantization: str | None = None
    options: SearchOptions = DEFAULTS

    @classmethod
    def of(cls, **values: Any) -> "Variant":
        """Return the variant with these values, without those that have no effect.

        `values`: some of `variant_keys`. Raises OptionError.
        """
        options = without_ineffective(
            SearchOptions,
            {**DEFAULTS.values(), **{name: values[name] for name in _tunable() if name in values}},
        )
        dim, quantization = values.get("dim"), values.get("quantization")
        if options["mode"] == "sparse":
            dim = quantization = None
        if quantization == WHOLE_VECTORS:
            options |= {"rescore": None, "oversampling": None}
        return cls(dim, quantization, SearchOptions(**options))

    @property
    def mode(self) -> Mode:
        """Which rankings are searched."""
        return self.options.mode

    @property
    def stored_form(self) -> "Variant":
        """The part that decides which vectors are stored; equal variants can share them."""
        return Variant(self.dim, self.quantization)

    @property
    def name(self) -> str:
        """The variant in words: "dense dim=64 ef=200"."""
        pairs = (f"{key}={_text(value)}" for key, value in self.to_json().items() if key != "mode")
        return " ".join([self.mode, *pairs])

    def values(self) -> dict[str, Any]:
        """Return the value of each of `variant_keys`."""
        options = self.options.values()
        stored = {"dim": self.dim, "quantization": self.quantization}
        return {**stored, **{name: options[name] for name in _tunable()}}

    def changed(self, **changes: Any) -> "Variant":
        """Return the variant with some values changed."""
        return Variant.of(**{**self.values(), **changes})

    def relative_to(self, dim: int, quantization: str | None) -> "Variant":
        """Return the variant without values that equal those of the collection."""
        own = quantization or WHOLE_VECTORS
        changes: dict[str, Any] = {}
        if self.dim == dim:
            changes["dim"] = None
        if self.quantization == own:
            changes["quantization"] = None
        if (changes.get("quantization", self.quantization) or own) == WHOLE_VECTORS:
            changes |= {"rescore": None, "oversampling": None}
        return self.changed(**changes)

    def to_json(self) -> dict[str, Json]:
        """Return the mode, and the other values that are not defaults."""
        values = self.values()
        defaults = Variant().values()
        changed = {name: value for name, value in values.items() if value != defaults[name]}
        return {"mode": self.mode, **changed}

    def __str__(self) -> str:
        return ", ".join(f"{name}={_text(value)}" for name, value in self.to_json().items())


@cache
def _tunable() -> dict[str, DeclaredOption]:
    return {each.name: each for each in declared_options(SearchOptions) if each.spec.tunable}


def variant_keys() -> tuple[str, ...]:
    """Return the keys that a sweep may vary."""
    return ("dim", "quantization", *_tunable())


def parse_variant(text: str, base: Variant, option: str) -> Variant:
    """Return `base`, changed as "key=value,key=value" says. Raises OptionError for `option`."""
    changes: dict[str, Any] = {}
    for pair in text.split(","):
        key, value = _parse_pair(pair, option)
        if key in changes:
            raise OptionError(option, f"{text!r} has {key} twice")
        changes[key] = _parse_value(key, value, option)
    return base.changed(**changes)


def expand_sweeps(sweeps: Sequence[str], base: Variant) -> list[Variant]:
    """Return `base`, then every different combination of the values ("dim=64,128") of all sweeps.

    Raises OptionError for an unknown key, a wrong value, or more than MAX_VARIANTS variants.
    """
    axes: dict[str, list[Any]] = {}
    for sweep in sweeps:
        key, values = _parse_pair(sweep, "sweep")
        if key in axes:
            raise OptionError("sweep", f"{key}: give all its values at once, with commas")
        axes[key] = [_parse_value(key, value.strip(), "sweep") for value in values.split(",")]
    variants = list(dict.fromkeys([base, *_combinations(axes, base)]))
    if len(variants) > MAX_VARIANTS:
        raise OptionError(
            "sweep",
            f"{counted(len(variants), 'variant')}, {MAX_VARIANTS} at most; sweep fewer values",
        )
    return variants


def _combinations(axes: Mapping[str, Sequence[Any]], base: Variant) -> list[Variant]:
    return [
        base.changed(**dict(zip(axes, values, strict=True))) for values in product(*axes.values())
    ]


def _parse_pair(text: str, option: str) -> tuple[str, str]:
    key, equals, values = text.partition("=")
    key = key.strip()
    if not equals or key not in variant_keys():
        raise OptionError(option, f"{text!r}: write KEY=VALUE; keys: {', '.join(variant_keys())}")
    return key, values.strip()


def _parse_value(key: str, text: str, option: str) -> Any:
    """Return the value of a key in its type. Raises OptionError for `option`."""
    if key == "quantization":
        if text not in (WHOLE_VECTORS, *QUANTIZATIONS):
            known = ", ".join((WHOLE_VECTORS, *QUANTIZATIONS))
            raise OptionError(option, f"{key}: {text!r} is not one of {known}")
        return text
    if key == "dim":
        return _whole_number(key, text, option, maximum=MAX_DIMENSION)
    declared = _tunable()[key]
    value: Any = text
    if declared.kind is bool:
        if text not in ("true", "false"):
            raise OptionError(option, f"{key}: {text!r} is not one of true, false")
        return text == "true"
    if declared.kind is int:
        value = _whole_number(key, text, option, maximum=int(declared.spec.maximum or 0))
    elif declared.kind is float:
        try:
            value = float(text)
        except ValueError:
            raise OptionError(option, f"{key}: {text!r} is not a number") from None
    try:
        declared.check(value)
    except OptionError as error:
        raise OptionError(option, f"{key}: {error.problem}") from None
    return value


def _whole_number(key: str, text: str, option: str, *, maximum: int) -> int:
    if not (text.isdecimal() and text.isascii() and 1 <= int(text[:9]) <= maximum):
        raise OptionError(option, f"{key}: {text!r} is not a whole number from 1 to {maximum:,}")
    return int(text)


def _text(value: Json) -> str:
    return str(value).lower() if isinstance(value, bool) else f"{value}"
