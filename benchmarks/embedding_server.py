"""A local embedding server: OpenAI's protocol, strict, in a process of its own.

An answer takes 50 ms plus half a microsecond a token, also for concurrent requests. The vectors are
rows of a fixed table, chosen by the text's hash and serialised once, so that the server takes
little processor time. `GET /record` returns what it was sent.
"""

import asyncio
import base64
import contextlib
import hashlib
import json
import os
import random
import resource
import subprocess
import sys
import urllib.request
from array import array
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

MODEL, DIM, ROWS = "benchmark-embedding", 1024, 1024
PER_REQUEST, PER_TOKEN = 0.050, 0.5e-6
_FIELDS = {"model", "input", "encoding_format", "dimensions", "user"}
MAX_TEXTS = 2048


def text_hash(text: str) -> str:
    """Return the hash of a text, as in the payload key `text_hash` of ragctl."""
    data = text.encode()
    return hashlib.blake2b(len(data).to_bytes(8, "big") + data, digest_size=16).hexdigest()


def row_of(value: str) -> int:
    """Return the row of the table for a text with this hash."""
    return int(value[:8], 16) % ROWS


@cache
def table() -> "list[array[float]]":
    """Return the unit vectors, which are the same in every process."""
    chance = random.Random(7)
    rows = []
    for _ in range(ROWS):
        values = [chance.gauss(0, 1) for _ in range(DIM)]
        length = sum(value * value for value in values) ** 0.5
        rows.append(array("f", [value / length for value in values]))
    return rows


@dataclass(frozen=True)
class Record:
    """What the server was sent since the last reset, and its processor seconds."""

    texts: list[str]  # their hashes, in order
    sizes: list[int]  # texts of each request
    max_in_flight: int
    cpu: float


class Refusal(Exception):
    """A request that OpenAI's API would refuse too."""


class _Server:
    def __init__(self) -> None:
        self.base64 = [base64.b64encode(row.tobytes()).decode() for row in table()]
        self.floats: list[str] = []
        self.reset()

    def reset(self) -> None:
        self.texts: list[str] = []
        self.sizes: list[int] = []
        self.in_flight = self.most = 0
        self.since = _cpu()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
                lengths = [h for h in head if h.lower().startswith("content-length:")]
                size = int(lengths[0].partition(":")[2]) if lengths else 0
                body = await reader.readexactly(size)
                status, answer = await self.answer(head[0].rpartition(" ")[0], body)
                start = f"HTTP/1.1 {status}\r\nContent-Type: application/json\r\n"
                writer.write(f"{start}Content-Length: {len(answer)}\r\n\r\n".encode() + answer)
                await writer.drain()
        writer.close()

    async def answer(self, asked: str, body: bytes) -> tuple[str, bytes]:
        if asked == "GET /record":
            record = Record(self.texts, self.sizes, self.most, _cpu() - self.since)
            return "200 OK", json.dumps(record.__dict__).encode()
        if asked == "POST /reset":
            self.reset()
            return "200 OK", b"{}"
        if asked != "POST /v1/embeddings":
            return "404 Not Found", b'{"error": {"message": "no such method"}}'
        self.in_flight += 1
        self.most = max(self.most, self.in_flight)
        try:
            began = asyncio.get_running_loop().time()
            tokens, answer = self.embed(json.loads(body))
            spent = asyncio.get_running_loop().time() - began
            await asyncio.sleep(max(0.0, PER_REQUEST + PER_TOKEN * tokens - spent))
        except (Refusal, ValueError) as refused:
            error = {"message": str(refused), "type": "invalid_request_error"}
            return "400 Bad Request", json.dumps({"error": error}).encode()
        finally:
            self.in_flight -= 1
        return "200 OK", answer

    def embed(self, body: Any) -> tuple[int, bytes]:
        """Return the number of tokens, estimated at four bytes each, and the answer."""
        texts = read(body)
        hashes = [text_hash(text) for text in texts]
        self.texts += hashes
        self.sizes.append(len(texts))
        if body.get("encoding_format", "float") == "base64":
            written = [f'"{self.base64[row_of(value)]}"' for value in hashes]
        else:
            self.floats = self.floats or [json.dumps(row.tolist()) for row in table()]
            written = [self.floats[row_of(value)] for value in hashes]
        data = ",".join(
            f'{{"object":"embedding","index":{index},"embedding":{vector}}}'
            for index, vector in enumerate(written)
        )
        tokens = sum(len(text.encode()) // 4 + 1 for text in texts)
        usage = f'{{"prompt_tokens":{tokens},"total_tokens":{tokens}}}'
        whole = f'{{"object":"list","data":[{data}],"model":"{MODEL}","usage":{usage}}}'
        return tokens, whole.encode()


def read(body: Any) -> list[str]:
    """Return the texts of a request. Raises Refusal for what the protocol does not allow."""
    if not isinstance(body, dict) or body.keys() - _FIELDS:
        raise Refusal(f"unknown fields: {sorted(body.keys() - _FIELDS)}")
    if body.get("model") != MODEL:
        raise Refusal(f"there is no model {body.get('model')!r}")
    if body.get("dimensions", DIM) != DIM or body.get("encoding_format", "float") not in (
        "float",
        "base64",
    ):
        raise Refusal("dimensions or encoding_format are not supported")
    given = body.get("input")
    texts = [given] if isinstance(given, str) else given
    if not isinstance(texts, list) or not 0 < len(texts) <= MAX_TEXTS:
        raise Refusal(f"input must be 1 to {MAX_TEXTS} texts")
    if not all(isinstance(text, str) and text for text in texts):
        raise Refusal("each input must be a text that is not empty")
    return texts


def _cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


@dataclass(frozen=True)
class EmbeddingServer:
    """A server that was started; `url` is the base address."""

    url: str

    def reset(self) -> None:
        self._ask("/reset", b"")

    def record(self) -> Record:
        return Record(**self._ask("/record", None))

    def _ask(self, path: str, data: bytes | None) -> Any:
        with urllib.request.urlopen(self.url.removesuffix("/v1") + path, data, 30) as answer:
            return json.load(answer)


@contextlib.contextmanager
def start_server() -> Iterator[EmbeddingServer]:
    """Start the server in a process; it ends with the block, or with this process."""
    command = [sys.executable, "-m", "benchmarks.embedding_server"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        try:
            yield EmbeddingServer(process.stdout.readline().decode().strip())
        finally:
            process.terminate()


async def main() -> None:
    server = await asyncio.start_server(_Server().serve, "127.0.0.1", 0, limit=1 << 24)
    print(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1", flush=True)
    await asyncio.to_thread(sys.stdin.read)  # until the parent has ended
    os._exit(0)


if __name__ == "__main__":
    asyncio.run(main())
