"""A Qdrant server for tests: REST over a real socket, strict, with faults on demand.

with QdrantFacade(version="1.15.4") as facade:
    facade.inject(Fault("cut-after", route="*/points/batch"))
    ServerStore(facade.url)…

python -m tests.servers.qdrant --port 0      # prints its URL, serves until it is stopped
"""

import argparse
import json
import socket
import ssl
import sys
import threading
import time
from collections import Counter
from dataclasses import dataclass
from fnmatch import fnmatchcase
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Literal, Self
from urllib.parse import parse_qsl, unquote, urlsplit

import orjson

from tests.servers.qdrant_cluster import Cluster, HangingError, Request
from tests.servers.qdrant_engine import Engine
from tests.servers.qdrant_limits import Problem
from tests.servers.qdrant_rights import Access, DeniedError, ForbiddenError, access_of

MAX_BODY = 32 * 1024 * 1024  # service.max_request_size_mb

HANG_SECONDS = 60.0
"""After this time a server gives up waiting for a node that does not answer."""

PROXY_PAGE = (
    b"<html>\r\n<head><title>413 Request Entity Too Large</title></head>\r\n"
    b"<body>\r\n<center><h1>413 Request Entity Too Large</h1></center>\r\n"
    b"<hr><center>nginx/1.27.3</center>\r\n</body>\r\n</html>\r\n"
)

Kind = Literal[
    "status", "slow", "cut-before", "cut-after", "truncated", "short", "html", "queued", "pass"
]


@dataclass
class Fault:
    """A fault of the next `times` requests whose route matches, after the first `skip`.

    status: answer this status without doing anything (`retry_after`: the header). slow: answer
    `seconds` late. cut-before, cut-after: close the connection without an answer, before or
    after the work. short: close the connection in the middle of the answer. truncated: a
    complete answer with half a JSON document. html: a proxy's page instead of JSON. queued:
    done, but reported as pending. pass: no fault.
    """

    kind: Kind
    route: str = "*"  # fnmatch, with | for or, over "POST /collections/{name}/points/batch"
    times: int = 1
    skip: int = 0
    status: int = 500
    retry_after: str | None = None
    seconds: float = 0.0
    message: str = "Service internal error: injected"

    def matches(self, route: str) -> bool:
        return any(fnmatchcase(route, pattern) for pattern in self.route.split("|"))


