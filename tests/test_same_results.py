"""The embedded store and servers, old and new, give the same hits in the same order.

Five hundred recorded searches over the sample documents, each in one mode with one filter; in all,
every pair of mode and filter occurs three times. An old server needs more requests for a search,
so it gets only every fourth one.
"""

import json
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from math import gcd
from pathlib import Path

import pytest

from ragctl.collection.conditions import AllOf, AnyOf, Between, Has, Match, NoneOf, Prefix, Where
from ragctl.collection.payload import Payload, Point, SparseVector, Vector
from ragctl.embedding import connect
from ragctl.index.run import Run
from ragctl.lexical.bm25 import Bm25Encoder
from ragctl.pipeline import Embedding, Parsing, Pipeline, Source
from ragctl.stores.base import Batch, Collection, Fusion, Query, Scored
from ragctl.stores.edge import EdgeStore
from ragctl.stores.server import ServerStore
from tests.data.make_searches import COUNT, FILE, SAMPLES, search_texts
from tests.servers.qdrant import QdrantFacade

pytestmark = pytest.mark.slow

DIM = 256
FIELDS = {"lang": "keyword", "product": "keyword", "number": "integer", "day": "datetime"}

MODES: dict[str, Query] = {
    "hybrid": Query(10, fusion=Fusion(dense=0.7)),
    "hybrid, equal weights": Query(10, fusion=Fusion(k=60), offset=5),
    "hybrid, few candidates": Query(20, fusion=Fusion(prefetch=15)),
    "hybrid, dbsf": Query(10, fusion=Fusion(kind="dbsf")),
    "hybrid, diversity": Query(10, fusion=Fusion(prefetch=40), diversity=0.5),
    "dense": Query(10),
    "dense, exact": Query(10, exact=True, offset=10),
    "dense, diversity": Query(10, diversity=0.3, offset=2),
    "dense, min score": Query(30, min_score=0.3),
    "sparse": Query(10),
    "sparse, min score": Query(30, min_score=4.0, ef=64),
}
FILTERS: dict[str, Where] = {
    "none": (),
    "equal": (Match("lang", ("en",)),),
    "unequal": (NoneOf((Match("lang", ("en",)),)),),
    "in": (Match("meta.product", ("Aurin A12", "Terrin B10")),),
    "number": (Between("meta.number", gte=10, lt=60),),
    "number of tokens": (Between("tokens", gt=100),),
    "day": (Between("meta.day", gte="2024-03-01", lte="2024-07-01T12:00:00+02:00"),),
    "prefix": (Prefix("source", "sample_docs/en/f"),),
    "prefix of a field": (Prefix("meta.product", "T"),),
    "has": (Has("page"),),
    "has not": (NoneOf((Has("meta.author"),)), Has("meta.product")),
    "or": (
        AnyOf(
            (Prefix("source", "sample_docs/zh/"), Match("lang", ("ru", "de")), Has("meta.author"))
        ),
    ),
    "nested": (
        AllOf((NoneOf((Prefix("source", "sample_docs/ru/"),)), Between("meta.number", lte=80))),
        AnyOf((Has("heading"), Match("meta.status", ("closed",)))),
    ),
    "nothing": (Match("source", ("nowhere",)),),
}
MODES_AND_FILTERS = [(mode, where) for mode in MODES for where in FILTERS]
STRIDE = 37  # coprime to the number of pairs: consecutive searches differ in both
STEP_BY_VERSION = {"1.12.0": 4, "1.19.0": 1}


@dataclass(frozen=True)
class Search:
    text: str
    dense: Vector
    sparse: SparseVector | None

    def query(self, mode: str, where: str) -> Query | None:
        """Return the query, or None for a sparse search of a text without BM25 terms."""
        if mode.startswith("sparse") and self.sparse is None:
            return None
        query = replace(MODES[mode], where=FILTERS[where])
        dense = None if mode.startswith("sparse") else self.dense
        sparse = None if mode.startswith("dense") else self.sparse
        return replace(query, dense=dense, sparse=sparse)


