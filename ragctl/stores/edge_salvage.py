"""Reading a damaged shard past its damage, segment by segment.

The engine opens a shard only if it can open every segment with all its indexes. Here each segment
is copied into a shard of its own, without what can be computed again (payload indexes, sparse
index, graph, quantised vectors) and with the engine's bookkeeping of free space from a new shard.
What is left of the damage concerns ids, payloads and vectors, and is found point by point.

Where ids are lost, the rows of a segment are numbered and read by their number. Such points are
told from those that other segments hold by their payload, and have ids that are not theirs.

Each copy is read in a process of its own, with a time limit: a panic, a crash or an endless loop
costs the part that caused it. The damaged files are never written.
"""

import contextlib
import errno
import json
import os
import shutil
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, closing
from pathlib import Path
from typing import Any, cast

from ragctl.collection.payload import Point
from ragctl.collection.settings import Settings
from ragctl.errors import StoreError
from ragctl.stores import segments
from ragctl.stores.edge_copy import copy_files, private_copies
from ragctl.stores.edge_layout import SHARD, remove_tree
from ragctl.stores.edge_process import ShardProcess
from ragctl.stores.edge_space import disk_is_full
from ragctl.stores.edge_tracker import (
    number_rows,
    row_count,
    stored_versions,
    superseded,
    tracked_rows,
)
from ragctl.stores.edge_values import PlainPoint, read_point
from ragctl.text import counted, one_line

PAGE_POINTS = 100
CALL_SECONDS = 60.0
"""Longest time for opening a segment and reading one page of it."""

MAX_FAILED_CALLS = 2000
"""Calls of one segment that may fail before the rest of it is given up."""

_PASSING = {
    *(errno.EACCES, errno.EPERM, errno.ENOSPC, errno.EDQUOT, errno.EMFILE, errno.ENFILE),
    errno.ENOMEM,
}
"""Errors that are no damage: what cannot be read now can be read after they are put right."""

_LOG = "wal"
_RECOMPUTED = ("payload_index", "vector_index-*", "*/quantized*")
_STORAGES = ("payload_storage", "vector_storage-bm25/store")
_BOOKKEEPING = ("config.json", "bitmask.dat", "gaps.dat")
"""Files of a storage: its constants, and which of its blocks are free."""


def salvaged_points(
    shard: Path,
    settings: Settings,
    lost: list[str],
    reading: Callable[[], AbstractContextManager[None]],
) -> Iterator[Point]:
    """Yield the points of a shard folder that can be read, each id once.

    `lost` gets a line for each part that cannot. `reading` keeps other processes from the shard
    while a part of it is copied. A point without a readable vector is returned without it.
    Raises StoreError for what is no damage: missing permissions, no space for the copies.
    """
    with _no_damage():
        yield from _salvaged(shard, settings, lost, reading)


def _salvaged(
    shard: Path,
    settings: Settings,
    lost: list[str],
    reading: Callable[[], AbstractContextManager[None]],
) -> Iterator[Point]:
    folders = _entries(shard / "segments", lost)
    versions = list(map(stored_versions, folders))
    replaced = superseded(versions)
    returned: set[str] = set()
    known_chunks: set[tuple[object, ...]] = set()
    without_ids: list[int] = []
    opened = False
    with private_copies() as place:
        try:
            template = _new_shard(place / "new", settings)
        except StoreError as error:
            _raise_if_full(place)
            lost.append(_reason(error))
            return
        # Without a readable segment, the log alone may hold points.
        for number, folder in enumerate([*folders, None]):
            if folder is None and opened:
                break
            part = _Part(shard, folder, template, place / str(number), reading)
            known = versions[number] if folder is not None else {}
            with closing(part):
                is_open = part.open(lost)
                opened |= is_open
                if folder is not None and (not is_open or part.lacks_ids(settings.dim)):
                    without_ids.append(number)
                if not is_open:
                    continue
                skipped = replaced[number] if folder is not None else set()
                for point in part.points(list(known), lost):
                    if point.id in returned or point.id in skipped:
                        continue
                    returned.add(point.id)
                    known_chunks.add(_chunk(point))
                    yield point
        for number in without_ids:
            part = _Part(shard, folders[number], template, place / f"rows-{number}", reading)
            with closing(part):
                if part.open_by_number(settings.dim, 1 + (number << 32)):
                    for point in part.points((), lost):
                        if point.payload and _chunk(point) not in known_chunks:
                            known_chunks.add(_chunk(point))
                            yield point


