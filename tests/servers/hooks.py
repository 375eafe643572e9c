"""An HTTP receiver on 127.0.0.1 that stores each POST and answers with the configured status."""

import threading
from collections import deque
from collections.abc import Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self

TRICKLE = 0
"""Instead of a status: send the answer one byte at a time and never finish it."""


class Hooks:
    """A webhook receiver. `answers`: the statuses of the next calls; later calls get 200."""

    def __init__(self, answers: Sequence[int] = ()) -> None:
        self.answers = deque(answers)
        self.paths: list[str] = []
        self.bodies: list[bytes] = []
        self.closing = threading.Event()
        self._http = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._http.daemon_threads = True

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._http.server_port}"

    def __enter__(self) -> Self:
        # The short poll interval makes closing quick; it does not delay calls.
        serve = threading.Thread(target=self._http.serve_forever, args=(0.01,), daemon=True)
        serve.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.closing.set()
        self._http.shutdown()
        self._http.server_close()


def _handler(hooks: Hooks) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            hooks.paths.append(self.path)
            hooks.bodies.append(self.rfile.read(int(self.headers["Content-Length"])))
            status = hooks.answers.popleft() if hooks.answers else 200
            if status == TRICKLE:
                self._trickle()
                return
            self.send_response(status)
            if 300 <= status < 400:
                self.send_header("Location", f"{hooks.url}/elsewhere")
            self.send_header("Content-Length", "0")
            self.end_headers()

        def _trickle(self) -> None:
            self.wfile.write(b"HTTP/1.1 200 OK\r\nX: ")
            try:
                while not hooks.closing.wait(0.05):
                    self.wfile.write(b"x")
            except OSError:
                pass  # the client has closed the connection

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class's name
            pass

    return Handler
