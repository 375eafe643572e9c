"""The pool, and the threads that feed its child processes."""

import contextlib
import pickle
import queue
import threading
from collections.abc import Generator, Iterable, Iterator
from types import TracebackType
from typing import Any, Self, TypeVar

from ragctl.errors import DocumentError, RagctlError
from ragctl.workers.process import Child, StartError, WorkerSpec
from ragctl.workers.reply import Ended, Job, Reply

J = TypeVar("J")

JOBS_AHEAD = 2  # per worker: jobs taken from the caller, and replies waiting for it
START_ATTEMPTS = 2  # for one job
MAX_FAILED_STARTS = 20  # in a row, of all workers; then it is not a job that fails but the machine


class Pool:
    """A pool that runs a function on jobs in child processes.

    Children start when the first job is sent or `warm` is called; there are never more of them
    than jobs. If the module of the function has a function `warm`, each child calls it once. Only
    one `run` or `stream` may be active at a time.

    Args:
        function: "package.module:name" of a function that takes one picklable argument.
        workers: the largest number of children.
        seconds: time limit of one job.
        memory: limit on the address space of a child in bytes, on systems with RLIMIT_AS.

    Raises:
        RagctlError: by `run` and `stream`, if a child cannot import the function, or
            MAX_FAILED_STARTS of them in a row are killed before they are ready. If two are for
            one job, that job fails.
    """

    kept = False
    """Whether the children stay for further jobs after `release`."""

    def __init__(self, function: str, *, workers: int, seconds: float, memory: int) -> None:
        if workers < 1 or seconds <= 0 or memory < 1:
            raise ValueError("workers, seconds and memory must be above zero")
        self.workers = workers
        self._spec = WorkerSpec(function, seconds, memory)
        self._threads: _WorkerThreads | None = None

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
        """Start the children for a number of jobs now, without waiting until they are ready."""
        if self._threads is None:
            self._threads = _WorkerThreads(self._spec, self.workers)
        self._threads.warm(jobs)

    def run(self, jobs: Iterable[J]) -> Iterator[tuple[J, Any]]:
        """Yield (job, what the function returned) as jobs complete.

        The result of a failed job is the RagctlError that it raised, or a DocumentError if it
        raised another error, exceeded its time or memory, or crashed; the other jobs go on. Jobs
        are taken from `jobs` as they are needed, at most JOBS_AHEAD per worker in advance.
        """
        for reply in self._replies(jobs):
            value = reply.value()
            yield reply.argument, value.error if isinstance(value, Ended) else value

    def stream(self, jobs: Iterable[J]) -> Iterator[tuple[J, Any]]:
        """Yield (job, item) for every item of the iterators that the function returns.

        Items of a job are yielded in order as they are made, then (job, Ended(error)). The time
        that an item waits for the caller does not count towards the limit of its job.
        """
        for reply in self._replies(jobs):
            yield reply.argument, reply.value()

    def release(self) -> None:
        """End the children, unless they are kept: the jobs of a run are done."""
        if not self.kept:
            self.close()

    def close(self) -> None:
        """Kill the children and wait for their end. The pool can be used again."""
        if self._threads is not None:
            self._threads.close()
            self._threads = None

    def _replies(self, jobs: Iterable[Any]) -> Generator[Reply, None, None]:
        if self._threads is None:
            self._threads = _WorkerThreads(self._spec, self.workers)
        threads = self._threads
        source = iter(jobs)
        pending = 0
        more = True
        try:
            while True:
                while more and pending < JOBS_AHEAD * self.workers:
                    try:
                        job = next(source)
                    except StopIteration:
                        more = False
                        break
                    pending += 1
                    threads.add(Job(job, pickle.dumps(job, pickle.HIGHEST_PROTOCOL)), pending)
                if not pending:
                    return
                reply = threads.next_reply()
                pending -= reply.last
                yield reply
        finally:
            if pending:
                self._abandon(threads, pending)

    def _abandon(self, threads: "_WorkerThreads", pending: int) -> None:
        """End the children with `pending` jobs: the caller has stopped and needs no reply."""
        threads.close()
        if self._threads is threads:
            self._threads = None


