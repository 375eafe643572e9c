"""One way to search a collection, as words say it: "mode=dense,dim=256,quantization=int8"."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from itertools import product
from typing import Any, Literal, get_args

from ragctl.collection.settings import QUANTIZATIONS
from ragctl.errors import UsageError
from ragctl.records import Json
from ragctl.search.options import Mode
from ragctl.stores.base import Fusion, Rescore

_MOST = 64  # settings of one sweep


@dataclass(frozen=True, slots=True)
class Setting:
    """None: as the collection and its model have it.

    `weight`: of the dense side, beside 1 of BM25; `k` and `prefetch` as in Fusion;
    `rescore` and `oversampling` as in Rescore. `quantization` "none": the vectors whole.
    """

    mode: Mode = "hybrid"
    dim: int | None = None
    fusion: Literal["rrf", "dbsf"] | None = None
    weight: float | None = None
    k: int | None = None
    prefetch: int | None = None
    quantization: str | None = None
    rescore: bool | None = None
    oversampling: float | None = None

    @property
    def stored(self) -> "Setting":
        """What of it decides which vectors are searched; settings equal in this share them."""
        return Setting(dim=self.dim, quantization=self.quantization)

    def plain(self) -> "Setting":
        """The same without what makes no difference to it."""
        if self.mode == "sparse":
            return Setting("sparse")
        found = self
        if self.mode == "dense":
            found = replace(found, fusion=None, weight=None, k=None, prefetch=None)
        if self.fusion == "dbsf":
            found = replace(found, weight=None, k=None)
        if self.quantization == "none":
            found = replace(found, rescore=None)
        if self.quantization == "none" or self.rescore is False:
            found = replace(found, oversampling=None)
        return found

    def beside(self, dim: int, quantization: str | None) -> "Setting":
        """The same for a collection made so, without what that has anyway."""
        own = quantization or "none"
        found = replace(
            self,
            dim=None if self.dim == dim else self.dim,
            quantization=None if self.quantization == own else self.quantization,
        )
        if (found.quantization or own) == "none":
            found = replace(found, rescore=None, oversampling=None)
        return found

    def rescored(self) -> Rescore | None:
        """How quantised vectors are searched; None: as the store does by itself."""
        return Rescore.from_options(self.rescore, self.oversampling)

    def fused(self, fusion: Fusion) -> Fusion:
        """The collection's fusion, changed where this setting says so."""
        return Fusion(
            self.fusion or fusion.kind,
            fusion.k if self.k is None else self.k,
            fusion.dense if self.weight is None else self.weight,
            fusion.sparse,
            fusion.prefetch if self.prefetch is None else self.prefetch,
        )

    def to_json(self) -> dict[str, Json]:
        """What is said, alone."""
        said = {field.name: getattr(self, field.name) for field in fields(self)}
        return {name: value for name, value in said.items() if value is not None}

    def __str__(self) -> str:
        return ", ".join(f"{name}={_word(value)}" for name, value in self.to_json().items())


def _word(value: Json) -> str:
    return str(value).lower() if isinstance(value, bool) else f"{value}"


_SIZES = {"dim": (1, 65_536), "k": (1, 10_000), "prefetch": (1, 10_000)}
_WORDS: Mapping[str, tuple[str, ...]] = {
    "mode": get_args(Mode),
    "fusion": ("rrf", "dbsf"),
    "quantization": ("none", *QUANTIZATIONS),
    "rescore": ("true", "false"),
}
AXES = tuple(field.name for field in fields(Setting))


def parse(text: str, base: Setting, option: str) -> Setting:
    """`base`, changed as "key=value,key=value" says. Raises UsageError, naming `option`."""
    changes: dict[str, Any] = {}
    for pair in text.split(","):
        key, values = _pair(pair, option)
        if key in changes:
            raise UsageError(f"{option} {text!r}: says {key} twice")
        changes[key] = _value(key, values, option)
    return replace(base, **changes)


def swept(sweeps: Sequence[str], base: Setting) -> list[Setting]:
    """`base`, then every combination of the values of all axes ("dim=64,128"), no two alike.

    Raises UsageError for what is no axis, or for more than 64 settings.
    """
    axes: dict[str, list[Any]] = {}
    for sweep in sweeps:
        key, values = _pair(sweep, "--sweep")
        if key in axes:
            raise UsageError(f"--sweep {key}: give all its values at once, with commas")
        axes[key] = [_value(key, value.strip(), "--sweep") for value in values.split(",")]
    found = [base.plain(), *_combined(axes, base)]
    unlike = list(dict.fromkeys(found))
    if len(unlike) > _MOST:
        raise UsageError(f"{len(unlike)} settings to try, {_MOST} at most; sweep fewer values")
    return unlike


def _combined(axes: Mapping[str, Sequence[Any]], base: Setting) -> Iterator[Setting]:
    for values in product(*axes.values()):
        yield replace(base, **dict(zip(axes, values, strict=True))).plain()


def _pair(text: str, option: str) -> tuple[str, str]:
    key, equals, values = text.partition("=")
    key = key.strip()
    if not equals or key not in AXES:
        raise UsageError(f"{option} {text!r}: write KEY=VALUE; keys: {', '.join(AXES)}")
    return key, values.strip()


def _value(key: str, text: str, option: str) -> Any:
    if key in _WORDS:
        if text not in _WORDS[key]:
            raise UsageError(f"{option} {key}={text}: one of {', '.join(_WORDS[key])}")
        return text == "true" if key == "rescore" else text
    if key in _SIZES:
        least, most = _SIZES[key]
        if not (text.isdecimal() and text.isascii() and least <= int(text[:9]) <= most):
            raise UsageError(f"{option} {key}={text}: a whole number from {least} to {most}")
        return int(text)
    try:
        number = float(text)
    except ValueError:
        number = -1.0
    if not 0.01 <= number <= 100:  # also what is no number
        raise UsageError(f"{option} {key}={text}: a number from 0.01 to 100")
    return number
