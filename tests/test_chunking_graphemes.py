"""Grapheme clusters, compared with those of the `regex` package; chunks keep them whole."""

import numpy as np
import pytest
import regex  # type: ignore[import-untyped]
from hypothesis import given
from hypothesis import strategies as st

from ragctl.chunking import split
from ragctl.chunking.graphemes import begins_cluster
from ragctl.records import Document

KINDS = {
    "flags": "🇩🇪🇫🇷🇯🇵",
    "families": "👨\u200d👩\u200d👧\u200d👦👍🏽❤\ufe0f🏴\U000e0067\U000e0062\U000e007f",
    "keycaps": "1\ufe0f\u20e32\ufe0f\u20e3",
    "decomposed Hangul": "\u1112\u1161\u11ab\u1100\u1173\u11af",
    "decomposed kana": "か\u3099は\u309a",
    "Devanagari": "क्षिप्रमेव",
    "Thai": "กำน้ำใจที่",
    "Zalgo": "z\u0335\u0321a\u0334l\u0338\u0323g",
}
# Not Devanagari, whose conjuncts Unicode also joins across other marks.
MIXED = sorted({*"".join(KINDS.values()), "a", "中", "한", "하"} - {*KINDS["Devanagari"]})


def starts(text: str) -> list[int]:
    codes = np.frombuffer(text.encode("utf-32-le"), np.uint32)
    return [int(at) for at in begins_cluster(codes).nonzero()[0]]


@given(st.lists(st.sampled_from(MIXED), max_size=20))
def test_no_cluster_begins_where_unicode_sees_none(characters: list[str]) -> None:
    text = "".join(characters)
    assert set(starts(text)) <= {found.start() for found in regex.finditer(r"\X", text)}


@pytest.mark.parametrize("kind", KINDS)
def test_clusters_of_ordinary_text_are_those_of_unicode(kind: str) -> None:
    text = KINDS[kind] * 2
    assert starts(text) == [found.start() for found in regex.finditer(r"\X", text)]


@pytest.mark.parametrize("overlap", [0, 7])
@pytest.mark.parametrize("space", ["", " ", "。"])
@pytest.mark.parametrize("kind", KINDS)
def test_no_chunk_begins_or_ends_inside_a_cluster(kind: str, space: str, overlap: int) -> None:
    text = (KINDS[kind] * 5 + space) * 30
    ends = {0, len(text), *(found.end() for found in regex.finditer(r"\X", text))}
    chunks = split(Document("d", text), size=40, overlap=overlap)
    assert len(chunks) > 3
    assert {chunk.start for chunk in chunks} | {chunk.end for chunk in chunks} <= ends


def test_a_cluster_larger_than_a_chunk_is_cut() -> None:
    chunks = split(Document("d", "a" + "\u0301" * 500), size=16)
    assert all(chunk.tokens <= 16 for chunk in chunks)
    assert sum(len(chunk.text) for chunk in chunks) == 501
