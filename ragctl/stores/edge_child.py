"""The engine's process: it has one embedded shard open, in turns with other processes.

Started by `edge_process.ShardProcess`; one operation at a time comes over standard input.
Between operations the shard is released as soon as another process waits for it, or after
IDLE_SECONDS without use. Imports little: a search waits for it.
"""

import json
import os
import select
import signal
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import IO, Any, NoReturn, Protocol

from ragctl.errors import GenerationDropped, Locked, StoreError, UnreadableCollection
from ragctl.stores.edge_frames import read_frame, write_frame
from ragctl.stores.edge_space import DiskSpace
from ragctl.stores.edge_version import version_problem
from ragctl.text import one_line

WATCH_INTERVAL_SECONDS = 0.01
"""Interval between checks whether another process waits for the shard."""
MAX_MESSAGE_CHARACTERS = 1000

PARENT_CHECK_SECONDS = 1.0
"""Interval between checks whether the parent still runs."""
FLUSH_SECONDS = 2.0
"""Time for what is done at the end of the pipe, after the parent's death was seen."""
MAX_OPERATION_SECONDS = 3600
"""An operation that takes longer never ends: damaged files can make the engine loop."""


def main(settings: str) -> NoReturn:
    """Serve operations until the parent closes the pipe, then exit with code 0."""
    given = json.loads(settings)
    # A service manager signals every process of a service. The run decides when to end, and
    # this process ends with it, by the end of the pipe.
    for ignored in (signal.SIGINT, signal.SIGTERM):
        signal.signal(ignored, signal.SIG_IGN)
    parent = given["parent"]
    threading.Thread(target=_end_with, args=[parent], daemon=True).start()
    requests = os.fdopen(os.dup(0), "rb")
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a library prints must not get between the frames
    shard = _shard(given)
    while True:
        interval = WATCH_INTERVAL_SECONDS if shard.is_open else None
        while not select.select([requests], [], [], interval)[0]:
            shard.idle()
            interval = WATCH_INTERVAL_SECONDS if shard.is_open else None
        # Requests come one at a time, so that nothing is left in the buffer at the next select.
        request = read_frame(requests)
        if request is None:
            shard.end()
            os._exit(0)  # without closing: see `edge_shard.SharedShard.end`
        method, arguments = request
        if method == "end":
            _answer(answers, shard.end)
            os._exit(0)
        _answer(answers, partial(shard.run, method, arguments, parent))


def _end_with(parent: int) -> None:
    """End this process soon after its parent; the body of a thread.

    The end of the pipe is not enough: another child of the parent may hold the pipe open. The
    engine keeps this thread from running during an operation, so none is cut off, except by the
    system's alarm after MAX_OPERATION_SECONDS.
    """
    while os.getppid() == parent:
        if hasattr(signal, "alarm"):
            signal.alarm(MAX_OPERATION_SECONDS)
        time.sleep(PARENT_CHECK_SECONDS)
    time.sleep(FLUSH_SECONDS)
    os._exit(1)


class _Shard(Protocol):
    """Does the operations of `edge_operations`; see `edge_shard.SharedShard`."""

    @property
    def is_open(self) -> bool: ...
    def run(self, method: str, arguments: tuple[Any, ...], parent: int) -> Any: ...
    def idle(self) -> None: ...
    def end(self) -> None: ...


class _NoShard:
    """Refuses every operation, for a reason."""

    is_open = False

    def __init__(self, reason: str) -> None:
        self._reason = reason

    def run(self, method: str, arguments: tuple[Any, ...], parent: int) -> Any:
        raise StoreError(self._reason)

    def idle(self) -> None:
        pass

    def end(self) -> None:
        pass


def _shard(given: dict[str, Any]) -> _Shard:
    problem = version_problem()
    if problem is not None:  # before the engine is imported
        return _NoShard(problem)
    folder, lock, what = Path(given["folder"]), Path(given["lock"]), given["what"]
    made, patience = given["creation_id"], given["patience"]
    if given["read_only"]:
        from ragctl.stores.edge_read_only import ReadOnlyShard

        return ReadOnlyShard(folder, made, lock, what, patience=patience)
    from ragctl.stores.edge_shard import SharedShard

    space = DiskSpace(Path(given["root"]))
    return SharedShard(
        folder,
        made,
        lock,
        what,
        patience=patience,
        space=space,
        keep_open=given["keep_open"],
    )


def _answer(answers: IO[bytes], operation: Callable[[], Any]) -> None:
    try:
        answer: tuple[str, Any] = ("result", operation())
    except Locked as error:
        answer = ("locked", str(error))
    except GenerationDropped as error:
        answer = ("dropped", str(error))
    except UnreadableCollection as error:
        answer = ("unreadable", str(error))
    # The binding raises plain Exception and ValueError for what the engine refuses, and a
    # PanicException, which is no Exception, when the engine meets a state it does not expect.
    except BaseException as error:  # noqa: BLE001
        kind = "error" if isinstance(error, Exception) else "panic"
        message = one_line(str(error), limit=MAX_MESSAGE_CHARACTERS) or type(error).__name__
        answer = (kind, message)
    try:
        write_frame(answers, answer)
    except OSError:  # the parent is gone
        os._exit(1)
