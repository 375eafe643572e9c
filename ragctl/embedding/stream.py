"""Streams document texts into vectors: fills batches, sends them in parallel, returns results."""

import json
import threading
import time
from collections import deque
from collections.abc import Hashable, Iterator, Sequence
from types import TracebackType
from typing import Generic, Protocol, TypeVar

from ragctl.catalog import Model, RequestLimits
from ragctl.embedding.base import EmbeddingRequest, Vectors, text_problem
from ragctl.errors import DocumentError, Interrupted
from ragctl.text import counted

K = TypeVar("K", bound=Hashable)

ENVELOPE_BYTES = 512  # of a request besides its texts; no wire needs more
SPECIAL_TOKENS = 8  # what a tokenizer may add to a text


class BatchEmbedder(Protocol):
    """What a stream needs of an Embedder."""

    model: Model
    limits: RequestLimits
    concurrency: int

    @property
    def max_texts(self) -> int:
        """How many texts a request has at most; it may become lower."""

    def embed(self, request: EmbeddingRequest) -> Iterator[tuple[int, Vectors | DocumentError]]:
        """Yield the position of a text in the request, and its vectors or its error."""


class _Batch(Generic[K]):
    """The texts of one request, with their keys and sizes."""

    def __init__(self) -> None:
        self.keys: list[K] = []
        self.texts: list[str] = []
        self.max_tokens = 0
        self.counted_tokens = 0  # by the caller
        self.bytes = ENVELOPE_BYTES
        self.together = False

    def add(self, key: K, text: str, max_tokens: int, size: int, tokens: int) -> None:
        """Add a text of at most `max_tokens` tokens, `size` bytes and `tokens` counted tokens."""
        self.keys.append(key)
        self.texts.append(text)
        self.max_tokens += max_tokens
        self.counted_tokens += tokens
        self.bytes += size


