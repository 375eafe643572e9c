"""A wire works with one file and a table in backends.toml: shown in a copy of the package."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from ragctl.lexical import builtin
from tests.scratch import copy_package, run_python

pytestmark = pytest.mark.slow

WIRE = '''
"""A wire that no backend has: POST /vectors."""

from ragctl.catalog import WireTraits
from ragctl.embedding import answers
from ragctl.embedding.base import EmbeddingRequest, Embeddings
from ragctl.embedding.rest_wire import RestWire
from ragctl.hosts.responses import json_object
from ragctl.records import Json


class Acme(RestWire):
    """Requests name the task; answers are a list of vectors."""

    traits = WireTraits(task="required")

    def path(self) -> str:
        return "/vectors"

    def body(self, request: EmbeddingRequest) -> dict[str, Json]:
        task = self.instruction(request).task
        return {"model": self.served.id, "task": task, "inputs": [*request.texts]}

    def parse(self, answer: object, texts: int) -> Embeddings:
        rows = json_object(answer, self.client.host)["rows"]
        return answers.from_list(rows, texts, 0, self.model, self.dim, self.client.host)
'''
TABLE = """
[acme-cloud]
wire = "acme-labs"
base_url = "http://127.0.0.1:{port}/v1"
dimensions = false
truncation = "refuses"
limits = {{ texts = 8 }}
models = {{ "{model}" = "acme-model" }}
"""
RUN = """
import sys
from ragctl.cli.main import _run
sys.exit(_run({words!r}))
"""
MODEL, DIM = "jina-embeddings-v3", 1024


class Acme(BaseHTTPRequestHandler):
    """Answers POST /v1/vectors with vectors of the built-in model."""

    bodies: list[dict[str, Any]]

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.bodies.append({"path": self.path, **body})
        rows = builtin.embed(body["inputs"], DIM).tolist()
        answer = json.dumps({"rows": rows}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *args: object) -> None:
        """Stay silent."""


@contextmanager
def acme_server() -> Iterator[tuple[int, list[dict[str, Any]]]]:
    """Yield the port of a server of the new protocol, and the requests it received."""
    bodies: list[dict[str, Any]] = []
    handler = type("Handler", (Acme,), {"bodies": bodies})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield server.server_port, bodies
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def test_a_wire_is_one_file_and_a_table_of_a_backend(tmp_path: Path) -> None:
    copy = copy_package(tmp_path / "copy")
    folder = tmp_path / "docs"
    folder.mkdir()
    (folder / "a.md").write_text("Hourly data is kept for thirty days.", encoding="utf-8")
    (folder / "b.md").write_text("The gateway has two antennas.", encoding="utf-8")

    def run(*words: str) -> str:
        done = run_python(copy, RUN.format(words=words), cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        return done.stdout

    with acme_server() as (port, bodies):
        (copy / "embedding" / "wires" / "acme_labs.py").write_text(WIRE, encoding="utf-8")
        with (copy / "catalog" / "backends.toml").open("a", encoding="utf-8") as table:
            table.write(TABLE.format(port=port, model=MODEL))

        run("ingest", str(folder), "--model", MODEL, "--backend", "acme-cloud")
        found = json.loads(run("search", "how long is hourly data kept?", "--json"))
        listed = json.loads(run("backends", "acme-cloud", "--json"))["backends"]
        schema = run("schema")

    assert found["hits"][0]["source"] == "docs/a.md"
    assert listed[0]["wire"] == "acme-labs"
    assert '"acme-labs"' in schema
    assert {body["path"] for body in bodies} == {"/v1/vectors"}
    assert {body["task"] for body in bodies} == {"retrieval.passage", "retrieval.query"}


def test_a_row_of_an_unknown_wire_is_refused_with_the_nearest_name(tmp_path: Path) -> None:
    copy = copy_package(tmp_path / "copy")
    with (copy / "catalog" / "backends.toml").open("a", encoding="utf-8") as table:
        table.write(TABLE.format(port=1, model=MODEL).replace("acme-labs", "jinna"))
    done = run_python(copy, RUN.format(words=["backends"]), cwd=tmp_path)
    assert done.returncode == 2
    assert "wire cannot be 'jinna'; did you mean jina?" in done.stderr


def test_a_module_without_a_wire_is_named_when_it_is_used(tmp_path: Path) -> None:
    copy = copy_package(tmp_path / "copy")
    (copy / "embedding" / "wires" / "empty.py").write_text("", encoding="utf-8")
    code = "from ragctl.embedding.wire_registry import WIRES; WIRES.traits('empty')"
    done = run_python(copy, code, cwd=tmp_path)
    assert "ragctl.embedding.wires.empty must define one BackendWire, not 0" in done.stderr
