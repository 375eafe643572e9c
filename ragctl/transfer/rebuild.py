"""Rebuild a damaged collection from what can still be read of it.

Every point whose payload and vector are intact goes into a new generation, and the name is
switched to it. A document whose points are all there is complete again; of the others the next
run embeds only the chunks that are missing.
"""

import math
import uuid
from collections import Counter
from collections.abc import Iterator, Sequence, Set
from contextlib import closing, suppress
from dataclasses import dataclass, field, replace
from itertools import chain, islice

import numpy as np

from ragctl.collection.payload import Payload, Point, SparseVector, without_mark
from ragctl.collection.points import namespace, point_id, version
from ragctl.collection.settings import how_to_recover
from ragctl.collection.text import embedded_text, text_hash
from ragctl.errors import StoreError, UnreadableCollection, UsageError
from ragctl.index.cancellation import Cancellation
from ragctl.index.verify import vector_problem
from ragctl.progress import Progress
from ragctl.records import Json, Notify, ignore
from ragctl.stores.base import Batch, Collection, Salvage, Store
from ragctl.transfer.history import rollback_targets
from ragctl.transfer.notes import note_members
from ragctl.transfer.rebuild_settings import SAMPLE_POINTS, Confirmed, PipelineSettings

WRITE_POINTS = 256
_TEXT = (
    *("source", "file", "source_name", "digest", "version", "stamp"),
    *("text", "text_hash", "lang", "recipe"),
)
_NUMBERS = ("ordinal", "chunks", "mtime_ns", "size", "parts")


@dataclass(slots=True)
class RebuildReport:
    """What a rebuild saved.

    `points`: written to the new generation. `damaged`: points that could be read, but not used.
    `complete`, `incomplete`: numbers of documents; `sources`: names of the incomplete ones.
    `lost`: a line for each part of the files that could not be read. `names`: of the sources of
    which something was kept.
    """

    collection: str
    generation: int = 0
    points: int = 0
    damaged: int = 0
    complete: int = 0
    incomplete: int = 0
    sources: list[str] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)
    names: set[str] = field(default_factory=set)

    def to_json(self) -> dict[str, Json]:
        """Return the JSON object of this report."""
        return {
            "collection": self.collection,
            "generation": self.generation,
            "points": self.points,
            "damaged": self.damaged,
            "documents": {"complete": self.complete, "incomplete": self.incomplete},
            "incomplete": list(self.sources),
            "lost": list(self.lost),
        }


def rebuild(
    store: Store,
    name: str,
    *,
    otherwise: PipelineSettings | None = None,
    patience: float = math.inf,
    waiting: Notify = ignore,
    cancellation: Cancellation | None = None,
    progress: Progress | None = None,
) -> RebuildReport:
    """Rebuild a collection and make the new generation the current one.

    The damaged generation is deleted afterwards. `otherwise`: used if the settings of the
    collection are lost and its model reproduces the vectors. Raises UsageError if there is no such
    collection, UnreadableCollection without any settings, IdentityMismatch and BackendError as
    PipelineSettings.confirmed.
    """
    cancellation, progress = cancellation or Cancellation(), progress or Progress()
    progress.begin("lock")
    with store.lock(name, patience=patience, waiting=waiting):
        before = store.generations(name)
        damaged = next((each.number for each in before if each.current), None)
        read = damaged
        if damaged is None:  # the pointer is lost: a newer generation may be unfinished
            read = next(iter(rollback_targets(store, name, before)), None)
        form = None if otherwise is None else otherwise.settings
        salvage = store.salvage(name, generation=read, otherwise=form)
        if salvage is None:
            raise UsageError(f"no collection {name!r} in {store.location}")
        chosen = salvage.settings
        members: Sequence[str] = ()
        if chosen is None:
            found = _settings_without_own(salvage, otherwise, name, store.location, cancellation)
            chosen, members = found.settings, found.members
        report = RebuildReport(name)
        target = store.create_generation(name, chosen)
        report.generation = target.settings.generation
        try:
            with closing(target):
                progress.begin("read", "point")
                _write(salvage, target, report, cancellation, progress)
                progress.begin("finish")
                _carry_notes(store, name, read, target, report)
                note_members(target, members)
                target.finish()
            store.switch(name, report.generation)
        except BaseException:
            with suppress(StoreError):  # the reason is more important
                store.drop_generation(name, report.generation)
            raise
        for each in before:
            if each.number == damaged or (damaged is None and each.settings is None):
                store.drop_generation(name, each.number)
    return report


def _settings_without_own(
    salvage: Salvage,
    otherwise: PipelineSettings | None,
    name: str,
    location: str,
    cancellation: Cancellation,
) -> Confirmed:
    """Return the pipeline's settings after a check against the first points that can be read.

    BM25 vectors are left out of the points, to be made anew, as the languages may differ.
    """
    if otherwise is None:
        raise UnreadableCollection(
            f"collection {name!r} in {location}: its settings are lost, so nothing says "
            "which model made its vectors; give its pipeline file (`ragctl rebuild "
            f"PIPELINE.toml`), or remove it with `ragctl delete --all -c {name}` and ingest again"
        )
    sound = (
        replace(point, sparse=None)
        for point in salvage.points
        if _is_sound(point.payload, hashes_text=True)
    )
    sample = [*islice(sound, SAMPLE_POINTS)]
    with cancellation.interruptible():
        settings = otherwise.confirmed(sample)
    salvage.points = chain(sample, sound)
    return settings


