"""Copy what another program wrote on a Qdrant server into a collection of ragctl."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from ragctl.catalog import BackendConfig
from ragctl.collection.payload import Point
from ragctl.collection.points import namespace, point_ids
from ragctl.collection.settings import Settings
from ragctl.collection.text import text_hash
from ragctl.embedding import connect
from ragctl.index.verify import inspect_collection
from ragctl.lexical.builtin import embed
from ragctl.stores import open_store
from ragctl.stores.foreign_layout import Layout, read_record
from tests.command import call
from tests.servers.jina import JinaServer
from tests.servers.qdrant import QdrantFacade
from tests.test_foreign_collections import DIM, SOURCES, TEXTS, WRITERS, flags, langchain, write
from tests.waiting import until
from tests.world import KEY

BUILTIN = ("--model", "builtin")


@pytest.fixture
def facade() -> Iterator[QdrantFacade]:
    with QdrantFacade() as facade:
        yield facade


class Copier:
    """Runs commands on the collection `theirs` of a façade and its copy `mine`."""

    def __init__(self, facade: QdrantFacade, folder: Path) -> None:
        self.facade = facade
        self.folder = folder
        self.environ = {"RAGCTL_HOME": str(folder / "home"), "RAGCTL_LEASE_SECONDS": "2"}

    def run(self, *words: str) -> tuple[int, str, str]:
        result = call(*words, environ=self.environ, cwd=self.folder)
        assert "unexpected failure" not in result.stderr, result.stderr
        return result.returncode, result.stdout, result.stderr

    def good(self, *words: str) -> str:
        code, out, err = self.run(*words)
        assert code == 0, err
        return out

    def copy(self, *words: str, to: str = "mine") -> dict[str, Any]:
        words = words or BUILTIN
        out = self.good("copy", f"{self.facade.url}#theirs", to, *words, "--json")
        report: dict[str, Any] = json.loads(out)
        return report

    def refused(self, *words: str, to: str = "mine") -> tuple[int, str]:
        code, out, err = self.run("copy", f"{self.facade.url}#theirs", to, *words)
        assert out == ""
        assert len(err.splitlines()) == 1, err
        return code, err

    def read(self, store: str | None = None, name: str = "mine") -> tuple[Settings, list[Point]]:
        with closing(open_store(store or self.environ["RAGCTL_HOME"], environ={})) as opened:
            collection = opened.open(name)
            assert collection is not None
            with closing(collection):
                damage = inspect_collection(collection)
                assert damage.faults == []
                return collection.settings, sorted(
                    collection.scroll(vectors=True),
                    key=lambda p: (p.payload["source"], p.payload["ordinal"]),
                )


@pytest.fixture
def copier(facade: QdrantFacade, tmp_path: Path) -> Copier:
    return Copier(facade, tmp_path)


def put(facade: QdrantFacade, *points: dict[str, Any]) -> None:
    url = f"{facade.url}/collections/theirs/points?wait=true"
    httpx.put(url, json={"points": list(points)}).raise_for_status()


def delete(facade: QdrantFacade, *ids: int) -> None:
    url = f"{facade.url}/collections/theirs/points/batch?wait=true"
    operations = [{"delete": {"points": list(ids)}}]
    httpx.post(url, json={"operations": operations}).raise_for_status()


@pytest.mark.parametrize("target", ["embedded", "server"])
@pytest.mark.parametrize("writer", WRITERS)
def test_the_copy_is_a_sound_collection_of_ragctl(
    copier: Copier, facade: QdrantFacade, writer: str, target: str
) -> None:
    payload, options = WRITERS[writer]
    write(facade, payload, distance="Dot", lengths=(2.0,))
    store = facade.url if target == "server" else None
    words = [*BUILTIN, *flags(options)]
    report = copier.copy(*words, to=f"{facade.url}#mine" if store else "mine")
    assert (report["documents"]["added"], report["chunks"]["reused"]) == (3, 5)
    assert ["cosine" in w["warning"] for w in report["warnings"]] == [True]
    settings, points = copier.read(store)
    assert [p.payload["text"] for p in points] == TEXTS
    assert [p.payload["source"] for p in points] == SOURCES
    assert [p.payload["ordinal"] for p in points] == [0, 1, 0, 0, 1]
    np.testing.assert_allclose(
        np.array([p.dense for p in points]), embed(TEXTS, DIM), rtol=0, atol=1e-6
    )
    assert {p.payload["source_name"] for p in points} == {f"{facade.url}#theirs"}
    assert {p.payload["lang"] for p in points} <= {"en", "und"}
    assert all(p.sparse is not None and p.sparse.indices for p in points)
    assert all(p.payload["tokens"] > 3 for p in points)
    assert points[0].id == point_ids(namespace("mine"), "a.md", [text_hash(TEXTS[0])])[0]
    assert (settings.identity.dimension, settings.identity.model) == (DIM, "builtin")
    if writer == "script":
        assert points[2].payload["title"] == "Title 2"
    else:
        assert points[2].payload["meta"]["team"] == "ops"


def test_points_without_a_source_are_documents_of_their_own(
    copier: Copier, facade: QdrantFacade
) -> None:
    write(facade, lambda n: {"page_content": TEXTS[n]})
    assert copier.copy()["documents"]["added"] == 5
    assert [p.payload["source"] for p in copier.read()[1]] == ["0", "1", "2", "3", "4"]


@pytest.mark.parametrize(
    ("payload", "layout"),
    [
        (lambda n: {"page_content": "t", "metadata": {"start_index": n}}, {}),
        (lambda n: {"page_content": "t", "metadata": {"page": n, "start_index": 9 - n}}, {}),
        (lambda n: {"text": "t", "chunk_index": n}, {"text": "text"}),
        (
            lambda n: {"_node_content": json.dumps({"text": "t", "start_char_idx": n})},
            {"text": "_node_content.text"},
        ),
        (lambda n: {"text": "t", "x": {"y": n}}, {"text": "text", "position": "x.y"}),
        (lambda n: {"text": "t", "page": f"{n}"}, {"text": "text", "position": "none"}),
    ],
)
def test_positions(payload: Any, layout: dict[str, str]) -> None:
    first, second = (read_record("id", payload(n), Layout(model="m", **layout)) for n in (1, 2))
    assert first is not None
    assert second is not None
    if layout.get("position") == "none":
        assert first.position == second.position
    else:
        assert first.position < second.position


def test_chunks_are_in_the_order_of_their_positions_else_of_their_ids(
    copier: Copier, facade: QdrantFacade
) -> None:
    row = embed(TEXTS[:1], DIM)[0].tolist()
    write(facade)
    delete(facade, *range(5))
    for order in ([2, 0, 1], None):
        for number in range(3):
            metadata = {"source": "x"} if order is None else {"start_index": order[number]}
            put(
                facade,
                {
                    "id": 8 + number,  # 10 follows 9
                    "vector": row,
                    "payload": {
                        "page_content": TEXTS[0] + " " * number,
                        "metadata": {"source": "x", **metadata},
                    },
                },
            )
        copier.copy(*BUILTIN, "--unverified")
        points = copier.read()[1]
        lengths = [len(p.payload["text"]) - len(TEXTS[0]) for p in points]
        assert lengths == ([1, 2, 0] if order else [0, 1, 2])
        assert [p.payload["start"] for p in points] == sorted(p.payload["start"] for p in points)


def test_only_what_differs_is_written(copier: Copier, facade: QdrantFacade) -> None:
    write(facade)
    copier.copy()
    before = {p.id: p.payload for p in copier.read()[1]}
    report = copier.copy()
    assert (report["documents"]["unchanged"], report["chunks"]["reused"]) == (3, 0)
    rows = embed([*TEXTS, "A new text."], DIM)
    changed = langchain(2) | {"page_content": "A new text."}
    put(facade, {"id": 2, "vector": rows[5].tolist(), "payload": changed})
    new = {"page_content": TEXTS[0], "metadata": {"source": "new.md"}}
    put(facade, {"id": 9, "vector": rows[0].tolist(), "payload": new})
    delete(facade, 3, 4)
    report = copier.copy()
    counts = {key: value for key, value in report["documents"].items() if value}
    assert counts == {"added": 1, "updated": 1, "unchanged": 1, "removed": 1}
    points = copier.read()[1]
    assert [p.payload["source"] for p in points] == ["a.md", "a.md", "b.md", "new.md"]
    assert points[2].payload["text"] == "A new text."
    assert [before[p.id] for p in points[:2]] == [p.payload for p in points[:2]]


def test_a_vector_that_changes_alone_is_copied(copier: Copier, facade: QdrantFacade) -> None:
    write(facade)
    copier.copy()
    other = embed(["something else"], DIM)[0]
    put(facade, {"id": 4, "vector": other.tolist(), "payload": langchain(4)})
    assert copier.copy(*BUILTIN, "--unverified")["documents"]["updated"] == 1
    stored = copier.read()[1][4].dense
    assert stored is not None
    np.testing.assert_allclose(stored, other, atol=1e-6)


def test_ingest_into_the_copy_and_the_copy_leave_each_other_alone(
    copier: Copier, facade: QdrantFacade
) -> None:
    write(facade)
    copier.copy()
    files = copier.folder / "files"
    files.mkdir()
    (files / "own.md").write_text("A text of our own.")
    ingest = ("ingest", str(files), "-c", "mine", "--json")
    report = json.loads(copier.good(*ingest))
    assert (report["documents"]["added"], report["documents"]["removed"]) == (1, 0)
    assert report["elsewhere"] == 3
    assert copier.copy()["documents"]["removed"] == 0
    assert len(copier.read()[1]) == 6
    (files / "a.md").write_text("The name of a copied document, below another source.")
    assert json.loads(copier.good(*ingest))["documents"]["added"] == 1
    theirs = {"page_content": TEXTS[0], "metadata": {"source": "files/same.md"}}
    put(facade, {"id": 9, "vector": embed(TEXTS[:1], DIM)[0].tolist(), "payload": theirs})
    assert copier.copy()["documents"]["added"] == 1
    (files / "same.md").write_text("The same name.")
    code, out, err = copier.run(*ingest)
    assert code == 3
    (failure,) = json.loads(out)["failures"]
    assert failure["source"] == "files/same.md"
    assert f"was copied from {facade.url}#theirs" in failure["error"]
    own = {"page_content": TEXTS[0], "metadata": {"source": "files/own.md"}}
    put(facade, {"id": 10, "vector": embed(TEXTS[:1], DIM)[0].tolist(), "payload": own})
    code, err = copier.refused(*BUILTIN)
    assert code == 2
    assert "has a document 'files/own.md' from files" in err


def test_every_command_works_on_the_copy(copier: Copier, facade: QdrantFacade) -> None:
    write(facade)
    copier.copy()
    out = copier.good("search", "valve of the heat pump", "-c", "mine", "--json", "--context", "1")
    assert json.loads(out)["hits"][0]["source"] == "a.md"
    assert f"{facade.url}#theirs" in copier.good("status", "-c", "mine")
    out = copier.good("export", "mine", "-")
    assert len(out.splitlines()) >= 5
    copier.good("copy", "mine", str(copier.folder / "backup"))
    assert [p.id for p in copier.read(str(copier.folder / "backup"))[1]] == [
        p.id for p in copier.read()[1]
    ]
    copier.good("migrate", "mine", "--dim", "128")
    settings, points = copier.read()
    assert settings.dim == 128
    np.testing.assert_allclose(
        np.array([p.dense for p in points]), embed(TEXTS, 128), rtol=0, atol=1e-6
    )
    code, _, err = copier.run("migrate", "mine", "--chunk-size", "100")
    assert code == 2, err


def test_a_pipeline_cannot_chunk_copied_documents_anew(
    copier: Copier, facade: QdrantFacade
) -> None:
    write(facade)
    copier.copy()
    files = copier.folder / "files"
    files.mkdir()
    (files / "own.md").write_text("A text of our own.")
    pipeline = copier.folder / "p.toml"
    pipeline.write_text(
        'collection = "mine"\n[[sources]]\npath = "files"\n[chunking]\nsize = 100\n',
        encoding="utf-8",
    )
    code, _, err = copier.run("migrate", str(pipeline))
    assert code == 2
    assert "3 documents were copied from" in err
    assert len(copier.read()[1]) == 5


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        ((), 5, "not made by ragctl"),
        (("--model", "bge-m3"), 2, "has vectors of 256 dimensions"),
        ((*BUILTIN, "--dim", "128"), 2, "not 128; copy them, then run `ragctl migrate mine"),
        ((*BUILTIN, "--text-field", "x"), 2, "none of its 5 points has a text at x"),
        ((*BUILTIN, "--vector", "x"), 2, "no dense vector 'x'"),
        (("--unverified",), 2, "--unverified: name the model"),
        (("--text-field", "x"), 2, "--text-field: name the model"),
        (("--model", "jina-embeddings-v3"), 4, "cannot be asked whether it made the vectors"),
    ],
)
def test_refusals_are_one_line_and_nothing_is_made(
    copier: Copier, facade: QdrantFacade, words: tuple[str, ...], code: int, message: str
) -> None:
    write(facade)
    found, err = copier.refused(*words)
    assert message in err
    assert found == code
    with closing(open_store(copier.environ["RAGCTL_HOME"], environ={})) as store:
        assert store.names() == []


def test_a_folder_holds_no_collection_of_another_program(copier: Copier) -> None:
    code, _, err = copier.run("copy", "docs", "mine", *BUILTIN)
    assert code == 2
    assert "a folder holds only collections of ragctl" in err


def test_vectors_of_another_model_are_refused(copier: Copier, facade: QdrantFacade) -> None:
    write(facade)
    with JinaServer() as server:
        copier.environ["JINA_API_KEY"] = KEY
        words = ("--model", "jina-embeddings-v3", "--base-url", server.url)
        code, err = copier.refused(*words)
        assert code == 6
        assert "does not reproduce the vectors" in err
        assert "--unverified" in err
        report = copier.copy(*words, "--unverified")
        assert "nobody checked" in report["warnings"][0]["warning"]
        assert server.texts == [] or len(server.texts) <= 5
    assert copier.read()[0].origin.unverified
    assert "not verified" in copier.good("status", "-c", "mine")


def test_a_changed_text_with_a_vector_of_another_model_stops_the_next_copy(
    copier: Copier, facade: QdrantFacade
) -> None:
    write(facade)
    copier.copy()
    before = copier.read()[1]
    row = np.roll(embed(["Changed."], DIM)[0], 1).tolist()
    put(facade, {"id": 0, "vector": row, "payload": langchain(0) | {"page_content": "Changed."}})
    assert copier.refused(*BUILTIN)[0] == 6
    assert [p.payload for p in copier.read()[1]] == [p.payload for p in before]


def test_a_host_that_reproduces_the_vectors_is_accepted_and_leaves_its_canary(
    copier: Copier, facade: QdrantFacade
) -> None:
    with JinaServer() as server:
        copier.environ["JINA_API_KEY"] = KEY
        backend = BackendConfig(base_url=server.url)
        environ = {"JINA_API_KEY": KEY}
        with connect(
            "jina-embeddings-v3", dim=DIM, backends=(backend,), environ=environ
        ) as embedder:
            rows = embedder.documents(TEXTS)
        server.texts.clear()
        write(facade)
        for number, row in enumerate(rows):
            put(facade, {"id": number, "vector": row.tolist(), "payload": langchain(number)})
        words = ("--model", "jina-embeddings-v3", "--base-url", server.url)
        copier.copy(*words)
        documents = [text.text for text in server.texts if text.side == "document"]
        assert set(documents) & set(TEXTS)
        server.texts.clear()
        assert copier.copy(*words)["documents"]["unchanged"] == 3
        assert server.texts == []
    settings = copier.read()[0]
    assert settings.origin.canary is not None
    assert not settings.origin.unverified


def test_unusable_points_are_left_out_and_counted(copier: Copier, facade: QdrantFacade) -> None:
    broken = {0: {}, 1: {"page_content": " "}}
    write(facade, lambda n: broken.get(n, langchain(n)), distance="Dot", lengths=(1, 1, 1, 1, 0))
    report = copier.copy()
    assert report["documents"]["added"] == 2
    assert [w["warning"].partition(" (")[0] for w in report["warnings"][:2]] == [
        "left out: 2 points without a text",
        "left out: 1 point without a vector",
    ]
    assert [p.payload["source"] for p in copier.read()[1]] == ["b.md", "c.md"]


def test_an_emptied_original_does_not_empty_the_copy(copier: Copier, facade: QdrantFacade) -> None:
    write(facade, lambda n: langchain(n) | {"metadata": {"source": str(n)}})
    row = embed(TEXTS[:1], DIM)[0].tolist()
    for n in range(5, 30):
        payload = {"page_content": TEXTS[0], "metadata": {"source": str(n)}}
        put(facade, {"id": n, "vector": row, "payload": payload})
    copier.copy()
    delete(facade, *range(1, 30))
    code, err = copier.refused(*BUILTIN)
    assert code == 7
    assert "--prune-limit 100" in err
    assert len(copier.read()[1]) == 30
    assert copier.copy(*BUILTIN, "--prune-limit", "100")["documents"]["removed"] == 29


def kill_after(points: int, process: subprocess.Popen[bytes], facade: QdrantFacade) -> None:
    """Kill a process that has sent some requests and written that many points."""
    read, written = facade.requests.total(), facade.engine.points_upserted
    until(
        lambda: (
            process.poll() is not None
            or (
                facade.requests.total() > read + 10
                and facade.engine.points_upserted > written + points
            )
        )
    )
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL


def test_a_killed_copy_goes_on(copier: Copier, facade: QdrantFacade) -> None:
    write(facade)
    texts = [f"Text number {n} about the boiler and valve {n}." for n in range(1200)]
    rows = embed(texts, DIM)
    for first in range(0, len(texts), 400):
        batch = [
            {
                "id": n,
                "vector": rows[n].tolist(),
                "payload": {"page_content": texts[n], "metadata": {"source": f"{n // 3}.md"}},
            }
            for n in range(first, first + 400)
        ]
        put(facade, *batch)
    command = [str(Path(sys.executable).with_name("ragctl"))]
    words = ["copy", f"{facade.url}#theirs", f"{facade.url}#mine", *BUILTIN, "-q"]
    for least in (0, 200, 200):  # written by the killed process; the first has begun to read
        process = subprocess.Popen(
            [*command, *words, "--wait"], env={**os.environ, **copier.environ}, cwd=copier.folder
        )
        kill_after(least, process, facade)
    copier.good(*words, "--wait")
    points = copier.read(facade.url)[1]
    assert sorted(p.payload["text"] for p in points) == sorted(texts)
    assert all(p.payload["chunks"] == 3 for p in points)


def test_json_inside_a_payload_may_have_what_no_server_takes() -> None:
    layout = Layout(model="m", text="node.text", metadata="node.metadata")
    node = '{"text": "a \\ud83d b \\ud83d\\ude00", "metadata": {"x": NaN}}'
    record = read_record("1", {"node": node}, layout)
    assert record is not None
    assert (record.text, record.metadata) == ("a ? b \U0001f600", {"x": None})
