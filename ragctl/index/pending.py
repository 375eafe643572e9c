"""Files and documents that are being indexed, with what each is still waiting for."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace

from ragctl.collection.payload import Payload, Point, Vector, without_mark
from ragctl.index.prepared import PreparedDocument
from ragctl.index.writer import Writer


@dataclass(slots=True)
class PendingFile:
    """A file that is being read, or whose documents are not all written yet.

    `seen`: versions of its documents read so far, by source. `outstanding`: number of its documents
    that are neither written nor refused. `ended`: it was read to its end. `restat`: the
    content of a document is unchanged, but the file's time or size may have changed. `changed`:
    it has a document that is written.
    `waiting`: a document of it waits for a batch job.
    `seal`: payload fields to be merged into all its documents once it has been read
    completely and they are all written; None: not needed, or not known yet.
    """

    file: str
    seal: Payload | None = None
    restat: bool = False
    changed: bool = False
    failed: bool = False
    ended: bool = False
    waiting: bool = False
    outstanding: int = 0
    seen: dict[str, str] = field(default_factory=dict)


class PendingDocument:
    """A document that is being indexed: its points, the stored ones, the missing vectors.

    `payloads` and `ids` have one entry for each point. `needed`: ordinals of the chunks whose
    vectors must be found or embedded; `missing`: how many of these vectors have not arrived.
    `new_points`: for each point that was added under a new id, whether its text was embedded.
    """

    def __init__(
        self,
        document: PreparedDocument,
        file: PendingFile,
        payloads: Sequence[Payload],
        ids: Sequence[str],
        stored: Mapping[str, Payload],
        damaged: Collection[str],
        *,
        new: bool,
    ) -> None:
        """Compare with `stored`, the payloads of its stored points by id.

        `damaged`: ids of points that must be written again.
        """
        self.document = document
        self.file = file
        self.new = new
        self.payloads = payloads
        self.ids = ids
        self.failed = False
        self._stored = stored
        self._marked_point: Point | None = None  # the first point, if its vector came last
        # A point indexed under another language has the wrong sparse vector: it is written anew.
        self.needed = [
            ordinal
            for ordinal in range(len(document.chunks))
            if (known := stored.get(ids[ordinal])) is None
            or known.get("lang") != document.lang
            or ids[ordinal] in damaged
        ]
        self.missing = len(self.needed)
        self.new_points: list[bool] = []

    def tokens(self, known: Collection[str]) -> int:
        """Return the tokens to be sent, given the text hashes whose vectors are known."""
        chunks = self.document.chunks
        unknown = {chunks[o].hash: chunks[o] for o in self.needed if chunks[o].hash not in known}
        windows = {chunk.window for chunk in unknown.values() if chunk.window is not None}
        if windows:  # all of a window is sent if any chunk of it must be embedded
            return sum(chunk.sent_tokens for chunk in chunks if chunk.window in windows)
        return sum(chunk.sent_tokens for chunk in unknown.values())

    def add_vector(self, ordinal: int, vector: Vector, writer: Writer, *, embedded: bool) -> None:
        """Write the point of a chunk whose vector has arrived.

        `embedded`: its text was embedded for this chunk, not taken from another point.
        """
        terms = self.document.chunks[ordinal].terms
        point = Point(self.ids[ordinal], self.payloads[ordinal], vector, terms)
        self.missing -= 1
        if point.id not in self._stored:
            self.new_points.append(embedded)
        if ordinal > 0:
            writer.put(point)
        elif self.missing:  # too early to mark the document, but the vector was paid for
            writer.put_first(replace(point, payload=without_mark(point.payload)))
        else:
            self._marked_point = point  # `finish` follows at once
        writer.count(embedded=embedded, reused=not embedded)

    def finish(self, writer: Writer) -> None:
        """Complete the document: update kept points, mark the first, delete obsolete ones."""
        new = {self.ids[ordinal] for ordinal in self.needed}
        rows = list(zip(self.ids, self.payloads, strict=True))
        for point_id, payload in rows[1:]:
            if point_id not in new and self._stored[point_id] != payload:
                writer.rewrite(point_id, payload)
        first_id, first_payload = rows[0]
        if self._marked_point is not None:
            writer.mark(self._marked_point)
        elif not self.document.chunks:
            writer.mark(Point(first_id, first_payload))
        elif first_id in new or self._stored[first_id] != first_payload:
            writer.remark(first_id, first_payload)
        keep = set(self.ids)
        writer.delete([point_id for point_id in self._stored if point_id not in keep])
        writer.count(reused=len(self.document.chunks) - len(self.needed))

    def abandon(self, writer: Writer) -> None:
        """Give up a document that cannot be embedded: delete its new points, keep the old."""
        self.failed = True
        writer.take_back([self.ids[o] for o in self.needed if self.ids[o] not in self._stored])
        embedded = sum(self.new_points)
        writer.count(embedded=-embedded, reused=embedded - len(self.new_points))
