"""How an option is declared: a field of a dataclass that is also a flag.

`option` declares it. `declared_options` returns the options of a class: the command makes flags
from them (`cli/search_flags.py`), and the class checks its values with them.
"""

import inspect
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, fields
from functools import cache, wraps
from types import UnionType
from typing import (
    Any,
    Concatenate,
    Literal,
    NamedTuple,
    ParamSpec,
    TypeVar,
    Union,
    cast,
    get_args,
    get_origin,
    get_type_hints,
)

from ragctl.errors import OptionError
from ragctl.search.where import Filter

M = TypeVar("M")
P = ParamSpec("P")
R = TypeVar("R")
S = TypeVar("S")
T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class OptionSpec:
    """How one option is shown, checked and combined with others.

    `help`: a sentence for the flag's help, to which the default is added. `default_text`: the
    default in words, if the value is not clear by itself. `metavar`: the placeholder of the
    value; options with choices show these. `short`: a one-letter flag. `minimum`, `maximum`:
    inclusive bounds of a number. `only_with`: the values of other options that this one requires.
    `ignored_with`: the values of other options with which this one is accepted and has no effect.
    `tunable`: whether `ragctl eval` can vary it. `command_default`: the default of
    `ragctl search`, if different. `panel`: the title of its panel in the help of the command;
    "": that of its class.
    """

    help: str
    default_text: str = ""
    metavar: str = ""
    short: str = ""
    minimum: float | None = None
    maximum: float | None = None
    only_with: Mapping[str, tuple[object, ...]] = field(default_factory=dict)
    ignored_with: Mapping[str, tuple[object, ...]] = field(default_factory=dict)
    tunable: bool = False
    command_default: Any = None
    panel: str = ""


def option(default: T, help: str, **spec: Any) -> T:  # noqa: A002 - as in typer and argparse
    """Declare a field of a class of options; `spec` are the fields of `OptionSpec`."""
    return field(default=default, metadata={"option": OptionSpec(help=help, **spec)})


class DeclaredOption(NamedTuple):
    """A field of a class of options, read for the command, `eval` and the checks.

    `kind`: int, float, bool or str; tuple for `where`. `choices`: the allowed texts, if limited.
    `optional`: whether the value may be None.
    """

    name: str
    kind: type
    choices: tuple[str, ...]
    optional: bool
    default: Any
    spec: OptionSpec

    def check(self, value: Any) -> None:
        """Raise OptionError if `value` is not one of the choices, or out of range."""
        if value is None and self.optional:
            return
        if self.choices and value not in self.choices:
            raise OptionError(self.name, f"{value!r} is not one of {', '.join(self.choices)}")
        low, high = self.spec.minimum, self.spec.maximum
        if low is None or high is None or low <= value <= high:
            return
        number = "a whole number" if self.kind is int else "a number"
        raise OptionError(self.name, f"{value:g} is not {number} from {low:g} to {high:,g}")


def declared_options(of: type[Any]) -> tuple[DeclaredOption, ...]:
    """Return every option of a class, in the order of declaration."""
    return _declared_options(cast(Any, of))


@cache
def _declared_options(of: Any) -> tuple[DeclaredOption, ...]:
    hints = get_type_hints(of)
    return tuple(_declared(each.name, hints[each.name], each) for each in fields(of))


def _declared(name: str, hint: Any, declaration: Any) -> DeclaredOption:
    default, spec = declaration.default, declaration.metadata["option"]
    if hint == Filter:
        return DeclaredOption(name, tuple, (), False, default, spec)
    optional = get_origin(hint) in (Union, UnionType)
    inner = next(each for each in get_args(hint) if each is not type(None)) if optional else hint
    choices = get_args(inner) if get_origin(inner) is Literal else ()
    return DeclaredOption(name, str if choices else inner, choices, optional, default, spec)


def conflicts(of: type[Any], values: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield each option of a class that is set, with the other one whose value rules it out."""
    for declared in declared_options(of):
        if values[declared.name] != declared.default:
            for other, allowed in declared.spec.only_with.items():
                if values[other] not in allowed:
                    yield declared.name, other
                    break


def without_ineffective(of: type[Any], values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values of all options, those without an effect reset to their defaults."""
    effective = dict(values)
    for declared in declared_options(of):
        allowed, ignored = declared.spec.only_with, declared.spec.ignored_with
        if any(values[other] not in good for other, good in allowed.items()) or any(
            values[other] in bad for other, bad in ignored.items()
        ):
            effective[declared.name] = declared.default
    return effective


def taking(
    make: Callable[P, M],
) -> Callable[[Callable[[S, T, M], R]], Callable[Concatenate[S, T, P], R]]:
    """Return a decorator: a method's third parameter is replaced by the keywords of its class.

    Type checkers and `help()` see the keywords with their types and defaults.
    """

    def decorate(method: Callable[[S, T, M], R]) -> Callable[Concatenate[S, T, P], R]:
        @wraps(method)
        def call(self: S, subject: T, /, *args: P.args, **kwargs: P.kwargs) -> R:
            return method(self, subject, make(*args, **kwargs))

        subject_and_self = list(inspect.signature(method).parameters.values())[:2]
        keywords = inspect.signature(make).parameters.values()
        call.__signature__ = inspect.Signature([*subject_and_self, *keywords])  # type: ignore[attr-defined]
        return call

    return decorate
