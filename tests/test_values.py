"""Option values are parsed as typer's our_command command classes parse them."""

from importlib import import_module
from typing import Any

import pytest
import typer
from typer.core import TyperCommand

from ragctl.cli.commands import COMMANDS, load_command
from ragctl.cli.main import app, common
from ragctl.cli.values import _BOUNDS, Command, Group

VALUES: list[Any] = [None, "", "words", "5", "1.5", "-", "yes", True, False, 3, 0.5, [], (), ["a"]]
VALUES += [("a", "b"), ["", "x"], ["5"]]


def typer_command(name: str) -> TyperCommand:
    module, function, *_ = COMMANDS[name]
    alone = typer.Typer(add_completion=False)
    alone.command(name)(getattr(import_module(f"ragctl.cli.{module}"), function))
    command = typer.main.get_command(alone)
    assert isinstance(command, TyperCommand)
    assert not isinstance(command, Command)
    return command


def in_plain_words(error: str, value: Any) -> str:
    """Return our text for typer's about a value that is no number."""
    for kind, words in (("integer", "whole number"), ("number", "number")):
        if error.startswith(f"Input should be a valid {kind}, unable to parse"):
            return f"{value!r} is not a {words}"
    for typer_says, we_say in _BOUNDS.items():
        bound = f"Input should be {typer_says} "
        if error.startswith(bound):
            return f"{value} is {we_say} {error.removeprefix(bound)}"
    return error


def outcome(parameter: Any, context: Any, value: Any) -> tuple[type, Any]:
    try:
        found = parameter.process_value(context, value)
    except Exception as error:  # noqa: BLE001 - both must raise the same error
        return type(error), in_plain_words(str(error), value)
    return type(found), found


def assert_same_values(our_command: Any, reference: Any) -> int:
    contexts = [
        command.context_class(command, info_name="x") for command in (our_command, reference)
    ]
    parameters = [
        command.get_params(context)
        for command, context in zip((our_command, reference), contexts, strict=True)
    ]
    assert [parameter.name for parameter in parameters[0]] == [
        parameter.name for parameter in parameters[1]
    ]
    compared = 0
    for ours, theirs in zip(*parameters, strict=True):
        # --help and similar options print and exit if given.
        for value in [None] if ours.callback else [*VALUES, ours.default]:
            expected = outcome(theirs, contexts[1], value)
            assert outcome(ours, contexts[0], value) == expected, (ours.name, value)
            compared += 1
    return compared


@pytest.mark.parametrize("name", COMMANDS)
def test_every_parameter_parses_values_like_typer(name: str) -> None:
    our_command = load_command(name)
    assert isinstance(our_command, Command)
    assert assert_same_values(our_command, typer_command(name)) >= (
        0 if name == "schema" else len(VALUES)
    )


def test_the_common_options_parse_values_like_typer() -> None:
    our_command = typer.main.get_command(app)
    assert isinstance(our_command, Group)
    plain = typer.Typer()
    plain.callback()(common)
    plain.command("other")(common)
    assert assert_same_values(our_command, typer.main.get_command(plain)) >= len(VALUES)
