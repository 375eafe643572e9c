"""Whether a host sends base64 is found out with its first documents, and kept."""

import base64
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ragctl.catalog import BackendConfig
from ragctl.collection.notes import VectorEncoding
from ragctl.embedding import Embedder, connect
from ragctl.index.embedder import LEARNED_DAYS
from ragctl.pipeline import Embedding
from tests.servers import faults
from tests.servers.host import Job, Refusal
from tests.servers.openai import OpenAIServer
from tests.world import World, paragraphs

TEXTS = ["one", "two", "three"]


class Host(OpenAIServer):
    """A host that treats the field in one way."""

    def __init__(self, way: str) -> None:
        super().__init__(like="vllm")
        self.way = way

    def parse(self, body: Any) -> Job:
        asked = body.get("encoding_format")
        if self.way == "refuses" and asked is not None:
            raise Refusal(400, "UnsupportedParamsError: no such parameter")
        if self.way == "crashes" and asked == "base64":
            raise Refusal(500, "internal error")
        if self.way == "requires float" and asked != "float":
            raise Refusal(422, "encoding_format: Input should be 'float'")
        if self.way == "ignores":
            body = {**body, "encoding_format": "float"}
        return super().parse(body)

    def answer_body(self, items: Any, rest: dict[str, Any], encoding: str) -> object:
        if self.way == "big-endian" and encoding == "base64":
            for item in items:
                swapped = np.asarray(item["embedding"], ">f4").tobytes()
                item["embedding"] = base64.b64encode(swapped).decode()
            return rest | {"data": items}
        return super().answer_body(items, rest, encoding)


def connected(server: OpenAIServer) -> Embedder:
    return connect("bge-m3", backends=[BackendConfig("router", server.url)], environ={})


def asked(server: OpenAIServer) -> list[str | None]:
    return [request.body.get("encoding_format") for request in server.requests]


@pytest.mark.parametrize(
    ("way", "first", "later"),
    [
        ("supports", ["base64"], "base64"),
        ("ignores", ["base64"], None),
        ("refuses", ["base64", None], None),
        ("crashes", ["base64", None], None),
        ("big-endian", ["base64", None], None),
        ("requires float", ["base64", None, "float"], "float"),
    ],
)
def test_the_first_documents_find_out(way: str, first: list[str | None], later: str | None) -> None:
    with Host(way) as server, connected(server) as embedder:
        vectors = embedder.documents(TEXTS)
        assert asked(server) == first
        embedder.documents(TEXTS)
        embedder.query("one")
        assert asked(server)[len(first) :] == [later] * 2
        assert embedder.encodings == {embedder.backends[0].name: later or "unset"}
    with Host("supports") as plain, connected(plain) as other:
        other.use_encoding(other.backends[0].name, "unset")
        np.testing.assert_allclose(vectors, other.documents(TEXTS), atol=1e-6)


def test_questions_do_not_find_out() -> None:
    with Host("requires float") as server, connected(server) as embedder:
        embedder.query("one")
        assert asked(server) == [None, "float"]
    with Host("supports") as server, connected(server) as embedder:
        embedder.query("one")
        assert asked(server) == [None]
        assert embedder.encodings == {}


def test_an_outage_is_no_answer() -> None:
    with Host("supports") as server, connected(server) as embedder:
        server.faults += [faults.failing(503)]
        embedder.documents(TEXTS)
        assert asked(server) == ["base64", "base64"]


def test_a_host_that_refuses_it_later_loses_no_batch() -> None:
    with Host("supports") as server, connected(server) as embedder:
        embedder.documents(TEXTS)
        server.requests.clear()
        body = b'{"error": {"message": "encoding_format is not supported"}}'
        server.faults += [faults.text(400, body)]
        assert embedder.documents(TEXTS).shape == (3, 1024)
        assert asked(server) == ["base64", None]
        assert embedder.encodings == {embedder.backends[0].name: "unset"}


def test_it_is_kept_with_the_collection(tmp_path: Path) -> None:
    (tmp_path / "docs").mkdir()
    with Host("refuses") as server:
        world = World(tmp_path / "docs", str(tmp_path / "store"), server)  # type: ignore[arg-type]
        settings = Embedding("bge-m3", None, (BackendConfig("router", server.url),))

        def ingest(name: str) -> list[str | None]:
            server.requests.clear()
            world.write(f"{name}.md", paragraphs(name))
            assert world.ingest(embedding=settings).documents.added == 1
            return asked(server)

        assert ingest("one")[:2] == ["base64", None]
        assert set(ingest("two")) == {None}
        with closing(world.open()) as collection:
            ((backend, found),) = collection.notes()["encodings"].items()
            assert found["encoding"] == "unset"
            old = VectorEncoding(
                encoding="unset", learned=found["learned"] - LEARNED_DAYS * 86_400 - 1
            )
            collection.note({"encodings": {backend: old}})
        assert ingest("three")[0] == "base64"
