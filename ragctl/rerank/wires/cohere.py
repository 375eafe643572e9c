"""Cohere v2: POST /rerank. vLLM (/v1/rerank) and llama.cpp's server have the same format."""

from ragctl.rerank.host_wire import HostRerankWire


class Cohere(HostRerankWire):
    """The shared format, unchanged. Passages that a host sends back are ignored."""
