"""Fetch the files of a plan ahead of the parsing processes, in order, with little on the disk."""

import shutil
import tempfile
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from pathlib import Path
from queue import SimpleQueue
from threading import Thread
from types import TracebackType
from typing import NamedTuple, Self, TypeVar

from ragctl.errors import DocumentError
from ragctl.loaders import FileContent, Location
from ragctl.sources.local_file import LocalFile
from ragctl.sources.remote_file import RemoteFile

T = TypeVar("T")

THREADS = 4
FILES_AHEAD = 8
BYTES_AHEAD = 256 << 20
"""Files are fetched ahead until they have this size; those being parsed come on top."""


class Unfetched(NamedTuple):
    """The location of a file that could not be fetched."""

    problem: str

    def open(self) -> FileContent:
        """Raise DocumentError."""
        raise DocumentError(self.problem)


class _Task(NamedTuple):
    file: RemoteFile
    folder: Path
    name: str
    future: Future[Location]


class Fetching:
    """Fetches remote files to a private temporary folder. Threads start at the first one.

    Use it as a context: at its end the folder is removed.
    """

    def __init__(self) -> None:
        self._folder: Path | None = None
        self._threads: list[Thread] = []
        self._tasks: SimpleQueue[_Task | None] = SimpleQueue()
        self._files = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for _ in self._threads:
            self._tasks.put(None)
        if error is None:  # else a thread that waits for a server must not hold up the end
            for thread in self._threads:
                thread.join()
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)

    def ahead(
        self, items: Iterable[T], location: Callable[[T], Location]
    ) -> Iterator[tuple[T, Location]]:
        """Yield each item with a location that can be sent to another process.

        `location` returns that of an item. A file that is not remote keeps its own.
        """
        waiting: deque[tuple[T, Location, Future[Location] | None, int]] = deque()
        size = 0
        source = iter(items)
        more = True
        while more or waiting:
            while more and len(waiting) < FILES_AHEAD and (size < BYTES_AHEAD or not waiting):
                try:
                    item = next(source)
                except StopIteration:
                    more = False
                    break
                place = location(item)
                if isinstance(place, RemoteFile):
                    expected = place.size or 0
                    waiting.append((item, place, self._submit(place), expected))
                    size += expected
                else:
                    waiting.append((item, place, None, 0))
                    if len(waiting) == 1:
                        break  # nothing to wait for
            if waiting:
                item, place, future, expected = waiting.popleft()
                size -= expected
                yield item, place if future is None else future.result()

    def release(self, location: Location) -> None:
        """Remove the temporary file of a location from `ahead`; others are left alone."""
        if (
            self._folder is not None
            and isinstance(location, LocalFile)
            and location.root == str(self._folder)
        ):
            (self._folder / location.path).unlink(missing_ok=True)

    def _submit(self, file: RemoteFile) -> Future[Location]:
        if self._folder is None:
            self._folder = Path(tempfile.mkdtemp(prefix="ragctl-"))
        if len(self._threads) < THREADS:
            self._threads.append(Thread(target=_work, args=(self._tasks,), daemon=True))
            self._threads[-1].start()
        self._files += 1
        task = _Task(file, self._folder, str(self._files), Future())
        self._tasks.put(task)
        return task.future


def _work(tasks: "SimpleQueue[_Task | None]") -> None:
    """Fetch files until there is None. The body of a thread."""
    while (task := tasks.get()) is not None:
        try:
            task.future.set_result(_fetch(task.file, task.folder, task.name))
        except BaseException as error:  # noqa: BLE001 - the caller gets it
            task.future.set_exception(error)


def _fetch(file: RemoteFile, folder: Path, name: str) -> Location:
    path = folder / name
    try:
        with path.open("xb") as stream:
            file.fetch(stream)
    except DocumentError as error:
        path.unlink(missing_ok=True)
        return Unfetched(str(error))
    except OSError as error:  # of the local disk
        path.unlink(missing_ok=True)
        return Unfetched(f"cannot be fetched: {error.strerror or error}")
    return LocalFile(str(folder), name)
