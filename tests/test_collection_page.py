"""docs/collection.md says what the code stores."""

import re
import uuid
from dataclasses import fields
from pathlib import Path
from typing import get_type_hints

import pytest

from ragctl.collection import points, settings
from ragctl.collection.conditions import Has
from ragctl.collection.notes import Notes
from ragctl.collection.ownership import (
    CHUNK_TYPES,
    DOCUMENT_TYPES,
    HAS_OWN_KEY,
    faulty_keys,
    is_own,
    is_sound,
)
from ragctl.collection.payload import BM25, DENSE, KEYWORD_INDEXES, Payload
from ragctl.collection.settings import QUANTIZATIONS, read_settings
from ragctl.records import Identity
from ragctl.stores import edge_layout, lease_state, server_creation, server_directory
from ragctl.stores.server_points import HIDDEN
from ragctl.stores.server_schema import collection_config
from tests.store_contract import SETTINGS

PAGE = (Path(__file__).parents[1] / "docs" / "collection.md").read_text(encoding="utf-8")


def table(heading: str) -> dict[str, list[str]]:
    """The rows of the first table below a heading, by their first cell."""
    section = PAGE.split(f"## {heading}\n", 1)[1].split("\n## ")[0]
    rows = [line for line in section.splitlines() if line.startswith("| `")]
    cells = [[cell.strip() for cell in row.strip("|").split(" | ")] for row in rows]
    return {first.strip("` "): rest for first, *rest in cells}


def test_the_payload_has_the_keys_of_the_page_with_their_types() -> None:
    rows = table("Payload")
    assert list(rows) == list(get_type_hints(Payload))
    names = {str: "text", int: "integer", dict: "object", list: "list of texts", type(None): "null"}
    for key, types in {**DOCUMENT_TYPES, **CHUNK_TYPES}.items():
        kind, _, where = rows[key][0].partition(", ")
        assert set(kind.split(" or ")) == {names[each] for each in types}, key
        assert (where == "chunks only") == (key in CHUNK_TYPES), key
    assert rows["mark"][0] == "text, first point only"
    assert {*DOCUMENT_TYPES, *CHUNK_TYPES, "mark"} == set(rows)
    listed = re.findall(r"`(\w+)`", PAGE.split("have keyword indexes")[0].splitlines()[-1])
    assert tuple(listed) == KEYWORD_INDEXES


def test_settings_notes_and_hidden_point_have_the_keys_of_the_page() -> None:
    stored = SETTINGS.to_json()
    rows = table("Settings")
    assert list(rows) == list(stored)
    for key in ("identity", "sparse", "origin"):
        value = stored[key]
        assert isinstance(value, dict)
        named = re.findall(r"`(\w+)`", rows[key][0])
        assert set(named) == set(value), key
    assert {each.name for each in fields(Identity)} == set(
        re.findall(r"`(\w+)`", str(rows["identity"]))
    )
    assert tuple(re.findall(r"`(\w+)`", rows["quantization"][0])) == QUANTIZATIONS
    assert list(table("Notes")) == list(get_type_hints(Notes))
    assert list(table("The hidden point")) == [
        lease_state.LEASE_KEY,
        lease_state.UNFINISHED_KEY,
        lease_state.SINCE_KEY,
        lease_state.RENEWED_KEY,
        server_creation.NOTES_KEY,
        server_directory.SETTINGS_KEY,
    ]
    assert f"`{HIDDEN}`" in PAGE
    assert f"format {settings.FORMAT}." in PAGE
    assert f"the format number, {settings.FORMAT} " in PAGE
    assert read_settings(stored, "docs", "here").identity == SETTINGS.identity


def test_vectors_and_files_have_the_names_of_the_page() -> None:
    assert list(table("Vectors")) == [DENSE, BM25]
    config = collection_config(SETTINGS)
    assert list(config["vectors"]) == [DENSE]
    assert config["sparse_vectors"][BM25]["modifier"] == "idf"
    assert config["vectors"][DENSE]["distance"] == "Cosine"
    for name in (*edge_layout.PARTS, *edge_layout.POINTERS, edge_layout.CHECKSUM):
        assert re.search(rf"[`/]{re.escape(name)}[`/]", PAGE), name


def test_ids_and_hashes_are_computed_as_the_page_says() -> None:
    (root,) = re.findall(r"uuid5\(([0-9a-f-]{36}), settings.namespace\)", PAGE)
    space = uuid.uuid5(uuid.UUID(root), "docs")
    expected = [
        str(uuid.uuid5(space, f"a.md\0{h}\0{n}")) for h, n in (("x", 1), ("y", 1), ("x", 2))
    ]
    assert points.point_ids(points.namespace("docs"), "a.md", ["x", "y", "x"]) == expected
    assert isinstance(HAS_OWN_KEY, Has)
    assert f"filter by `{HAS_OWN_KEY.key}`" in PAGE


@pytest.fixture
def chunk() -> Payload:
    digest = points.digest(b"content")
    return {
        "source": "a.md",
        "file": "a.md",
        "source_name": "docs",
        "digest": digest,
        "version": points.version("a.md", digest),
        "ordinal": 0,
        "chunks": 1,
        "text": "x",
        "text_hash": "0" * 32,
        "start": 0,
        "end": 1,
        "page": None,
        "line": None,
        "heading": [],
        "tokens": 1,
        "title": None,
        "lang": "en",
        "mtime_ns": 1,
        "size": 1,
        "stamp": "1",
        "recipe": "r",
        "parts": 1,
        "meta": {},
        "mark": "en",
    }


def test_a_payload_is_told_by_its_version_and_sound_by_its_types(chunk: Payload) -> None:
    assert is_sound(chunk)
    assert is_own(chunk)
    for key in chunk:
        broken = {**chunk, key: [["no"]]}
        assert faulty_keys(broken) == [key]
    without = {key: value for key, value in chunk.items() if key != "file"}
    assert is_own(without)
    assert not is_sound(without)
    assert not is_own({**without, "version": "0" * 32})
    assert not is_own({"source": "\ud800", "digest": "ä", "version": "x"})
    assert not is_own({"page_content": "x", "metadata": {"source": "a.md"}})
