"""Finds out whether a request fails because of its texts, or because the backend fails."""

import re
import threading
from dataclasses import replace

from ragctl.embedding.base import EmbeddingRequest, Embeddings, EmbeddingService, Side
from ragctl.errors import BackendError, RagctlError
from ragctl.hosts.batch_limits import stated_batch_limit
from ragctl.hosts.errors import Refused, Transient
from ragctl.text import describe_exception

PLAIN_TEXT = "text"
BATCH_FAILURES = 3
"""Identical failures of one request after which its texts may be the reason."""
KNOWN_FAILURES = 1  # the same, where a text was already the reason for such a failure

_DIGITS = re.compile(r"\d+")


class Isolation:
    """A service that blames a request's texts only after the backend has embedded a plain one.

    Hosts refuse texts (400, 403, 413, 422), or fail on them in the same way each time (500
    for a vector with NaN, 504 for a batch that takes too long, 429 for one that is larger
    than the host's queue). Such a request is raised as Refused, so that the Embedder splits
    it until the bad texts are alone. A host that fails on a plain text too raises its own
    error, and no text is blamed.

    A refused batch, which will be split, is checked only until the first success of its
    kind; a single text is checked every time.
    """

    def __init__(self, service: EmbeddingService) -> None:
        self._service = service
        self._accepted: set[tuple[Side, bool]] = set()
        self._known: set[str] = set()  # failures for which a text was the reason
        self._lock = threading.Lock()

    def call(self, request: EmbeddingRequest) -> Embeddings:
        """Answer a request. Raises Refused if the texts are the reason, else BackendError."""
        try:
            answer = self._ask(request)
        except Refused as refusal:
            self._confirm(request, refusal)
            raise
        except Transient as failure:
            refusal_of_texts = self._refusal(request, failure)
            if refusal_of_texts is None:
                raise
            if isinstance(refusal_of_texts, Embeddings):
                return refusal_of_texts
            raise refusal_of_texts from failure
        self._accepted.add((request.side, request.together))
        return answer

    def _ask(self, request: EmbeddingRequest) -> Embeddings:
        """Send a request. Whatever a backend answers is at worst the failure of this backend."""
        try:
            return self._service.call(request)
        except (RagctlError, AssertionError):
            raise
        except Exception as error:
            raise BackendError(
                f"the answer of the backend cannot be used: {describe_exception(error)}"
            ) from error

    def _confirm(self, request: EmbeddingRequest, refusal: Refused) -> None:
        """Raise BackendError if a plain text is refused too; note a limit that is stated."""
        texts = len(request.texts)
        if refusal.max_texts is None:
            refusal.max_texts = stated_batch_limit(str(refusal), texts)
        if refusal.certain or refusal.max_texts is not None:
            return
        kind = (request.side, request.together)
        if texts > 1 and kind in self._accepted:
            return
        with self._lock:
            try:
                self._ask(_probe(request))
            except Refused:
                raise BackendError(f"{refusal} (a plain one-word text is refused too)") from refusal
        self._accepted.add(kind)

    def _refusal(
        self, request: EmbeddingRequest, failure: Transient
    ) -> Refused | Embeddings | None:
        """Return the refusal that a failure amounts to, or None if the backend may be the reason.

        Sends the request again once a plain text is embedded, and returns its vectors if it
        is embedded too: then an outage was the reason. A single text is blamed when it fails
        between two plain texts that are embedded.
        """
        texts = len(request.texts)
        limit = stated_batch_limit(str(failure), texts)
        if limit is not None:
            return Refused(str(failure), certain=True, max_texts=limit)
        # A host that asks to wait, or that is busy with others, says nothing about the texts.
        if failure.retry_after is not None or (failure.throttled and texts == 1):
            return None
        signature = _DIGITS.sub("", str(failure))
        if request.failures and request.failures[-1] != signature:
            request.failures.clear()
        request.failures.append(signature)
        suspected = failure.timed_out or signature in self._known
        if len(request.failures) < (KNOWN_FAILURES if suspected else BATCH_FAILURES):
            return None
        if not self._probe_passes(request):
            return None
        # After a timeout the host may still be working: the probe has waited until it is done,
        # and a batch is not sent again as it was.
        if texts == 1 or not failure.timed_out:
            outcome = self._again(request, signature)
            if outcome is not None:
                return outcome
        if texts > 1:
            return Refused(str(failure))
        if not self._probe_passes(request):
            return None
        self._known.add(signature)
        return Refused(f"{failure}, each time, while a plain text is embedded", certain=True)

    def _again(self, request: EmbeddingRequest, signature: str) -> Refused | Embeddings | None:
        """Send a request once more: an outage may have ended just before the probe passed.

        Returns its vectors or its refusal, or None if it fails again. Raises a failure of
        another kind, after which the failures of the request are counted anew.
        """
        try:
            return self._ask(request)
        except Refused as refusal:
            return refusal
        except Transient as again:
            if _DIGITS.sub("", str(again)) != signature:
                request.failures.clear()
                raise
        return None

    def _probe_passes(self, request: EmbeddingRequest) -> bool:
        """Return whether the backend embeds a plain text now."""
        with self._lock:
            try:
                self._ask(_probe(request))
            except BackendError:
                request.failures.clear()
                return False
        return True

    def close(self) -> None:
        """Close the wrapped service."""
        self._service.close()


def _probe(request: EmbeddingRequest) -> EmbeddingRequest:
    """Return a request that differs from `request` only in its texts: one plain word."""
    return replace(request, texts=(PLAIN_TEXT,), tokens=1)
