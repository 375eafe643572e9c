"""Options and arguments whose values need no check, taken as they are.

typer lets pydantic convert every value of a command, also of an option that was not given: to
import it takes a fifth of a run that finds nothing to do, or of a search.
"""

from pathlib import Path
from types import UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints

from typer.core import TyperCommand, TyperGroup


class _Quick:
    """A command that converts text, paths, and what has its type already by itself."""

    callback: Any

    def get_params(self, ctx: Any) -> list[Any]:
        parameters: list[Any] = super().get_params(ctx)  # type: ignore[misc]
        hints = get_type_hints(self.callback)
        for parameter in parameters:
            if "process_value" not in vars(parameter):
                _quicken(parameter, hints.get(parameter.name))
        return parameters


class Command(_Quick, TyperCommand):
    """typer's command."""


class Group(_Quick, TyperGroup):
    """typer's group of commands."""


def _quicken(parameter: Any, hint: Any) -> None:
    usual, callback = parameter.process_value, parameter.callback
    many = parameter.multiple or parameter.nargs != 1
    if many and get_origin(hint) is not list:
        return
    inner = get_args(hint)[0] if many else hint
    kinds = get_args(inner) if get_origin(inner) in (UnionType, Union) else (inner,)

    def process_value(context: Any, value: Any) -> Any:
        if parameter.required and not value:
            return usual(context, value)
        if many:
            each = [_taken(one, kinds) for one in value] if type(value) in (list, tuple) else [None]
            return usual(context, value) if callback or None in each else each
        if value is None:
            return callback(context, parameter, None) if callback else None
        found = None if callback else _taken(value, kinds)
        return usual(context, value) if found is None else found

    parameter.process_value = process_value


def _taken(value: Any, kinds: tuple[Any, ...]) -> Any:
    """The value as a parameter of these types has it; None where typer must say."""
    if type(value) in kinds:
        return value
    return Path(value) if type(value) is str and value and Path in kinds else None