class _WorkerThreads:
    """Up to `limit` threads with a child each, one that enforces time limits, and their queues."""

    def __init__(self, spec: WorkerSpec, limit: int) -> None:
        self._spec = spec
        self._limit = limit
        self._jobs: queue.SimpleQueue[Job | None] = queue.SimpleQueue()
        self._replies: queue.SimpleQueue[Reply | RagctlError] = queue.SimpleQueue()
        self._slots = threading.Semaphore(JOBS_AHEAD * limit)  # free slots for replies
        self._threads: list[threading.Thread] = []
        self._watcher = threading.Thread(target=self._watch, daemon=True)
        self._closing = threading.Event()
        self._lock = threading.Lock()  # guards _children, and starting a child while closing
        self._children: set[Child] = set()
        self._failed_starts = 0  # since a child was last ready; also guarded by _lock

    def add(self, job: Job, pending: int) -> None:
        """Add a job; `pending` jobs, this one included, have not ended."""
        self._jobs.put(job)
        self.warm(pending)

    def warm(self, jobs: int) -> None:
        """Start the threads for a number of jobs."""
        while len(self._threads) < min(self._limit, jobs):
            if not self._threads:
                self._watcher.start()
            self._threads.append(threading.Thread(target=self._serve_jobs, daemon=True))
            self._threads[-1].start()

    def next_reply(self) -> Reply:
        """Wait for a reply. Raises RagctlError if no child can start."""
        reply = self._replies.get()
        self._slots.release()
        if isinstance(reply, RagctlError):
            raise reply
        return reply

    def close(self) -> None:
        """Kill the children and wait until all threads have ended."""
        with self._lock:
            self._closing.set()
            for child in self._children:
                child.kill()
        for _ in self._threads:
            self._jobs.put(None)
            self._slots.release()
        for thread in self._threads:
            thread.join()
        if self._threads:
            self._watcher.join()

    def _watch(self) -> None:
        """Kill every child whose job has exceeded its time, until the pool closes."""
        tick = min(0.1, self._spec.seconds / 10)
        while not self._closing.wait(tick):
            with self._lock:
                for child in self._children:
                    child.check_time()

    def _serve_jobs(self) -> None:
        """Send jobs to a child until the pool closes, and replace the child if it is unusable.

        This is the body of a thread. The child must not outlive it: on Linux, a child that asks
        to be killed with its parent is killed when the thread that started it ends (prctl(2),
        PR_SET_PDEATHSIG).
        """
        child: Child | None = None
        try:
            with contextlib.suppress(StartError):  # the first job starts another one
                child = self._start()
            while (job := self._jobs.get()) is not None and not self._closing.is_set():
                child = self._do_job(job, child)
        except RagctlError as error:
            self._put_reply(error)
        except OSError as error:
            self._put_reply(RagctlError(f"a worker process does not start: {error.strerror}"))
        finally:
            self._end_child(child)

    def _do_job(self, job: Job, child: "Child | None") -> "Child | None":
        """Do one job and return the child, or None if it cannot serve another."""
        failed_starts = 0
        while True:
            if child is None:
                try:
                    child = self._start()
                except StartError as error:
                    failed_starts += 1
                    if failed_starts < START_ATTEMPTS:
                        continue
                    self._put_reply(Reply(job.argument, Ended(DocumentError(str(error)))))
                    return None
            used = child.served > 0
            sent = 0
            for frame in child.ask(job.payload):
                reply = Reply(job.argument, frame)
                if not reply.last:
                    self._put_reply(reply)
                    sent += 1
            if child.unusable:
                expired = child.expired
                self._end_child(child)
                child = None
                # Earlier jobs must not make a job fail: if a used child crashed or ran out of
                # memory, the job is tried once more in a new one.
                if used and not sent and not expired and not self._closing.is_set():
                    continue
            self._put_reply(reply)
            return child

    def _put_reply(self, reply: Reply | RagctlError) -> None:
        """Hand a reply to the caller, after waiting for a free slot; drop it on closing."""
        if self._closing.is_set():  # close() frees only one slot for each thread
            return
        self._slots.acquire()
        if not self._closing.is_set():
            self._replies.put(reply)

    def _start(self) -> "Child":
        """Start a child and wait until it is ready. Raises StartError, and other RagctlErrors."""
        with self._lock:
            if self._closing.is_set():
                raise RagctlError("the pool is closed")
            child = Child(self._spec)
            self._children.add(child)
        try:
            child.await_ready()
        except StartError as error:
            self._end_child(child)
            with self._lock:
                self._failed_starts += 1
                if self._failed_starts >= MAX_FAILED_STARTS:
                    raise RagctlError(str(error)) from error
            raise
        except RagctlError:
            self._end_child(child)
            raise
        with self._lock:
            self._failed_starts = 0
        return child

    def _end_child(self, child: "Child | None") -> None:
        if child is not None:
            with self._lock:
                self._children.discard(child)
            child.end()
