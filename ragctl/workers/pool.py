"""The pool, and the threads that keep its children at work."""

import pickle
import queue
import threading
from collections.abc import Generator, Iterable, Iterator
from types import TracebackType
from typing import Any, Self, TypeVar

from ragctl.errors import RagctlError
from ragctl.workers.process import Child, Spec
from ragctl.workers.reply import Ended, Job, Reply

J = TypeVar("J")

_AHEAD = 2  # jobs taken ahead, and replies kept waiting, per worker


class Pool:
    """Runs `function` ("package.module:name", one picklable argument) in limited children.

    `seconds` bounds one job's time; `memory` (bytes) bounds a child's address space, where the
    system has RLIMIT_AS. Children start with the first work, or with `warm`, and only as many as
    there is work for; where the function's module has a function `warm`, each calls it once.
    One `run` or `stream` at a time. Raises RagctlError where no child can start.
    """

    def __init__(self, function: str, *, workers: int, seconds: float, memory: int) -> None:
        if workers < 1 or seconds <= 0 or memory < 1:
            raise ValueError("workers, seconds and memory must be above zero")
        self.workers = workers
        self._spec = Spec(function, seconds, memory)
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

    def warm(self, jobs: int) -> None:
        """Start the children for so many jobs now; they get ready while the caller goes on."""
        if self._crew is None:
            self._crew = _Crew(self._spec, self.workers)
        self._crew.warm(jobs)

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

    def _replies(self, jobs: Iterable[Any]) -> Generator[Reply, None, None]:
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
                    crew.add(Job(job, pickle.dumps(job, pickle.HIGHEST_PROTOCOL)), pending)
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

    def __init__(self, spec: Spec, workers: int) -> None:
        self._spec = spec
        self._workers = workers
        self._tasks: queue.SimpleQueue[Job | None] = queue.SimpleQueue()
        self._replies: queue.SimpleQueue[Reply | RagctlError] = queue.SimpleQueue()
        self._slots = threading.Semaphore(_AHEAD * workers)  # replies that may wait
        self._feeders: list[threading.Thread] = []
        self._watcher = threading.Thread(target=self._watch, daemon=True)
        self._closing = threading.Event()
        self._lock = threading.Lock()  # of _children, and of starting one while closing
        self._children: set[Child] = set()

    def add(self, task: Job, pending: int) -> None:
        self._tasks.put(task)
        self.warm(pending)

    def warm(self, jobs: int) -> None:
        while len(self._feeders) < min(self._workers, jobs):
            if not self._feeders:
                self._watcher.start()
            self._feeders.append(threading.Thread(target=self._feed, daemon=True))
            self._feeders[-1].start()

    def next_reply(self) -> Reply:
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
        child: Child | None = None
        try:
            child = self._start()
            while (task := self._tasks.get()) is not None and not self._closing.is_set():
                child = self._work(task, child)
        except RagctlError as error:
            self._put(error)
        except OSError as error:
            self._put(RagctlError(f"a worker process does not start: {error.strerror}"))
        finally:
            self._retire(child)

    def _work(self, task: Job, child: "Child | None") -> "Child | None":
        """Does one task; returns the child if it can serve another."""
        while True:
            if child is None:
                child = self._start()
            used = child.served > 0
            sent = 0
            for frame in child.ask(task.payload):
                reply = Reply(task.job, frame)
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

    def _put(self, reply: Reply | RagctlError) -> None:
        if self._closing.is_set():  # close() frees one slot a feeder, no more
            return
        self._slots.acquire()
        if not self._closing.is_set():
            self._replies.put(reply)

    def _start(self) -> "Child":
        with self._lock:
            if self._closing.is_set():
                raise RagctlError("the pool is closed")
            child = Child(self._spec)
            self._children.add(child)
        try:
            child.await_ready()
        except RagctlError:
            self._retire(child)
            raise
        return child

    def _retire(self, child: "Child | None") -> None:
        if child is not None:
            with self._lock:
                self._children.discard(child)
            child.end()
