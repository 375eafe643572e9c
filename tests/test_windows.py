"""Windows of late chunking: each chunk is in exactly one, in order; windows begin at sections."""

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


def test_a_longer_document_is_split_at_its_top_level_sections() -> None:
    whole = chunks(
        (40, ("A",)), (40, ("A", "A1")), (40, ("B",)), (40, ("B", "B1")), (10, ("B", "B2"))
    )
    assert split_into_windows(whole, 100) == [range(2), range(2, 5)]


def test_a_long_section_is_split_at_its_subsections() -> None:
    whole = chunks(
        (30, ("A",)),
        (30, ("B", "B1")),
        (30, ("B", "B1")),
        (30, ("B", "B2")),
        (30, ("B", "B3")),
    )
    assert split_into_windows(whole, 60) == [range(1), range(1, 3), range(3, 5)]


def test_text_without_headings_is_split_between_chunks() -> None:
    whole = chunks(*[(30, ())] * 5)
    assert split_into_windows(whole, 70) == [range(2), range(2, 4), range(4, 5)]


def test_a_window_has_at_most_the_chunks_of_one_request() -> None:
    assert split_into_windows(chunks(*[(1, ())] * 600), 10_000) == [
        range(256),
        range(256, 512),
        range(512, 600),
    ]


def test_a_chunk_larger_than_the_budget_gets_its_own_window() -> None:
    assert split_into_windows(chunks((10, ()), (90, ()), (10, ())), 50) == [
        range(1),
        range(1, 2),
        range(2, 3),
    ]


headings = st.lists(st.sampled_from("ABC"), max_size=3).map(tuple)
rows = st.lists(st.tuples(st.integers(1, 60), headings), max_size=30)


@given(rows, st.integers(1, 200))
def test_every_chunk_is_in_one_window_and_windows_fit_the_budget(
    rows: list[tuple[int, tuple[str, ...]]], budget: int
) -> None:
    whole = chunks(*rows)
    windows = split_into_windows(whole, budget)
    assert [n for window in windows for n in window] == list(range(len(whole)))
    for window in windows:
        assert len(window) == 1 or sum(whole[n].tokens for n in window) <= budget
    # No window could be merged with the next.
    for one, two in pairwise(windows):
        assert sum(whole[n].tokens for n in range(one.start, two.stop)) > budget
