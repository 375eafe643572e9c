"""Finds out whether a host sends vectors as base64, which takes a fraction of the bytes.

There is no other way than to ask: hosts refuse the field or its value, ignore it, or fail. So
the first documents ask for base64. If that fails they are sent again without the field, and at
last with "float", which a few hosts require. What worked is kept with the collection.
"""

from collections.abc import Callable, Sequence
from http import HTTPStatus

from ragctl.catalog.backend_table import Encoding
from ragctl.embedding.base import Embeddings, Side
from ragctl.errors import BackendError
from ragctl.hosts.errors import Refused, Transient
from ragctl.records import Json

PLAUSIBLE_NORMS = (1e-6, 1e6)
"""Base64 of another byte order or number type has norms far outside."""


class EncodingChoice:
    """The encoding of vectors that one backend is asked for.

    `stated`: by the backend's row; "probe": to be found out. `known` is None until it is.
    `learned` is what this process found out.
    """

    def __init__(self, stated: Encoding) -> None:
        self._probes = stated == "probe"
        self.known: Encoding | None = None if self._probes else stated
        self.learned: Encoding | None = None

    def use(self, encoding: Encoding) -> None:
        """Begin with an encoding that worked earlier. A row's own is not changed."""
        if self._probes:
            self.known = encoding

    def ask(self, side: Side, send: Callable[[Encoding], tuple[Embeddings, object]]) -> Embeddings:
        """Return the embeddings of one request, sent in the encodings that may work.

        `send` returns them with the host's answer, and raises as a wire does.
        """
        if not self._probes:
            assert self.known is not None, "a stated encoding is known"
            return send(self.known)[0]
        *others, last = self._candidates(side)
        for encoding in others:
            try:
                found, answer = send(encoding)
                if encoding == "base64" and _holds_base64(answer):
                    _check_norms(found)
            except BackendError as failure:
                if not self._may_be_the_reason(encoding, failure):
                    raise
                continue
            self._learn(side, encoding, answer)
            return found
        found, answer = send(last)
        self._learn(side, last, answer)
        return found

    def _candidates(self, side: Side) -> Sequence[Encoding]:
        """Return the encodings to try, in this order. Questions do not find out about base64."""
        every: tuple[Encoding, ...] = ("base64", "unset", "float")
        if self.known is not None:
            return (self.known, *(each for each in every[1:] if each != self.known))
        return every if side == "document" else every[1:]

    def _may_be_the_reason(self, encoding: Encoding, failure: BackendError) -> bool:
        """Return whether a request may have failed because of the encoding asked for.

        A failure that names it is due to it. The first request with base64 may also be refused
        in other words, or crash the host.
        """
        message = str(failure).lower()
        if "encoding_format" in message or "embedding_type" in message or "base64" in message:
            return True
        if encoding != "base64" or self.known is not None:
            return False
        if isinstance(failure, Transient):
            return failure.status == HTTPStatus.INTERNAL_SERVER_ERROR
        return isinstance(failure, Refused) and not failure.certain

    def _learn(self, side: Side, encoding: Encoding, answer: object) -> None:
        if encoding == "base64" and not _holds_base64(answer):
            encoding = "unset"  # the host ignores the field
        if encoding != self.known and (side == "document" or encoding == "float"):
            self.known = self.learned = encoding


def _holds_base64(answer: object) -> bool:
    """Return whether an answer has its vectors as base64, in OpenAI's format or Cohere's."""
    if not isinstance(answer, dict):
        return False
    items, kinds = answer.get("data"), answer.get("embeddings")
    if isinstance(kinds, dict):
        return "base64" in kinds
    return isinstance(items, list) and any(
        isinstance(item, dict) and isinstance(item.get("embedding"), str) for item in items
    )


def _check_norms(found: Embeddings) -> None:
    """Raise BackendError for vectors that were decoded wrongly."""
    low, high = PLAUSIBLE_NORMS
    if not low < found.norms[0] <= found.norms[1] < high:
        raise BackendError("the base64 is not that of little-endian float32")


def with_encoding(body: dict[str, Json], field: str, encoding: Encoding) -> dict[str, Json]:
    """Return a request's JSON that asks for an encoding in a field."""
    return body if encoding == "unset" else {**body, field: encoding}
