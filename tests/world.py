"""A folder, a store and an embedding host: run ingests and inspect the results."""

import itertools
import os
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from ragctl.catalog import BackendConfig
from ragctl.collection.payload import Payload
from ragctl.index.report import Report
from ragctl.index.run import Run
from ragctl.pipeline import Embedding, Parsing, Pipeline, Source
from ragctl.stores import open_store
from ragctl.stores.base import Collection
from tests.servers.jina import JinaServer

KEY = "jina_" + "k" * 60
DIM = 64
_CLOCK = itertools.count(1_700_000_000_000_000_000, 1_000_000_000)

NO_PARSER = Parsing(workers=1, memory_mb=1)  # too little memory for a parsing process to start

State = dict[str, tuple[Payload, object, object]]


@dataclass
class World:
    """Everything a run needs. `store` is a folder or the URL of a Qdrant façade."""

    root: Path
    store: str
    server: JinaServer
    collection: str = "docs"
    chunk_size: int = 64
    late: bool | None = None
    languages: tuple[str, ...] = ("en",)  # a single one: detection takes 0.8 s per run
    environ: dict[str, str] = field(default_factory=lambda: {"JINA_API_KEY": KEY})

    def write(self, name: str, text: str | bytes) -> Path:
        """Write a file with a modification time that no other file has."""
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text.encode("utf-8") if isinstance(text, str) else text)
        now = next(_CLOCK)
        os.utime(path, ns=(now, now))
        return path

    def pipeline(self, **changes: object) -> Pipeline:
        base = Pipeline(
            sources=(Source(self.root),),
            store=self.store,
            collection=self.collection,
            embedding=Embedding(
                "jina-embeddings-v3",
                DIM,
                (BackendConfig(base_url=self.server.url),),
                late_chunking=self.late,
            ),
            chunk_size=self.chunk_size,
            languages=self.languages,
            parsing=Parsing(workers=1),
        )
        return replace(base, **changes)  # type: ignore[arg-type]

    def run(self, **changes: object) -> Run:
        pipeline = self.pipeline(**changes)
        return Run(pipeline, open_store(pipeline.store, environ={}), self.environ)

    def ingest(self, **changes: object) -> Report:
        run = self.run(**changes)
        with closing(run.store):
            return run.ingest()

    def open(self) -> Collection:
        """Return the collection, to be closed by the caller."""
        opened = open_store(self.store, environ={}).open(self.collection)
        assert opened is not None
        return opened

    def state(self) -> State:
        """Return payload and rounded vectors of every point by id. Equal for equal collections."""
        with closing(open_store(self.store, environ={})) as store:
            opened = store.open(self.collection)
            assert opened is not None
            with closing(opened):
                points = list(opened.scroll(vectors=True))
        assert len({point.id for point in points}) == len(points)
        return {
            point.id: (
                point.payload,
                None if point.dense is None else tuple(np.round(point.dense, 5).tolist()),
                None
                if point.sparse is None
                else tuple(
                    zip(point.sparse.indices, np.round(point.sparse.values, 4), strict=True)
                ),
            )
            for point in points
        }

    def sources(self) -> dict[str, int]:
        """Return the number of points of each document."""
        with closing(self.open()) as collection:
            return collection.facet("source")

    def embedded(self) -> list[str]:
        """Return the document texts sent to the embedding host so far."""
        return [text.text for text in self.server.texts if text.side == "document"]

    def forget(self) -> None:
        self.server.texts.clear()
        self.server.requests.clear()

    def elsewhere(self, store: str) -> "World":
        """Return this world with another store."""
        return replace(self, store=store)


_BODY = ("the", "valve", "was", "found", "open", "and", "the", "pump", "had", "run", "dry")


def paragraphs(*names: str, words: int = 40) -> str:
    """Return Markdown with a section per name, each a chunk of 64 tokens (words=16: of 32)."""
    body = " ".join(itertools.islice(itertools.cycle(_BODY), words))
    return "\n\n".join(f"## {name}\n\n{body}." for name in names)


def counts(report: Report) -> Mapping[str, int]:
    """Return the document counts that are not zero."""
    documents = report.to_json()["documents"]
    assert isinstance(documents, dict)
    return {name: count for name, count in documents.items() if count}  # type: ignore[misc]
