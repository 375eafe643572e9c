"""The child's side: one job after the other until the parent closes the pipe."""

import contextlib
import importlib
import json
import os
import pickle
import signal
import sys
from collections.abc import Callable, Iterator
from typing import Any, BinaryIO, NoReturn

from ragctl.errors import DocumentError, RagctlError
from ragctl.text import describe_exception, one_line
from ragctl.workers.frames import (
    BROKEN,
    END,
    ERROR,
    ITEM,
    LAST,
    MEMORY,
    READY,
    read_frame,
    write_frame,
)

MAX_REASON_CHARACTERS = 300  # of an exception that a parser raised
_ORPHAN_SECONDS = 5.0  # how much longer than its job's time an orphan may spin


def serve(settings: str) -> NoReturn:
    """The child's life: one job after the other until the parent closes the pipe."""
    given = json.loads(settings)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    jobs, replies = _take_pipes()
    _die_with(given["parent"])
    try:
        _limit_memory(given["memory"])
        name, _, attribute = given["function"].partition(":")
        module = importlib.import_module(name)
        function = getattr(module, attribute)
    except (ImportError, AttributeError, MemoryError) as error:
        write_frame(replies, BROKEN, f"{type(error).__name__}: {error}".encode())
        os._exit(1)
    write_frame(replies, READY)
    if (warm := getattr(module, "warm", None)) is not None:
        with contextlib.suppress(MemoryError):  # a job will meet it, and be told of
            warm()
    alarm = _Alarm(given["seconds"] + _ORPHAN_SECONDS)
    while (frame := read_frame(jobs)) is not None:
        if not _do(function, frame[1], replies, alarm):
            break
    os._exit(0)  # no exit handlers: a parser's must not hang us


def _do(function: Callable[[Any], Any], payload: bytes, replies: BinaryIO, alarm: "_Alarm") -> bool:
    """Does one job; False if this child should take no other."""
    try:
        alarm.set()
        result = function(pickle.loads(payload))  # noqa: S301 - from our own parent
        if isinstance(result, Iterator):
            for item in result:
                alarm.clear()  # the parent may leave us waiting
                _send(replies, ITEM, item)
                alarm.set()
            alarm.clear()
            _send(replies, END, None)
        else:
            alarm.clear()
            _send(replies, LAST, result)
    except MemoryError:
        alarm.clear()
        write_frame(replies, MEMORY)
        return False
    except RagctlError as error:
        alarm.clear()
        _send(replies, ERROR, error)
    # The one place where everything is caught: parsers raise anything on hostile input, and
    # whatever it is, it is the failure of one job, to be named and survived.
    except Exception as error:  # noqa: BLE001
        alarm.clear()
        reason = one_line(describe_exception(error), limit=MAX_REASON_CHARACTERS)
        _send(replies, ERROR, DocumentError(f"cannot be parsed: {reason}"))
    return True


def _send(replies: BinaryIO, kind: int, value: Any) -> None:
    payload = pickle.dumps(value, pickle.HIGHEST_PROTOCOL)
    try:
        write_frame(replies, kind, payload)
    except OSError:  # the parent is gone
        os._exit(1)


def _take_pipes() -> tuple[BinaryIO, BinaryIO]:
    """The two pipes, moved away from descriptors 0 and 1, where libraries read and print."""
    jobs = os.fdopen(os.dup(0), "rb")
    replies = os.fdopen(os.dup(1), "wb")
    nothing = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1, 2):
        os.dup2(nothing, descriptor)
    os.close(nothing)
    return jobs, replies


def _die_with(parent: int) -> None:
    """Asks the kernel to kill us with the parent, and to spare the parent when memory is out."""
    if sys.platform != "linux":
        return
    import ctypes

    pr_set_pdeathsig = 1
    ctypes.CDLL(None).prctl(pr_set_pdeathsig, int(signal.SIGKILL))
    if os.getppid() != parent:
        os._exit(1)
    with contextlib.suppress(OSError), open("/proc/self/oom_score_adj", "w") as score:  # noqa: PTH123
        score.write("1000")


def _limit_memory(memory: int) -> None:
    if sys.platform == "win32":
        return
    import resource

    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    hard = resource.getrlimit(resource.RLIMIT_AS)[1]
    limit = memory if hard == resource.RLIM_INFINITY else min(memory, hard)
    with contextlib.suppress(ValueError, OSError):  # macOS has the name but not the limit
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))


class _Alarm:
    """Ends this process by the kernel's hand if a job goes on long after its time."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds

    def set(self) -> None:
        if sys.platform != "win32":
            signal.setitimer(signal.ITIMER_REAL, self._seconds)

    def clear(self) -> None:
        if sys.platform != "win32":
            signal.setitimer(signal.ITIMER_REAL, 0)
