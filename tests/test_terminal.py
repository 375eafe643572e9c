"""The terminals of the tests show what a real one shows."""

import os
import sys
from pathlib import Path

import pytest

from tests.terminal import SIZES, Screen, Terminal, render, run

pytestmark = pytest.mark.slow

PYTHON = (sys.executable, "-c")
WIDE = "报销制度"


def test_lines_that_leave_the_screen_are_not_on_it(tmp_path: Path) -> None:
    code = "for n in range(30): print('line', n)"
    shown = run(code, environ=os.environ, cwd=tmp_path, rows=10, command=PYTHON)
    assert shown.code == 0
    assert shown.lines == [*(f"line {n}" for n in range(21, 30)), "$"]
    assert shown.scrolled == [f"line {n}" for n in range(21)]


def test_the_size_colours_and_variables_of_a_terminal(tmp_path: Path) -> None:
    code = (
        "import os, sys; print(*os.get_terminal_size(), sys.stdout.isatty(),"
        " os.environ.get('COLUMNS'), os.environ['TERM'], '\\x1b[1;31mred\\x1b[0m')"
    )
    columns, rows = SIZES[2]
    shown = run(
        code,
        environ={**os.environ, "COLUMNS": "200", "NO_COLOR": "1"},
        cwd=tmp_path,
        columns=columns,
        rows=rows,
        command=PYTHON,
        TERM="dumb",
    )
    assert shown.lines[0] == "60 20 True None dumb red"
    assert shown.styled() == ["red"]


def test_keys_are_typed_into_a_running_command(tmp_path: Path) -> None:
    code = f"name = input('name? '); print('{WIDE}', name.upper()); raise SystemExit(3)"
    with Terminal(code, environ=os.environ, cwd=tmp_path, command=PYTHON) as terminal:
        terminal.wait_for("name?")
        terminal.type("anna\n")
        shown = terminal.finish()
    assert shown.code == 3
    assert shown.lines == ["name? anna", f"{WIDE} ANNA", "$"]


def test_a_text_that_is_not_shown_is_a_failure(tmp_path: Path) -> None:
    with (
        Terminal("print('one')", environ=os.environ, cwd=tmp_path, command=PYTHON) as terminal,
        pytest.raises(AssertionError, match="'two' was not shown:\none"),
    ):
        terminal.wait_for("two")


def test_a_wide_character_takes_two_cells() -> None:
    screen = Screen(6, 3)
    screen.feed(WIDE.encode())
    assert screen.lines == ["报销制", "度"]


def test_a_rendered_command_shows_what_a_process_shows(tmp_path: Path) -> None:
    environ = {**os.environ, "RAGCTL_HOME": str(tmp_path / "home")}
    for words in (("backends",), ("search", "pump", "-c", "missing")):
        shown = run(*words, environ=environ, cwd=tmp_path, columns=100, rows=40)
        rendered = render(*words, environ=environ, cwd=tmp_path, columns=100, rows=40)
        assert rendered.code == shown.code
        assert rendered.all_text == shown.all_text
        assert rendered.styled() == shown.styled()
