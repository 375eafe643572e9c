"""A pool of child processes with hard limits on time and memory.

A function runs on jobs in children that no hang, crash or memory bomb can outlive. Each child is
a fresh interpreter, fed and read by a thread of its own over two pipes, so that a slow child
blocks nobody; it serves many jobs.

No child outlives the parent: an idle one ends when its pipe closes; a busy one is killed by the
kernel with its parent (Linux), or by its own alarm soon after its job's time is up (elsewhere).
"""

import contextlib
import importlib
import json
import os
import pickle
import queue
import signal
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Generator, Iterable, Iterator
from dataclasses import dataclass
from types import TracebackType
from typing import Any, BinaryIO, NoReturn, Self, TypeVar, cast

from ragctl.errors import DocumentError, RagctlError

J = TypeVar("J")

_START_SECONDS = 60.0  # to start and import the function, on a busy machine
_ORPHAN_SECONDS = 5.0  # how much longer than its job's time an orphan may spin
_HEADER = struct.Struct("<QB")  # a frame's length in bytes, and its kind
_AHEAD = 2  # jobs taken ahead, and replies kept waiting, per worker
_BOOT = (
    "import sys, json; sys.path[:] = json.loads(sys.argv[1]); "
    "from ragctl.limited import _serve; _serve(sys.argv[2])"
)
# The kinds of frame; a child's hold a pickled value.
_JOB, _READY, _BROKEN, _ITEM, _LAST, _END, _ERROR, _MEMORY = range(8)
_Frame = tuple[int, bytes]


@dataclass(frozen=True, slots=True)
class Ended:
    """The end of one job of `Pool.stream`; `error` is None where every item came."""

    error: RagctlError | None = None


@dataclass(frozen=True, slots=True)
class _Spec:
    function: str
    seconds: float
    memory: int


@dataclass(frozen=True, slots=True)
class _Task:
    job: Any
    payload: bytes


@dataclass(frozen=True, slots=True)
class _Reply:
    """One answer to a job: a child's frame, still pickled, or how the job ended without one."""

    job: Any
    frame: _Frame | Ended

    @property
    def last(self) -> bool:
        return isinstance(self.frame, Ended) or self.frame[0] != _ITEM

    def value(self) -> Any:
        """Opened in the caller's thread, so that what does not unpickle is raised there."""
        if isinstance(self.frame, Ended):
            return self.frame
        kind, payload = self.frame
        value = pickle.loads(payload)  # noqa: S301 - from our own child
        return Ended(value) if kind in (_END, _ERROR) else value


class Pool:
    """Runs `function` ("package.module:name", one picklable argument) in limited children.

    `seconds` bounds one job's time; `memory` (bytes) bounds a child's address space, where the
    system has RLIMIT_AS. Children start with the first work and only as many as there is work
    for. One `run` or `stream` at a time. Raises RagctlError where no child can start.
    """

    def __init__(self, function: str, *, workers: int, seconds: float, memory: int) -> None:
        if workers < 1 or seconds <= 0 or memory < 1:
            raise ValueError("workers, seconds and memory must be above zero")
        self.workers = workers
        self._spec = _Spec(function, seconds, memory)
        self._crew: _Crew | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def run(self, jobs: Iterable[J]) -> Iterator[tuple[J, Any]]:
        """Yields (job, what the function returned) as jobs complete.

        In place of a result stands the RagctlError that the job raised, or a DocumentError if
        it failed otherwise, hung, crashed or outgrew its memory; the other jobs go on. `jobs`
        is read lazily, at most two per worker ahead.
        """
        for reply in self._replies(jobs):
            value = reply.value()
            yield reply.job, value.error if isinstance(value, Ended) else value

    def stream(self, jobs: Iterable[J]) -> Iterator[tuple[J, Any]]:
        """Like `run`, for a function that returns an iterator: items come as they are made.

        Yields (job, item) for every item, in order within a job, then (job, Ended(error)). A
        job's time stands still while its items wait for the caller.
        """
        for reply in self._replies(jobs):
            yield reply.job, reply.value()

    def close(self) -> None:
        """Kills the children at once and waits for their end. The pool may be used again."""
        if self._crew is not None:
            self._crew.close()
            self._crew = None

    def _replies(self, jobs: Iterable[Any]) -> Generator[_Reply, None, None]:
        if self._crew is None:
            self._crew = _Crew(self._spec, self.workers)
        crew = self._crew
        source = iter(jobs)
        pending = 0
        more = True
        try:
            while True:
                while more and pending < _AHEAD * self.workers:
                    try:
                        job = next(source)
                    except StopIteration:
                        more = False
                        break
                    pending += 1
                    crew.add(_Task(job, pickle.dumps(job, pickle.HIGHEST_PROTOCOL)), pending)
                if not pending:
                    return
                reply = crew.next_reply()
                pending -= reply.last
                yield reply
        finally:
            if pending:  # left early: nobody will take the other replies
                crew.close()
                if self._crew is crew:
                    self._crew = None


