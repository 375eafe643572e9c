"""The protocols spoken to embedding backends: one file and one row each."""

from ragctl.embedding.wires.jina import Jina
from ragctl.embedding.wires.openai import OpenAI
from ragctl.embedding.wires.rest import RestWire

REST: dict[str, type[RestWire]] = {"jina": Jina, "openai": OpenAI}
"""By the name that a provider's row gives as its `wire`. builtin is in process: builtin.py."""

__all__ = ["REST", "Jina", "OpenAI", "RestWire"]
