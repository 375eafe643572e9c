"""Embedded collections of synthetic passages for the search benchmarks, built once and kept.

They are kept in $RAGCTL_BENCHMARKS, by default the folder `ragctl-bench` for temporary files.
"""

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, cast

import numpy as np

from benchmarks.passages import SAMPLES, Passages
from ragctl.collection.payload import BM25, DENSE, Payload, Point, SparseVector
from ragctl.collection.points import digest, namespace, point_ids
from ragctl.collection.text import text_hash
from ragctl.index.prepared import FileStat, PreparedChunk, PreparedDocument, payloads
from ragctl.index.run import Run
from ragctl.lexical import builtin
from ragctl.lexical.bm25 import Bm25Encoder
from ragctl.pipeline import Embedding, Parsing, Pipeline, Source
from ragctl.stores.base import Batch, Collection
from ragctl.stores.edge import EdgeCollection, EdgeStore

NAME = "docs"
LANGUAGE = "en"
BATCH_POINTS = 256  # points per write, as in an ingest
DOCUMENT_CHUNKS = 20  # chunks per document


@dataclass(frozen=True)
class SyntheticCollection:
    """A collection of `count` passages at `dim` dimensions; `random`: random unit vectors."""

    count: int
    dim: int
    random: bool = False

    @property
    def store(self) -> Path:
        kind = "random" if self.random else "topics"
        return home() / f"{kind}-{self.count}x{self.dim}"

    @property
    def passages(self) -> Passages:
        return Passages(self.count)

    def build(self) -> Path:
        """Return the folder of its store, built if it does not exist."""
        if not self.store.is_dir():
            partial = self.store.with_suffix(".partial")
            shutil.rmtree(partial, ignore_errors=True)
            self._fill(EdgeStore(partial))
            partial.rename(self.store)
        return self.store

    def _fill(self, store: EdgeStore) -> None:
        _create(store, self.dim)
        with opened(Path(store.location)) as collection:
            for points in self.points(collection):
                collection.apply(Batch(marks=points))
            collection.finish()

    def points(self, collection: Collection) -> Iterator[list[Point]]:
        """Yield batches of points as an ingest writes them."""
        encoder = Bm25Encoder(collection.settings.sparse)
        for number, texts in enumerate(self.passages.blocks()):
            vectors = self._vectors(texts, number)
            terms = encoder.documents(texts, [LANGUAGE] * len(texts))
            rows = _rows(number, texts)
            points = [
                Point(point_id, payload, vector, SparseVector(*sparse))
                for (point_id, payload), vector, sparse in zip(rows, vectors, terms, strict=True)
            ]
            for first in range(0, len(points), BATCH_POINTS):
                yield points[first : first + BATCH_POINTS]

    def _vectors(self, texts: list[str], number: int) -> np.ndarray:
        if not self.random:
            return builtin.embed(texts, self.dim)
        rng = np.random.default_rng([3, number])
        rows = rng.standard_normal((len(texts), self.dim), dtype=np.float32)
        return np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True), dtype=np.float32)


def home() -> Path:
    """Return the folder where collections are kept between runs."""
    return Path(os.environ.get("RAGCTL_BENCHMARKS") or Path(tempfile.gettempdir(), "ragctl-bench"))


@contextmanager
def opened(store: Path) -> Iterator[EdgeCollection]:
    """Open the collection in a store's folder."""
    collection = EdgeStore(store).open(NAME)
    assert collection is not None
    with closing(collection):
        yield collection


@contextmanager
def peer(synthetic: SyntheticCollection) -> Iterator[Callable[[str, Any], Sequence[object]]]:
    """Open the same points in QdrantClient(path=…); yield a function of mode and question."""
    from qdrant_client import QdrantClient, models

    folder = home() / f"peer-{synthetic.count}x{synthetic.dim}"
    if not folder.is_dir():
        partial = folder.with_suffix(".partial")
        shutil.rmtree(partial, ignore_errors=True)
        with (
            closing(QdrantClient(path=str(partial))) as client,
            opened(synthetic.build()) as collection,
        ):
            _fill_peer(client, collection)
        partial.rename(folder)

    def ask(mode: str, question: Any) -> Sequence[object]:
        words = models.SparseVector(indices=question.sparse.indices, values=question.sparse.values)
        sides = {"dense": question.dense.tolist(), "sparse": words}
        names = {"dense": DENSE, "sparse": BM25}
        if mode in sides:
            found = client.query_points(NAME, query=sides[mode], using=names[mode], limit=10)
        else:
            both = [
                models.Prefetch(query=side, using=names[kind], limit=100)
                for kind, side in sides.items()
            ]
            fusion = models.FusionQuery(fusion=models.Fusion.RRF)
            found = client.query_points(NAME, prefetch=both, query=fusion, limit=10)
        return found.points

    with closing(QdrantClient(path=str(folder))) as client:
        yield ask


def _fill_peer(client: Any, collection: EdgeCollection) -> None:
    from qdrant_client import models

    client.create_collection(
        NAME,
        vectors_config={
            DENSE: models.VectorParams(
                size=collection.settings.dim, distance=models.Distance.COSINE
            )
        },
        sparse_vectors_config={BM25: models.SparseVectorParams(modifier=models.Modifier.IDF)},
    )
    points = collection.scroll(vectors=True)
    while batch := list(islice(points, BATCH_POINTS)):
        client.upsert(NAME, [_peer_point(point) for point in batch])


def _peer_point(point: Point) -> Any:
    from qdrant_client import models

    assert point.dense is not None
    assert point.sparse is not None
    words = models.SparseVector(indices=point.sparse.indices, values=point.sparse.values)
    vector: Any = {DENSE: point.dense.tolist(), BM25: words}
    return models.PointStruct(id=point.id, vector=vector, payload=cast(Any, point.payload))


def _create(store: EdgeStore, dim: int) -> None:
    """Create the collection by ingesting one document."""
    pipeline = Pipeline(
        sources=(Source(SAMPLES / "en" / "link-api-handbook.md"),),
        store=store.location,
        collection=NAME,
        embedding=Embedding("builtin", dim),
        languages=(LANGUAGE,),
        parsing=Parsing(workers=1),
    )
    Run(pipeline, store, {}).ingest()


def _rows(block: int, texts: list[str]) -> Iterator[tuple[str, Payload]]:
    """Yield ids and payloads of documents of DOCUMENT_CHUNKS passages each."""
    for first in range(0, len(texts), DOCUMENT_CHUNKS):
        source = f"made/{block:04}/{first // DOCUMENT_CHUNKS:03}.md"
        passages = texts[first : first + DOCUMENT_CHUNKS]
        chunks = [
            PreparedChunk(n * 2000, n * 2000 + len(text), text, text_hash(text), None, n, (), 300)
            for n, text in enumerate(passages)
        ]
        content = digest(*(text.encode() for text in passages))
        document = PreparedDocument(source, content, source, LANGUAGE, {}, (), tuple(chunks))
        stat = FileStat(source, "made", sum(map(len, passages)), 1_700_000_000_000_000_000)
        ids = point_ids(namespace(NAME), source, [chunk.hash for chunk in chunks])
        yield from zip(ids, payloads(document, stat, recipe="made", parts=1), strict=True)
