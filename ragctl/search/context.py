"""Passages: hits joined with neighbouring chunks, or with their section, page or document.

A chunk may repeat text of the one before (overlap), and white space between chunks is not stored.
A passage repeats no text, and is exactly as long as the span it names.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from ragctl.collection.conditions import AnyOf, Between, Condition, own_match
from ragctl.collection.ownership import wrong_keys
from ragctl.collection.payload import Payload, PayloadKey
from ragctl.records import Hit
from ragctl.search.options import Expand
from ragctl.stores.base import Collection

MAX_PASSAGE_CHUNKS = 256  # with the hit in the middle
MAX_CHUNKS_READ = 4096  # for one question
MAX_GAP_CHARS = 2000  # white space between two chunks of a passage
ORDINAL: PayloadKey = "ordinal"
PAYLOAD_FIELDS: tuple[PayloadKey, ...] = (
    *("version", "start", "end", "text", "page", "heading"),
    ORDINAL,
)
# A request for several documents also reads unneeded chunks; it pays off for few documents.
DOCUMENTS_PER_READ = 20
MAX_SHARED_CONTEXT = 3  # neighbours on either side up to which documents share a request


@dataclass(frozen=True, slots=True)
class _Piece:
    """A chunk as stored."""

    ordinal: int
    start: int
    end: int
    text: str
    page: int | None
    heading: tuple[str, ...]


_Pieces = Mapping[int, _Piece]
"""Chunks of one document, by ordinal."""


def add_context(
    collection: Collection, hits: Sequence[Hit], context: int, expand: Expand | None
) -> list[Hit]:
    """Return the hits as passages, in the order of their best hits.

    Without `context` and `expand` the hits are returned unchanged. Passages of one document that
    touch or overlap are merged. A hit whose document has just been indexed again stays as it is,
    since its neighbours are gone.
    """
    if (not context and expand is None) or not hits:
        return list(hits)
    pieces_by_version = _read_neighbours(collection, hits, context, expand)
    passages: list[_Passage] = []
    for hit in hits:
        pieces = pieces_by_version.get(hit.version, {})
        first, last, cut = _passage_range(hit, pieces, context, expand)
        _merge_into(passages, _Passage(hit, pieces, first, last, cut))
    return [passage.to_hit() for passage in passages]


def _read_neighbours(
    collection: Collection, hits: Sequence[Hit], context: int, expand: Expand | None
) -> dict[str, dict[int, _Piece]]:
    """Return the chunks that passages may need, by document version and ordinal."""
    needed: dict[str, set[int]] = {}
    budget = MAX_CHUNKS_READ
    for hit in hits:
        reach = context if expand is None else MAX_PASSAGE_CHUNKS // 2
        near = range(max(0, hit.ordinal - reach), min(hit.chunks, hit.ordinal + reach + 1))
        new = set(near) - needed.get(hit.version, set())
        if hit.version and len(new) <= budget:
            budget -= len(new)
            needed.setdefault(hit.version, set()).update(new)
    read: dict[str, dict[int, _Piece]] = {version: {} for version in needed}
    batch = DOCUMENTS_PER_READ if 0 < context <= MAX_SHARED_CONTEXT else 1
    for versions in _batches(list(needed), batch):
        ordinals = sorted(set().union(*(needed[version] for version in versions)))
        where: list[Condition] = [own_match("version", *versions)]
        if not _are_all_chunks(hits, versions, ordinals):
            where.append(AnyOf(tuple(_ordinal_ranges(ordinals))))
        for point in collection.scroll(tuple(where), fields=PAYLOAD_FIELDS):
            piece = _piece(point.payload)
            if piece is not None and piece.ordinal in needed[point.payload["version"]]:
                read[point.payload["version"]][piece.ordinal] = piece
    return read


def _are_all_chunks(hits: Sequence[Hit], versions: Sequence[str], ordinals: Sequence[int]) -> bool:
    """Return whether these are all chunks of one document, which its version alone selects."""
    return len(versions) == 1 and any(
        hit.version == versions[0] and hit.chunks == len(ordinals) for hit in hits
    )


def _ordinal_ranges(ordinals: Sequence[int]) -> Iterator[Between]:
    """Yield ascending ordinals as ranges, which engines look up far faster than single values."""
    first = 0
    for at, ordinal in enumerate(ordinals, 1):
        if at == len(ordinals) or ordinals[at] > ordinal + 1:
            yield Between(ORDINAL, gte=ordinals[first], lte=ordinal)
            first = at


def _batches(versions: Sequence[str], size: int) -> Iterable[Sequence[str]]:
    return (versions[first : first + size] for first in range(0, len(versions), size))


def _piece(payload: Payload) -> _Piece | None:
    if not payload.get("text") or wrong_keys(payload, PAYLOAD_FIELDS):
        return None  # without text, damaged, or of another program
    return _Piece(
        payload["ordinal"],
        payload["start"],
        payload["end"],
        payload["text"],
        payload.get("page"),
        tuple(payload.get("heading") or ()),
    )


def _passage_range(
    hit: Hit, pieces: _Pieces, context: int, expand: Expand | None
) -> tuple[int, int, bool]:
    """Return the first and last ordinal of a hit's passage, and whether it was cut short."""
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
                cut = True  # beyond the limit of a passage, or the document is being indexed again
                break
            if not _in_same_part(hit, following, expand) or _are_far_apart(pieces[at], following):
                break
            at += step
        ends.append(at)
    return ends[0], ends[1], cut


