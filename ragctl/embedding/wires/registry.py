"""The protocols spoken over HTTP: one file and one row each."""

from ragctl.embedding.wires.cohere import Cohere
from ragctl.embedding.wires.elastic import Elastic
from ragctl.embedding.wires.gemini import Gemini
from ragctl.embedding.wires.jina import Jina
from ragctl.embedding.wires.ollama import Ollama, OllamaLegacy
from ragctl.embedding.wires.openai import OpenAI
from ragctl.embedding.wires.rest import RestWire
from ragctl.embedding.wires.tei import Tei
from ragctl.embedding.wires.voyage import Voyage

REST: dict[str, type[RestWire]] = {
    "jina": Jina,
    "openai": OpenAI,
    "ollama": Ollama,
    "ollama-legacy": OllamaLegacy,
    "tei": Tei,
    "elastic": Elastic,
    "cohere": Cohere,
    "voyage": Voyage,
    "gemini": Gemini,
}
"""By the name that a backend's row gives as its `wire`. builtin is in process: builtin.py."""
