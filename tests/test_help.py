"""The help of every command: complete, readable at 80 columns, with examples that parse."""

import re
import shlex
from collections.abc import Iterator
from functools import cache
from typing import Any

import pytest
import typer
from typer.core import TyperGroup

from ragctl.cli import help as help_text
from ragctl.cli.commands import COMMANDS, load_command
from ragctl.cli.main import app
from ragctl.search.option_spec import declared_options
from ragctl.search.options import SearchOptions

MIN_TEXT_WIDTH = 45  # columns at a terminal width of 80
MAX_LINES = {"search": 100, "ingest": 100, "migrate": 90}
MAX_LINES_OF_OTHERS = 60
WIDTHS = (80, 100)

PER_COMMAND = pytest.mark.parametrize("name", COMMANDS)
AT_WIDTHS = pytest.mark.parametrize("columns", WIDTHS)


@cache
def group() -> TyperGroup:
    found = typer.main.get_command(app)
    assert isinstance(found, TyperGroup)
    return found


@cache
def shown(name: str, columns: int) -> str:
    """The help of a command, or of `ragctl` itself, in a terminal of this width."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("COLUMNS", str(columns))
        top = group().make_context("ragctl", [], resilient_parsing=True)
        command = load_command(name) if name else group()
        context = top if not name else typer.Context(command, info_name=name, parent=top)
        return re.sub(r"\x1b\[\d+m", "", command.get_help(context))


def entries(text: str) -> Iterator[tuple[str, str, int]]:
    """Yield each option and argument: name, text, and the column where the text starts."""
    lines = text.splitlines()
    column = max(
        len(found[1]) for line in lines if (found := re.match(r"(  -\S.*?\s{2,})\S", line))
    )
    name, parts = "", list[str]()
    for line in [*lines, ""]:
        if (re.match(r"  \S", line) and not line.startswith("  ragctl ")) or not line.strip():
            if name:
                yield name, " ".join(parts).strip(), column
            name, parts = line[:column].strip(), [line[column:].strip()]
            if len(line) > column and line[column - 1] != " ":  # a long name has its own line
                name, parts = line.strip(), []
        elif line.startswith(" " * column):
            parts.append(line.strip())


@PER_COMMAND
@AT_WIDTHS
def test_every_option_is_described_in_full(name: str, columns: int) -> None:
    found = {option: text for option, text, _ in entries(shown(name, columns))}
    for param in load_command(name).get_params(typer.Context(load_command(name))):
        is_option = param.param_type_name == "option"
        key = help_text.option_name(param) if is_option else help_text.argument_name(param)
        assert param.help, key
        assert found[key].startswith(param.help), key
        assert re.fullmatch(r".*[.!?]", found[key]), f"{key}: {found[key]}"


@PER_COMMAND
@AT_WIDTHS
def test_the_text_has_room(name: str, columns: int) -> None:
    text = shown(name, columns)
    assert max(map(len, text.splitlines())) <= columns
    assert all(columns - start >= MIN_TEXT_WIDTH for _, _, start in entries(text))
    assert len(text.splitlines()) <= MAX_LINES.get(name, MAX_LINES_OF_OTHERS)


@PER_COMMAND
def test_defaults_and_values_are_shown_in_one_way(name: str) -> None:
    text = shown(name, 100)
    assert not re.search(r"<\w+>|\[default|\[required|\(default", text), text
    params: list[Any] = load_command(name).params
    for param in params:
        assert "efault:" not in (param.help or ""), param.name
        is_text = param.param_type_name == "option" and not param.is_flag
        assert not is_text or param.metavar, param.name


def test_a_default_is_shown() -> None:
    found = {name: text for name, text, _ in entries(shown("eval", 80))}
    assert found["--seed N"].endswith("Default: 1.")
    assert found["-c, --collection NAME"].endswith("Default: docs.")
    found = {name: text for name, text, _ in entries(shown("search", 80))}
    assert found["-n, --limit N"].endswith("Default: 5.")
    found = {name: text for name, text, _ in entries(shown("ingest", 80))}
    assert found["--prune / --no-prune"].endswith("Default: yes.")
    assert found["--fail-on PERCENT"].endswith("Default: 0.")


@PER_COMMAND
def test_examples_parse(name: str) -> None:
    lines = [
        line.strip()
        for line in shown(name, 80).splitlines()
        if re.match(r"  ragctl [a-z-]+( |$)", line)
    ]
    assert lines, "no example"
    assert tuple(lines) == COMMANDS[name].examples
    for line in lines:
        program, command, *words = shlex.split(line.partition(" > ")[0])
        assert (program, command) == ("ragctl", name)
        load_command(name).make_context(name, words)  # raises for an unknown option


@pytest.mark.parametrize(
    ("name", "usage"),
    [
        ("ingest", "ragctl ingest [OPTIONS] PATH..."),
        ("search", "ragctl search [OPTIONS] [QUERY]..."),
        ("delete", "ragctl delete [OPTIONS] [SOURCE]..."),
        ("verify", "ragctl verify [OPTIONS] [PIPELINE.toml]"),
    ],
)
def test_usage_shows_what_may_be_left_out_or_repeated(name: str, usage: str) -> None:
    assert shown(name, 80).splitlines()[0] == f"Usage: {usage}"


def test_brackets_are_no_markup(monkeypatch: pytest.MonkeyPatch) -> None:
    app = typer.Typer(add_completion=False)

    def command(
        level: str = typer.Option("low", metavar="[bold]X", help="Either [red] or [/red] [2]."),
    ) -> None:
        """Say [a thing] in [bold]brackets[/bold]."""

    from ragctl.cli.values import Command

    app.command(cls=Command)(command)
    made = typer.main.get_command(app)
    text = made.get_help(typer.Context(made, info_name="x"))
    assert "Say [a thing] in [bold]brackets[/bold]." in text
    assert "--level [bold]X" in text
    assert "Either [red] or [/red] [2]. Default: low." in " ".join(text.split())


@AT_WIDTHS
def test_commands_are_grouped_with_one_line_each(columns: int) -> None:
    lines = shown("", columns).splitlines()
    titles = [line.rstrip(":") for line in lines if re.fullmatch(r"[A-Z]\w+:", line)]
    assert titles == ["Index", "Search", "Collections", "Automation", "Models", "Options"]
    for name, entry in COMMANDS.items():
        (line,) = [line for line in lines if re.match(rf"  {name} ", line)]
        assert line.endswith(entry.line), line
    assert max(map(len, lines)) <= columns


@pytest.mark.parametrize("name", ["ingest", "search"])
def test_long_help_has_panels_with_the_common_options_first(name: str) -> None:
    lines = shown(name, 80).splitlines()
    titles = [line.rstrip(":") for line in lines if re.fullmatch(r"[A-Z][\w ]+:", line)]
    panels = [title for title in titles if title in help_text.PANELS]
    assert panels[0] == help_text.COMMON
    assert len(panels) >= 6
    assert help_text.OTHER not in panels


def test_search_options_name_known_panels() -> None:
    named = {each.spec.panel for each in declared_options(SearchOptions)}
    assert named - {""} <= set(help_text.PANELS)
