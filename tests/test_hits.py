"""What `ragctl search` shows on terminals of several sizes, and what a pipe gets."""

import os
import re
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from ragctl.cli import hits
from ragctl.cli.marking import best_lines
from ragctl.cli.wrap import wrap
from ragctl.records import Hit
from tests.command import call
from tests.terminal import SIZES, Screen, render, run

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[1]
CHINESE = (
    "员工出差回来以后，须在三十天之内提交报销申请，并附上所有的发票原件；逾期未提交的申请，财务部不予受理，"
    "除非部门经理书面说明原因并且总经理批准。"
)
URL = f"https://example.org/{'a-long-path/' * 12}reference-number-4711"
WORDS = ["pump", "valve", "motor", "cable", "filter", "leak", "oil", "gasket", "relay"]
sizes = pytest.mark.parametrize(("columns", "rows"), SIZES)


@pytest.fixture(scope="module")
def environ(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Return an environment with three collections: docs, wide and records."""
    folder = tmp_path_factory.mktemp("hits")
    environ = {**os.environ, "RAGCTL_HOME": str(folder / "home")}
    files = {
        f"docs/{number}.md": f"# Manual {number}\n\n"
        + "\n\n".join(
            f"## Part {part}\n\nParagraph {part} {' '.join(WORDS[part:] * 9)}" for part in range(6)
        )
        for number in range(8)
    }
    files["wide/zh.md"] = f"# 报销制度\n\n{CHINESE}\n"
    files["wide/ru.md"] = (
        "# Кадры\n\n## Отпуск\n\n"
        + "Заявление подаётся за две недели до начала. " * 20
        + "Сотрудники получают двадцать восемь дней отпуска. "
        + "Приказ подписывает директор. " * 20
    )
    files["wide/url.md"] = f"# Links\n\nThe form is at {URL} and nowhere else.\n"
    files["records/r.jsonl"] = f'{{"id": "{URL}", "text": "the form of the office"}}\n'
    for name, text in files.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8")
    for name in ("docs", "wide", "records"):
        done = call("ingest", name, "-c", name, "--chunk-size", "200", environ=environ, cwd=folder)
        assert done.returncode == 0, done.stderr
    return environ


def squeezed(screen: Screen) -> str:
    """Return what is on the screen without white space."""
    return re.sub(r"\s", "", screen.text)


def search(environ: Mapping[str, str], *words: str, columns: int = 80, rows: int = 24) -> Screen:
    shown = render("search", *words, environ=environ, cwd=ROOT, columns=columns, rows=rows)
    assert shown.code == 0, shown.all_text
    return shown


# The screen


@sizes
@pytest.mark.parametrize("colour", [True, False])
def test_five_hits_fit_the_screen(
    environ: dict[str, str], columns: int, rows: int, colour: bool
) -> None:
    no_colour = "" if colour else "1"
    words = ("search", "pump", "leak", "valve")
    show = run if (columns, rows) == SIZES[0] else render  # a process for one of the sizes
    shown = show(*words, environ=environ, cwd=ROOT, columns=columns, rows=rows, NO_COLOR=no_colour)
    assert shown.code == 0
    assert shown.scrolled == []
    titles = [line for line in shown.lines if re.match(r"\d+\. ", line)]
    assert [title[:2] for title in titles] == ["1.", "2.", "3.", "4.", "5."]
    assert re.fullmatch(r"1\. docs/\d\.md:\d+ +Manual \d( › Part \d)? +\d\.\d{4}", titles[0])
    assert len(titles[0]) == columns
    texts = shown.text.split("\n2. ")[0].splitlines()[1:]
    assert 3 <= len([line for line in texts if line]) <= 4
    assert bool(shown.styled()) == colour
    assert (b"\x1b" in shown.raw) == colour
    if colour:
        assert "pump" in shown.styled()


@pytest.mark.parametrize("limit", [1, 2, 10, 11, 12, 40])
@sizes
def test_any_number_of_hits_leaves_the_first_on_the_screen(
    environ: dict[str, str], limit: int, columns: int, rows: int
) -> None:
    shown = search(environ, "pump", "--limit", str(limit), columns=columns, rows=rows)
    assert shown.scrolled == []
    assert shown.lines[0].startswith("1. ")
    titles = sum(re.match(r"\d+\. ", line) is not None for line in shown.lines)
    more = re.search(r"^(\d+) more hits?: --full prints everything$", shown.text, re.MULTILINE)
    assert titles + (int(more[1]) if more else 0) == limit
    assert not more or len(shown.lines) >= rows - 3  # no room is left unused
    for line in shown.lines:
        assert len(line) <= columns


@pytest.mark.parametrize(
    ("words", "rows", "explained"),
    [
        ((), 24, True),
        (("--limit", "12"), 24, True),
        ((), 19, False),
        (("--mode", "dense"), 24, False),
        (("--fusion", "dbsf"), 24, False),
        (("--rerank", "sentences"), 24, False),
    ],
)
def test_a_line_says_that_scores_reflect_ranks(
    environ: dict[str, str], words: tuple[str, ...], rows: int, explained: bool
) -> None:
    shown = search(environ, "pump", *words, rows=rows)
    assert shown.scrolled == []
    assert (hits.RANK_SCORES in shown.lines) == explained
    assert (hits.RANK_SCORES in shown.text) == explained


def test_a_screen_of_no_size_shows_a_hit(environ: dict[str, str]) -> None:
    for columns, rows in ((1, 1), (30, 3)):
        shown = render("search", "pump", environ=environ, cwd=ROOT, columns=columns, rows=rows)
        assert shown.code == 0
        assert "1. " in shown.all_text or columns < 20


def test_full_prints_everything(environ: dict[str, str]) -> None:
    shown = search(environ, "pump", "-c", "docs", "--full")
    plain = call("search", "pump", "-c", "docs", environ=environ, cwd=ROOT).stdout
    assert shown.scrolled
    assert re.sub(r"\s", "", shown.all_text) == re.sub(r"\s", "", plain) + "$"
    assert plain.startswith("1. ")
    assert shown.styled()


@sizes
def test_a_passage_is_an_excerpt_too(environ: dict[str, str], columns: int, rows: int) -> None:
    shown = search(environ, "pump", "--expand", "document", columns=columns, rows=rows)
    assert shown.scrolled == []
    assert re.search(r"chunks 1-(\d) of \1", shown.text)
    assert "--full prints them whole" in shown.text


# The text


@sizes
def test_the_words_asked_for_are_on_the_screen(
    environ: dict[str, str], columns: int, rows: int
) -> None:
    for question, words in (
        ("总经理批准", "总经理批准"),
        ("сколько дней отпуска", "двадцать восемь дней отпуска"),
    ):
        shown = search(environ, question, "-c", "wide", columns=columns, rows=rows)
        first = shown.text.split("\n2. ")[0]
        assert words.replace(" ", "") in re.sub(r"\s", "", first), first
        assert all(cell_len(line) <= columns for line in shown.lines)


def test_the_whole_text_of_a_short_hit_is_on_the_screen(environ: dict[str, str]) -> None:
    for columns, rows in SIZES:
        shown = search(environ, "申请", "-c", "wide", "-n", "1", columns=columns, rows=rows)
        assert CHINESE in squeezed(shown)
        assert "…" not in shown.text


@sizes
def test_long_addresses_are_folded(environ: dict[str, str], columns: int, rows: int) -> None:
    shown = search(environ, "form", "-c", "wide", "-n", "1", columns=columns, rows=rows)
    assert URL in squeezed(shown)
    shown = search(environ, "form", "-c", "records", columns=columns, rows=rows)
    assert f"1.records/r.jsonl#{URL}" in re.sub(r"\d\.\d{4}", "", squeezed(shown))
    assert re.search(r" \d\.\d{4}$", shown.lines[0])


def test_a_long_heading_path_loses_its_outer_headings_first() -> None:
    heading = ("Chapter one of the manual", "Installation", "The pump")
    hit = Hit("a.md", 0.5, "text", 0, 4, None, heading, 0, {}, line=3)
    for columns, title in (
        (80, ["1. a.md:3  Chapter one of the manual › Installation › The pump            0.5000"]),
        (60, ["1. a.md:3  … › Installation › The pump                0.5000"]),
        (34, ["1. a.md:3  … › The pump     0.5000"]),
        (24, ["1. a.md:3  … ›    0.5000", "   The pump"]),
    ):
        assert [line.plain for line in hits._title(1, hit, columns)] == title


@pytest.mark.parametrize(
    ("source", "heading", "title", "text", "shown"),
    [
        (
            "a.md",
            ("Pump",),
            "Pump",
            "# Pump\n\n## Hours\n\n| day | hours |\n|---|---|\n| Mon | 8 |\n",
            "Hours: day | hours; Mon | 8;",
        ),
        ("a.md", (), None, "Intro.\n\n## Pump ##\n\n> ### Oil?\n> yes", "Intro. Pump: Oil? > yes"),
        ("a.md", (), "A", "Intro.\n\nPump\n----\n\nx\n\n---\n\ny", "Intro. Pump: x y"),
        ("a.rst", ("Pump",), None, "======\n Pump\n======\n\nOil\n===\n\nx", "Oil: x"),
        ("a.jsonl#7", (), None, "# Pump\nx", "Pump: x"),
        ("a.md", ("Pump",), None, "# Pump", "Pump"),
        ("a.md", ("泵",), None, "# 泵。\n油\n## 阀门\n一", "油 阀门： 一"),
        ("a.py", (), None, "# a comment\nx = 1", "# a comment x = 1"),
        ("Makefile", (), None, "## a comment\nx = 1", "## a comment x = 1"),
    ],
)
def test_an_excerpt_has_no_marks_of_headings_and_tables(
    source: str, heading: tuple[str, ...], title: str | None, text: str, shown: str
) -> None:
    """The heading in the title is not repeated; "#" stays where it begins a comment."""
    hit = Hit(source, 0.5, text, 0, 4, None, heading, 0, {}, line=3, title=title)
    assert hits._running_text(hit) == shown
    assert hit.text == text


def test_text_before_the_first_heading_has_the_title_of_the_document(tmp_path: Path) -> None:
    (tmp_path / "a.md").write_text("---\ntitle: Pumps\n---\nAn intro.\n\n## Oil\n\nText.\n")
    environ = {**os.environ, "RAGCTL_HOME": str(tmp_path / "home")}
    assert call("ingest", "guide=.", environ=environ, cwd=tmp_path).returncode == 0
    shown = render("search", "intro", environ=environ, cwd=tmp_path)
    assert re.fullmatch(r"1\. guide/a\.md:\d  Pumps +\d\.\d{4}", shown.lines[0])
    assert shown.lines[1].strip() == "An intro. Oil: Text."
    piped = call("search", "intro", environ=environ, cwd=tmp_path)
    assert re.match(r"1\. guide/a\.md:\d \[Pumps\]  \(", piped.stdout)
    assert "## Oil" in piped.stdout


# The collection


def test_a_search_of_the_default_says_which_collection_it_was(environ: dict[str, str]) -> None:
    note = "searched docs (choose with -c); also here: records, wide"
    assert search(environ, "pump").lines[-2] == note
    assert note not in search(environ, "pump", "-c", "docs").text
    piped = call("search", "pump", environ=environ, cwd=ROOT)
    assert piped.stderr == f"{note}\n"
    assert call("search", "pump", "--json", environ=environ, cwd=ROOT).stderr == ""
    assert call("search", "pump", "-c", "docs", environ=environ, cwd=ROOT).stderr == ""
    status = call("status", environ=environ, cwd=ROOT)
    assert "also here     records, wide (choose with -c)\n" in status.stdout


def test_the_only_collection_needs_no_word(tmp_path: Path) -> None:
    (tmp_path / "a.md").write_text("a pump")
    environ = {**os.environ, "RAGCTL_HOME": str(tmp_path / "home")}
    assert call("ingest", ".", environ=environ, cwd=tmp_path).returncode == 0
    done = call("search", "pump", environ=environ, cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert "also here" not in call("status", environ=environ, cwd=tmp_path).stdout


@given(st.text(st.sampled_from("ab \n报（，é\u0301👩"), max_size=200), st.integers(2, 30))
def test_wrapping_loses_nothing_and_keeps_the_width(text: str, width: int) -> None:
    lines = wrap(text, width)
    shown = [text[start:end] for start, end in lines]
    assert "".join("".join(shown).split()) == "".join(text.split())
    assert all(line and cell_len(line) <= width for line in shown)
    assert all(end <= start for (_, end), (start, _) in pairwise(lines))


def test_lines_do_not_begin_with_a_closing_mark() -> None:
    text = "一二三四，五六（七八）九十"
    assert [text[s:e] for s, e in wrap(text, 8)] == ["一二三", "四，五六", "（七八）", "九十"]


@pytest.mark.parametrize(
    ("text", "question", "count", "best"),
    [
        ("a b c d e", "none of these", 2, "a b"),
        ("a b pump d e", "pump", 1, "pump"),
        ("a b pump d e", "pump", 3, "b pump d"),
        ("a b c d pump", "pump", 3, "c d pump"),
        ("pump a b pump valve c", "pump valve", 2, "pump valve"),
        ("the the the the valve a b", "the valve", 1, "valve"),  # rare words count more
        ("pump b", "pump", 9, "pump b"),
        ("pump b", "pump", 0, ""),
    ],
)
def test_the_best_lines(text: str, question: str, count: int, best: str) -> None:
    lines = [found.span() for found in re.finditer(r"\S+", text)]
    chosen = best_lines(text, lines, question, count)
    assert " ".join(text.split()[row] for row in chosen) == best


@given(
    st.lists(st.sampled_from(["pump", "valve", "a", "总经理", "x"]), max_size=60),
    st.integers(0, 5),
)
def test_the_best_lines_are_lines(words: list[str], count: int) -> None:
    text = " ".join(words)
    lines = wrap(text, 6)
    chosen = best_lines(text, lines, "pump 总经理批准", count)
    assert len(chosen) == min(count, len(lines))
    assert 0 <= chosen.start <= chosen.stop <= len(lines)
