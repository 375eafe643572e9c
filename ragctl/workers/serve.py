"""The main loop of a child process."""

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
ORPHAN_GRACE_SECONDS = 5.0  # beyond its time limit; then a child without a parent ends itself


def serve(settings_json: str) -> NoReturn:
    """Serve one job after the other until the parent closes the pipe, then exit.

    `settings_json` is an object with `function`, `seconds`, `memory` (see `Pool`) and `parent`,
    the parent's process id.
    """
    settings = json.loads(settings_json)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    jobs, replies = _take_pipes()
    _end_with_parent(settings["parent"])
    try:
        _limit_memory(settings["memory"])
        name, _, attribute = settings["function"].partition(":")
        module = importlib.import_module(name)
        function = getattr(module, attribute)
    except (ImportError, AttributeError, MemoryError) as error:
        write_frame(replies, BROKEN, f"{type(error).__name__}: {error}".encode())
        os._exit(1)
    if (warm := getattr(module, "warm", None)) is not None:
        with contextlib.suppress(MemoryError):  # the first job will report it
            warm()
    write_frame(replies, READY)
    alarm = _Alarm(settings["seconds"] + ORPHAN_GRACE_SECONDS)
    while (frame := read_frame(jobs)) is not None:
        if not _do_job(function, frame[1], replies, alarm):
            break
    os._exit(0)  # without exit handlers: those of a parser may hang


def _do_job(
    function: Callable[[Any], Any], payload: bytes, replies: BinaryIO, alarm: "_Alarm"
) -> bool:
    """Do one job; return False if this child must not take another."""
    try:
        alarm.set()
        result = function(pickle.loads(payload))  # noqa: S301 - from our own parent
        if isinstance(result, Iterator):
            for item in result:
                alarm.clear()  # waiting for the parent does not count
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
    # Every error is caught: parsers raise anything on hostile input, and only this job fails.
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
    """Return the pipes for jobs and replies; move them from descriptors 0 and 1.

    Libraries that read standard input or print get the null device.
    """
    jobs = os.fdopen(os.dup(0), "rb")
    replies = os.fdopen(os.dup(1), "wb")
    nothing = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1, 2):
        os.dup2(nothing, descriptor)
    os.close(nothing)
    return jobs, replies


def _end_with_parent(parent: int) -> None:
    """Ask the kernel to kill this process with its parent, or before it if memory runs out."""
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
    """Limit the address space to `memory` bytes, and write no core files."""
    if sys.platform == "win32":
        return
    import resource

    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    hard = resource.getrlimit(resource.RLIMIT_AS)[1]
    limit = memory if hard == resource.RLIM_INFINITY else min(memory, hard)
    # macOS defines the limit but does not support it.
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))


class _Alarm:
    """A timer of the kernel (SIGALRM) that kills this process after a number of seconds."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds

    def set(self) -> None:
        if sys.platform != "win32":
            signal.setitimer(signal.ITIMER_REAL, self._seconds)

    def clear(self) -> None:
        if sys.platform != "win32":
            signal.setitimer(signal.ITIMER_REAL, 0)
