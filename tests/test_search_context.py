"""Passages: neighbours, sections, pages and documents, joined without repeated text."""

from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragctl import chunking
from ragctl.collection.conditions import AnyOf, Between, Match, Where
from ragctl.collection.payload import Payload, Point
from ragctl.errors import UsageError
from ragctl.records import Document, Hit
from ragctl.search import context
from ragctl.search.context import _joined_text, _Passage, _Piece
from ragctl.search.options import Expand
from ragctl.stores.base import Collection
from tests.searching import searcher
from tests.world import World

pytestmark = pytest.mark.slow

SAMPLES = Path(__file__).parents[1] / "sample_docs"
SECTIONS = ("alpha", "bravo", "charlie", "delta", "echo", "foxtrot")
FILLER_TEXT = "The valve was found open and the pump had run dry for some time that day. " * 2


def book(*names: str) -> str:
    """Return two chapters; each section has a unique word and is one chunk of 64 tokens."""
    half = len(names) // 2
    parts = []
    for chapter, sections in (("One", names[:half]), ("Two", names[half:])):
        parts.append(f"# {chapter}")
        parts += [f"## {name}\n\n{name} begins. {FILLER_TEXT.strip()}" for name in sections]
    return "\n\n".join(parts) + "\n"


def check(hit: Hit, text: str) -> None:
    """Check that a passage is the text of its document, except for the blanks between spans."""
    assert len(hit.text) == hit.end - hit.start
    for start, end in hit.spans:
        assert hit.text[start - hit.start : end - hit.start] == text[start:end]
    assert hit.text.split() == text[hit.start : hit.end].split()
    assert (hit.spans[0][0], hit.spans[-1][1]) == (hit.start, hit.end)
    assert all(before[1] < after[0] for before, after in pairwise(hit.spans))


@pytest.fixture
def indexed(world: World) -> World:
    world.write("book.md", book(*SECTIONS))
    world.write("other.md", "# Other\n\nAnother text about a fan.\n")
    world.ingest()
    return world


def test_context_adds_neighbouring_chunks(indexed: World) -> None:
    text = book(*SECTIONS)
    with searcher(indexed) as found:
        (plain, *_) = found.search("charlie", mode="sparse", limit=1)
        assert plain.chunks >= len(SECTIONS)
        for count in (1, 2, 100):
            (hit,) = found.search("charlie", mode="sparse", limit=1, context=count)
            check(hit, text)
            low = max(0, plain.ordinal - count)
            high = min(plain.chunks, plain.ordinal + count + 1)
            assert hit.ordinals == tuple(range(low, high))
            assert (hit.ordinal, hit.heading, hit.score) == (
                *(plain.ordinal, plain.heading, plain.score),
            )
            assert not hit.cut


def test_adjacent_passages_are_merged_at_the_best_rank(indexed: World) -> None:
    text = book(*SECTIONS)
    with searcher(indexed) as found:
        hits = found.search("bravo charlie foxtrot fan", mode="sparse", limit=4)
        ordinals = {hit.ordinal for hit in hits if hit.source == "docs/book.md"}
        wide = found.search("bravo charlie foxtrot fan", mode="sparse", limit=4, context=1)
    books = [hit for hit in wide if hit.source == "docs/book.md"]
    assert len(wide) < len(hits)
    assert wide[0].score == hits[0].score
    assert [hit.score for hit in wide] == sorted((hit.score for hit in wide), reverse=True)
    taken = [ordinal for hit in books for ordinal in hit.ordinals]
    assert len(taken) == len(set(taken))
    assert ordinals <= set(taken)
    for hit in books:
        check(hit, text)


def test_expand_gives_the_section_or_document(indexed: World) -> None:
    text = book(*SECTIONS)
    with searcher(indexed) as found:
        (section,) = found.search("charlie", mode="sparse", limit=1, expand="section")
        assert "charlie begins" in section.text
        assert "delta" not in section.text
        assert section.heading[-1] == "charlie"
        check(section, text)
        (whole,) = found.search("charlie", mode="sparse", limit=1, expand="document")
        assert whole.text.split() == text.split()
        assert (whole.start, whole.end) == (0, len(text.rstrip()))
        assert not whole.cut
        both = found.search("charlie foxtrot", mode="sparse", limit=2, expand="document")
        assert len(both) == 1