class _Crew:
    """The threads, each with its child, and the queues between them and the caller."""

    def __init__(self, spec: _Spec, workers: int) -> None:
        self._spec = spec
        self._workers = workers
        self._tasks: queue.SimpleQueue[_Task | None] = queue.SimpleQueue()
        self._replies: queue.SimpleQueue[_Reply | RagctlError] = queue.SimpleQueue()
        self._slots = threading.Semaphore(_AHEAD * workers)  # replies that may wait
        self._feeders: list[threading.Thread] = []
        self._watcher = threading.Thread(target=self._watch, daemon=True)
        self._closing = threading.Event()
        self._lock = threading.Lock()  # of _children, and of starting one while closing
        self._children: set[_Child] = set()

    def add(self, task: _Task, pending: int) -> None:
        self._tasks.put(task)
        if len(self._feeders) < min(self._workers, pending):
            if not self._feeders:
                self._watcher.start()
            self._feeders.append(threading.Thread(target=self._feed, daemon=True))
            self._feeders[-1].start()

    def next_reply(self) -> _Reply:
        reply = self._replies.get()
        self._slots.release()
        if isinstance(reply, RagctlError):
            raise reply
        return reply

    def close(self) -> None:
        with self._lock:
            self._closing.set()
            for child in self._children:
                child.kill()
        for _ in self._feeders:
            self._tasks.put(None)
            self._slots.release()
        for thread in self._feeders:
            thread.join()
        if self._feeders:
            self._watcher.join()

    def _watch(self) -> None:
        """Kills every child whose job is past its time."""
        tick = min(0.1, self._spec.seconds / 10)
        while not self._closing.wait(tick):
            with self._lock:
                for child in self._children:
                    child.check_time()

    def _feed(self) -> None:
        """One thread: hands tasks to its child, replaces the child when it is spent.

        The child lives no longer than this thread, because on Linux a child that asked to die
        with its parent dies with the thread that started it.
        """
        child: _Child | None = None
        try:
            while (task := self._tasks.get()) is not None and not self._closing.is_set():
                child = self._work(task, child)
        except RagctlError as error:
            self._put(error)
        except OSError as error:
            self._put(RagctlError(f"a worker process does not start: {error.strerror}"))
        finally:
            self._retire(child)

    def _work(self, task: _Task, child: "_Child | None") -> "_Child | None":
        """Does one task; returns the child if it can serve another."""
        while True:
            if child is None:
                child = self._start()
            used = child.served > 0
            sent = 0
            for frame in child.ask(task.payload):
                reply = _Reply(task.job, frame)
                if not reply.last:
                    self._put(reply)
                    sent += 1
            if child.spent:
                expired = child.expired
                self._retire(child)
                child = None
                # What a child did before must not decide a job's fate: a used one that crashed
                # or ran out of memory gives way to a fresh one, once.
                if used and not sent and not expired and not self._closing.is_set():
                    continue
            self._put(reply)
            return child

    def _put(self, reply: _Reply | RagctlError) -> None:
        self._slots.acquire()
        if not self._closing.is_set():
            self._replies.put(reply)

    def _start(self) -> "_Child":
        with self._lock:
            if self._closing.is_set():
                raise RagctlError("the pool is closed")
            child = _Child(self._spec)
            self._children.add(child)
        try:
            child.await_ready()
        except RagctlError:
            self._retire(child)
            raise
        return child

    def _retire(self, child: "_Child | None") -> None:
        if child is not None:
            with self._lock:
                self._children.discard(child)
            child.end()