def _chunk(point: Point) -> tuple[object, ...]:
    """Return what tells chunks apart without their ids."""
    payload = point.payload
    return payload.get("version"), payload.get("ordinal"), payload.get("text_hash")


def _entries(folder: Path, lost: list[str]) -> list[Path]:
    try:
        return sorted(entry for entry in folder.iterdir() if not entry.name.startswith("."))
    except OSError as error:
        _raise_if_passing(error)
        lost.append(f"{folder}: cannot be listed ({error.strerror})")
        return []


def _new_shard(folder: Path, settings: Settings) -> Path:
    """Make an empty shard like the damaged one, and return its folder."""
    (folder / SHARD).mkdir(parents=True)
    with closing(_process(folder, "a new shard")) as process:
        config = segments.config(settings)._replace(quantization=None)
        process.call("create", str(folder / SHARD), config, {}, timeout=CALL_SECONDS)
    return folder / SHARD


def _process(folder: Path, what: str) -> ShardProcess:
    return ShardProcess(folder, folder / "lock", what, creation_id="", patience=CALL_SECONDS)


class _Part:
    """A segment in a shard of its own; `segment` None: the write-ahead log alone."""

    def __init__(
        self,
        shard: Path,
        segment: Path | None,
        template: Path,
        folder: Path,
        reading: Callable[[], AbstractContextManager[None]],
    ) -> None:
        self._shard = shard
        self._segment = segment
        self._template = template
        self._folder = folder
        self._reading = reading
        self._what = f"segment {segment.name}" if segment is not None else "write-ahead log"
        self._process: ShardProcess | None = None
        self._failed_calls = 0

    def open(self, lost: list[str]) -> bool:
        """Copy and open the part, without what cannot be opened; return whether it worked."""
        problem = ""
        for log, sparse in ((True, True), (False, True), (False, False)):
            if self._segment is None and not log:
                return False
            try:
                self._copy(log=log, sparse=sparse)
            except OSError as error:
                _raise_if_passing(error)
                problem = problem or _reason(error)
                self.close()
                continue
            try:
                self._process = _process(self._folder, self._what)
                self._process.call("info", timeout=CALL_SECONDS)
            except StoreError as error:
                _raise_if_full(self._folder)
                problem = problem or _reason(error)
                self.close()
                continue
            if not log:
                without = "the log" if sparse else "the log and sparse vectors"
                lost.append(f"{self._what}: read without {without} ({problem})")
            return True
        lost.append(f"{self._what}: cannot be opened ({problem})")
        return False

    def lacks_ids(self, dim: int) -> bool:
        """Return whether the segment has rows without an id, as far as its files can be read."""
        assert self._segment is not None
        try:
            return tracked_rows(self._segment) < row_count(self._segment, dim)
        except OSError as error:
            _raise_if_passing(error)
            return True

    def open_by_number(self, dim: int, first: int) -> bool:
        """Open the segment with numbers from `first` on as ids; return whether it worked."""
        try:
            self._copy(log=False, sparse=True)
            assert self._segment is not None
            copied = self._folder / SHARD / "segments" / self._segment.name
            number_rows(copied, row_count(copied, dim), first)
            self._process = _process(self._folder, self._what)
            self._process.call("info", timeout=CALL_SECONDS)
        except OSError as error:
            _raise_if_passing(error)
            return False
        except StoreError:
            _raise_if_full(self._folder)
            return False
        return True

    def _copy(self, *, log: bool, sparse: bool) -> None:
        copied = self._folder / SHARD
        (copied / "segments").mkdir(parents=True)
        shutil.copy(self._template / "edge_config.json", copied)
        with self._reading():
            if log and (self._shard / _LOG).exists():
                copy_files(self._shard / _LOG, copied / _LOG)
            if self._segment is not None:
                target = copied / "segments" / self._segment.name
                copy_files(self._segment, target)
        if self._segment is not None:
            self._normalise(target, sparse=sparse)

    def _normalise(self, segment: Path, *, sparse: bool) -> None:
        """Replace everything that does not hold ids, payloads or vectors."""
        for pattern in _RECOMPUTED:
            for path in segment.glob(pattern):
                remove_tree(path)
        if not sparse:
            remove_tree(segment / "vector_storage-bm25")
        (new,) = (self._template / "segments").iterdir()
        for storage in _STORAGES:
            for name in _BOOKKEEPING:
                if (segment / storage).is_dir():
                    remove_tree(segment / storage / name)
                    shutil.copy(new / storage / name, segment / storage / name)
        sealed = (segment / "vector_storage-dense" / "matrix.dat").exists()
        for name in ("segment.json", "version.info"):
            remove_tree(segment / name)
        shutil.copy(new / "version.info", segment)
        config: dict[str, Any] = json.loads((new / "segment.json").read_bytes())
        if sealed:
            config["config"]["vector_data"]["dense"]["storage_type"] = "Mmap"
        config["initial_version"] = config["version"] = 1
        (segment / "segment.json").write_text(json.dumps(config))

    def points(self, known: Sequence[str], lost: list[str]) -> Iterator[Point]:
        """Yield the points that can be read. `known`: ids that the part should have."""
        problems: Counter[str] = Counter()
        returned = 0
        for point in self._pages(known, problems):
            returned += 1
            yield point
        for problem, count in problems.items():
            lost.append(f"{self._what}: {counted(count, 'point')} cannot be read ({problem})")
        if not returned and known and not problems:
            lost.append(f"{self._what}: none of its {counted(len(known), 'point')} can be read")

    def _pages(self, known: Sequence[str], problems: Counter[str]) -> Iterator[Point]:
        offset: str | None = None
        while True:
            try:
                points, following = self._scroll(offset, None, vectors=True)
                yield from map(read_point, points)
            except StoreError:
                try:
                    points, following = self._scroll(offset, [], vectors=False)
                    ids = [point[0] for point in points]
                except StoreError:
                    ids, following = sorted(each for each in known if each >= (offset or "")), None
                yield from self._one_by_one(ids, problems)
            if following is None:
                return
            offset = following

    def _one_by_one(self, ids: Sequence[str], problems: Counter[str]) -> Iterator[Point]:
        """Yield the readable ones of these points, halving where reading fails."""
        if not ids:
            return
        try:
            yield from map(read_point, self._retrieve(ids, vectors=True))
            return
        except StoreError as error:
            problem = _reason(error)
        if len(ids) > 1:
            half = len(ids) // 2
            yield from self._one_by_one(ids[:half], problems)
            yield from self._one_by_one(ids[half:], problems)
            return
        problems[problem] += 1
        with contextlib.suppress(StoreError):
            yield from map(read_point, self._retrieve(ids, vectors=False))

    def _scroll(
        self, offset: str | None, fields: list[str] | None, *, vectors: bool
    ) -> tuple[list[PlainPoint], str | None]:
        found = self._call("scroll", offset, PAGE_POINTS, (), fields, vectors)
        return cast(tuple[list[PlainPoint], str | None], found)

    def _retrieve(self, ids: Sequence[str], *, vectors: bool) -> list[PlainPoint]:
        return cast(list[PlainPoint], self._call("retrieve", list(ids), vectors))

    def _call(self, method: str, *arguments: object) -> object:
        assert self._process is not None
        if self._failed_calls >= MAX_FAILED_CALLS:
            raise StoreError("given up after too many failures")
        try:
            return self._process.call(method, *arguments, timeout=CALL_SECONDS)
        except StoreError:
            _raise_if_full(self._folder)
            self._failed_calls += 1
            raise

    def close(self) -> None:
        """End the process and remove the copy."""
        if self._process is not None:
            with contextlib.suppress(StoreError):
                self._process.kill()
            self._process = None
        if self._folder.exists():
            remove_tree(self._folder)


@contextlib.contextmanager
def _no_damage() -> Iterator[None]:
    """Report what is no damage as StoreError, in one line."""
    try:
        yield
    except OSError as error:
        raise StoreError(
            f"{error.filename or 'a copy of the collection'}: {error.strerror or error}; "
            "nothing was changed; put that right, then run again"
        ) from error


def _raise_if_passing(error: OSError) -> None:
    if error.errno in _PASSING:
        raise error


def _raise_if_full(folder: Path) -> None:
    if disk_is_full(folder):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(folder))


def _reason(error: Exception) -> str:
    """Return why a part cannot be read, without the path of its copy."""
    return one_line(str(error).replace("cannot be read or written: ", ""), limit=300)
