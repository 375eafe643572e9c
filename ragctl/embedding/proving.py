"""Telling a text that a host refuses from a request that it never accepts."""

import threading
from dataclasses import replace

from ragctl.embedding.base import Answer, Refused, Request, Side, Wire
from ragctl.errors import BackendError


class Proving:
    """A Wire that proves with one harmless word, before texts are blamed, that any text passes.

    Without it a wrong parameter would be reported as every document's own fault.
    """

    def __init__(self, wire: Wire) -> None:
        self._wire = wire
        self._proved: set[tuple[Side, bool]] = set()
        self._lock = threading.Lock()

    def embed(self, request: Request) -> Answer:
        kind = (request.side, request.together)
        try:
            answer = self._wire.embed(request)
        except Refused as refusal:
            if not refusal.certain:
                with self._lock:
                    self._prove(kind, request, refusal)
            raise
        self._proved.add(kind)
        return answer

    def _prove(self, kind: tuple[Side, bool], request: Request, refusal: Refused) -> None:
        """Raise BackendError if not even a harmless text passes: then it is not the texts."""
        if kind in self._proved:
            return
        try:
            self._wire.embed(replace(request, texts=("text",), tokens=1))
        except Refused:
            raise BackendError(f"{refusal} (a plain one-word text is refused too)") from refusal
        self._proved.add(kind)

    def close(self) -> None:
        self._wire.close()