def _write(
    salvage: Salvage,
    target: Collection,
    report: RebuildReport,
    cancellation: Cancellation,
    progress: Progress,
) -> None:
    """Write every intact point; the marks last, of the documents that are complete."""
    marks: dict[str, tuple[str, Payload]] = {}  # by version: id and payload of the first point
    written: Counter[str] = Counter()  # points by version
    names: dict[str, str] = {}  # source by version
    seen: set[str] = set()
    batch: list[Point] = []
    for point in progress.each(_intact(salvage, target, report)):
        cancellation.raise_if_cancelled()
        payload = point.payload
        stored_version = payload["version"]
        names[stored_version] = payload["source"]
        report.names.add(payload["source_name"])
        if point.id not in seen:
            seen.add(point.id)
            written[stored_version] += 1
        if "mark" in payload:
            marks[stored_version] = (point.id, payload)
            point = replace(point, payload=without_mark(payload))
        batch.append(point)
        if len(batch) >= WRITE_POINTS:
            target.apply(Batch(upserts=batch))
            batch = []
    if batch:
        target.apply(Batch(upserts=batch))
    report.points = len(seen)
    report.lost = salvage.lost
    whole = {
        found: mark for found, mark in marks.items() if written[found] == max(1, mark[1]["chunks"])
    }
    overwrites = list(whole.values())
    for first in range(0, len(overwrites), WRITE_POINTS):
        cancellation.raise_if_cancelled()
        target.apply(Batch(mark_overwrites=overwrites[first : first + WRITE_POINTS]))
    complete = {names[found] for found in whole}
    report.complete = len(complete)
    report.sources = sorted(set(names.values()) - complete)
    report.incomplete = len(report.sources)


def _intact(salvage: Salvage, target: Collection, report: RebuildReport) -> Iterator[Point]:
    """Yield the points that are exactly what a run wrote; count the others as damaged."""
    settings = target.settings
    late = settings.identity.late_chunking
    space = namespace(settings.namespace)
    encoder = settings.document_bm25()
    taken: set[str] = set()
    chunks: set[tuple[str, int]] = set()
    for point in salvage.points:
        payload = point.payload
        if not _is_sound(payload, hashes_text=not late):
            report.damaged += 1
            continue
        own = _own_id(point, space, taken)
        chunk = (payload["version"], payload["ordinal"])
        if own != point.id and chunk in chunks:
            continue  # read before, with its id
        if own is None:
            report.damaged += 1
            continue
        taken.add(own)
        chunks.add(chunk)
        point = replace(point, id=own)
        if payload["chunks"] == 0:
            yield replace(point, dense=None, sparse=None)
            continue
        if point.dense is None or vector_problem(point, settings.dim) is not None:
            report.damaged += 1
            continue
        if point.sparse is None or not np.isfinite(point.sparse.values).all():
            words = embedded_text(payload["text"], payload["heading"])
            ((indices, values),) = encoder.documents([words], [payload["lang"]])
            point = replace(point, sparse=SparseVector(indices, values))
        yield point


def _is_sound(payload: Payload, *, hashes_text: bool) -> bool:
    row: dict[str, object] = dict(payload)
    if not all(isinstance(row.get(key), str) for key in _TEXT):
        return False
    if not all(type(row.get(key)) is int for key in _NUMBERS):
        return False
    if payload["version"] != version(payload["source"], payload["digest"]):
        return False
    if not 0 <= payload["ordinal"] < max(1, payload["chunks"]):
        return False
    if not isinstance(row.get("meta"), dict):
        return False
    if payload["chunks"] == 0:
        return True
    heading = row.get("heading")
    if not isinstance(heading, list) or not all(isinstance(each, str) for each in heading):
        return False
    if not all(type(row.get(key)) is int for key in ("start", "end", "tokens")):
        return False
    return not hashes_text or payload["text_hash"] == text_hash(
        embedded_text(payload["text"], payload["heading"])
    )


def _own_id(point: Point, space: uuid.UUID, taken: Set[str]) -> str | None:
    """Return the id of a point: its own, or, where ids are lost, the next one of its text.

    `taken`: the ids of other points. None: all ids of this text are taken.
    """
    source, text = point.payload["source"], point.payload["text_hash"]
    free = None
    for occurrence in range(1, max(1, point.payload["chunks"]) + 1):
        own = point_id(space, source, text, occurrence)
        if own == point.id:
            return own
        if free is None and own not in taken:
            free = own
    return free


def _carry_notes(
    store: Store, name: str, read: int | None, target: Collection, report: RebuildReport
) -> None:
    """Take over the notes of the damaged generation; without them, say so."""
    target.note({"replaces": 0})
    try:
        collection = store.open(name, generation=read)
        if collection is None:
            return
        with closing(collection):
            notes = collection.notes()
    except StoreError as error:
        reason = str(error).removesuffix(f"; {how_to_recover(name)}")
        report.lost.append(f"notes: spending and failed files are forgotten ({reason})")
        return
    target.note({"replaces": 0, **notes})
