"""Front matter: its metadata, the offset of the text after it, and warnings about errors."""

import json
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragctl.chunking import split
from ragctl.loaders.front_matter import read_front_matter
from ragctl.records import Document, Json
from tests.loading import check, load_one


def read(block: str) -> dict[str, Json]:
    """Return the metadata of a valid YAML block."""
    front = read_front_matter(f"---\n{block}\n---\nBody\n")
    assert not front.warnings
    assert front.end
    return dict(front.meta)


YAML = """---
title: "Leave policy"
tags: [hr, 'leave']   # which
version: 3
rate: 1.5
draft: false
authors:
  - HR department
  - Legal
owner:
  name: nested
date: 2024-01-31
# comment: no heading
---
# Heading

Text of the policy.
"""


def test_front_matter_becomes_metadata_and_leaves_the_text(tmp_path: Path) -> None:
    path = tmp_path / "a.md"
    path.write_text(YAML)
    document = load_one(path)
    check(document)
    assert document.title == "Leave policy"
    assert document.meta == {
        "tags": ["hr", "leave"],
        "version": 3,
        "rate": 1.5,
        "draft": False,
        "authors": ["HR department", "Legal"],
        "owner": {"name": "nested"},
        "date": "2024-01-31",
    }
    assert [chunk.text for chunk in split(document)] == ["# Heading\n\nText of the policy."]


def test_offsets_and_line_numbers_count_from_the_start_of_the_file(tmp_path: Path) -> None:
    path = tmp_path / "a.md"
    path.write_text(YAML)
    document = load_one(path)
    assert len(document.text) == len(YAML)
    assert document.text.count("\n") == YAML.count("\n")
    start = YAML.index("# Heading")
    assert document.text[start:] == YAML[start:]
    assert [heading.start for heading in document.headings] == [start]
    assert not document.text[:start].strip()


@pytest.mark.parametrize(
    ("block", "meta"),
    [
        ("автор: Отдел кадров", {"автор": "Отдел кадров"}),
        ("og:title: Pumps", {"og:title": "Pumps"}),
        ("\"two words\": 1\n'it''s': 2", {"two words": 1, "it's": 2}),
        ('tags: ["pumps, valves", fans]', {"tags": ["pumps, valves", "fans"]}),
        ("tags: [one,\n  two]", {"tags": ["one", "two"]}),
        ("tags:\n- one\n- two: 2", {"tags": ["one", {"two": 2}]}),
        ("a: 'It''s'\nb: \"tab\\tand \\u00e9\"", {"a": "It's", "b": "tab\tand é"}),
        ("text: >\n  folded\n  lines", {"text": "folded lines\n"}),
        ("text: |\n  kept\n  lines", {"text": "kept\nlines\n"}),
        ("url: http://a.b/c#d", {"url": "http://a.b/c#d"}),
        ("date: 2024-1-5\nat: 2024-01-31 10:00:00Z", {
            "date": "2024-01-05", "at": "2024-01-31T10:00:00+00:00"
        }),
        ("date: 2024-13-45", {"date": "2024-13-45"}),
        ("lang: no\nat: 12:30\nzip: 0123", {"lang": "no", "at": "12:30", "zip": "0123"}),
        ("a: ~\nb:\nc: null", {"a": None, "b": None, "c": None}),
        ("a: .nan\nb: 1e400", {"a": ".nan", "b": None}),
        ("id: 123456789012345678901", {"id": "123456789012345678901"}),
        ("2024: year\ntrue: yes", {"2024": "year", "true": "yes"}),
        ("base: &base {a: 1}\nmore:\n  <<: *base\n  b: 2", {
            "base": {"a": 1}, "more": {"a": 1, "b": 2}
        }),
        ("kinds: !!set {b, a}", {"kinds": ["a", "b"]}),
        ("{a: 1, b: [2]}", {"a": 1, "b": [2]}),
        ("# only a comment", {}),
        ("", {}),
    ],
)  # fmt: skip
def test_yaml_values_become_json_values(block: str, meta: dict[str, Json]) -> None:
    assert read(block) == meta


@pytest.mark.parametrize(
    ("yaml_title", "title"),
    [
        ("1984", "1984"),
        ("1.10", "1.10"),
        ("2024-5-1", "2024-5-1"),
        ("true", "true"),
        ("false", "false"),
        ("'It''s here'", "It's here"),
        (">\n  two\n  lines", "two lines"),
        ("null", None),
        ("''", None),
        ("[a]", None),
    ],
)
def test_a_title_is_the_text_as_written(yaml_title: str, title: str | None) -> None:
    front = read_front_matter(f"---\ntitle: {yaml_title}\n---\n")
    assert front.title == title
    assert front.meta == {}


