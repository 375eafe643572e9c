"""Lines for people end between words on a terminal, and are one line per message in a pipe."""

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from ragctl.cli.wrap import fill
from tests.command import call
from tests.sessions import comparable
from tests.terminal import render, run

LONG = "a_folder_with_a_long_name_of_many_words"


@pytest.fixture
def home(tmp_path: Path) -> Path:
    folder = tmp_path / LONG
    folder.mkdir()
    (folder / "good.md").write_text("# Pump\n\n" + "The pump starts at noon. " * 9)
    (folder / "damaged report on the pumps and valves of hall 3.docx").write_bytes(b"no zip")
    return tmp_path


def variables(home: Path) -> dict[str, str]:
    return {**os.environ, "RAGCTL_HOME": str(home / "store")}


def test_a_line_ends_between_words_and_the_next_is_indented() -> None:
    assert fill("one two three four", 9, 2) == "one two\n  three\n  four"
    assert (
        fill("  ok   what  some words here", 16, 11)
        == "  ok   what\n        some\n        words\n        here"
    )
    assert fill("short\n\tline", 20) == "short\n        line"


@given(st.text("ab 词。,\t\n", max_size=200), st.integers(4, 40), st.integers(0, 60))
def test_no_line_is_wider_and_no_character_is_lost(text: str, width: int, indent: int) -> None:
    filled = fill(text, width, indent)
    assert max(map(cell_len, filled.split("\n"))) <= width
    assert "".join(filled.split()) == "".join(text.split())


@pytest.mark.parametrize("columns", [60, 80])
def test_what_commands_print_breaks_between_words(home: Path, columns: int) -> None:
    (home / "bad.toml").write_text('collection = "x"\nunknown_key_with_a_name = 1\n')
    commands = [
        ("ingest", LONG),
        ("failures",),
        ("validate", "bad.toml"),
        ("search", "pump", "--full"),
        ("plan", "bad.toml"),
    ]
    pipe, terminal = ({**os.environ, "RAGCTL_HOME": str(home / name)} for name in "ab")
    for command in commands:
        piped = call(*command, environ=pipe, cwd=home)
        shown = render(*command, environ=terminal, cwd=home, columns=columns)
        assert shown.code == piped.returncode
        text = comparable(piped.stderr + piped.stdout)
        assert max(map(len, text.split("\n"))) > columns, command
        assert comparable(shown.all_text).split() == [*text.split(), "$"]


def test_a_long_error_is_one_line_in_a_pipe_and_whole_words_on_a_terminal(home: Path) -> None:
    command = ("ingest", LONG, "--model", "no-such-model-with-a-rather-long-name-indeed")
    piped = call(*command, environ=variables(home), cwd=home)
    assert piped.stderr.count("\n") == 1
    assert len(piped.stderr) > 80
    shown = run(*command, environ=variables(home), cwd=home)
    lines = shown.all_text.removesuffix("$").rstrip().split("\n")
    assert len(lines) > 1
    assert " ".join(map(str.strip, lines)) == piped.stderr.strip()
