"""Voyage: POST /rerank, with "top_k", and "data" instead of "results"."""

from ragctl.hosts.keys import ApiKey
from ragctl.hosts.voyage import address_for_key
from ragctl.records import Json
from ragctl.rerank.base import RerankRequest
from ragctl.rerank.host_wire import HostRerankWire


class Voyage(HostRerankWire):
    """Lets the host truncate long passages, and asks it not to send them back."""

    results_field = "data"
    limit_field = "top_k"

    @classmethod
    def address(cls, url: str, key: ApiKey | None) -> str:
        """Return Atlas's address for a key made there, else `url`."""
        return address_for_key(url, key)

    def body(self, request: RerankRequest) -> dict[str, Json]:
        """Return the JSON of the request."""
        return super().body(request) | {"return_documents": False, "truncation": True}
