"""Markdown headings, compared with a full parser, and titles."""

from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from ragctl.loaders.decode import decode
from ragctl.loaders.front_matter import read_front_matter
from ragctl.loaders.markdown_headings import HeadingScanner, find_headings, plain_title
from ragctl.records import Heading
from tests.loading import check, load_one

PARSER = MarkdownIt("commonmark").enable("table")
CORPUS = sorted(Path(pytest.__file__).parents[1].rglob("*.md"))[:300]
SAMPLES = sorted(Path(__file__).parents[1].glob("sample_docs/**/*.md"))


def parsed_headings(text: str, start: int = 0) -> list[tuple[int, int]]:
    """Return (offset, level) of the headings that have text and are not inside lists or quotes."""
    lines = [start]
    for line in text[start:].split("\n"):
        lines.append(lines[-1] + len(line) + 1)
    tokens = PARSER.parse(text[start:])
    return [
        (lines[token.map[0]], int(token.tag[1]))
        for token, inline in pairwise(tokens)
        if token.type == "heading_open" and token.level == 0 and inline.content and token.map
    ]


def scanned_headings(text: str, start: int = 0) -> list[tuple[int, int]]:
    return [(heading.start, heading.level) for heading in find_headings(text, start)]


@pytest.mark.parametrize("path", CORPUS + SAMPLES, ids=lambda path: path.name)
def test_headings_of_real_files_match_a_full_parser(path: Path) -> None:
    text, _ = decode(path.read_bytes()[:100_000])
    start = read_front_matter(text).end
    assert scanned_headings(text, start) == parsed_headings(text, start)


def test_the_corpus_is_not_empty() -> None:
    assert len(SAMPLES) >= 3


LINES = [
    *("# A", "## B ##", "text", "text 2", "===", "---", "", "", "* * *", "   # in", "#not"),
    *("- item", "  cont", "    code", "1. one", "2. two", "- # in item", "  - sub", "\tcode"),
    *("```", "~~~", "> quote", "> # q", "<!-- c", "-->", "<div>", "</div>", "<b>x</b>"),
    *("[a]: /u", "| a | b |", "|---|---|", "```py", "````"),
]


@settings(max_examples=400, derandomize=True)
@given(st.lists(st.sampled_from(LINES), min_size=1, max_size=6))
def test_headings_of_any_lines_match_a_full_parser(lines: list[str]) -> None:
    text = "\n".join(lines)
    assert scanned_headings(text) == parsed_headings(text)


@pytest.mark.parametrize(
    ("markup", "title"),
    [
        ("The `load()` function", "The load() function"),
        ("**Bold** and *italic* __too__", "Bold and italic too"),
        ("[Link](http://a.b/c_(d)) text", "Link text"),
        ("![Logo](x.png) Name", "Logo Name"),
        ("Install {#install .cls}", "Install"),
        ("snake_case_name and 2 * 3 * 4", "snake_case_name and 2 * 3 * 4"),
        (r"Escaped \# and \*stars\*", "Escaped # and *stars*"),
        ("`**raw**`", "**raw**"),
        ("<a name='x'></a>Anchored", "Anchored"),
    ],
)
def test_titles_have_no_markup(markup: str, title: str) -> None:
    assert plain_title(markup) == title


def test_a_markdown_document_is_read(tmp_path: Path) -> None:
    path = tmp_path / "a.md"
    text = "# One\n\ntext\n\nTwo\nlines\n-----\n\n```\n# no\n```\n\n### Three ###"
    path.write_bytes(text.replace("\n", "\r\n").encode())
    document = load_one(path)
    check(document)
    assert document.text == text
    assert document.kind == "markdown"
    assert document.title == "One"
    assert document.headings == (
        Heading(0, 1, "One"),
        Heading(13, 2, "Two lines"),
        Heading(document.text.index("### Three"), 3, "Three"),
    )


KINDS = (
    *("abc", "# h", "", "```", "~~~", "````", "> q", "- item", "  cont", "    code", "---", "==="),
    *("<div>", "x", "1. a", "\ta", "> ```", "word ```", "``` x", "~~~~", "я", "1 a", "-", "</div>"),
    *("- ```", "  ```"),
)


@given(st.lists(st.sampled_from(KINDS), max_size=14), st.integers(0, 3))
def test_skipping_lines_does_not_change_the_headings(lines: list[str], skipped: int) -> None:
    text = "\n".join(lines)
    start = len("\n".join([*lines[:skipped], ""])) if skipped < len(lines) else 0
    scan, offset = HeadingScanner(text), start
    for line in text[start:].split("\n"):
        scan.scan_line(line, offset)
        offset += len(line) + 1
    assert find_headings(text, start) == scan.headings


def test_html_headings_are_headings() -> None:
    text = (
        '<h1 align="center">Pump &amp; <em>fan</em></h1>\n\nIt pumps.\n\n'
        "<div>\n<h2>\n  Service\n</h2>\n</div>\n\n<!--\n<h2>not this</h2>\n-->\n\n"
        "```\n<h2>nor this</h2>\n```\n\n# After\n"
    )
    assert [(each.level, each.title, text[each.start]) for each in find_headings(text)] == [
        (1, "Pump & fan", "<"), (2, "Service", "<"), (1, "After", "#")
    ]  # fmt: skip
