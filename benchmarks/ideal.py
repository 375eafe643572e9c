"""The bare ideal: a minimal hand-written ingest into the embedded engine, without extras.

    python -m benchmarks.ideal ingest FOLDER STORE URL
    python -m benchmarks.ideal dump STORE

It does only what a cold and an incremental ingest require: one asyncio loop, chunks of 512 tokens,
eight requests in flight with 64 texts each, dense vectors only, and a JSON manifest of sizes,
times and points in the store's folder. ragctl also has: BM25 vectors and language detection,
payload indexes, headings, pages and lines, chunks cut at paragraphs, recovery after a kill, locks,
checks of the backend's answers, limits on parsers, a report.
"""

import asyncio
import base64
import hashlib
import json
import os
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

BATCH = 64  # texts per request
IN_FLIGHT = 8  # concurrent requests
CHUNK_TOKENS = 512
FILES_PER_READ = 16
MODEL, DIM = "benchmark-embedding", 1024
_ID_NAMESPACE = uuid.UUID(int=0)

Chunk = tuple[str, str, str]  # source, point id, text
Manifest = dict[str, tuple[int, int, list[str]]]  # size, time, ids


def ingest(folder: Path, store: Path, url: str) -> None:
    """Ingest what changed in the folder since the last call."""
    manifest = store / "manifest.json"
    old: Manifest = json.loads(manifest.read_text()) if manifest.exists() else {}
    seen = {path: Path(path).stat() for path in _walk(str(folder))}
    stats = {path[len(str(folder)) + 1 :]: (s.st_size, s.st_mtime_ns) for path, s in seen.items()}
    changed = [name for name, stat in stats.items() if (old.get(name) or [0, 0])[:2] != [*stat]]
    gone = old.keys() - stats.keys()
    if not changed and not gone:
        return
    new: Manifest = {name: (*stats[name], []) for name in changed}
    _Run(store, url, old, new, gone).work(folder, changed)
    kept = {name: entry for name, entry in old.items() if name in stats}
    manifest.write_text(json.dumps({**kept, **new}))


def _walk(folder: str) -> Iterator[str]:
    for entry in os.scandir(folder):
        if entry.is_dir():
            yield from _walk(entry.path)
        else:
            yield entry.path


class _Run:
    def __init__(self, store: Path, url: str, old: Manifest, new: Manifest, gone: set[str]) -> None:
        import qdrant_edge as qe

        self.qe = qe
        self.url = url
        self.old, self.new, self.gone = old, new, gone
        shard = store / "shard"
        if shard.exists():
            self.shard = qe.EdgeShard.load(str(shard))
        else:
            shard.mkdir(parents=True)
            self.shard = qe.EdgeShard.create(
                str(shard),
                qe.EdgeConfig(
                    vectors={
                        "": qe.EdgeVectorParams(
                            size=DIM, distance=qe.Distance.Cosine, memory=qe.Memory.Cold
                        )
                    },
                    payload_memory=qe.Memory.Cold,
                    hnsw_config=qe.HnswIndexConfig(m=0, ef_construct=4, full_scan_threshold=10_000),
                ),
            )

    def work(self, folder: Path, changed: list[str]) -> None:
        asyncio.run(self._work(folder, changed))
        before = [self.old[name] for name in {*self.gone, *(self.new.keys() & self.old.keys())}]
        now = {value for entry in self.new.values() for value in entry[2]}
        stale: list[Any] = [value for e in before for value in e[2] if value not in now]
        if stale:
            self.shard.update(self.qe.UpdateOperation.delete_points(stale))
        self.shard.optimize()
        self.shard.flush()
        self.shard.close()

    async def _work(self, folder: Path, changed: list[str]) -> None:
        import httpx

        queue: asyncio.Queue[list[Chunk] | None] = asyncio.Queue(IN_FLIGHT)
        writing = asyncio.Lock()
        known = {value for entry in self.old.values() for value in entry[2]}
        limits = httpx.Limits(max_connections=IN_FLIGHT)
        async with (
            httpx.AsyncClient(limits=limits, timeout=60, trust_env=False) as client,
            asyncio.TaskGroup() as group,
        ):
            for _ in range(IN_FLIGHT):
                group.create_task(self._embed(queue, client, writing))
            batch: list[Chunk] = []
            splitter = await asyncio.to_thread(_Splitter) if changed else None
            for start in range(0, len(changed), FILES_PER_READ):
                assert splitter is not None
                names = changed[start : start + FILES_PER_READ]
                for chunk in await asyncio.to_thread(splitter.split_all, folder, names):
                    self.new[chunk[0]][2].append(chunk[1])
                    if chunk[1] not in known:
                        batch.append(chunk)
                    if len(batch) == BATCH:
                        await queue.put(batch)
                        batch = []
            if batch:
                await queue.put(batch)
            for _ in range(IN_FLIGHT):
                await queue.put(None)

    async def _embed(
        self, queue: "asyncio.Queue[list[Chunk] | None]", client: Any, writing: asyncio.Lock
    ) -> None:
        while batch := await queue.get():
            texts = [text for _, _, text in batch]
            body = {"model": MODEL, "input": texts, "encoding_format": "base64"}
            answer = await client.post(f"{self.url}/embeddings", json=body)
            answer.raise_for_status()
            async with writing:
                await asyncio.to_thread(self._write, batch, answer.content)

    def _write(self, batch: list[Chunk], content: bytes) -> None:
        import numpy as np

        data = sorted(json.loads(content)["data"], key=lambda item: item["index"])
        points = []
        for (source, value, text), item in zip(batch, data, strict=True):
            vector: Any = np.frombuffer(base64.b64decode(item["embedding"]), np.float32)
            points.append(self.qe.Point(value, vector, {"source": source, "text": text}))
        self.shard.update(self.qe.UpdateOperation.upsert_points(points))