def test_toml_front_matter_is_read() -> None:
    text = (
        '+++\ntitle = "T"\nday = 2024-01-31\ntags = ["a", "b"]\nx = inf\n[extra]\ny = 1\n+++\nBody'
    )
    front = read_front_matter(text)
    assert front.title == "T"
    assert front.meta == {
        "day": "2024-01-31", "tags": ["a", "b"], "x": None, "extra": {"y": 1}
    }  # fmt: skip
    assert text[front.end :] == "Body"


@pytest.mark.parametrize(
    "text",
    [
        *("", "---\n", "text\n---\na: b\n---\n", "+++\n+"),
        "---\nJust prose between rules.\n---\nMore",
        "---\n- one\n- two\n---\nMore",
        "---\nA sentence.\nAnother: with: colons.\n---\nMore",
        "---\n" + "a: b\n" * 20_000 + "---\n",
    ],
)
def test_a_block_that_is_not_a_mapping_is_text(text: str) -> None:
    front = read_front_matter(text)
    assert (front.end, front.meta, front.warnings) == (0, {}, ())


BROKEN = {
    "ok: 1\ntitle: a: b": "line 3: mapping values are not allowed",
    "ok: 1\nlist: [a": "line 4: ",
    "ok: 1\n\n\tb: 2": "line 4: found a tab character",
    "a: 'never closed": "line 3: found unexpected end of stream",
    "a: *missing": "line 2: found undefined alias",
    "a: !secret x": "line 2: could not determine a constructor for the tag '!secret'",
    "a: !!python/object/apply:os.system [exit]": "line 2: could not determine a constructor",
    "a: !!int x": "a value does not fit its tag",
    "a: 1\nb: &b [*b]": "line 3: an alias is within its own value",
    "a: " + "[" * 5000: "line 2: ",
    "a: " + "[" * 300 + "]" * 300: "it is nested too deep",
}


@pytest.mark.parametrize("block", BROKEN)
def test_a_broken_block_is_a_warning_with_the_line(tmp_path: Path, block: str) -> None:
    path = tmp_path / "a.md"
    path.write_text(f"---\n{block}\n---\n# Pump\n\nIt pumps.\n")
    document = load_one(path)
    [warning] = document.warnings
    assert warning.startswith("front matter is not read: ")
    assert BROKEN[block] in warning
    assert document.meta == {}
    assert document.title == "Pump"
    assert document.text.lstrip() == "# Pump\n\nIt pumps.\n"


def test_broken_toml_is_a_warning_with_the_line() -> None:
    front = read_front_matter("+++\na = 1\nb = \n+++\nBody")
    [warning] = front.warnings
    assert "(at line 3, column" in warning
    assert front.end == len("+++\na = 1\nb = \n+++\n")


@pytest.mark.parametrize(
    ("first", "each"), [("[x, x, x]", "[{}]"), ("{x: 1, y: 2}", "{{<<: [{}]}}")]
)
def test_exponentially_repeated_aliases_are_refused_quickly(first: str, each: str) -> None:
    """Ten levels of nine references each would hold 3,486,784,401 copies of the first value."""
    block = f"a0: &a0 {first}\n"
    for level in range(1, 11):
        repeated = ", ".join([f"*a{level - 1}"] * 9)
        block += f"a{level}: &a{level} {each.format(repeated)}\n"
    started = time.process_time()
    front = read_front_matter(f"---\n{block}---\nBody")
    assert time.process_time() - started < 1
    [warning] = front.warnings
    assert "aliases repeat over 65,536 characters" in warning
    assert front.end


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9) | st.dates(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=9,
)


@given(st.dictionaries(st.text(max_size=9), VALUES, max_size=4))
def test_everything_that_pyyaml_writes_is_read(fields: dict[str, object]) -> None:
    import yaml

    text = f"---\n{yaml.safe_dump(fields, allow_unicode=True)}---\nBody"
    front = read_front_matter(text)
    if front.end:
        assert not front.warnings
        assert text[front.end :] == "Body"
        json.dumps(dict(front.meta), allow_nan=False)


@given(st.text(alphabet="ab:-[]{}&*!#'\"\\ \n\t0.é", max_size=60))
def test_any_block_is_read_or_left_as_text(block: str) -> None:
    text = f"---\n{block}\n---\nBody"
    front = read_front_matter(text)
    assert 0 <= front.end <= len(text)
    check(Document("a", text, title=front.title, meta=front.meta))
