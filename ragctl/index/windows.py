"""Late chunking: which chunks of a document are embedded in each other's context.

A document that fits the model's context is one window. A longer one is divided at the
boundaries of its sections, the highest level first, and neighbouring sections that fit
together share a window.
"""

from collections.abc import Sequence

from ragctl.records import Chunk

MAX_WINDOW_CHUNKS = 256
"""Maximum chunks per window: the smallest request limit among late-chunking backends."""


def split_into_windows(chunks: Sequence[Chunk], budget: int) -> list[range]:
    """Return the windows of a document's chunks, in order; every chunk is in exactly one.

    `budget`: maximum tokens of a window, as the chunks count them. A single chunk larger
    than that is a window of its own. No window has more than MAX_WINDOW_CHUNKS chunks.
    """
    sections = _sections(chunks, range(len(chunks)), budget, level=0)
    windows: list[range] = []
    for section in sections:
        last = windows[-1] if windows else None
        if last is not None and _fits(chunks, range(last.start, section.stop), budget):
            windows[-1] = range(last.start, section.stop)
        else:
            windows.append(section)
    return windows


def _sections(chunks: Sequence[Chunk], span: range, budget: int, level: int) -> list[range]:
    """Divide a span into sections that fit, one level of headings at a time."""
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
    sections: list[range] = []
    for start, end in zip(starts, ends, strict=True):
        sections += _sections(chunks, range(start, end), budget, level + 1)
    return sections


def _fits(chunks: Sequence[Chunk], span: range, budget: int) -> bool:
    return len(span) <= MAX_WINDOW_CHUNKS and sum(chunks[n].tokens for n in span) <= budget
