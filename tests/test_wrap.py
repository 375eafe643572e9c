"""Lines for people end between words on a terminal, and are one line per message in a pipe."""

import os
import re
import unicodedata
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from ragctl.cli.wrap import cells, fill, wrap
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


@pytest.mark.parametrize(
    ("text", "most"),
    [
        ("pump", 4),
        ("年假", 4),
        ("e\u0301", 1),
        ("की", 2),  # a spacing mark: no cell in some terminals, one in others
        ("กำ", 2),
        ("\U0001f1e9\U0001f1ea", 4),  # a flag: drawn as two letters in some terminals
        ("\U0001f44d\U0001f3fd", 4),  # a skin tone: drawn by itself in some terminals
        ("كتاب", 4),
    ],
)
def test_cells_are_those_of_the_widest_terminal(text: str, most: int) -> None:
    assert cells(text) == most


@pytest.mark.parametrize(
    "text",
    [
        "ปั๊มน้ำทุกเครื่องรับประกันสองปีนับจากวันที่ติดตั้งและสามปีสำหรับมอเตอร์" * 3,
        "प्रत्येकपंपकीवारंटीस्थापनाकीतारीखसेदोवर्षहैऔरमोटरकीतीनवर्ष" * 3,
        "\U0001f1e9\U0001f1ea" * 40,
        "\U0001f44d\U0001f3fd" * 40,
        "e\u0301\u0323" * 90,
    ],
)
def test_a_fold_keeps_a_letter_with_its_marks(text: str) -> None:
    for width in (20, 37, 40, 80):
        lines = [text[start:end] for start, end in wrap(text, width)]
        assert "".join(lines) == text
        assert len(lines) > 1
        assert all(cells(line) <= width for line in lines)
        for line in lines:
            assert unicodedata.category(line[0])[0] != "M"
            assert line[0] not in "ะาำ\U0001f3fd"
            assert line.count("\U0001f1e9") == line.count("\U0001f1ea")


def test_a_table_that_does_not_fit_has_a_line_for_each_cell(home: Path) -> None:
    assert call("ingest", LONG, environ=variables(home), cwd=home).returncode == 3
    shown = render("collections", environ=variables(home), cwd=home, columns=40, rows=20)
    assert shown.lines[:5] == [
        *("collection: docs", "model: builtin", "dimension: 2,048"),
        *("documents: 1", "points: 1"),
    ]


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


def test_failures_have_readable_times_and_no_period_inside(home: Path) -> None:
    (home / LONG / "broken.pdf").write_bytes(b"%PDF-1.7 nothing else")
    for _ in range(2):
        call("ingest", LONG, "--retry-failed", environ=variables(home), cwd=home)
    lines = call("failures", environ=variables(home), cwd=home).stdout
    time = r"\d{4}-\d\d-\d\d \d\d:\d\d UTC"
    tail = rf"\(failed 2 times since {time}; next try after {time}\)"
    assert re.search(rf"\.pdf: is not a readable PDF: [^.()]+ {tail}\n", lines), lines
    assert re.search(rf"\.docx: is not a DOCX file, or is damaged: not a zip archive {tail}", lines)
    assert re.search(
        r'"last": "\S+T\S+Z"', call("failures", "--json", environ=variables(home), cwd=home).stdout
    )


def test_collections_are_a_table_on_a_terminal(home: Path) -> None:
    call("ingest", LONG, environ=variables(home), cwd=home)
    shown = render("collections", environ=variables(home), cwd=home)
    assert shown.lines[0].split() == ["collection", "model", "dimension", "documents", "points"]
    assert shown.lines[1].split()[0] == "docs"
    assert shown.lines[1].split()[3:] == ["1", "1"]
    piped = call("collections", environ=variables(home), cwd=home).stdout
    assert re.fullmatch(r"docs  .+  1 document  1 point\n", piped)


@pytest.mark.parametrize(("columns", "rows"), [(80, 24), (80, 9), (80, 60)])
def test_the_facts_of_status_stay_on_the_screen(home: Path, columns: int, rows: int) -> None:
    for number in range(12):
        folder = home / f"source{number}"
        folder.mkdir()
        (folder / f"{number}.md").write_text("The pump starts at noon.\n")
    command = ("ingest", *(f"source{number}" for number in range(12)))
    call(*command, environ=variables(home), cwd=home)
    shown = render("status", environ=variables(home), cwd=home, columns=columns, rows=rows)
    if (columns, rows) == (80, 9):  # too small for the facts alone
        assert "documents by" not in shown.all_text
    else:
        assert shown.lines[0].startswith("collection    docs in")
        assert not shown.scrolled
        assert "documents by" in shown.text
        assert rows < 60 or "documents by source" in shown.text


def test_a_long_error_is_one_line_in_a_pipe_and_whole_words_on_a_terminal(home: Path) -> None:
    command = ("ingest", LONG, "--model", "no-such-model-with-a-rather-long-name-indeed")
    piped = call(*command, environ=variables(home), cwd=home)
    assert piped.stderr.count("\n") == 1
    assert len(piped.stderr) > 80
    shown = run(*command, environ=variables(home), cwd=home)
    lines = shown.all_text.removesuffix("$").rstrip().split("\n")
    assert len(lines) > 1
    assert " ".join(map(str.strip, lines)) == piped.stderr.strip()
