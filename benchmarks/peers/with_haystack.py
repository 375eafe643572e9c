"""Haystack: splitter, embedder and writer in a Pipeline, into a local Qdrant.

It has no incremental run: each run splits, embeds and overwrites everything, and points of changed
or deleted text stay.
"""

from pathlib import Path
from typing import Any

from common import BATCH, CHUNK_TOKENS, DIM, MODEL, dump, embed_concurrently, main, texts
from haystack import Document, Pipeline
from haystack.components.embedders import OpenAIDocumentEmbedder
from haystack.components.preprocessors import RecursiveDocumentSplitter
from haystack.components.writers import DocumentWriter
from haystack.document_stores.types import DuplicatePolicy
from haystack_integrations.document_stores.qdrant import QdrantDocumentStore
from qdrant_client import QdrantClient


class Embedder(OpenAIDocumentEmbedder):
    def _embed_batch(self, texts_to_embed: dict[str, str], batch_size: int) -> Any:
        ids = list(texts_to_embed)

        def embed(part: list[str]) -> list[list[float]]:
            answer = self.client.embeddings.create(model=self.model, input=part)
            return [item.embedding for item in answer.data]

        vectors = embed_concurrently(embed, list(texts_to_embed.values()))
        return dict(zip(ids, vectors, strict=True)), {}


def ingest(folder: Path, store: Path, url: str) -> None:
    documents = [Document(content=text, meta={"source": name}) for name, text in texts(folder)]
    document_store = QdrantDocumentStore(
        path=str(store / "qdrant"), index="docs", embedding_dim=DIM, similarity="cosine"
    )
    splitter = RecursiveDocumentSplitter(
        split_length=CHUNK_TOKENS,
        split_overlap=0,
        split_unit="token",
        separators=["\n\n", "\n", " "],
    )
    pipeline = Pipeline()
    pipeline.add_component("split", splitter)
    pipeline.add_component("embed", Embedder(model=MODEL, api_base_url=url, batch_size=BATCH))
    pipeline.add_component(
        "write", DocumentWriter(document_store, policy=DuplicatePolicy.OVERWRITE)
    )
    pipeline.connect("split", "embed")
    pipeline.connect("embed", "write")
    pipeline.run({"split": {"documents": documents}})


def dump_all(store: Path) -> None:
    client = QdrantClient(path=str(store / "qdrant"))
    dump(client, "docs", lambda p: (p["meta"]["source"], p["content"]))


if __name__ == "__main__":
    main(ingest, dump_all)
