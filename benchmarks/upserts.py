"""Upserts into a Qdrant server: CPU time of the client.

10,000 points of 1,024 dimensions with 60 BM25 terms and a payload of about 1 kB, written in
requests of 256 points to a server that stores nothing, in another process. CPU is that of the
client alone. UPSERT_POINTS changes the number of points.
"""

import os
import subprocess
import sys
import time
import uuid
from collections.abc import Callable
from typing import Any, cast

import httpx
import numpy as np
from qdrant_client import QdrantClient, models

from benchmarks.measure import Sample, Subject, WrongResult, cpus, interleave, ratio, walls
from benchmarks.table import Section, versions
from ragctl.collection.payload import Payload, Point, SparseVector
from ragctl.stores.base import Batch
from ragctl.stores.server_connection import require_all_applied
from ragctl.stores.server_http import QdrantHttp, collection_path
from ragctl.stores.server_writes import batch_body, write_requests

COUNT = int(os.environ.get("UPSERT_POINTS", "10000"))
DIM, TERMS, SIZE = 1024, 60, 256


def run(runs: int) -> Section:
    points = _points()
    command = [sys.executable, "-m", "benchmarks.null_qdrant"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout is not None
            rest, grpc = server.stdout.readline().split()
            found = interleave(_sides(points, f"http://127.0.0.1:{rest}", int(grpc)), runs)
        finally:
            server.terminate()
    base = [sample.cpu for sample in found["ragctl"]]
    rows = [
        (
            name,
            f"{cpus(samples):.2f}",
            f"{walls(samples):.2f}",
            f"{ratio([sample.cpu for sample in samples], base):.2f}",
        )
        for name, samples in found.items()
    ]
    return Section(
        ("client", "CPU, s", "wall, s", "CPU ÷ ragctl"),
        rows,
        before=[_method(__doc__)],
        versions=versions("qdrant-client", "orjson", "httpx"),
    )


def _sides(points: list[Point], url: str, grpc_port: int) -> list[Subject]:
    groups = [points[first : first + SIZE] for first in range(0, len(points), SIZE)]

    def check() -> None:
        arrived = httpx.get(f"{url}/points").json()["result"]
        if arrived != len(points):
            raise WrongResult(f"{arrived} of {len(points)} points arrived")

    def side(name: str, write: Callable[[list[Point]], object]) -> Subject:
        return Subject(
            name, lambda: _timed(lambda: [write(group) for group in groups]), check=check
        )

    def client(**options: Any) -> Callable[[list[Point]], object]:
        made = QdrantClient(url=url, check_compatibility=False, timeout=60, **options)
        return lambda group: made.upsert("docs", [*map(_struct, group)], wait=True)

    return [
        side("ragctl", _with_ragctl(url)),
        side("`QdrantClient.upsert`, REST", client()),
        side(
            "`QdrantClient.upsert`, gRPC",
            client(prefer_grpc=True, grpc_port=grpc_port),
        ),
    ]


def _with_ragctl(url: str) -> Callable[[list[Point]], object]:
    http = QdrantHttp(url, api_key=None, timeout=60, verify=False)
    path = collection_path("docs", "points", "batch")

    def write(group: list[Point]) -> None:
        for operations in write_requests(Batch(upserts=group), upsert_limit=SIZE, hidden=None):
            body = batch_body(operations)
            http.send("POST", path, body, read=require_all_applied, wait="true")

    return write


def _struct(point: Point) -> models.PointStruct:
    assert point.dense is not None
    assert point.sparse is not None
    sparse = models.SparseVector(indices=point.sparse.indices, values=point.sparse.values)
    vector: dict[str, Any] = {"dense": point.dense.tolist(), "bm25": sparse}
    return models.PointStruct(id=point.id, vector=vector, payload=cast(Any, point.payload))


def _timed(work: Callable[[], object]) -> Sample:
    wall, cpu = time.monotonic(), time.process_time()
    work()
    return Sample(time.monotonic() - wall, time.process_time() - cpu, 0)


def _points() -> list[Point]:
    random = np.random.default_rng(1)
    vectors = random.standard_normal((COUNT, DIM), dtype=np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    points = []
    for number, dense in enumerate(vectors):
        payload: Payload = {"source": f"d{number}.md", "ordinal": 0, "text": "Greek letter " * 60}
        terms = sorted({int(term) for term in random.integers(0, 2**32, TERMS)})
        sparse = SparseVector(terms, random.random(len(terms)).tolist())
        points.append(Point(str(uuid.UUID(int=number)), payload, dense, sparse))
    return points


def _method(docstring: str | None) -> str:
    return " ".join((docstring or "").partition("\n\n")[2].split())
