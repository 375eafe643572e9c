"""Functions shared by the peers' scripts; they run without ragctl installed."""

import hashlib
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

MODEL, DIM = "benchmark-embedding", 1024
BATCH = 64  # texts per request
IN_FLIGHT = 8  # concurrent requests
CHUNK_TOKENS = 512

Vectors = list[list[float]]


def texts(folder: Path) -> Iterator[tuple[str, str]]:
    """Yield name and text of every file."""
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            yield path.relative_to(folder).as_posix(), path.read_bytes().decode("utf-8", "replace")


def embed_concurrently(embed: Callable[[list[str]], Vectors], texts: Sequence[str]) -> Vectors:
    """Embed 64 texts per request with eight concurrent requests.

    No peer does that in its synchronous pipeline.
    """
    parts = [list(texts[start : start + BATCH]) for start in range(0, len(texts), BATCH)]
    with ThreadPoolExecutor(IN_FLIGHT) as pool:
        return [vector for vectors in pool.map(embed, parts) for vector in vectors]


def text_hash(text: str) -> str:
    data = text.encode()
    return hashlib.blake2b(len(data).to_bytes(8, "big") + data, digest_size=16).hexdigest()


def dump(
    client: Any,
    name: str,
    read: Callable[[Any], tuple[str, str]],
    sent: Callable[[str], str] = lambda text: text,
) -> None:
    """Print every point of a Qdrant collection.

    `read` returns source and text of a payload, `sent` the embedded form of a text.
    """
    offset = None
    while True:
        points, offset = client.scroll(
            name, limit=500, offset=offset, with_payload=True, with_vectors=True
        )
        for point in points:
            source, text = read(point.payload)
            vector = point.vector
            if isinstance(vector, dict):
                vector = next(iter(vector.values()))
            row = {"source": source, "text": text, "sent": text_hash(sent(text))}
            print(json.dumps({**row, "vector": vector}))
        if offset is None:
            return


def main(ingest: Callable[[Path, Path, str], None], dump_all: Callable[[Path], None]) -> None:
    """Run the command line: ACTION FOLDER STORE URL."""
    action, folder, store, url = sys.argv[1:]
    if action == "ingest":
        ingest(Path(folder), Path(store), url)
    else:
        dump_all(Path(store))
