"""An edit of one paragraph, at any position of a document, changes few chunks.

Counted are the texts that the document's chunks did not have before the edit:
what would have to be embedded. Ranks are hashes, so the bound is one of chance:
about one insertion in some thousands changes five. The documents here are
fixed, and so are their figures.
"""

import random
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ragctl.chunking import split
from tests.chunking_texts import KINDS, Texts

SIZE = 64


def changes(texts: Texts, units: list[str], edit: str, overlap: int = 0) -> Counter[int]:
    """Count the edits, one at each unit, by the number of chunks that they change."""

    def chunk_texts(units: list[str]) -> set[str]:
        chunks = split(texts.document(units), size=SIZE + overlap, overlap=overlap)
        return {chunk.text for chunk in chunks}

    old = chunk_texts(units)
    generator = random.Random(99)
    found: Counter[int] = Counter()
    for at in range(len(units) + (edit == "insert")):
        new = [] if edit == "delete" else [texts.unit(generator)]
        edited = [*units[:at], *new, *units[at + (edit != "insert") :]]
        found[len(chunk_texts(edited) - old)] += 1
    return found


def make_units(texts: Texts, chunks: int) -> list[str]:
    """Return units that make about `chunks` chunks."""
    sample = len(split(texts.document(texts.units(100)), size=SIZE))
    return texts.units(100 * chunks // sample, seed=1)


@pytest.mark.parametrize("edit", ["insert", "replace", "delete"])
@pytest.mark.parametrize("name", KINDS)
def test_edit_at_every_position(name: str, edit: str) -> None:
    texts = KINDS[name]
    found = changes(texts, make_units(texts, 80), edit)
    # A replaced unit is one deleted and one inserted.
    assert max(found) <= (5 if edit == "replace" else 4), found
    assert sum(k * n for k, n in found.items()) / found.total() < 2.5


@pytest.mark.parametrize("name", ["short paragraphs", "one chinese paragraph", "sections"])
def test_edit_at_every_position_with_overlap(name: str) -> None:
    texts = KINDS[name]
    found = changes(texts, make_units(texts, 80), "insert", overlap=16)
    assert max(found) <= 5, found


def test_insertion_anywhere_in_a_thousand_chunks() -> None:
    texts = KINDS["short paragraphs"]
    units = texts.units(1100, seed=3)
    old = {chunk.text for chunk in split(texts.document(units), size=SIZE)}
    assert len(old) >= 1000
    generator = random.Random(4)
    worst = 0
    for at in range(0, len(units) + 1, 5):
        edited = [*units[:at], texts.unit(generator), *units[at:]]
        new = {chunk.text for chunk in split(texts.document(edited), size=SIZE)}
        worst = max(worst, len(new - old))
    assert worst <= 4


@given(st.data())
@settings(max_examples=60)
def test_edit_of_any_document(data: st.DataObject) -> None:
    texts = KINDS[data.draw(st.sampled_from(sorted(KINDS)))]
    units = texts.units(data.draw(st.integers(80, 160)), data.draw(st.integers(0, 10**6)))
    at = data.draw(st.integers(0, len(units)))
    edited = [*units[:at], *texts.units(1, data.draw(st.integers(0, 10**6))), *units[at:]]
    before = {chunk.text for chunk in split(texts.document(units), size=SIZE)}
    after = {chunk.text for chunk in split(texts.document(edited), size=SIZE)}
    # A bound of chance: none of 90,000 simulated edits changed more than four texts. A
    # chunker that packs from the top changes dozens.
    assert len(after - before) <= 5


def test_a_paragraph_moved_with_its_section_keeps_most_chunks() -> None:
    texts = KINDS["sections"]
    units = texts.units(400, seed=6)
    first = next(n for n, unit in enumerate(units) if n > 100 and unit.startswith("## "))
    second = next(n for n, unit in enumerate(units) if n > first + 20 and unit.startswith("## "))
    moved = [*units[:first], *units[second:], *units[first:second]]
    before = {chunk.text for chunk in split(texts.document(units), size=SIZE)}
    after = {chunk.text for chunk in split(texts.document(moved), size=SIZE)}
    assert len(after - before) <= 8
