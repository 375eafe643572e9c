"""Open weights that several test servers run: dimensions, contexts and exact prompts."""

from dataclasses import dataclass

from tests.servers.host import Text

_WEB = "Given a web search query, retrieve relevant passages that answer the query"
_QWEN = f"Instruct: {_WEB}\nQuery:"
_PASSAGES = "Represent this sentence for searching relevant passages: "


@dataclass(frozen=True)
class Weights:
    """`dim` and `context`: the model's own; `document`, `query`: the prompts of its training."""

    dim: int
    context: int
    document: str = ""
    query: str = ""

    def detect_side(self, text: str) -> Text:
        """Detect the side from the exact prompt; an unknown prompt gives the side "no prompt"."""
        if not self.document and not self.query:
            return Text(None, text)
        if text.startswith(self.query):
            return Text("query", text.removeprefix(self.query))
        if text.startswith(self.document):
            return Text("document", text.removeprefix(self.document))
        return Text("no prompt", text)


WEIGHTS = {
    "all-minilm-l6-v2": Weights(384, 256),
    "bge-m3": Weights(1024, 8192),
    "embeddinggemma-300m": Weights(
        768, 2048, "title: none | text: ", "task: search result | query: "
    ),
    "granite-embedding-278m-multilingual": Weights(768, 512),
    "gte-modernbert-base": Weights(768, 8192),
    "jina-embeddings-v2-base-code": Weights(768, 8192),
    "jina-embeddings-v2-base-de": Weights(768, 8192),
    "jina-embeddings-v2-base-en": Weights(768, 8192),
    "jina-embeddings-v2-base-es": Weights(768, 8192),
    "jina-embeddings-v2-base-zh": Weights(768, 8192),
    "jina-embeddings-v5-text-small": Weights(1024, 32768, "Document: ", "Query: "),
    "mxbai-embed-large-v1": Weights(1024, 512, "", _PASSAGES),
    "multilingual-e5-large": Weights(1024, 512, "passage: ", "query: "),
    "multilingual-e5-small": Weights(384, 512, "passage: ", "query: "),
    "nomic-embed-text-v1.5": Weights(768, 8192, "search_document: ", "search_query: "),
    "nomic-embed-text-v2-moe": Weights(768, 512, "search_document: ", "search_query: "),
    "qwen3-embedding-0.6b": Weights(1024, 32768, "", _QWEN),
    "qwen3-embedding-4b": Weights(2560, 32768, "", _QWEN),
    "qwen3-embedding-8b": Weights(4096, 32768, "", _QWEN),
    "snowflake-arctic-embed-l-v2.0": Weights(1024, 8192, "", "query: "),
}
"""Keyed by the model's name, which also names its vector space."""