def _in_same_part(hit: Hit, piece: _Piece, expand: Expand | None) -> bool:
    """Return whether a chunk is in the section, page or document that `hit` is expanded to."""
    if expand == "page":
        return piece.page == hit.page
    if expand == "section":
        return piece.heading[: len(hit.heading)] == hit.heading
    return True


def _are_far_apart(one: _Piece, other: _Piece) -> bool:
    """Return whether there is too much white space between two chunks to join them."""
    return max(one.start, other.start) - min(one.end, other.end) > MAX_GAP_CHARS


@dataclass(slots=True)
class _Passage:
    """Chunks `first` to `last` of a document; `hit` is the best of them."""

    hit: Hit
    pieces: _Pieces
    first: int
    last: int
    cut: bool

    @property
    def is_read(self) -> bool:
        """Whether its chunks were read; if not, the passage is the hit alone."""
        return self.hit.ordinal in self.pieces

    def touches(self, other: "_Passage") -> bool:
        """Return whether the two overlap or are adjacent, without much white space between."""
        if self.hit.version != other.hit.version or self.hit.source != other.hit.source:
            return False
        if not (self.is_read and other.is_read):
            return False
        before, after = sorted((self, other), key=lambda passage: passage.first)
        if after.first <= before.last:
            return True
        adjacent = after.first == before.last + 1
        return adjacent and not _are_far_apart(self.pieces[before.last], self.pieces[after.first])

    def extend(self, other: "_Passage") -> None:
        """Extend this passage to the chunks of another."""
        self.first = min(self.first, other.first)
        self.last = max(self.last, other.last)
        self.cut = self.cut or other.cut

    def to_hit(self) -> Hit:
        """Return the hit with the text of the passage."""
        if not self.is_read:
            return replace(self.hit, cut=self.cut)
        ordinals = range(self.first, self.last + 1)
        parts = [self.pieces[ordinal] for ordinal in ordinals]
        text, spans = _joined_text(parts)
        return replace(
            self.hit,
            text=text,
            start=parts[0].start,
            end=parts[0].start + len(text),
            spans=spans,
            ordinals=tuple(ordinals),
            cut=self.cut,
        )


def _merge_into(passages: list[_Passage], new: _Passage) -> None:
    """Append a passage, or merge it into the best one it touches, which may then touch others."""
    touched = [passage for passage in passages if passage.touches(new)]
    if not touched:
        passages.append(new)
        return
    best, *others = touched
    best.extend(new)
    for other in others:
        best.extend(other)
        passages.remove(other)


def _joined_text(parts: Sequence[_Piece]) -> tuple[str, tuple[tuple[int, int], ...]]:
    """Return the text from the first chunk's start to the last one's end, and its known spans.

    A span (start, end) in the document is text of a chunk; the rest is filled in.
    """
    texts: list[str] = []
    spans: list[tuple[int, int]] = []
    at = parts[0].start
    for part in parts:
        if part.end <= at:
            continue
        if part.start > at:
            texts.append(_filler(part.start - at))
        begin = max(at, part.start)
        texts.append(part.text[begin - part.start :])
        if spans and spans[-1][1] == begin:
            spans[-1] = (spans[-1][0], part.end)
        else:
            spans.append((begin, part.end))
        at = part.end
    return "".join(texts), tuple(spans)


def _filler(count: int) -> str:
    """Return `count` characters in place of white space that is not stored: lines and blanks."""
    return "\n" if count == 1 else "\n" + " " * (count - 2) + "\n"
