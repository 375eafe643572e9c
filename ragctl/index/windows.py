"""Late chunking: which chunks of a document are embedded in each other's context.

A document within the model's context is one window. A longer one is cut at the
boundaries of its sections, the highest level first, and sections that fit
together share a window.
"""

from collections.abc import Sequence

from ragctl.records import Chunk

MAX_WINDOW_CHUNKS = 256
"""Chunks of a window, at most: those of a request that every host takes."""


def windows(chunks: Sequence[Chunk], budget: int) -> list[range]:
    """Return the windows of a document's chunks, in order: every chunk is in one.

    `budget` is in tokens as the chunks count them. Only a chunk larger than it
    makes a window larger than it. None has more than MAX_WINDOW_CHUNKS chunks.
    """
    units = _units(chunks, range(len(chunks)), budget, level=0)
    found: list[range] = []
    for unit in units:
        last = found[-1] if found else None
        if last is not None and _fits(chunks, range(last.start, unit.stop), budget):
            found[-1] = range(last.start, unit.stop)
        else:
            found.append(unit)
    return found


def _units(chunks: Sequence[Chunk], span: range, budget: int, level: int) -> list[range]:
    """Cut a span into sections that fit, going down one level of headings at a time."""
    if len(span) <= 1 or _fits(chunks, span, budget):
        return [span] if span else []
    deepest = max(len(chunks[n].heading) for n in span)
    if level >= deepest:
        return [range(n, n + 1) for n in span]
    starts = [
        n
        for n in span
        if n == span.start or chunks[n].heading[: level + 1] != chunks[n - 1].heading[: level + 1]
    ]
    ends = [*starts[1:], span.stop]
    units: list[range] = []
    for start, end in zip(starts, ends, strict=True):
        units += _units(chunks, range(start, end), budget, level + 1)
    return units


def _fits(chunks: Sequence[Chunk], span: range, budget: int) -> bool:
    return len(span) <= MAX_WINDOW_CHUNKS and sum(chunks[n].tokens for n in span) <= budget
