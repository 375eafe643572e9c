"""Ids, hashes and payloads of points."""

import uuid
from typing import get_args

from hypothesis import given
from hypothesis import strategies as st

from ragctl.collection.payload import (
    FILTERABLE_FIELDS,
    KEYWORD_INDEXES,
    Payload,
    PayloadKey,
)
from ragctl.collection.points import digest, namespace, point_ids, version
from ragctl.collection.text import embedded_text
from ragctl.index import prepare
from ragctl.index.plan import WorkItem
from ragctl.index.prepare import ProcessLimits
from ragctl.index.prepared import FileStat, PreparedChunk, PreparedDocument, payloads

SPACE = namespace("docs")
HASHES = st.lists(st.sampled_from("abcdef"), max_size=30)


@given(HASHES, HASHES)
def test_a_text_keeps_its_id_when_it_moves(before: list[str], inserted: list[str]) -> None:
    fresh = [f"new-{value}" for value in inserted]
    middle = len(before) // 2
    ids = point_ids(SPACE, "a.md", before)
    edited = point_ids(SPACE, "a.md", before[:middle] + fresh + before[middle:])
    assert edited[:middle] == ids[:middle]
    assert edited[middle + len(fresh) :] == ids[middle:]


@given(HASHES)
def test_ids_are_distinct_and_depend_on_collection_and_source(hashes: list[str]) -> None:
    ids = point_ids(SPACE, "a.md", hashes)
    assert len(set(ids)) == len(hashes)
    assert all(str(uuid.UUID(value)) == value for value in ids)
    assert not set(ids) & set(point_ids(SPACE, "b.md", hashes))
    assert not set(ids) & set(point_ids(namespace("other"), "a.md", hashes))


def test_ids_never_change_between_releases() -> None:
    assert point_ids(SPACE, "a.md", ["h", "h"]) == [
        "ec56405d-3602-5ef3-9374-bf5ad3879d32",
        "e347143b-3a89-5b80-b7c8-5b2c069b3495",
    ]
    assert digest(b"a", b"b") == "4fc56058b4df0ca122be9a2e429541d6"
    assert version("a.md", digest(b"x")) == "1cb5fd7e70638b4ee88fc0a0aa8e3a30"


@given(st.lists(st.binary(max_size=4), max_size=4), st.lists(st.binary(max_size=4), max_size=4))
def test_digest_keeps_its_parts_apart(one: list[bytes], two: list[bytes]) -> None:
    assert (digest(*one) == digest(*two)) == (one == two)


def test_the_keys_of_a_payload_are_listed_once_each() -> None:
    keys = get_args(PayloadKey)
    assert len(set(keys)) == len(keys)
    assert set(keys) == Payload.__annotations__.keys()
    assert {*KEYWORD_INDEXES, *FILTERABLE_FIELDS} <= set(keys)


def test_headings_are_put_before_the_text_once() -> None:
    assert embedded_text("Body.", ()) == "Body."
    assert embedded_text("Body.", ("Guide", "Limits")) == "Guide > Limits\n\nBody."
    own = "## Limits\n\nBody."
    assert embedded_text(own, ("Guide", "Limits")) == "Guide\n\n## Limits\n\nBody."
    assert embedded_text("Limits\n======\nBody.", ("Limits",)) == "Limits\n======\nBody."


def _document(chunks: int) -> PreparedDocument:
    rows = [PreparedChunk(i, i + 1, f"t{i}", f"h{i}", None, 7, ("H",), 3) for i in range(chunks)]
    return PreparedDocument("docs/a.md", "d" * 32, "Title", "en", {"k": 1}, (), tuple(rows))


def test_only_the_first_point_is_marked_and_all_name_their_version() -> None:
    stat = FileStat("docs/a.md", "docs", 10, 20)
    rows = payloads(_document(3), stat, recipe="r", parts=1)
    assert [row.get("mark") for row in rows] == ["en", None, None]
    assert {row["version"] for row in rows} == {version("docs/a.md", "d" * 32)}
    assert [row["ordinal"] for row in rows] == [0, 1, 2]
    assert rows[1]["chunks"] == 3
    assert rows[1]["meta"] == {"k": 1}


def test_a_document_without_text_still_has_its_mark() -> None:
    (row,) = payloads(_document(0), FileStat("docs/a.md", "docs", 10, 20), recipe="r", parts=1)
    assert row["mark"] == "en"
    assert row["chunks"] == 0
    assert row["text"] == ""


def test_small_files_start_few_processes() -> None:
    limits = ProcessLimits(4, 60.0, 1 << 30)

    def workers(*sizes: int) -> int:
        stats = [FileStat(f"docs/{n}", "docs", size, 1) for n, size in enumerate(sizes)]
        return prepare.parsers(limits, [WorkItem(stat, "r", "new", ()) for stat in stats]).workers

    assert [workers(), workers(*[9_000] * 12), workers(*[9_000] * 1200)] == [1, 1, 4]
    assert workers(600_000) == 2
