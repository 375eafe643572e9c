"""Windows of late chunking: every chunk is in one, in order; windows begin at sections."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from ragctl.index.windows import split_into_windows
from ragctl.records import Chunk


def chunk(ordinal: int, tokens: int, *heading: str) -> Chunk:
    return Chunk(
        text="x",
        start=ordinal,
        end=ordinal + 1,
        ordinal=ordinal,
        heading=heading,
        page=None,
        tokens=tokens,
    )


def chunks(*rows: tuple[int, tuple[str, ...]]) -> list[Chunk]:
    return [chunk(n, tokens, *heading) for n, (tokens, heading) in enumerate(rows)]


def test_a_document_that_fits_is_one_window() -> None:
    whole = chunks((40, ("A",)), (30, ("A", "B")), (30, ("C",)))
    assert split_into_windows(whole, 100) == [range(3)]
    assert split_into_windows([], 100) == []


def test_a_longer_one_is_cut_where_its_highest_sections_begin() -> None:
    whole = chunks(
        (40, ("A",)), (40, ("A", "A1")), (40, ("B",)), (40, ("B", "B1")), (10, ("B", "B2"))
    )
    assert split_into_windows(whole, 100) == [range(2), range(2, 5)]


def test_a_section_too_long_is_cut_at_the_sections_within_it() -> None:
    whole = chunks(
        (30, ("A",)),
        (30, ("B", "B1")),
        (30, ("B", "B1")),
        (30, ("B", "B2")),
        (30, ("B", "B3")),
    )
    assert split_into_windows(whole, 60) == [range(1), range(1, 3), range(3, 5)]


def test_text_without_headings_is_cut_between_chunks() -> None:
    whole = chunks(*[(30, ())] * 5)
    assert split_into_windows(whole, 70) == [range(2), range(2, 4), range(4, 5)]


def test_a_window_has_no_more_chunks_than_a_request_takes() -> None:
    assert split_into_windows(chunks(*[(1, ())] * 600), 10_000) == [
        range(256),
        range(256, 512),
        range(512, 600),
    ]


def test_a_chunk_larger_than_the_budget_stands_alone() -> None:
    assert split_into_windows(chunks((10, ()), (90, ()), (10, ())), 50) == [
        range(1),
        range(1, 2),
        range(2, 3),
    ]


headings = st.lists(st.sampled_from("ABC"), max_size=3).map(tuple)
rows = st.lists(st.tuples(st.integers(1, 60), headings), max_size=30)


@given(rows, st.integers(1, 200))
def test_every_chunk_is_in_one_window_and_windows_keep_to_the_budget(
    rows: list[tuple[int, tuple[str, ...]]], budget: int
) -> None:
    whole = chunks(*rows)
    found = split_into_windows(whole, budget)
    assert [n for window in found for n in window] == list(range(len(whole)))
    for window in found:
        assert len(window) == 1 or sum(whole[n].tokens for n in window) <= budget
    # None could be joined with the next.
    for one, two in pairwise(found):
        assert sum(whole[n].tokens for n in range(one.start, two.stop)) > budget
