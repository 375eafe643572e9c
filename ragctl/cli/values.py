"""Convert option values without pydantic, for types that need no check.

typer converts every value of a command with pydantic, even of options that were not given.
Importing pydantic takes a fifth of the time of a search, or of a run that finds nothing to do.
This module replaces `process_value` of typer's parameters, an internal of typer: pyproject.toml
bounds its version, and tests/test_values.py compares the results with typer's own.
"""

import inspect
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin

import typer
from typer.core import TyperCommand, TyperGroup

from ragctl.cli.help import PlainHelp

_NO_NUMBER = "unable to parse string as a"
_BOUNDS = {
    "greater than or equal to": "less than",
    "less than or equal to": "more than",
}
"""In pydantic's errors about text where a number is required, and about numbers out of range."""


class _FastConversion:
    """A command that converts strings, paths and values of the right type itself."""

    callback: Any

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parse the command line; each error knows the command, whose help it names."""
        try:
            return super().parse_args(ctx, args)  # type: ignore[misc, no-any-return]
        except typer.TyperException as error:
            if getattr(error, "ctx", ctx) is None:
                error.ctx = ctx  # type: ignore[attr-defined]
            raise

    def get_params(self, ctx: Any) -> list[Any]:
        """Return typer's parameters, each converted without pydantic where possible."""
        parameters: list[Any] = super().get_params(ctx)  # type: ignore[misc]
        declared = inspect.signature(self.callback, eval_str=True).parameters
        for parameter in parameters:
            if "process_value" not in vars(parameter):
                known = declared.get(parameter.name)
                _replace_conversion(parameter, _plain_type(known.annotation) if known else None)
        return parameters


class Command(PlainHelp, _FastConversion, TyperCommand):
    """A typer command with fast conversion and plain help."""


class Group(PlainHelp, _FastConversion, TyperGroup):
    """A group of typer commands with fast conversion and plain help."""


def _plain_type(annotation: Any) -> Any:
    return get_args(annotation)[0] if get_origin(annotation) is Annotated else annotation


def _replace_conversion(parameter: Any, declared: Any) -> None:
    original, callback = parameter.process_value, parameter.callback
    many = parameter.multiple or parameter.nargs != 1
    if many and get_origin(declared) is not list:
        return
    inner = get_args(declared)[0] if many else declared
    types = get_args(inner) if get_origin(inner) in (UnionType, Union) else (inner,)

    def process_value(context: Any, value: Any) -> Any:
        if parameter.required and not value:
            return original(context, value)
        if many:
            items = value if type(value) in (list, tuple) else [None]
            converted = [_convert(item, types) for item in items]
            return original(context, value) if callback or None in converted else converted
        if value is None:
            return callback(context, parameter, None) if callback else None
        result = None if callback else _convert(value, types)
        return number(context, value) if result is None else result

    def number(context: Any, value: Any) -> Any:
        """Let typer convert the value, and say in plain words what is wrong with a number."""
        try:
            return original(context, value)
        except typer.BadParameter as error:
            kind = "whole number" if int in types else "number"
            problem = _number_problem(value, error.message, kind)
            if problem is None:
                raise
            raise typer.BadParameter(problem, context, parameter) from None

    parameter.process_value = process_value


def _number_problem(value: object, message: str, kind: str) -> str | None:
    """Return what is wrong with a number; None if pydantic's message is about something else."""
    if _NO_NUMBER in message:
        return f"{value!r} is not a {kind}"
    for words, plain in _BOUNDS.items():
        _, found, bound = message.partition(words)
        if found:
            return f"{value} is {plain} {bound.strip()}"
    return None


def _convert(value: Any, types: tuple[Any, ...]) -> Any:
    """Return the value as one of `types`, None if only typer can tell."""
    if type(value) in types:
        return value
    return Path(value) if type(value) is str and value and Path in types else None
