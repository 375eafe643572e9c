"""LlamaIndex: IngestionPipeline, with a docstore for upserts and deletions, into a local Qdrant."""

import json
from pathlib import Path
from typing import Any

import tiktoken
from common import BATCH, CHUNK_TOKENS, MODEL, Vectors, dump, embed_concurrently, main, texts
from llama_index.core.ingestion import DocstoreStrategy, IngestionPipeline
from llama_index.core.node_parser import SentenceSplitter
from llama_index.core.schema import Document
from llama_index.core.storage.docstore import SimpleDocumentStore
from llama_index.embeddings.openai import OpenAIEmbedding
from llama_index.vector_stores.qdrant import QdrantVectorStore
from qdrant_client import QdrantClient


class Embeddings(OpenAIEmbedding):
    def get_text_embedding_batch(
        self, texts: list[str], show_progress: bool = False, **kwargs: Any
    ) -> Vectors:
        return embed_concurrently(self._get_text_embeddings, texts)


def ingest(folder: Path, store: Path, url: str) -> None:
    encoding = tiktoken.get_encoding("o200k_base")
    splitter = SentenceSplitter(
        chunk_size=CHUNK_TOKENS,
        chunk_overlap=0,
        include_metadata=False,
        tokenizer=lambda text: encoding.encode(text, disallowed_special=()),
    )
    embeddings = Embeddings(
        model_name=MODEL, api_base=url, api_key="none", embed_batch_size=BATCH, reuse_client=True
    )
    documents = [Document(id_=name, text=text) for name, text in texts(folder)]
    client = QdrantClient(path=str(store / "qdrant"))
    kept = store / "docstore.json"
    pipeline = IngestionPipeline(
        transformations=[splitter, embeddings],
        docstore=SimpleDocumentStore.from_persist_path(str(kept))
        if kept.exists()
        else SimpleDocumentStore(),
        docstore_strategy=DocstoreStrategy.UPSERTS_AND_DELETE,
        vector_store=QdrantVectorStore("docs", client=client, batch_size=512),
        disable_cache=True,
    )
    pipeline.run(documents=documents)
    assert pipeline.docstore is not None
    pipeline.docstore.persist(str(kept))
    client.close()


def dump_all(store: Path) -> None:
    client = QdrantClient(path=str(store / "qdrant"))
    dump(
        client,
        "docs",
        lambda p: (p["ref_doc_id"], json.loads(p["_node_content"])["text"]),
        lambda text: text.replace("\n", " "),  # as its OpenAIEmbedding does
    )


if __name__ == "__main__":
    main(ingest, dump_all)
