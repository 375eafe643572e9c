"""Functions shared by the peers' scripts; they run without ragctl installed."""

import hashlib
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

MODEL, DIM, BATCH, IN_FLIGHT, CHUNK = "benchmark-embedding", 1024, 64, 8, 512

Vectors = list[list[float]]


def texts(folder: Path) -> Iterator[tuple[str, str]]:
    """Name and text of every file."""
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            yield path.relative_to(folder).as_posix(), path.read_bytes().decode("utf-8", "replace")


def embed_concurrently(embed: Callable[[list[str]], Vectors], given: Sequence[str]) -> Vectors:
    """Embed 64 texts a request with eight requests in flight.

    No peer does that in its synchronous pipeline.
    """
    parts = [list(given[start : start + BATCH]) for start in range(0, len(given), BATCH)]
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
    """Print every point of a Qdrant collection; `read` takes source and text from a payload, and
    `sent` says what was sent for a text.
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
            found = {"source": source, "text": text, "sent": text_hash(sent(text))}
            print(json.dumps({**found, "vector": vector}))
        if offset is None:
            return


def main(ingest: Callable[[Path, Path, str], None], dump_all: Callable[[Path], None]) -> None:
    """ACTION FOLDER STORE URL."""
    action, folder, store, url = sys.argv[1:]
    if action == "ingest":
        ingest(Path(folder), Path(store), url)
    else:
        dump_all(Path(store))