def test_expand_gives_the_page(world: World) -> None:
    world.write("terrin.pdf", (SAMPLES / "ru" / "terrin-montazh.pdf").read_bytes())
    world.ingest()
    with searcher(world) as found, closing(world.open()) as collection:
        (hit,) = found.search("насос", mode="sparse", limit=1, expand="page")
        chunks = [cast(dict[str, Any], point.payload) for point in collection.scroll()]
    same = sorted(
        chunk["ordinal"] for chunk in chunks if chunk["page"] == hit.page and chunk["text"]
    )
    assert set(hit.ordinals) <= set(same)
    assert len(hit.ordinals) == len(same)


def test_a_large_document_is_cut_around_the_hit(
    indexed: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(context, "MAX_PASSAGE_CHUNKS", 2)
    with searcher(indexed) as found:
        (hit,) = found.search("charlie", mode="sparse", limit=1, expand="document")
    assert hit.cut
    assert len(hit.ordinals) == 3
    assert hit.ordinal in hit.ordinals
    check(hit, book(*SECTIONS))


def test_a_search_reads_a_limited_number_of_chunks(
    indexed: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(context, "MAX_CHUNKS_READ", 3)
    with searcher(indexed) as found:
        hits = found.search("bravo foxtrot", mode="sparse", limit=2, context=1)
    assert [len(hit.ordinals) for hit in hits] in ([3, 1], [2, 1])
    assert hits[1].cut
    assert hits[1].text


def test_a_hit_of_a_changed_document_is_returned_without_context(indexed: World) -> None:
    with searcher(indexed) as found, closing(indexed.open()) as collection:
        (hit,) = found.search("charlie", mode="sparse", limit=1)
        indexed.write("book.md", book(*reversed(SECTIONS)))
        indexed.ingest()
        (same,) = context.add_context(collection, [hit], 1, None)
    assert (same.text, same.start, same.end) == (hit.text, hit.start, hit.end)
    assert same.cut


@pytest.mark.parametrize("options", [(1, None), (0, "document")])
def test_adjacent_hits_of_a_changed_document_are_all_returned(
    indexed: World, options: tuple[int, Expand | None]
) -> None:
    with searcher(indexed) as found, closing(indexed.open()) as collection:
        hits = found.search("bravo charlie", mode="sparse", limit=2)
        assert abs(hits[0].ordinal - hits[1].ordinal) == 1
        indexed.write("book.md", book(*reversed(SECTIONS)))
        indexed.ingest()
        same = context.add_context(collection, hits, *options)
    assert [hit.text for hit in same] == [hit.text for hit in hits]
    assert all(hit.cut for hit in same)


def test_a_hit_beyond_the_read_limit_is_returned_and_cut(
    indexed: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A hit next to a passage that could not be read is not merged into it, and not lost."""
    with searcher(indexed) as found, closing(indexed.open()) as collection:
        monkeypatch.setattr(context, "MAX_CHUNKS_READ", 3)
        first, second = found.search("alpha echo", mode="sparse", limit=2)
        near = replace(second, ordinal=first.ordinal + 2, text="kept", chunks=50)
        wide, alone = context.add_context(collection, [first, near], 1, None)
    assert not wide.cut
    assert wide.ordinals[-1] == near.ordinal - 1
    assert (alone.text, alone.cut) == ("kept", True)


class Chunks:
    """The chunks of a document as a store returns them, some of them missing."""

    def __init__(self, *spans: tuple[int, int], missing: Sequence[int] = ()) -> None:
        self.hits = [
            Hit("a.md", 1.0, "x" * (end - start), start, end, None, (), n, {}, chunks=len(spans))
            for n, (start, end) in enumerate(spans)
        ]
        self.hits = [replace(hit, version="v", spans=((hit.start, hit.end),)) for hit in self.hits]
        self._missing = missing

    def scroll(self, where: Where, **_: object) -> Iterator[Point]:
        for hit in self.hits:
            if hit.ordinal not in self._missing:
                position: Payload = {"start": hit.start, "end": hit.end, "ordinal": hit.ordinal}
                yield Point("", {"version": "v", "text": hit.text, "heading": [], **position})

    def add_context(self, numbers: Sequence[int], count: int) -> list[Hit]:
        collection: Collection = self  # type: ignore[assignment]
        return context.add_context(
            collection, [self.hits[number] for number in numbers], count, None
        )


def test_a_missing_neighbour_marks_the_passage_as_cut() -> None:
    """During an ingest some chunks have the old version and some the new one."""
    (hit,) = Chunks((0, 10), (10, 20), (20, 30), missing=[2]).add_context([1], 1)
    assert (hit.ordinals, hit.cut) == ((0, 1), True)
    (hit,) = Chunks((0, 10), (10, 20), (20, 30)).add_context([1], 1)
    assert (hit.ordinals, hit.cut) == ((0, 1, 2), False)


def test_no_passage_spans_a_long_run_of_blanks() -> None:
    chunks = Chunks((0, 10), (10, 20), (5020, 5030), (5030, 5040))
    one, other = chunks.add_context([1, 2], 1)
    assert (one.start, one.end, one.ordinals) == (0, 20, (0, 1))
    assert (other.start, other.end, other.ordinals) == (5020, 5040, (2, 3))


def test_overlapping_contexts_of_many_hits_repeat_no_text() -> None:
    chunks = Chunks(*((n * 8, n * 8 + 10) for n in range(12)))
    joined, alone = chunks.add_context([5, 2, 11, 7], 1)  # 11 stays alone: chunk 9 is in no context
    assert (joined.ordinal, joined.ordinals) == (5, tuple(range(1, 9)))
    assert (joined.start, joined.end, joined.spans) == (8, 74, ((8, 74),))
    assert (alone.ordinal, alone.ordinals) == (11, (10, 11))


def test_context_and_expand_exclude_each_other(indexed: World) -> None:
    with searcher(indexed) as found, pytest.raises(UsageError, match="cannot be combined"):
        found.search("charlie", context=1, expand="section")


def test_context_of_all_hits_takes_one_request(indexed: World) -> None:
    requests: list[object] = []
    with searcher(indexed) as found, closing(indexed.open()) as collection:
        hits = found.search("bravo foxtrot fan", limit=10, mode="sparse")

        class CountingCollection:
            def scroll(self, where: object, **options: object) -> object:
                requests.append(where)
                return collection.scroll(where, **options)  # type: ignore[arg-type]

        counting: Collection = CountingCollection()  # type: ignore[assignment]
        context.add_context(counting, hits, 1, None)
    assert len({hit.source for hit in hits}) == 2
    assert len(requests) == 1


def test_neighbours_are_requested_as_ranges(indexed: World) -> None:
    """Hundreds of single numbers would be as many conditions, each tried on each chunk."""
    requests: list[Where] = []

    class RecordingCollection:
        def scroll(self, where: Where, **_: object) -> Iterator[Point]:
            requests.append(where)
            return iter(())

    far = [
        Hit("a.md", 1.0, "x", 0, 1, None, (), at, {}, chunks=5000, version="v")
        for at in (1000, 1100, 4990)
    ]
    listening: Collection = RecordingCollection()  # type: ignore[assignment]
    context.add_context(listening, far, 0, "document")
    ((version, ordinals),) = requests
    assert version == Match("version", ("v",))
    assert ordinals == AnyOf(
        (
            Between("ordinal", gte=1000 - 128, lte=1100 + 128),
            Between("ordinal", gte=4990 - 128, lte=4999),
        )
    )


# Joining, over real chunks of any text

TEXTS = st.text(alphabet="ab .\n# |中。\t", max_size=600)


@given(TEXTS, st.sampled_from(((16, 0), (16, 2), (16, 4))))
def test_joined_chunks_give_the_text(text: str, sizes: tuple[int, int]) -> None:
    chunks = chunking.split(Document("a.md", text, "markdown"), size=sizes[0], overlap=sizes[1])
    pieces = [_Piece(c.ordinal, c.start, c.end, c.text, None, ()) for c in chunks]
    for first in range(len(pieces)):
        for last in range(first, len(pieces)):
            joined, spans = _joined_text(pieces[first : last + 1])
            start = pieces[first].start
            assert start + len(joined) == pieces[last].end
            assert joined.split() == text[start : pieces[last].end].split()
            for begin, end in spans:
                assert joined[begin - start : end - start] == text[begin:end]


def _passages(ranges: Sequence[tuple[int, int]]) -> list[_Passage]:
    found: list[_Passage] = []
    pieces = {n: _Piece(n, n, n + 1, "x", None, ()) for n in range(40)}
    for first, last in ranges:
        hit = Hit("a", 1.0, "", 0, 0, None, (), first, {}, version="v")
        context._merge_into(found, _Passage(hit, pieces, first, last, False))
    return found


@given(st.lists(st.tuples(st.integers(0, 30), st.integers(0, 5)), max_size=12))
def test_merged_ranges_are_disjoint_and_complete(lengths: list[tuple[int, int]]) -> None:
    ranges = [(first, first + more) for first, more in lengths]
    merged = _passages(ranges)
    covered = {n for first, last in ranges for n in range(first, last + 1)}
    assert {n for p in merged for n in range(p.first, p.last + 1)} == covered
    by_start = sorted(merged, key=lambda passage: passage.first)
    assert all(one.last + 1 < two.first for one, two in pairwise(by_start))
    if ranges:
        assert merged[0].first <= ranges[0][0] <= merged[0].last
