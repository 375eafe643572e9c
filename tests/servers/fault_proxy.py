"""A TCP proxy on loopback that injects faults between a client and a real HTTP server."""

import random
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import TracebackType
from typing import Self

FAULTS = ("disconnect", "reset", "403", "500", "429", "404", "truncate", "garbage", "slow")
_REASONS = {"403": "Forbidden", "500": "Internal Server Error", "429": "Too Many", "404": "Gone"}


class FaultProxy:
    """Forwards each connection to a server. `fault(request)` returns the fault of a request, or "".

    A request is its first line, "GET /path HTTP/1.1". Every connection carries one request, so that
    a fault hits exactly one.
    """

    def __init__(self, port: int) -> None:
        self.fault: Callable[[str], str] = lambda request: ""
        self.requests: list[str] = []
        self._target = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._thread = threading.Thread(target=self._accept, daemon=True)
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with client:
            try:
                request = _read_request(client)
                if request is None:
                    return
                first = request.split(b"\r\n", 1)[0].decode("latin-1")
                self.requests.append(first)
                self._answer(client, request, self.fault(first))
            except OSError:
                return

    def _answer(self, client: socket.socket, request: bytes, fault: str) -> None:
        if fault == "disconnect":
            return
        if fault == "reset":
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            return
        if fault in _REASONS:
            line = f"HTTP/1.1 {fault} {_REASONS[fault]}"
            client.sendall(f"{line}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".encode())
            return
        if fault == "garbage":
            client.sendall(b"\x00\xff not HTTP at all\r\n\r\n")
            return
        answer = self._forward(request)
        if fault == "truncate":
            head, _, body = answer.partition(b"\r\n\r\n")
            answer = head + b"\r\n\r\n" + body[: len(body) // 2]
        if fault == "slow":
            client.sendall(answer[:20])
            time.sleep(0.05)
            answer = answer[20:]
        client.sendall(answer)

    def _forward(self, request: bytes) -> bytes:
        with socket.create_connection(("127.0.0.1", self._target)) as server:
            server.sendall(_with_close(request))
            answer = bytearray()
            while piece := server.recv(65536):
                answer += piece
        return bytes(answer)


def _read_request(client: socket.socket) -> bytes | None:
    data = bytearray()
    while b"\r\n\r\n" not in data:
        piece = client.recv(65536)
        if not piece:
            return None
        data += piece
    head, _, body = bytes(data).partition(b"\r\n\r\n")
    length = 0
    for line in head.split(b"\r\n"):
        name, _, value = line.partition(b":")
        if name.lower() == b"content-length":
            length = int(value)
    while len(body) < length:
        body += client.recv(65536)
    return head + b"\r\n\r\n" + body


def _with_close(request: bytes) -> bytes:
    head, _, body = request.partition(b"\r\n\r\n")
    lines = [line for line in head.split(b"\r\n") if not line.lower().startswith(b"connection:")]
    return b"\r\n".join([*lines, b"Connection: close"]) + b"\r\n\r\n" + body


@contextmanager
def faults_of(
    proxy: FaultProxy, chance: random.Random, share: float, faults: Sequence[str] = FAULTS
) -> Iterator[list[str]]:
    """Inject random faults into a share of the requests; yield the list of those injected."""
    injected: list[str] = []

    def fault(request: str) -> str:
        if chance.random() >= share:
            return ""
        injected.append(chance.choice(faults))
        return injected[-1]

    proxy.fault = fault
    try:
        yield injected
    finally:
        proxy.fault = lambda request: ""