class _Child:
    """One child process, seen from its thread; `kill` and `check_time` come from others."""

    def __init__(self, spec: _Spec) -> None:
        self._spec = spec
        self.served = 0
        self.spent = False  # dead, dying, or not to be trusted with another job
        self.expired = False
        self._lock = threading.Lock()  # of _deadline and expired
        self._deadline: float | None = None
        settings = {"function": spec.function, "seconds": spec.seconds, "memory": spec.memory}
        self._process = subprocess.Popen(  # noqa: S603 - our own interpreter and code
            [
                *(sys.executable, "-W", "ignore", "-c", _BOOT),
                *(json.dumps(sys.path), json.dumps({**settings, "parent": os.getpid()})),
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            # Out of the terminal's foreground group: Ctrl-C is for the parent to decide upon.
            process_group=0 if os.name == "posix" else None,
        )
        self._jobs = cast(BinaryIO, self._process.stdin)
        self._replies = cast(BinaryIO, self._process.stdout)

    def await_ready(self) -> None:
        """Raises RagctlError if the child does not come up."""
        self._set_deadline(_START_SECONDS)
        frame = _read_frame(self._replies)
        self._set_deadline(None)
        if frame is None:
            reason = f"no sign of life in {_START_SECONDS:g} s" if self.expired else self._how()
            raise RagctlError(
                f"a worker process does not start: {reason}; "
                f"is its memory limit of {_size(self._spec.memory)} too low?"
            )
        if frame[0] != _READY:
            raise RagctlError(f"a worker process does not start: {frame[1].decode()}")

    def ask(self, payload: bytes) -> Iterator[_Frame | Ended]:
        """Yields _ITEM frames, then one last thing: a frame of another kind, or Ended."""
        self.served += 1
        left = self._spec.seconds
        with contextlib.suppress(OSError):  # a dead child shows at the read
            _write_frame(self._jobs, _JOB, payload)
        while True:
            begun = time.monotonic()
            self._set_deadline(left)
            frame = _read_frame(self._replies)
            self._set_deadline(None)
            left = max(0.0, left - (time.monotonic() - begun))
            if frame is None:
                self.spent = True
                yield Ended(DocumentError(self._death()))
                return
            if frame[0] == _MEMORY:
                self.spent = True
                yield Ended(DocumentError(self._too_large()))
                return
            yield frame
            if frame[0] != _ITEM:
                self.spent = self.expired  # killed when it was just done
                return

    def kill(self) -> None:
        self._process.kill()

    def check_time(self) -> None:
        with self._lock:
            if self._deadline is not None and time.monotonic() > self._deadline:
                self.expired = True
                self._process.kill()

    def end(self) -> None:
        self._process.kill()
        self._process.wait()
        with contextlib.suppress(OSError):  # what was not yet flushed to a dead child
            self._jobs.close()
        self._replies.close()

    def _set_deadline(self, seconds: float | None) -> None:
        with self._lock:
            self._deadline = None if seconds is None else time.monotonic() + seconds

    def _death(self) -> str:
        code = self._process.wait()
        if self.expired or code == -getattr(signal, "SIGALRM", 0):
            return f"took longer than {self._spec.seconds:g} s to parse; raise --parse-timeout"
        if code == -getattr(signal, "SIGKILL", 0):
            return "parsing was killed by the system, most likely for want of memory"
        return f"parsing crashed: {self._how()}"

    def _how(self) -> str:
        code = self._process.wait()
        if code < 0:
            try:
                return f"signal {signal.Signals(-code).name}"
            except ValueError:
                return f"signal {-code}"
        return f"exit code {code}"

    def _too_large(self) -> str:
        return f"needs more than {_size(self._spec.memory)} of memory to parse; raise --parse-memory"


def _size(count: int) -> str:
    return f"{count / 2**20:,.0f} MiB"


def _write_frame(pipe: BinaryIO, kind: int, payload: bytes = b"") -> None:
    pipe.write(_HEADER.pack(len(payload), kind))
    pipe.write(payload)
    pipe.flush()


def _read_frame(pipe: BinaryIO) -> _Frame | None:
    """One frame, or None where the other side is gone."""
    header = pipe.read(_HEADER.size)
    if len(header) < _HEADER.size:
        return None
    size, kind = _HEADER.unpack(header)
    payload = pipe.read(size)
    return (kind, payload) if len(payload) == size else None


# The child's side.


def _serve(settings: str) -> NoReturn:
    """The child's life: one job after the other until the parent closes the pipe."""
    given = json.loads(settings)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    jobs, replies = _take_pipes()
    _die_with(given["parent"])
    try:
        _limit_memory(given["memory"])
        module, _, name = given["function"].partition(":")
        function = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, MemoryError) as error:
        _write_frame(replies, _BROKEN, f"{type(error).__name__}: {error}".encode())
        os._exit(1)
    _write_frame(replies, _READY)
    alarm = _Alarm(given["seconds"] + _ORPHAN_SECONDS)
    while (frame := _read_frame(jobs)) is not None:
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
                _send(replies, _ITEM, item)
                alarm.set()
            alarm.clear()
            _send(replies, _END, None)
        else:
            alarm.clear()
            _send(replies, _LAST, result)
    except MemoryError:
        alarm.clear()
        _write_frame(replies, _MEMORY)
        return False
    except RagctlError as error:
        alarm.clear()
        _send(replies, _ERROR, error)
    # The one place where everything is caught: parsers raise anything on hostile input, and
    # whatever it is, it is the failure of one job, to be named and survived.
    except Exception as error:  # noqa: BLE001
        alarm.clear()
        text = " ".join(str(error).split())[:300]
        _send(replies, _ERROR, DocumentError(f"cannot be parsed: {type(error).__name__}: {text}"))
    return True


def _send(replies: BinaryIO, kind: int, value: Any) -> None:
    payload = pickle.dumps(value, pickle.HIGHEST_PROTOCOL)
    try:
        _write_frame(replies, kind, payload)
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
