"""Around a hit: neighbouring chunks, or the whole section, page or document, joined.

Chunks may repeat text of the one before (overlap) and leave out blanks between them.
A passage says no text twice, and is exactly as long as the span it names.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from ragctl.collection.conditions import AnyOf, Between, Condition, own_match
from ragctl.collection.payload import Payload, PayloadKey
from ragctl.errors import UsageError
from ragctl.records import Hit
from ragctl.search.ask import Expand
from ragctl.stores.base import Collection

MOST = 256  # chunks of one passage, the hit in their middle
TOTAL = 4096  # chunks read for one question
_BLANKS = 2000  # characters between two chunks, above which they are not joined
_ORDINAL: PayloadKey = "ordinal"
_FIELDS: tuple[PayloadKey, ...] = ("version", "ordinal", "start", "end", "text", "page", "heading")
_TOGETHER = 20  # documents whose neighbours are read by one request, of which some are others'
_FEW = 3  # neighbours up to which that pays


@dataclass(frozen=True, slots=True)
class _Piece:
    """A chunk as the store has it."""

    ordinal: int
    start: int
    end: int
    text: str
    page: int | None
    heading: tuple[str, ...]


_Pieces = Mapping[int, _Piece]  # of one document, by ordinal


def widened(
    collection: Collection, hits: Sequence[Hit], context: int, expand: Expand | None
) -> list[Hit]:
    """The hits as passages, in the order of their best hits.

    With neither `context` nor `expand` the hits as they are. Passages of one document
    that touch or overlap are one. The chunks of a document that changed just now are
    gone: such a hit stays as it is.
    """
    if context and expand:
        raise UsageError("context counts chunks and expand goes by structure: use one of them")
    if (not context and expand is None) or not hits:
        return list(hits)
    read = _around(collection, hits, context, expand)
    passages: list[_Passage] = []
    for hit in hits:
        pieces = read.get(hit.version, {})
        first, last, cut = _reach(hit, pieces, context, expand)
        _add(passages, _Passage(hit, pieces, first, last, cut))
    return [passage.joined() for passage in passages]


def _around(
    collection: Collection, hits: Sequence[Hit], context: int, expand: Expand | None
) -> dict[str, dict[int, _Piece]]:
    """The chunks that may be needed, by version of a document and by ordinal."""
    wanted: dict[str, set[int]] = {}
    budget = TOTAL
    for hit in hits:
        reach = context if expand is None else MOST // 2
        near = range(max(0, hit.ordinal - reach), min(hit.chunks, hit.ordinal + reach + 1))
        new = set(near) - wanted.get(hit.version, set())
        if hit.version and len(new) <= budget:
            budget -= len(new)
            wanted.setdefault(hit.version, set()).update(new)
    read: dict[str, dict[int, _Piece]] = {version: {} for version in wanted}
    for versions in _batches(wanted, _TOGETHER if 0 < context <= _FEW else 1):
        ordinals = sorted(set().union(*(wanted[version] for version in versions)))
        where: list[Condition] = [own_match("version", *versions)]
        if not _is_whole(hits, versions, ordinals):
            where.append(AnyOf(tuple(_runs(ordinals))))
        for point in collection.scroll(tuple(where), fields=_FIELDS):
            piece = _piece(point.payload)
            if piece is not None and piece.ordinal in wanted[point.payload["version"]]:
                read[point.payload["version"]][piece.ordinal] = piece
    return read


def _is_whole(hits: Sequence[Hit], versions: Sequence[str], ordinals: Sequence[int]) -> bool:
    """Whether these are all chunks of one document, so that its version alone selects them."""
    return len(versions) == 1 and any(
        hit.version == versions[0] and hit.chunks == len(ordinals) for hit in hits
    )


def _runs(ordinals: Sequence[int]) -> Iterator[Between]:
    """Ascending ordinals as ranges, which an engine looks up many times faster than numbers."""
    first = 0
    for at, ordinal in enumerate(ordinals, 1):
        if at == len(ordinals) or ordinals[at] > ordinal + 1:
            yield Between(_ORDINAL, gte=ordinals[first], lte=ordinal)
            first = at


def _batches(wanted: Mapping[str, set[int]], size: int) -> Iterable[list[str]]:
    versions = list(wanted)
    return (versions[first : first + size] for first in range(0, len(versions), size))


def _piece(payload: Payload) -> _Piece | None:
    if not payload.get("text"):
        return None
    return _Piece(
        payload["ordinal"],
        payload["start"],
        payload["end"],
        payload["text"],
        payload.get("page"),
        tuple(payload.get("heading") or ()),
    )


def _reach(hit: Hit, pieces: _Pieces, context: int, expand: Expand | None) -> tuple[int, int, bool]:
    """The first and last chunk of a hit's passage, and whether it should go further."""
    if hit.ordinal not in pieces:
        return hit.ordinal, hit.ordinal, True
    ends = []
    cut = False
    for step in (-1, 1):
        at = hit.ordinal
        while 0 <= at + step < hit.chunks:
            following = pieces.get(at + step)
            if expand is None and abs(at + step - hit.ordinal) > context:
                break
            if following is None:
                cut = True  # beyond what one passage may hold, or it is changing just now
                break
            if not _belongs(hit, following, expand) or _apart(pieces[at], following):
                break
            at += step
        ends.append(at)
    return ends[0], ends[1], cut