class _Splitter:
    """Cuts texts every 512 tokens of o200k_base, with the vocabulary in ragctl's package."""

    def __init__(self) -> None:
        from ragctl.chunking import tokens

        self.encoding, self.lengths = tokens.encoding(), tokens.byte_lengths()

    def split_all(self, folder: Path, names: list[str]) -> list[Chunk]:
        return [chunk for name in names for chunk in self.split(folder, name)]

    def split(self, folder: Path, name: str) -> list[Chunk]:
        data = (folder / name).read_bytes()
        text = data.decode("utf-8", "replace")
        data = text.encode()
        ends = self.lengths[self.encoding.encode_to_numpy(text)].cumsum()
        chunks: list[Chunk] = []
        start = 0
        seen: dict[bytes, int] = {}
        while start < len(data):
            last = int(ends.searchsorted(start, "right")) + CHUNK_TOKENS - 1
            end = int(ends[min(last, len(ends) - 1)])
            while end < len(data) and data[end] & 0xC0 == 0x80:
                end -= 1  # do not cut inside a character
            part = data[start:end]
            start = end
            if part.strip():
                seen[part] = seen.get(part, 0) + 1
                key = hashlib.sha1(part).hexdigest()  # the id: text and occurrence number
                value = uuid.uuid5(_ID_NAMESPACE, f"{name}\0{key}\0{seen[part]}")
                chunks.append((name, str(value), part.decode()))
        return chunks


def dump(store: Path) -> Iterator[dict[str, Any]]:
    """Yield every point: source, text, hash of the embedded text, vector."""
    import qdrant_edge as qe

    from benchmarks.embedding_server import text_hash

    shard = qe.EdgeShard.load(str(store / "shard"))
    offset: Any = None
    while True:
        request = qe.ScrollRequest(offset=offset, limit=200, with_payload=True, with_vector=True)
        records, offset = shard.scroll(request)
        for record in records:
            payload: Any = record.payload
            vector: Any = record.vector
            values = vector[""] if isinstance(vector, dict) else vector
            sent = text_hash(payload["text"])
            yield {**payload, "sent": sent, "vector": [float(value) for value in values]}
        if offset is None:
            break
    shard.close()


if __name__ == "__main__":
    if sys.argv[1] == "ingest":
        ingest(Path(sys.argv[2]), Path(sys.argv[3]), sys.argv[4])
    else:
        for point in dump(Path(sys.argv[2])):
            print(json.dumps(point))