@pytest.fixture(scope="module")
def embedded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Collection]:
    """Ingest the sample documents and add a number and a day to each chunk."""
    folder = tmp_path_factory.mktemp("embedded")
    pipeline = Pipeline(
        sources=(Source(SAMPLES, exclude=("drafts/",)),),
        store=str(folder),
        embedding=Embedding("builtin", DIM),
        languages=("en", "ru", "zh", "de"),
        fields=FIELDS,
        parsing=Parsing(workers=1),
    )
    store = EdgeStore(folder)
    Run(pipeline, store, {}).ingest()
    collection = store.open("docs")
    assert collection is not None
    with closing(collection):
        chunks = sorted(collection.scroll(), key=lambda point: point.id)
        collection.apply(
            Batch(overwrites=[(p.id, with_number_and_day(p, n)) for n, p in enumerate(chunks)])
        )
        collection.finish()
        yield collection


def with_number_and_day(point: Point, number: int) -> Payload:
    day = f"2024-{number % 12 + 1:02}-{number % 28 + 1:02}"
    clock = "" if number % 3 else f"T{number % 24:02}:00:00Z"
    meta = point.payload["meta"]
    assert isinstance(meta, dict)
    return {**point.payload, "meta": {**meta, "number": number % 97, "day": day + clock}}


@pytest.fixture(scope="module")
def points(embedded: Collection) -> list[Point]:
    return list(embedded.scroll(vectors=True))


@pytest.fixture(scope="module")
def searches(embedded: Collection) -> list[Search]:
    embedder = connect("builtin", dim=DIM, environ={})
    encoder = Bm25Encoder(embedded.settings.sparse)
    found = []
    for line in FILE.read_text(encoding="utf-8").splitlines():
        text = json.loads(line)["query"]
        indices, values = encoder.query(text)
        sparse = SparseVector(indices, values) if indices else None
        found.append(Search(text, embedder.query(text), sparse))
    embedder.close()
    return found


def test_the_recorded_searches_match_the_sample_documents() -> None:
    recorded = [json.loads(line)["query"] for line in FILE.read_text(encoding="utf-8").splitlines()]
    assert recorded == search_texts()
    assert len(recorded) == COUNT == 500


@pytest.mark.parametrize("version", STEP_BY_VERSION)
def test_a_server_gives_the_same_hits_in_the_same_order(
    version: str,
    embedded: Collection,
    points: list[Point],
    searches: list[Search],
    tmp_path: Path,
) -> None:
    hits_by_name: Counter[str] = Counter()  # number of hits by mode and by filter
    differences = []
    with QdrantFacade(version=version) as facade:
        store = ServerStore(facade.url, state=tmp_path)
        served = store.create("docs", embedded.settings)
        served.apply(Batch(upserts=points))
        for number, search in enumerate(searches[:: STEP_BY_VERSION[version]]):
            mode, where = MODES_AND_FILTERS[number * STRIDE % len(MODES_AND_FILTERS)]
            query = search.query(mode, where)
            if query is None:
                continue
            edge_hits, server_hits = embedded.query(query), served.query(query)
            hits_by_name.update({mode: len(edge_hits), where: len(edge_hits)})
            if not same_hits(edge_hits, server_hits):
                differences.append(
                    (search.text, mode, where, summary(edge_hits), summary(server_hits))
                )
        store.close()
    assert differences == []
    assert gcd(STRIDE, len(MODES_AND_FILTERS)) == 1
    assert {name for name in (*MODES, *FILTERS) if not hits_by_name[name]} == {"nothing"}


def same_hits(edge_hits: list[Scored], server_hits: list[Scored]) -> bool:
    return [(hit.id, hit.payload) for hit in edge_hits] == [
        (hit.id, hit.payload) for hit in server_hits
    ] and all(abs(a.score - b.score) <= 1e-4 for a, b in zip(edge_hits, server_hits, strict=True))


def summary(hits: list[Scored]) -> list[tuple[str, float]]:
    return [(hit.id[:8], round(hit.score, 6)) for hit in hits]
