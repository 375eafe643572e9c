"""Jina: POST /rerank, by its OpenAPI description of 2026-04."""

from ragctl.records import Json
from ragctl.rerank.base import RerankRequest
from ragctl.rerank.host_wire import HostRerankWire


class Jina(HostRerankWire):
    """Asks the host not to send the passages back."""

    def body(self, request: RerankRequest) -> dict[str, Json]:
        """Return the JSON of the request."""
        return super().body(request) | {"return_documents": False}