class QdrantFacade:
    """A server with its own data, on a free port of 127.0.0.1 (`port` 0).

    With `nodes` it is a cluster: `urls` are its nodes' addresses, and each collection has
    replicas on the first `replicas` of them (see Cluster); `distributed`: so is a single node.
    `proxy_limit`: bytes of the largest
    body that a proxy before the server lets through.
    """

    def __init__(
        self,
        *,
        api_key: str | None = None,
        read_only_key: str | None = None,
        version: str = "1.17.0",
        port: int = 0,
        nodes: int = 1,
        replicas: int = 1,
        write_consistency: int = 1,
        distributed: bool = False,
    ) -> None:
        self.api_key = api_key
        self.read_only_key = read_only_key
        self.version = version
        self.proxy_limit: int | None = None
        major, minor = version.split(".")[:2]
        engines = [Engine((int(major), int(minor))) for _ in range(replicas)]
        self.engine = engines[0]
        self.cluster = Cluster(
            engines, nodes=nodes, write_consistency=write_consistency, distributed=distributed
        )
        self.requests: Counter[str] = Counter()  # by route
        self.largest_body = 0
        self.lock = threading.Lock()
        self.closing = threading.Event()
        self.faults: list[Fault] = []
        self._servers = [
            _Server(("127.0.0.1", 0 if node else port), self, node)
            for node in range(len(self.cluster.up))
        ]
        self.urls = [f"http://127.0.0.1:{server.server_port}" for server in self._servers]
        self.url = self.urls[0]
        self._threads = [
            threading.Thread(target=server.serve_forever, args=(0.01,)) for server in self._servers
        ]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.closing.set()
        for server, thread in zip(self._servers, self._threads, strict=True):
            server.shutdown()
            thread.join()
            server.close_connections()
            server.server_close()

    def use_tls(self, context: ssl.SSLContext) -> None:
        """Speak https from now on."""
        for server in self._servers:
            server.tls = context
        self.urls = [url.replace("http:", "https:") for url in self.urls]
        self.url = self.urls[0]

    def serve(self) -> None:
        """Serve in this thread until interrupted."""
        for thread in self._threads[1:]:
            thread.daemon = True
            thread.start()
        self._servers[0].serve_forever()

    def stop(self, node: int) -> None:
        """Switch a node off: the others cannot reach it, and it answers nobody."""
        with self.lock:
            self.cluster.up[node] = False

    def hang(self, node: int) -> None:
        """Let a node accept requests and connections, and answer none of them."""
        with self.lock:
            self.cluster.hanging.add(node)

    def start(self, node: int) -> None:
        """Switch a node on again."""
        with self.lock:
            self.cluster.start(node)

    def inject(self, *faults: Fault) -> None:
        with self.lock:
            self.faults += faults

    def fault(self, route: str) -> Fault | None:
        """Return the fault due for a request and count it as used. The lock must be held."""
        for fault in self.faults:
            if not fault.matches(route):
                continue
            if fault.skip:
                fault.skip -= 1
                continue
            if fault.times:
                fault.times -= 1
                return fault
        return None


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 64

    def __init__(self, address: tuple[str, int], facade: QdrantFacade, node: int) -> None:
        self.facade = facade
        self.node = node
        self.tls: ssl.SSLContext | None = None
        self._open: set[socket.socket] = set()
        super().__init__(address, _Handler)

    def get_request(self) -> Any:
        """Accept a connection. A TLS handshake follows at the first read, in its own thread."""
        connection, address = super().get_request()
        if self.tls is not None:
            connection = self.tls.wrap_socket(
                connection, server_side=True, do_handshake_on_connect=False
            )
        return connection, address

    def process_request(self, request: Any, client_address: Any) -> None:
        self._open.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        self._open.discard(request)
        super().shutdown_request(request)

    def close_connections(self) -> None:
        """Close kept-alive connections, whose threads would not end otherwise."""
        for connection in list(self._open):
            try:
                connection.shutdown(socket.SHUT_RDWR)
            except OSError:
                self._open.discard(connection)  # already closed
        deadline = time.monotonic() + 5
        while self._open and time.monotonic() < deadline:
            time.sleep(0.005)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Ignore connections that clients closed or refused; report any other error."""
        if not isinstance(sys.exc_info()[1], ConnectionError | ssl.SSLError):
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1  # head and body of an answer leave in one packet
    server: _Server

    def log_message(self, *_: Any) -> None:
        """Log nothing."""

    def do_GET(self) -> None:
        self._serve()

    do_PUT = do_POST = do_DELETE = do_PATCH = do_GET

    def _serve(self) -> None:
        facade = self.server.facade
        body = self._body()
        if body is None:
            return
        if not facade.cluster.up[self.server.node]:
            self._cut()
            return
        if self.server.node in facade.cluster.hanging:
            facade.closing.wait(HANG_SECONDS)
            self._cut()
            return
        parts = urlsplit(self.path)
        path = unquote(parts.path)
        access = Access()
        if path != "/":
            try:
                access = access_of(self.headers, facade.api_key, facade.read_only_key)
            except DeniedError as denied:
                self._send(denied.status, str(denied).encode(), "text/plain")
                return
        match = facade.engine.route(self.command, path)
        if match is None:
            self._send(404, b"")
            return
        route, names = match
        with facade.lock:
            facade.requests[route.name] += 1
            facade.largest_body = max(facade.largest_body, len(body))
            fault = facade.fault(route.name)
        if fault is not None and fault.kind in ("status", "cut-before"):
            self._refuse(fault)
            return
        try:
            with facade.lock:
                query = dict(parse_qsl(parts.query))
                answer = self._answer(access, route, names, query, body)
        except HangingError as hanging:
            facade.closing.wait(HANG_SECONDS)
            refusal = json.dumps(_wrapped(None, {"error": str(hanging.then)})).encode()
            self._send(hanging.then.status, refusal)
        except ForbiddenError as error:
            self._send(403, json.dumps(_wrapped(None, {"error": str(error)})).encode())
        except Problem as problem:
            refusal = json.dumps(_wrapped(None, {"error": str(problem)})).encode()
            after = None if problem.retry_after is None else str(problem.retry_after)
            self._send(problem.status, refusal, retry_after=after)
        else:
            self._reply(answer, fault)

    def _body(self) -> bytes | None:
        """Return the whole body, or None if there is no request to answer."""
        length = int(self.headers.get("Content-Length") or 0)
        if length > MAX_BODY:  # nothing is answered, and the rest is not read
            self._cut()
            return None
        body = self.rfile.read(length)
        if len(body) < length:
            self.close_connection = True  # the client died while sending: do nothing
            return None
        limit = self.server.facade.proxy_limit
        if limit is not None and length > limit:
            self._send(413, PROXY_PAGE, "text/html")
            return None
        return body

    def _answer(self, access: Access, route: Any, names: Any, query: Any, body: bytes) -> Any:
        facade = self.server.facade
        if route.path == "/":
            title = "qdrant - vector search engine"
            return {"title": title, "version": facade.version, "commit": "0" * 40}
        access.check(route.name, names.get("name"))
        request = Request(self.server.node, route, names, query, body)
        result = facade.cluster.answer(access, request)
        return _wrapped(result, "ok")

    def _refuse(self, fault: Fault) -> None:
        if fault.kind == "cut-before":
            self._cut()
            return
        body = json.dumps(_wrapped(None, {"error": fault.message})).encode()
        self._send(fault.status, body, retry_after=fault.retry_after)

    def _reply(self, answer: Any, fault: Fault | None) -> None:
        kind = fault.kind if fault is not None else None
        if kind == "queued":
            answer = json.loads(json.dumps(answer).replace('"completed"', '"wait_timeout"'))
        body = orjson.dumps(answer)
        if kind == "cut-after":
            self._cut()
        elif kind == "short":
            self._send(200, body[: len(body) // 2], claimed=len(body))
            self._cut()
        elif kind == "truncated":
            self._send(200, body[: len(body) // 2])
        elif kind == "html":
            self._send(200, b"<html><body>Sign in to the hotel network</body></html>", "text/html")
        else:
            if fault is not None:
                self.server.facade.closing.wait(fault.seconds)
            self._send(200, body)

    def _cut(self) -> None:
        self.close_connection = True
        self.connection.shutdown(socket.SHUT_RDWR)

    def _send(
        self,
        status: int,
        body: bytes,
        kind: str = "application/json",
        *,
        retry_after: str | None = None,
        claimed: int | None = None,
    ) -> None:
        self.send_response(status, HTTPStatus(status).phrase)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body) if claimed is None else claimed))
        if retry_after is not None:
            self.send_header("Retry-After", retry_after)
        self.end_headers()
        self.wfile.write(body)
        self.wfile.flush()


def _wrapped(result: Any, status: Any) -> dict[str, Any]:
    return {"result": result, "status": status, "time": 0.000123}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.servers.qdrant")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--api-key")
    parser.add_argument("--read-only-key")
    parser.add_argument("--version", default="1.17.0")
    parser.add_argument("--strict-mode", type=json.loads, default={}, metavar="JSON")
    options = parser.parse_args()
    facade = QdrantFacade(
        api_key=options.api_key,
        read_only_key=options.read_only_key,
        version=options.version,
        port=options.port,
    )
    facade.engine.strict_mode = options.strict_mode
    print(facade.url, flush=True)
    try:
        facade.serve()
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()
