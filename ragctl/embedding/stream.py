"""A stream of document texts into vectors: batches filled, sent side by side, handed back."""

import json
import threading
import time
from collections import deque
from collections.abc import Hashable, Sequence
from types import TracebackType
from typing import Generic, TypeVar

from ragctl.embedding.base import Embedder, EmbeddingRequest, Vectors, text_problem
from ragctl.errors import DocumentError, Interrupted

K = TypeVar("K", bound=Hashable)

_ENVELOPE = 512  # bytes of a request beside its texts, more than any wire here needs


class _Batch(Generic[K]):
    def __init__(self) -> None:
        self.keys: list[K] = []
        self.texts: list[str] = []
        self.tokens = 0  # at most
        self.own = 0  # as the caller counted them
        self.bytes = _ENVELOPE
        self.together = False

    def add(self, key: K, text: str, most: int, size: int, tokens: int) -> None:
        self.keys.append(key)
        self.texts.append(text)
        self.tokens += most
        self.own += tokens
        self.bytes += size


class DocumentStream(Generic[K]):
    """Embeds texts as they are added; results come back batch by batch, in any order.

    Call `completed` regularly while adding: results wait in memory until then.
    At most `concurrency` requests are in flight and as many full batches wait;
    `add` blocks beyond that. Made for one calling thread; `stop` may be called
    from any thread and from a signal handler.

    When a batch fails for good, nothing new is sent. `completed` first hands
    over what the requests in flight still bring, then raises the BackendError.
    Leaving the context starts nothing new and waits for nothing.
    """

    def __init__(self, embedder: Embedder) -> None:
        self._embedder = embedder
        self._limits = embedder.limits
        self._prompt = len((embedder.model.document.prompt or "").encode())
        # Reentrant, so that a signal handler may call stop() inside any of this.
        self._change = threading.Condition(threading.RLock())
        self._filling: _Batch[K] = _Batch()
        self._waiting: deque[_Batch[K]] = deque()
        self._done: deque[tuple[K, Vectors | DocumentError]] = deque()
        self._threads = 0
        self._flying = 0  # batches
        self._busy = 0.0
        self._took_off = 0.0
        self._flying_texts = 0
        self._lost = 0  # texts of a failed batch, and those never to be sent after it
        self._failure: BaseException | None = None
        self._stopped = threading.Event()

    @property
    def pending(self) -> int:
        """Texts added whose results `completed` has not handed over yet.

        Texts lost to a failure count until `completed` has raised it.
        """
        with self._change:
            unsent = sum(len(batch.keys) for batch in self._waiting) + len(self._filling.keys)
            return unsent + self._flying_texts + len(self._done) + self._lost

    @property
    def seconds(self) -> float:
        """How long requests were under way, one or many at a time."""
        with self._change:
            return self._busy + (time.monotonic() - self._took_off if self._flying else 0.0)

    def add(self, key: K, text: str, tokens: int = 0) -> None:
        """Take a text in; a batch that is full is sent. `key` comes back with the result.

        `tokens` is the caller's own count, for limits and the bill. Raises
        BackendError as `completed` does, Interrupted after `stop`.
        """
        problem = text_problem(text)
        if problem:
            with self._change:
                self._done.append((key, DocumentError(f"the text {problem}")))
            return
        most, size = self._sizes(text)
        with self._change:
            self._check()
            batch = self._filling
            limits = self._limits
            if batch.keys and (
                (limits.tokens is not None and batch.tokens + most > limits.tokens)
                or (limits.bytes is not None and batch.bytes + size > limits.bytes)
            ):
                self._send()
                batch = self._filling
            batch.add(key, text, most, size, tokens)
            if len(batch.keys) >= limits.texts:
                self._send()

    def add_together(self, texts: Sequence[tuple[K, str, int]]) -> None:
        """Take in the chunks of one document, in order: (key, text, tokens) each.

        They are sent in one request of their own, where each is embedded in the
        context of all (late chunking); so all are refused when one cannot be
        embedded, or when they are more than one request carries. Raises as `add`
        does.
        """
        problem = self._inseparable([text for _, text, _ in texts])
        if problem:
            with self._change:
                self._done.extend((key, DocumentError(problem)) for key, _, _ in texts)
            return
        whole = _Batch[K]()
        whole.together = True
        for key, text, tokens in texts:
            whole.add(key, text, *self._sizes(text), tokens)
        with self._change:
            self._check()
            if self._filling.keys:
                self._send()
            self._filling = whole
            if whole.keys:
                self._send()

    def _inseparable(self, texts: Sequence[str]) -> str | None:
        """Return why texts cannot be embedded together, None if they may."""
        most = self._limits.texts
        if len(texts) > most:
            return (
                f"its {len(texts)} chunks are more than the {most} of one request: make them larger"
            )
        problems = (text_problem(text) for text in texts)
        return next((f"the text {problem}" for problem in problems if problem), None)

    def _sizes(self, text: str) -> tuple[int, int]:
        """Return the most tokens and bytes of JSON that a text can be, its prompt included."""
        # One token is at least one byte of UTF-8 in every tokenizer of the catalogue, so bytes
        # bound tokens from above (about fourfold for English); 8 more for special tokens.
        most = self._prompt + len(text.encode()) + 8
        return most, self._prompt + len(json.dumps(text, ensure_ascii=False).encode()) + 1

    def flush(self) -> None:
        """Send the batch that is being filled."""
        with self._change:
            if self._filling.keys:
                self._send()

    def completed(self, block: bool) -> list[tuple[K, Vectors | DocumentError]]:
        """Return what has come back since the last call: vectors of shape (dim,), or refusals.

        With `block`, waits for at least one result if anything is pending, and
        sends the batch being filled when nothing else is under way. Raises the
        BackendError that ended the stream, once nothing is in flight and all
        results have been handed over.
        """
        with self._change:
            if block:
                if not (self._done or self._waiting or self._flying):
                    self.flush()
                self._change.wait_for(lambda: bool(self._done) or self._idle())
            results = list(self._done)
            self._done.clear()
            if not results and self._failure is not None and not self._flying:
                self._lost = 0
                raise self._failure
            return results

    def stop(self) -> None:
        """Start nothing new; let what is in flight finish. `completed` hands that over.

        Texts not sent yet are forgotten, and waits between tries end at once.
        """
        self._stopped.set()
        with self._change:
            self._waiting.clear()
            self._filling = _Batch()
            self._change.notify_all()

    def __enter__(self) -> "DocumentStream[K]":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()
        if kind is None and self._lost and self._failure is not None:
            raise self._failure

    def _idle(self) -> bool:
        return not self._flying and not self._waiting

    def _check(self) -> None:
        """Refuse more texts after stop() or a failure, holding the lock."""
        if self._stopped.is_set():
            raise Interrupted("stopped: no further text is embedded")
        if self._failure is None:
            return
        # Results that were paid for go first: completed() hands them over, then raises.
        self._change.wait_for(lambda: not self._flying)
        if not self._done:
            self._lost = 0
            raise self._failure

    def _send(self) -> None:
        """Queue the batch being filled, waiting while too many wait. Holds the lock."""
        concurrency = self._embedder.concurrency
        self._change.wait_for(lambda: len(self._waiting) < concurrency or self._over())
        batch, self._filling = self._filling, _Batch()
        if self._over():
            if self._failure is not None:
                self._lost += len(batch.keys)
            return
        self._waiting.append(batch)
        if self._threads < concurrency:
            self._threads += 1
            # Daemons: a second Ctrl-C must not wait for a host that hangs.
            threading.Thread(target=self._work, name="embedding", daemon=True).start()
        self._change.notify_all()

    def _over(self) -> bool:
        return self._stopped.is_set() or self._failure is not None

    def _work(self) -> None:
        """Send batches until the stream is over. Runs in each worker thread."""
        while True:
            with self._change:
                self._change.wait_for(lambda: bool(self._waiting) or self._over())
                if self._over():
                    return
                batch = self._waiting.popleft()
                if not self._flying:
                    self._took_off = time.monotonic()
                self._flying += 1
                self._flying_texts += len(batch.keys)
                self._change.notify_all()
            self._fly(batch)

    def _fly(self, batch: _Batch[K]) -> None:
        left = len(batch.keys)
        failure: BaseException | None = None
        try:
            for start, outcome in self._embedder.embed(
                EmbeddingRequest(
                    "document", tuple(batch.texts), self._stopped, batch.own, batch.together
                )
            ):
                results = (
                    [(batch.keys[start], outcome)]
                    if isinstance(outcome, DocumentError)
                    else list(zip(batch.keys[start:], outcome, strict=False))
                )
                left -= len(results)
                with self._change:
                    self._flying_texts -= len(results)
                    self._done.extend(results)
                    self._change.notify_all()
        except Interrupted:
            pass  # between two tries after stop(): this batch is simply not sent
        except BaseException as error:  # noqa: BLE001 - re-raised by completed(), in the caller
            failure = error
        with self._change:
            self._flying -= 1
            if not self._flying:
                self._busy += time.monotonic() - self._took_off
            self._flying_texts -= left
            if failure is not None:
                if self._failure is None:
                    self._failure = failure
                self._lost += left + sum(len(waiting.keys) for waiting in self._waiting)
                self._waiting.clear()
            self._change.notify_all()
