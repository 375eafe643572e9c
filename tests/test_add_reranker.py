"""Adding a reranker takes one file and a table in rerankers.toml: shown in a copy of the package.

A reranker whose host speaks a wire that exists takes the table alone.
"""

import json
import subprocess
from pathlib import Path

import pytest

from tests.scratch import copy_package, run_python
from tests.servers.rerank import JinaReranker, RerankServer

pytestmark = pytest.mark.slow

WIRE = '''
"""A wire that no reranker has: POST /rerank with "keep", and "ranking" with "points"."""

from ragctl.records import Json
from ragctl.rerank.base import RerankRequest
from ragctl.rerank.host_wire import HostRerankWire


class Acme(HostRerankWire):
    """Names of its own for the limit, the list and the scores."""

    results_field = "ranking"
    score_field = "points"
    limit_field = "keep"

    def body(self, request: RerankRequest) -> dict[str, Json]:
        """Return the JSON of the request."""
        return super().body(request) | {"quiet": True}
'''
LOCAL_WIRE = '''
"""A reranker in this process: the shorter passage is the better one."""

from typing import Self

from ragctl.catalog import WireTraits
from ragctl.rerank.base import RerankConnection, RerankRequest, RerankWire, Scores


class Shortest(RerankWire):
    """Scores by length."""

    traits = WireTraits(in_process=True)
    max_passages = 1000

    @classmethod
    def connect(cls, connection: RerankConnection) -> Self:
        """Return the reranker."""
        return cls()

    def call(self, request: RerankRequest) -> Scores:
        """Score the passages."""
        return Scores(tuple(-float(len(passage)) for passage in request.passages))

    def close(self) -> None:
        """Do nothing."""
'''
TABLE = """
[acme-cloud]
wire = "acme-labs"
base_url = "{url}"
keys = ["ACME_API_KEY"]
key_required = false
model = "acme-rank"
documents = 2
"""
RUN = """
import sys
from ragctl.cli.main import _run
sys.exit(_run({words!r}))
"""


class AcmeReranker(RerankServer):
    """A server with the new protocol, as strict as the other test servers."""

    fields = ("model", "query", "documents", "keep", "quiet")
    models = ("acme-rank",)
    score_key = "points"
    results_key = "ranking"
    top_key = "keep"


def run(copy: Path, *words: str) -> "subprocess.CompletedProcess[str]":
    return run_python(copy, RUN.format(words=words), cwd=copy.parents[1])


def with_table(tmp_path: Path, table: str) -> Path:
    """Return a copy of the package with another table in rerankers.toml, and an indexed folder."""
    copy = copy_package(tmp_path / "copy")
    with (copy / "catalog" / "rerankers.toml").open("a", encoding="utf-8") as file:
        file.write(table)
    folder = tmp_path / "docs"
    folder.mkdir()
    (folder / "a.md").write_text("Hourly data. " * 30, encoding="utf-8")
    (folder / "b.md").write_text("Hourly data is kept thirty days.", encoding="utf-8")
    (folder / "c.md").write_text("The gateway has hourly data.", encoding="utf-8")
    done = run(copy, "ingest", str(folder))
    assert done.returncode == 0, done.stderr
    return copy


def sources(done: "subprocess.CompletedProcess[str]") -> list[str]:
    assert done.returncode == 0, done.stderr
    return [hit["source"] for hit in json.loads(done.stdout)["hits"]]


def test_a_reranker_is_one_file_and_a_table(tmp_path: Path) -> None:
    question = ("search", "kept thirty days", "--mode", "dense", "--json", "--rerank")
    with AcmeReranker() as server:
        copy = with_table(tmp_path, TABLE.format(url=server.url))
        (copy / "rerank" / "wires" / "acme_labs.py").write_text(WIRE, encoding="utf-8")
        assert sources(run(copy, *question, "acme-cloud"))[0] == "docs/b.md"
        assert [len(request.body["documents"]) for request in server.requests] == [2, 1]
        assert '"acme-labs"' in run(copy, "schema").stdout
        done = run(copy, *question, "acme-cloud:other")
        assert (done.returncode, "model other not found" in done.stderr) == (4, True)


def test_a_reranker_in_this_process_is_one_file_and_a_table(tmp_path: Path) -> None:
    copy = with_table(tmp_path, '[shortest]\nwire = "shortest"\n')
    (copy / "rerank" / "wires" / "shortest.py").write_text(LOCAL_WIRE, encoding="utf-8")
    done = run(copy, "search", "hourly data", "--json", "--rerank", "shortest")
    assert sources(done) == ["docs/c.md", "docs/b.md", "docs/a.md"]


def test_a_reranker_of_a_known_wire_is_a_table(tmp_path: Path) -> None:
    with JinaReranker() as server:
        copy = with_table(tmp_path, TABLE.format(url=server.url).replace("acme-labs", "jina"))
        model = JinaReranker.models[0]
        done = run(copy, "search", "thirty days", "--json", "--rerank", f"acme-cloud:{model}")
        assert sources(done)[0] == "docs/b.md"


def test_a_row_of_an_unknown_wire_is_refused_with_the_nearest_name(tmp_path: Path) -> None:
    copy = with_table(
        tmp_path, TABLE.format(url="http://127.0.0.1:1").replace("acme-labs", "jinna")
    )
    done = run(copy, "search", "hourly", "--rerank", "sentences")
    assert done.returncode == 2
    assert "wire cannot be 'jinna'; did you mean jina?" in done.stderr
