"""An edit of one paragraph anywhere in a document changes few chunks.

The tests count the chunk texts that are new after an edit, which would have to be embedded. The
chunker ranks cuts by hashes, so the bound is statistical: about one insertion in some thousands
changes five chunks. The documents here are fixed, so the counts are too.
"""

import random
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ragctl.chunking import split
from tests.chunking_texts import KINDS, DocumentKind

pytestmark = pytest.mark.slow

SIZE = 64
STEP = 5  # about 16 edits in 80 chunks; the soak test tries all positions


def count_changes(
    texts: DocumentKind, units: list[str], edit: str, overlap: int = 0, step: int = STEP
) -> Counter[int]:
    """Count the edits, one at every `step` units, by the number of chunks that they change."""

    def chunk_texts(units: list[str]) -> set[str]:
        chunks = split(texts.document(units), size=SIZE + overlap, overlap=overlap)
        return {chunk.text for chunk in chunks}

    old = chunk_texts(units)
    generator = random.Random(99)
    edits_by_changes: Counter[int] = Counter()
    for at in range(0, len(units) + (edit == "insert"), step):
        new = [] if edit == "delete" else [texts.unit(generator)]
        edited = [*units[:at], *new, *units[at + (edit != "insert") :]]
        edits_by_changes[len(chunk_texts(edited) - old)] += 1
    return edits_by_changes


def make_units(texts: DocumentKind, chunks: int) -> list[str]:
    """Return units that make about `chunks` chunks."""
    sample = len(split(texts.document(texts.units(100)), size=SIZE))
    return texts.units(100 * chunks // sample, seed=1)


@pytest.mark.parametrize("edit", ["insert", "replace", "delete"])
@pytest.mark.parametrize("name", KINDS)
def test_an_edit_at_any_position_changes_few_chunks(name: str, edit: str) -> None:
    texts = KINDS[name]
    check_changes(count_changes(texts, make_units(texts, 80), edit), edit)


@pytest.mark.soak
@pytest.mark.parametrize("edit", ["insert", "replace", "delete"])
@pytest.mark.parametrize("name", KINDS)
def test_an_edit_at_each_position_changes_few_chunks(name: str, edit: str) -> None:
    texts = KINDS[name]
    check_changes(count_changes(texts, make_units(texts, 80), edit, step=1), edit)


def check_changes(edits_by_changes: Counter[int], edit: str) -> None:
    # Replacing a unit deletes one and inserts one.
    assert max(edits_by_changes) <= (5 if edit == "replace" else 4), edits_by_changes
    assert sum(k * n for k, n in edits_by_changes.items()) / edits_by_changes.total() < 2.5


@pytest.mark.parametrize("name", ["short paragraphs", "one chinese paragraph", "sections"])
def test_an_insertion_with_overlap_changes_few_chunks(name: str) -> None:
    texts = KINDS[name]
    edits_by_changes = count_changes(texts, make_units(texts, 80), "insert", overlap=16)
    assert max(edits_by_changes) <= 5, edits_by_changes


def test_an_insertion_into_a_thousand_chunks_changes_few() -> None:
    texts = KINDS["short paragraphs"]
    units = texts.units(1100, seed=3)
    old = {chunk.text for chunk in split(texts.document(units), size=SIZE)}
    assert len(old) >= 1000
    generator = random.Random(4)
    worst = 0
    for at in range(0, len(units) + 1, 37):
        edited = [*units[:at], texts.unit(generator), *units[at:]]
        new = {chunk.text for chunk in split(texts.document(edited), size=SIZE)}
        worst = max(worst, len(new - old))
    assert worst <= 4


@given(st.data())
@settings(max_examples=60)
def test_an_insertion_into_any_document_changes_few_chunks(data: st.DataObject) -> None:
    texts = KINDS[data.draw(st.sampled_from(sorted(KINDS)))]
    units = texts.units(data.draw(st.integers(80, 160)), data.draw(st.integers(0, 10**6)))
    at = data.draw(st.integers(0, len(units)))
    edited = [*units[:at], *texts.units(1, data.draw(st.integers(0, 10**6))), *units[at:]]
    before = {chunk.text for chunk in split(texts.document(units), size=SIZE)}
    after = {chunk.text for chunk in split(texts.document(edited), size=SIZE)}
    # A statistical bound: none of 90,000 simulated edits changed more than four texts. A
    # chunker that fills chunks from the top changes dozens.
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
