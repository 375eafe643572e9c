"""Documents on their way into the store: what each still waits for, and its end."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace

from ragctl.collection.payload import Payload, Point, Vector
from ragctl.collection.points import PreparedDocument
from ragctl.index.writer import Writer
from ragctl.records import Json


@dataclass(slots=True)
class PendingFile:
    """A file being read. It is sealed once it was read whole and all its documents are written.

    `seal`: payload fields that all its documents get then. `restat`: a document
    stands as it is, but the file's time, size or root changed.
    """

    file: str
    seal: dict[str, Json] | None = None
    restat: bool = False
    failed: bool = False
    ended: bool = False  # read to its end
    outstanding: int = 0
    seen: set[str] = field(default_factory=set)


class PendingDocument:
    """One document: its points, those the store has, those that wait for a vector."""

    def __init__(
        self,
        document: PreparedDocument,
        file: PendingFile,
        rows: Sequence[dict[str, Json]],
        ids: Sequence[str],
        stored: Mapping[str, Payload],
        damaged: Collection[str],
        *,
        new: bool,
    ) -> None:
        """`stored`: the points that it has, by id; `damaged`: ids of those to be written anew."""
        self.document = document
        self.file = file
        self.new = new
        self.rows = rows
        self.ids = ids
        self.failed = False
        self._stored = stored
        self._last: Point | None = None  # the first chunk, where its vector came last
        # A point indexed under another language has the wrong sparse vector: it is made anew.
        self.needed = [
            ordinal
            for ordinal in range(len(document.chunks))
            if (known := stored.get(ids[ordinal])) is None
            or known.get("lang") != document.lang
            or ids[ordinal] in damaged
        ]
        self.missing = len(self.needed)

    def tokens(self, known: Collection[str]) -> int:
        """Tokens to be sent, where the vectors of the texts in `known` (hashes) are there."""
        chunks = self.document.chunks
        unknown = {chunks[o].hash: chunks[o] for o in self.needed if chunks[o].hash not in known}
        windows = {chunk.window for chunk in unknown.values() if chunk.window is not None}
        if windows:  # sent whole for any chunk of theirs
            return sum(chunk.sent_tokens for chunk in chunks if chunk.window in windows)
        return sum(chunk.sent_tokens for chunk in unknown.values())

    def place(self, ordinal: int, vector: Vector, writer: Writer) -> None:
        """A vector has come: its point is written, the last one's document marked."""
        terms = self.document.chunks[ordinal].terms
        point = Point(self.ids[ordinal], self.rows[ordinal], vector, terms)
        self.missing -= 1
        if ordinal > 0:
            writer.put(point)
        elif self.missing:  # not marked yet; but what was paid for is kept
            row = {key: value for key, value in point.payload.items() if key != "mark"}
            writer.put_first(replace(point, payload=row))
        else:
            self._last = point

    def finish(self, writer: Writer) -> None:
        """All vectors are there: update the kept points, mark the first, drop the rest."""
        new = {self.ids[ordinal] for ordinal in self.needed}
        rows = list(zip(self.ids, self.rows, strict=True))
        for point_id, row in rows[1:]:
            if point_id not in new and self._stored[point_id] != row:
                writer.rewrite(point_id, row)
        first_id, first_row = rows[0]
        if self._last is not None:
            writer.mark(self._last)
        elif not self.document.chunks:
            writer.mark(Point(first_id, first_row))
        elif first_id in new or self._stored[first_id] != first_row:
            writer.remark(first_id, first_row)
        keep = set(self.ids)
        writer.drop([point_id for point_id in self._stored if point_id not in keep])

    def abandon(self, writer: Writer) -> None:
        """It cannot be embedded: take back the points written so far, keep the old ones."""
        self.failed = True
        writer.take_back([self.ids[o] for o in self.needed if self.ids[o] not in self._stored])
