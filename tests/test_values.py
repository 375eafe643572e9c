"""Values of options come out as typer's own commands have them."""

from importlib import import_module
from typing import Any

import pytest
import typer
from typer.core import TyperCommand

from ragctl.cli.commands import COMMANDS, load_command
from ragctl.cli.main import app, common
from ragctl.cli.values import Command, Group

GIVEN: list[Any] = [None, "", "words", "5", "1.5", "-", "yes", True, False, 3, 0.5, [], (), ["a"]]
GIVEN += [("a", "b"), ["", "x"], ["5"]]


def usual(name: str) -> TyperCommand:
    module, function, _ = COMMANDS[name]
    alone = typer.Typer(add_completion=False)
    alone.command(name)(getattr(import_module(f"ragctl.cli.{module}"), function))
    made = typer.main.get_command(alone)
    assert isinstance(made, TyperCommand)
    assert not isinstance(made, Command)
    return made


def outcome(parameter: Any, context: Any, value: Any) -> tuple[type, Any]:
    try:
        found = parameter.process_value(context, value)
    except Exception as error:  # noqa: BLE001 - whatever it is, both do the same
        return type(error), str(error)
    return type(found), found


def same(own: Any, typers: Any) -> int:
    contexts = [made.context_class(made, info_name="x") for made in (own, typers)]
    both = [made.get_params(context) for made, context in zip((own, typers), contexts, strict=True)]
    assert [each.name for each in both[0]] == [each.name for each in both[1]]
    compared = 0
    for one, other in zip(*both, strict=True):
        # --help and its like print and leave where they are given.
        for value in [None] if one.callback else [*GIVEN, one.default]:
            expected = outcome(other, contexts[1], value)
            assert outcome(one, contexts[0], value) == expected, (one.name, value)
            compared += 1
    return compared


@pytest.mark.parametrize("name", COMMANDS)
def test_every_parameter_of_every_command(name: str) -> None:
    own = load_command(name)
    assert isinstance(own, Command)
    assert same(own, usual(name)) >= (0 if name == "schema" else len(GIVEN))


def test_the_options_before_a_command() -> None:
    own = typer.main.get_command(app)
    assert isinstance(own, Group)
    plain = typer.Typer()
    plain.callback()(common)
    plain.command("other")(common)
    assert same(own, typer.main.get_command(plain)) >= len(GIVEN)