def _belongs(hit: Hit, piece: _Piece, expand: Expand | None) -> bool:
    if expand == "page":
        return piece.page == hit.page
    if expand == "section":
        return piece.heading[: len(hit.heading)] == hit.heading
    return True


def _apart(one: _Piece, other: _Piece) -> bool:
    """Whether so many blanks stand between two chunks that a passage should not hold them."""
    return max(one.start, other.start) - min(one.end, other.end) > _BLANKS


@dataclass(slots=True)
class _Passage:
    """Chunks `first` to `last` of the document of `hit`, the best one in it."""

    hit: Hit
    pieces: _Pieces
    first: int
    last: int
    cut: bool

    @property
    def is_read(self) -> bool:
        """Whether its chunks are known; else it is its hit alone."""
        return self.hit.ordinal in self.pieces

    def touches(self, other: "_Passage") -> bool:
        """Whether no chunk stands between the two, nor so many blanks that it might."""
        if self.hit.version != other.hit.version or self.hit.source != other.hit.source:
            return False
        if not (self.is_read and other.is_read):
            return False
        before, after = sorted((self, other), key=lambda passage: passage.first)
        if after.first <= before.last:
            return True
        adjacent = after.first == before.last + 1
        return adjacent and not _apart(self.pieces[before.last], self.pieces[after.first])

    def take(self, other: "_Passage") -> None:
        self.first = min(self.first, other.first)
        self.last = max(self.last, other.last)
        self.cut = self.cut or other.cut

    def joined(self) -> Hit:
        if not self.is_read:
            return replace(self.hit, cut=self.cut)
        ordinals = range(self.first, self.last + 1)
        parts = [self.pieces[ordinal] for ordinal in ordinals]
        text, spans = _text(parts)
        return replace(
            self.hit,
            text=text,
            start=parts[0].start,
            end=parts[0].start + len(text),
            spans=spans,
            ordinals=tuple(ordinals),
            cut=self.cut,
        )


def _add(passages: list[_Passage], new: _Passage) -> None:
    """Put a passage at the end, or into the best one that it touches; that may join others."""
    touched = [passage for passage in passages if passage.touches(new)]
    if not touched:
        passages.append(new)
        return
    best, *others = touched
    best.take(new)
    for other in others:
        best.take(other)
        passages.remove(other)


def _text(parts: Sequence[_Piece]) -> tuple[str, tuple[tuple[int, int], ...]]:
    """The text from the first chunk's start to the last one's end, and the parts known of it."""
    texts: list[str] = []
    spans: list[tuple[int, int]] = []
    at = parts[0].start
    for part in parts:
        if part.end <= at:
            continue
        if part.start > at:
            texts.append(_blanks(part.start - at))
        begin = max(at, part.start)
        texts.append(part.text[begin - part.start :])
        if spans and spans[-1][1] == begin:
            spans[-1] = (spans[-1][0], part.end)
        else:
            spans.append((begin, part.end))
        at = part.end
    return "".join(texts), tuple(spans)


def _blanks(count: int) -> str:
    """What stands for blanks that no chunk keeps: as long as they were, with a line's end."""
    return "\n" if count == 1 else "\n" + " " * (count - 2) + "\n"