class DocumentStream(Generic[K]):
    """Embeds texts as they are added; results come back batch by batch, in any order.

    Call `completed` regularly while adding: results stay in memory until then. At most
    `concurrency` requests are in flight, and as many full batches wait; beyond that `add`
    blocks. One thread adds and collects; `stop` may be called from any thread and from a
    signal handler.

    When a batch fails for good, nothing more is sent. `completed` first returns the results
    of the requests in flight, then raises the BackendError. Leaving the context sends
    nothing more and does not wait.
    """

    def __init__(self, embedder: BatchEmbedder) -> None:
        self._embedder = embedder
        self._limits = embedder.limits
        self._prompt = len((embedder.model.document.prompt or "").encode())
        # Reentrant, so that a signal handler may call stop() inside any of this.
        self._change = threading.Condition(threading.RLock())
        self._filling: _Batch[K] = _Batch()
        self._waiting: deque[_Batch[K]] = deque()
        self._done: deque[tuple[K, Vectors | DocumentError]] = deque()
        self._threads = 0
        self._in_flight = 0  # batches
        self._busy_seconds = 0.0
        self._busy_since = 0.0
        self._texts_in_flight = 0
        self._lost = 0  # texts of the failed batch and of those that are not sent after it
        self._failure: BaseException | None = None
        self._stopped = threading.Event()

    @property
    def pending(self) -> int:
        """How many added texts have no result from `completed` yet.

        Texts lost to a failure count until `completed` has raised it.
        """
        with self._change:
            unsent = sum(len(batch.keys) for batch in self._waiting) + len(self._filling.keys)
            return unsent + self._texts_in_flight + len(self._done) + self._lost

    @property
    def seconds(self) -> float:
        """For how long at least one request was in flight."""
        with self._change:
            return self._busy_seconds + (
                time.monotonic() - self._busy_since if self._in_flight else 0.0
            )

    def add(self, key: K, text: str, tokens: int = 0) -> None:
        """Add a text; a full batch is sent. `key` comes back with the result.

        `tokens`: the caller's count, for rate limits and costs. Raises BackendError as
        `completed` does, Interrupted after `stop`.
        """
        problem = text_problem(text)
        if problem:
            with self._change:
                self._done.append((key, DocumentError(f"the text {problem}")))
            return
        max_tokens, size = self._sizes(text)
        with self._change:
            self._raise_if_ended()
            batch = self._filling
            limits = self._limits
            if batch.keys and (
                (limits.tokens is not None and batch.max_tokens + max_tokens > limits.tokens)
                or (limits.bytes is not None and batch.bytes + size > limits.bytes)
            ):
                self._send()
                batch = self._filling
            batch.add(key, text, max_tokens, size, tokens)
            if len(batch.keys) >= self._embedder.max_texts:
                self._send()

    def add_together(self, texts: Sequence[tuple[K, str, int]]) -> None:
        """Add consecutive chunks of one document for late chunking: (key, text, tokens) each.

        They are sent in a request of their own, where each is embedded in the context of all.
        So all are refused if one cannot be embedded, or if they do not fit into one request.
        Raises as `add` does.
        """
        problem = self._together_problem([text for _, text, _ in texts])
        if problem:
            with self._change:
                self._done.extend((key, DocumentError(problem)) for key, _, _ in texts)
            return
        window = _Batch[K]()
        window.together = True
        for key, text, tokens in texts:
            window.add(key, text, *self._sizes(text), tokens)
        with self._change:
            self._raise_if_ended()
            if self._filling.keys:
                self._send()
            self._filling = window
            if window.keys:
                self._send()

    def _together_problem(self, texts: Sequence[str]) -> str | None:
        """Return why texts cannot be embedded together, or None."""
        limit = self._limits.texts
        if len(texts) > limit:
            return (
                f"its {counted(len(texts), 'chunk')} are more than the {limit} of one request: "
                "make them "
                "larger"
            )
        problems = (text_problem(text) for text in texts)
        return next((f"the text {problem}" for problem in problems if problem), None)

    def _sizes(self, text: str) -> tuple[int, int]:
        """Return the largest possible number of tokens, and the bytes of JSON, with the prompt."""
        # A token is at least one byte of UTF-8 in every tokenizer of the catalogue, so bytes
        # bound tokens from above (English has about four bytes per token).
        max_tokens = self._prompt + len(text.encode()) + SPECIAL_TOKENS
        return max_tokens, self._prompt + len(json.dumps(text, ensure_ascii=False).encode()) + 1

    def flush(self) -> None:
        """Send the batch that is being filled, if it has texts."""
        with self._change:
            if self._filling.keys:
                self._send()

    def completed(self, block: bool) -> list[tuple[K, Vectors | DocumentError]]:
        """Return the results since the last call: vectors of shape (dim,), or refusals.

        With `block`, wait for at least one result if any is pending, and send the batch that
        is being filled if nothing else is in flight. Raises the BackendError that ended the
        stream, after all results have been returned and nothing is in flight.
        """
        with self._change:
            if block:
                if not (self._done or self._waiting or self._in_flight):
                    self.flush()
                self._change.wait_for(lambda: bool(self._done) or self._idle())
            results = list(self._done)
            self._done.clear()
            if not results and self._failure is not None and not self._in_flight:
                self._lost = 0
                raise self._failure
            return results

    def stop(self) -> None:
        """Send nothing more. Requests in flight finish; `completed` returns their results.

        Texts not sent yet are dropped, and waits between tries end at once.
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
        return not self._in_flight and not self._waiting

    def _raise_if_ended(self) -> None:
        """Raise Interrupted after stop(), or the failure of the stream. Needs the lock."""
        if self._stopped.is_set():
            raise Interrupted("stopped: no further text is embedded")
        if self._failure is None:
            return
        # Results that were paid for come first: completed() returns them, then raises.
        self._change.wait_for(lambda: not self._in_flight)
        if not self._done:
            self._lost = 0
            raise self._failure

    def _send(self) -> None:
        """Queue the batch being filled; wait while too many are queued. Needs the lock."""
        concurrency = self._embedder.concurrency
        self._change.wait_for(lambda: len(self._waiting) < concurrency or self._ended())
        batch, self._filling = self._filling, _Batch()
        if self._ended():
            if self._failure is not None:
                self._lost += len(batch.keys)
            return
        self._waiting.append(batch)
        if self._threads < concurrency:
            self._threads += 1
            # Daemon threads: a second Ctrl-C must not wait for a host that hangs.
            threading.Thread(target=self._work, name="embedding", daemon=True).start()
        self._change.notify_all()

    def _ended(self) -> bool:
        return self._stopped.is_set() or self._failure is not None

    def _work(self) -> None:
        """Send batches until the stream ends. Runs in each worker thread."""
        while True:
            with self._change:
                self._change.wait_for(lambda: bool(self._waiting) or self._ended())
                if self._ended():
                    return
                batch = self._waiting.popleft()
                if not self._in_flight:
                    self._busy_since = time.monotonic()
                self._in_flight += 1
                self._texts_in_flight += len(batch.keys)
                self._change.notify_all()
            self._embed(batch)

    def _embed(self, batch: _Batch[K]) -> None:
        """Send one batch, and queue its results or its failure for `completed`."""
        left = len(batch.keys)
        failure: BaseException | None = None
        try:
            for start, outcome in self._embedder.embed(
                EmbeddingRequest(
                    "document",
                    tuple(batch.texts),
                    self._stopped,
                    batch.counted_tokens,
                    batch.together,
                )
            ):
                results = (
                    [(batch.keys[start], outcome)]
                    if isinstance(outcome, DocumentError)
                    else list(zip(batch.keys[start:], outcome, strict=False))
                )
                left -= len(results)
                with self._change:
                    self._texts_in_flight -= len(results)
                    self._done.extend(results)
                    self._change.notify_all()
        except Interrupted:
            pass  # stopped between two tries: this batch is dropped
        except BaseException as error:  # noqa: BLE001 - re-raised by completed(), in the caller
            failure = error
        with self._change:
            self._in_flight -= 1
            if not self._in_flight:
                self._busy_seconds += time.monotonic() - self._busy_since
            self._texts_in_flight -= left
            if failure is not None:
                if self._failure is None:
                    self._failure = failure
                self._lost += left + sum(len(waiting.keys) for waiting in self._waiting)
                self._waiting.clear()
            self._change.notify_all()
