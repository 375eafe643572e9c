"""A server that takes upserts over REST and gRPC and stores nothing; a process of its own.

    python -m benchmarks.null_qdrant       # prints both ports, counts the points that arrive

`GET /points` answers the number of points since the last such request.
"""

import json
import re
import threading
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import grpc  # type: ignore[import-untyped]
from qdrant_client.grpc import PointsOperationResponse, UpdateResult, UpdateStatus, UpsertPoints

_counted = [0]


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def log_message(self, *_: Any) -> None:
        """Log nothing."""

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        _counted[0] += len(re.findall(rb'"payload":', body))
        done = {"operation_id": 0, "status": "completed"}
        self._send({"result": [done] if self.path.partition("?")[0].endswith("batch") else done})

    do_PUT = do_POST  # noqa: N815

    def do_GET(self) -> None:
        if self.path == "/points":
            self._send({"result": _counted[0]})
            _counted[0] = 0
        else:
            self._send({"title": "qdrant - vector search engine", "version": "1.18.3"})

    def _send(self, answer: dict[str, Any]) -> None:
        body = json.dumps({"status": "ok", "time": 0.0, **answer}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def _upsert(request: bytes, _: Any) -> bytes:
    _counted[0] += len(UpsertPoints.FromString(request).points)
    done = UpdateResult(operation_id=0, status=UpdateStatus.Completed)
    return bytes(PointsOperationResponse(result=done).SerializeToString())


class _Upserts(grpc.GenericRpcHandler):  # type: ignore[misc]
    def service(self, details: Any) -> Any:
        return grpc.unary_unary_rpc_method_handler(_upsert) if "Upsert" in details.method else None


def main() -> None:
    http = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    options = [("grpc.max_receive_message_length", -1)]
    over_grpc = grpc.server(ThreadPoolExecutor(1), handlers=(_Upserts(),), options=options)
    port = over_grpc.add_insecure_port("127.0.0.1:0")
    over_grpc.start()
    print(http.server_port, port, flush=True)
    threading.Thread(target=http.serve_forever, daemon=True).start()
    over_grpc.wait_for_termination()


if __name__ == "__main__":
    main()
