"""Base of all embedding servers for tests: socket, API key, credit, faults, request log."""

import argparse
import base64
import json
import threading
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, NamedTuple, Self

import numpy as np

from ragctl.embedding import canary
from tests.servers.faults import Fault, Items
from tests.servers.vectors import first, tokens, vector

CANARIES = frozenset((*canary.DOCUMENTS, canary.QUERY))
"""Canary texts of every collection; they are answered but not recorded."""


class Text(NamedTuple):
    """A text that was embedded, without its prompt. `side` as in `vectors.vector`."""

    side: str | None
    text: str


@dataclass(frozen=True)
class Received:
    """A request as received."""

    path: str
    headers: Mapping[str, str]
    body: Any


class Refusal(Exception):
    """An error status, sent in the host's own error format."""

    def __init__(
        self, status: int, message: str, code: str | None = None, field: str | None = None
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.code = code
        self.field = field


@dataclass(frozen=True)
class Job:
    """A valid request: what to embed, and how to encode the vectors."""

    model: str
    space: str  # ragctl's name of the model, whatever this host calls it
    native: int
    dim: int | None
    texts: list[Text]
    encoding: str = "float"
    unit: bool = True
    indexed: bool = True
    pad_to: int = 0
    context: str = ""  # in late chunking: the joined texts that each is embedded with


class EmbeddingServer(ABC):
    """An embedding host on 127.0.0.1, used as a context manager; see the package's docstring.

    `credit`: texts it embeds before it reports an empty account; `context`: tokens (words)
    accepted per text, instead of the model's own limit. While `gate` is cleared, all
    answers wait.
    """

    path = "/v1/embeddings"
    ending = "/embeddings"  # the path that a client appends to the base URL
    key_header = "Authorization"

    def __init__(
        self,
        key: str | None = None,
        *,
        credit: int | None = None,
        context: int | None = None,
        port: int = 0,
    ) -> None:
        self.key = key
        self.credit = credit
        self.context = context
        self.faults: deque[Fault] = deque()
        self.requests: list[Received] = []
        self.gets: list[str] = []
        self.asked: list[Received] = []  # requests that embed nothing; no fault is used for them
        self.forbidden: dict[str, int] = {}  # a word -> the status of a request that contains it
        self.impostor: str | None = None  # answer with this model instead of the requested one
        self.texts: list[Text] = []
        self.crashes: list[BaseException] = []
        self.gate = threading.Event()
        self.gate.set()
        self.in_flight = 0
        self.peak = 0
        self.connections = 0
        self.lock = threading.Lock()
        self.closing = threading.Event()
        self._http = _Listener(("127.0.0.1", port), _Handler, self)

    @property
    def url(self) -> str:
        """Return the base URL, as passed to --base-url."""
        return f"http://127.0.0.1:{self._http.server_port}{self.path.removesuffix(self.ending)}"

    def serves(self, path: str) -> bool:
        """Return whether POST is served at this path (with its query string)."""
        return path == self.path

    def parse_at(self, path: str, body: Any) -> Job:
        """Check a request to a host with one path per model. Raises Refusal."""
        return self.parse(body)

    @abstractmethod
    def parse(self, body: Any) -> Job:
        """Check a request strictly. Raises Refusal."""

    @abstractmethod
    def error_body(self, refusal: Refusal) -> object:
        """Return the JSON body of an error (bytes: a body that is not JSON)."""

    def raw(
        self, method: str, path: str, headers: Mapping[str, str], body: bytes
    ) -> tuple[int, bytes, dict[str, str]] | None:
        """Answer a request that is not JSON: status, body, headers; None: not one. May refuse."""
        return None

    def get(self, path: str) -> object:
        """Return the JSON answer to a GET. Raises Refusal."""
        raise Refusal(404, "Not Found")

    def answer_body(self, items: Items, rest: dict[str, Any], encoding: str) -> object:
        """Return the JSON of a correct answer. Each item has its vector under "embedding"."""
        for item in items:
            if "embedding" in item:
                item["embedding"] = encode_vector(item["embedding"], encoding)
        return rest | {"data": items}

    def ask(self, path: str, body: Any) -> object | None:
        """Return the JSON answer to a POST that embeds nothing; None: there is none here."""
        return None

    def check_head(self, headers: Mapping[str, str], size: int) -> None:  # noqa: B027
        """Raise Refusal for the headers of a POST, or for the `size` of its body in bytes."""

    def answer_headers(self, job: Job) -> Mapping[str, str]:
        """Return the headers of a correct answer, beside the usual ones."""
        return {}

    def error_type(self, refusal: Refusal) -> str:
        """Return the content type of an error; empty: none is sent."""
        return "application/json"

    def error_bytes(self, refusal: Refusal) -> bytes:
        shaped = self.error_body(refusal)
        return shaped if isinstance(shaped, bytes) else json.dumps(shaped).encode()

    @abstractmethod
    def usage(self, count: int) -> dict[str, int]: ...

    @abstractmethod
    def authorize(self, header: str | None) -> None:
        """Raise Refusal for a wrong or missing key."""

    @abstractmethod
    def out_of_credit(self) -> Refusal: ...

    def check_length(self, texts: list[Text], context: int, refusal: Refusal) -> None:
        if any(tokens(text.text) > (self.context or context) for text in texts):
            raise refusal

    def cut(self, texts: list[Text], context: int) -> list[Text]:
        """Return the texts truncated to the context."""
        return [Text(text.side, first(text.text, self.context or context)) for text in texts]

    def answer(self, job: Job) -> tuple[Items, dict[str, Any]]:
        """Embed the texts of `job` and record them. Returns the items and the other fields."""
        with self.lock:
            if self.credit is not None:
                if self.credit < len(job.texts):
                    raise self.out_of_credit()
                self.credit -= len(job.texts)
            self.texts += [text for text in job.texts if text.text not in CANARIES]
        items: Items = []
        for index, (side, text) in enumerate(job.texts):
            values = vector(
                text, side, self.impostor or job.space, job.native, job.dim, job.context
            )
            if not job.unit:
                values = values * (2.0 + index)
            if job.pad_to > len(values):
                values = np.pad(values, (0, job.pad_to - len(values)))
            item: dict[str, Any] = {"object": "embedding", "embedding": values}
            items.append(item | {"index": index} if job.indexed else item)
        count = sum(tokens(text.text) for text in job.texts)
        return items, {"object": "list", "model": job.model, "usage": self.usage(count)}

    def __enter__(self) -> Self:
        thread = threading.Thread(target=self._http.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.closing.set()
        self.gate.set()
        self._http.shutdown()
        self._http.server_close()
        if kind is None and self.crashes:
            raise self.crashes[0]

    def serve_forever(self) -> None:
        """Print the address and serve until interrupted."""
        print(self.url, flush=True)
        self._http.serve_forever()


def main(server: type[EmbeddingServer], **more: Any) -> None:
    """Run a server as its own process."""
    parser = argparse.ArgumentParser(description=server.__doc__)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--key")
    options = parser.parse_args()
    server(options.key, port=options.port, **more).serve_forever()


class _Listener(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64

    def __init__(
        self, address: tuple[str, int], handler: type["_Handler"], host: EmbeddingServer
    ) -> None:
        self.host = host
        super().__init__(address, handler)

    def process_request(self, request: Any, client_address: Any) -> None:
        with self.host.lock:
            self.host.connections += 1
        super().process_request(request, client_address)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Ignore connections closed by killed clients; record any other error as a crash."""
        import sys

        error = sys.exc_info()[1]
        if error is not None and not isinstance(error, ConnectionError | TimeoutError):
            self.host.crashes.append(error)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Listener

    def _raw(self, method: str, body: bytes = b"") -> bool:
        """Answer a request that is not JSON; return whether it is one."""
        host = self.server.host
        headers = dict(self.headers.items())
        try:
            answer = host.raw(method, self.path, headers, body)
        except Refusal as refusal:
            answer = refusal.status, host.error_bytes(refusal), {}
        if answer is None:
            return False
        status, content, more = answer
        self._send(status, content, Fault(headers=more))
        return True

    def do_DELETE(self) -> None:
        if not self._raw("DELETE"):
            self._send(404, b"{}", Fault())

    def do_GET(self) -> None:
        host = self.server.host
        if self._raw("GET"):
            return
        with host.lock:
            host.gets.append(self.path)
        try:
            host.authorize(self.headers.get(host.key_header))
            body, status = json.dumps(host.get(self.path)).encode(), 200
        except Refusal as refusal:
            body, status = host.error_bytes(refusal), refusal.status
        self._send(status, body, Fault())

    def _ask(self, host: EmbeddingServer, body: Any) -> bool:
        """Answer a request that embeds nothing; return whether it is one."""
        try:
            answer = host.ask(self.path, body)
            if answer is None:
                return False
            host.authorize(self.headers.get(host.key_header))
        except Refusal as refusal:
            self._note_asked(host, body)
            self._refuse(host, refusal, Fault())
        else:
            self._note_asked(host, body)
            self._send(200, json.dumps(answer).encode(), Fault())
        return True

    def _note_asked(self, host: EmbeddingServer, body: Any) -> None:
        with host.lock:  # before the answer, after which a test may look
            host.asked.append(Received(self.path, dict(self.headers.items()), body))

    def _refuse(self, host: EmbeddingServer, refusal: Refusal, fault: Fault) -> None:
        kind = host.error_type(refusal)
        fault = replace(fault, content_type=kind) if refusal.status != fault.status else fault
        self._send(refusal.status, host.error_bytes(refusal), fault)

    def do_POST(self) -> None:
        host = self.server.host
        raw = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if self._raw("POST", raw):
            return
        with host.lock:
            host.in_flight += 1
            host.peak = max(host.peak, host.in_flight)
        try:
            host.gate.wait(30)
            self._handle(host, raw)
        finally:
            with host.lock:
                host.in_flight -= 1

    def _handle(self, host: EmbeddingServer, raw: bytes) -> None:
        try:
            body = json.loads(raw)
        except ValueError:
            body = None
        if self._ask(host, body):
            return
        with host.lock:
            host.requests.append(Received(self.path, dict(self.headers.items()), body))
            fault = host.faults.popleft() if host.faults else Fault()
        if fault.sending == "hang":
            host.closing.wait(30)
        if fault.sending in ("hang", "dropped"):
            self.close_connection = True
            return
        if fault.body is not None:
            self._send(fault.status, fault.body, fault)
            return
        try:
            if not host.serves(self.path):
                raise Refusal(404, "Not Found")
            host.authorize(self.headers.get(host.key_header))
            host.check_head(dict(self.headers.items()), len(raw))
            if fault.status != 200:
                raise Refusal(fault.status, f"status {fault.status} by request", fault.code)
            if not isinstance(body, dict):
                raise Refusal(400, "the body is not a JSON object")
            job = host.parse_at(self.path, body)
            for word, status in host.forbidden.items():
                if any(word in text.text for text in job.texts):
                    raise Refusal(status, f"a text contains {word}")
            items, rest = host.answer(job)
        except Refusal as refusal:
            self._refuse(host, refusal, fault)
            return
        items = fault.corrupt(items) if fault.corrupt else items
        fault = replace(fault, headers={**host.answer_headers(job), **fault.headers})
        self._send(200, json.dumps(host.answer_body(items, rest, job.encoding)).encode(), fault)

    def _send(self, status: int, body: bytes, fault: Fault) -> None:
        if fault.sending == "truncated":
            body = body[: len(body) // 2]
        head = [f"HTTP/1.1 {status} {self.responses.get(status, ('',))[0]}"]
        head += [f"Content-Type: {fault.content_type}"] if fault.content_type else []
        head += [f"Content-Length: {len(body)}"]
        head += [f"{name}: {value}" for name, value in fault.headers.items()]
        if fault.sending == "cut":
            body = body[: len(body) // 2]
            self.close_connection = True
        answer = "\r\n".join([*head, "", ""]).encode() + body
        if fault.sending == "trickle":
            self._trickle(answer)
        else:
            # One write: a separate header packet would wait for the client's delayed ACK.
            self.wfile.write(answer)

    def _trickle(self, answer: bytes) -> None:
        """Send one byte at a time until the client gives up or the server closes."""
        self.close_connection = True
        for position in range(len(answer)):
            self.wfile.write(answer[position : position + 1])
            if self.server.host.closing.wait(0.1):
                break

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        pass


def encode_vector(values: Any, encoding: str) -> object:
    if encoding == "base64":
        return base64.b64encode(np.asarray(values, dtype="<f4").tobytes()).decode()
    return [float(value) for value in values]
