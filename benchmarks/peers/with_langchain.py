"""LangChain: `index()` with a SQLRecordManager and full clean-up, into a local Qdrant."""

from pathlib import Path
from typing import Any

from common import BATCH, CHUNK_TOKENS, DIM, MODEL, Vectors, dump, embed_concurrently, main, texts
from langchain_classic.indexes import SQLRecordManager
from langchain_core.documents import Document
from langchain_core.indexing import index
from langchain_openai import OpenAIEmbeddings
from langchain_qdrant import QdrantVectorStore
from langchain_text_splitters import RecursiveCharacterTextSplitter
from qdrant_client import QdrantClient, models

DOCUMENTS_PER_BATCH = 2048  # the default, 100, was measured to be slower


class Embeddings(OpenAIEmbeddings):
    def embed_documents(self, texts: list[str], *args: Any, **kwargs: Any) -> Vectors:
        return embed_concurrently(super().embed_documents, texts)


def ingest(folder: Path, store: Path, url: str) -> None:
    splitter = RecursiveCharacterTextSplitter.from_tiktoken_encoder(
        "o200k_base", chunk_size=CHUNK_TOKENS, chunk_overlap=0, disallowed_special=()
    )
    documents = splitter.split_documents(
        [Document(text, metadata={"source": name}) for name, text in texts(folder)]
    )
    client = QdrantClient(path=str(store / "qdrant"))
    if not client.collection_exists("docs"):
        distance = models.Distance.COSINE
        client.create_collection("docs", models.VectorParams(size=DIM, distance=distance))
    embeddings = Embeddings(
        model=MODEL, base_url=url, chunk_size=BATCH, check_embedding_ctx_length=False
    )
    records = SQLRecordManager("docs", db_url=f"sqlite:///{store / 'records.sqlite'}")
    records.create_schema()
    index(
        documents,
        records,
        QdrantVectorStore(client, "docs", embeddings, validate_collection_config=False),
        batch_size=DOCUMENTS_PER_BATCH,
        cleanup="full",
        source_id_key="source",
        key_encoder="sha1",
    )
    client.close()


def dump_all(store: Path) -> None:
    client = QdrantClient(path=str(store / "qdrant"))
    dump(client, "docs", lambda p: (p["metadata"]["source"], p["page_content"]))


if __name__ == "__main__":
    main(ingest, dump_all)
