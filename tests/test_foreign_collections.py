"""Collections of other programs: searched as they are, read record by record, never written.

The payloads are what langchain-qdrant 1.1.0 and llama-index-vector-stores-qdrant 0.10.4 wrote to
the test server.
"""

import asyncio
import json
import warnings
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from ragctl import ForeignOptions, open_collection, open_collection_async
from ragctl.errors import OptionError, StoreError, UsageError
from ragctl.lexical.bm25 import Bm25Config, Bm25Encoder
from ragctl.lexical.builtin import embed
from ragctl.stores.base import Batch
from ragctl.stores.foreign import ForeignCollection
from ragctl.stores.foreign_layout import Layout, value_at
from ragctl.stores.server import ServerStore
from tests.command import call
from tests.servers.qdrant import QdrantFacade

DIM = 256
TEXTS = [
    "The boiler is descaled every spring.",
    "Valve seven of the heat pump is checked monthly.",
    "Invoices are kept for ten years.",
    "The server room is cooled to 21 degrees.",
    "Holidays are agreed on in January.",
]
SOURCES = ["a.md", "a.md", "b.md", "c.md", "c.md"]
QUESTION = "how often is the valve of the heat pump checked?"
BEST = TEXTS[1]


def langchain(number: int) -> dict[str, Any]:
    return {
        "page_content": TEXTS[number],
        "metadata": {"source": SOURCES[number], "page": number, "team": "ops"},
    }


def llama_index(number: int) -> dict[str, Any]:
    node = {
        "id_": f"node-{number}",
        "embedding": None,
        "metadata": {"file_path": SOURCES[number]},
        "relationships": {"1": {"node_id": SOURCES[number], "class_name": "RelatedNodeInfo"}},
        "text": TEXTS[number],
        "mimetype": "text/plain",
        "class_name": "TextNode",
    }
    return {
        "file_path": SOURCES[number],
        "team": "ops",
        "_node_content": json.dumps(node),
        "_node_type": "TextNode",
        "document_id": SOURCES[number],
        "doc_id": SOURCES[number],
        "ref_doc_id": SOURCES[number],
    }


def script(number: int) -> dict[str, Any]:
    return {"doc": {"body": TEXTS[number], "url": SOURCES[number]}, "name": f"Title {number}"}


WRITERS = {
    "langchain": (langchain, {}),
    "llama-index": (llama_index, {"text_field": "_node_content.text", "source_field": "doc_id"}),
    "script": (
        script,
        {"text_field": "doc.body", "source_field": "doc.url", "title_field": "name"},
    ),
}


@pytest.fixture
def facade() -> Iterator[QdrantFacade]:
    with QdrantFacade() as facade:
        yield facade


def write(
    facade: QdrantFacade,
    payload: Any = langchain,
    *,
    vector: str = "",
    distance: str = "Cosine",
    lengths: tuple[float, ...] = (1.0,),
    sparse: bool = False,
) -> None:
    """Make the collection `theirs`. `lengths`: of the vectors, in turn."""
    url = f"{facade.url}/collections/theirs"
    params = {"size": DIM, "distance": distance}
    body: dict[str, Any] = {"vectors": {vector: params} if vector else params}
    if sparse:
        body["sparse_vectors"] = {"langchain-sparse": {"modifier": "idf"}}
    httpx.put(url, json=body).raise_for_status()
    rows = embed(TEXTS, DIM)
    terms = Bm25Encoder(Bm25Config(languages=("en",))).documents(TEXTS, ["en"] * len(TEXTS))
    points = []
    for number, row in enumerate(rows):
        dense = (row * lengths[number % len(lengths)]).tolist()
        vectors: Any = {vector: dense} if vector or sparse else dense
        if sparse:
            indices, values = terms[number]
            vectors["langchain-sparse"] = {"indices": indices, "values": values}
        points.append({"id": number, "vector": vectors, "payload": payload(number)})
    httpx.put(f"{url}/points?wait=true", json={"points": points}).raise_for_status()


def search(facade: QdrantFacade, tmp_path: Path, *words: str) -> tuple[int, str, str]:
    result = call(
        *("search", QUESTION, "-c", "theirs", "--store", facade.url, *words),
        environ={"RAGCTL_HOME": str(tmp_path)},
        cwd=tmp_path,
    )
    assert "unexpected failure" not in result.stderr, result.stderr
    return result.returncode, result.stdout, result.stderr


def flags(options: dict[str, str]) -> list[str]:
    return [w for k, v in options.items() for w in (f"--{k.replace('_', '-')}", v)]


@pytest.mark.parametrize("writer", WRITERS)
def test_the_command_searches_what_another_program_wrote(
    facade: QdrantFacade, tmp_path: Path, writer: str
) -> None:
    payload, options = WRITERS[writer]
    write(facade, payload)
    words = ["--model", "builtin", *flags(options), "--json"]
    code, out, err = search(facade, tmp_path, *words)
    assert code == 0, err
    hits = json.loads(out)["hits"]
    assert (hits[0]["text"], hits[0]["source"]) == (BEST, "a.md")
    assert len(hits) == 5
    assert err.count("cannot verify that builtin made its vectors") == 1
    assert hits[0]["title"] == ("Title 1" if writer == "script" else None)
    code, out, err = search(facade, tmp_path, *words, "--group", "1", "--rerank", "sentences")
    assert code == 0, err
    assert {hit["source"] for hit in json.loads(out)["hits"]} == set(SOURCES)


@pytest.mark.parametrize("vector", ["", "vec"])
@pytest.mark.parametrize("distance", ["Cosine", "Dot", "Euclid", "Manhattan"])
def test_every_distance_ranks_the_nearest_first(
    facade: QdrantFacade, vector: str, distance: str
) -> None:
    write(facade, vector=vector, distance=distance, lengths=(1.0, 1.5, 4.0))
    query = embed([QUESTION], DIM)[0]
    rows = embed(TEXTS, DIM) * np.array([1.0, 1.5, 4.0, 1.0, 1.5])[:, None]
    scores = {
        "Cosine": embed(TEXTS, DIM) @ query,
        "Dot": rows @ query,
        "Euclid": -np.linalg.norm(rows - query, axis=1),
        "Manhattan": -np.abs(rows - query).sum(axis=1),
    }[distance]
    foreign = ForeignOptions(model="builtin")
    with pytest.warns(UserWarning, match="cannot verify"):
        opened = open_collection("theirs", store=facade.url, foreign=foreign)
    with opened as got:
        hits = got.search(QUESTION, mode="dense")
        assert [hit.text for hit in hits] == [TEXTS[n] for n in np.argsort(-scores, kind="stable")]
        np.testing.assert_allclose([hit.score for hit in hits], sorted(scores)[::-1], atol=1e-4)
        least = hits[2].score
        assert len(got.search(QUESTION, mode="dense", min_score=least - 1e-6)) == 3
        pages = [got.search(QUESTION, mode="dense", limit=2, offset=n)[0] for n in (0, 2, 4)]
        assert pages == hits[::2]


def test_sparse_vectors_are_searched_if_they_are_named(
    facade: QdrantFacade, tmp_path: Path
) -> None:
    write(facade, sparse=True, vector="vec")
    words = ["--model", "builtin", "--sparse-vector", "langchain-sparse", "--json"]
    for mode in ("hybrid", "sparse", "dense"):
        code, out, err = search(facade, tmp_path, *words, "--mode", mode)
        assert code == 0, err
        assert json.loads(out)["hits"][0]["text"] == BEST
        assert "dense vectors only" not in err
    code, out, err = search(facade, tmp_path, "--model", "builtin", "--json")
    assert "searched by its dense vectors only" in err
    assert json.loads(out)["hits"][0]["text"] == BEST


def test_filters_name_the_fields_of_the_metadata(facade: QdrantFacade, tmp_path: Path) -> None:
    for payload, options in (WRITERS["langchain"], WRITERS["llama-index"]):
        write(facade, payload)
        words = ["--model", "builtin", *flags(options), "--json"]
        code, out, err = search(facade, tmp_path, *words, "--where", "source=c.md and team=ops")
        assert code == 0, err
        assert [hit["source"] for hit in json.loads(out)["hits"]] == ["c.md", "c.md"]
        httpx.delete(f"{facade.url}/collections/theirs").raise_for_status()


def test_points_without_a_text_are_no_hits(facade: QdrantFacade, tmp_path: Path) -> None:
    broken: list[dict[str, Any]] = [
        {},
        {"page_content": None},
        {"page_content": ["x"]},
        {"page_content": " "},
        {"page_content": TEXTS[4], "metadata": "none", "source": {"a": 1}},
    ]
    write(facade, lambda number: broken[number])
    code, out, err = search(facade, tmp_path, "--model", "builtin", "--json")
    assert code == 0, err
    hits = json.loads(out)["hits"]
    assert [(hit["text"], hit["source"], hit["meta"]) for hit in hits] == [(TEXTS[4], "4", {})]


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["--model", "bge-m3"], 2, "has vectors of 256 dimensions"),
        (["--model", "nope"], 2, "no model is called 'nope'"),
        (["--model", "builtin", "--vector", "x"], 2, "no dense vector 'x'; it has: 'vec'"),
        (["--model", "builtin", "--sparse-vector", "x"], 2, "no sparse vector 'x'; it has: none"),
        (["--model", "builtin", "--mode", "sparse"], 2, "needs the name of a sparse vector"),
        (["--model", "builtin", "--context", "1"], 2, "--context: needs a collection of ragctl"),
        (["--text-field", "x"], 2, "--text-field: name the model"),
        (["--model", "builtin", "--store", "folder"], 2, "--model: a folder holds only"),
        ([], 5, "not made by ragctl; choose another name. `ragctl search -c theirs --model MODEL"),
    ],
)
def test_what_does_not_fit_is_refused_in_one_line(
    facade: QdrantFacade, tmp_path: Path, words: list[str], code: int, message: str
) -> None:
    write(facade, vector="vec")
    found, out, err = search(facade, tmp_path, *words)
    assert (found, out) == (code, ""), err
    assert message in err
    assert len(err.splitlines()) == 1


def test_the_python_interface_takes_the_same_options(facade: QdrantFacade) -> None:
    write(facade)
    foreign = ForeignOptions(model="builtin", text_field="page_content")

    async def ask() -> str:
        async with await open_collection_async(
            "theirs", store=facade.url, foreign=foreign
        ) as theirs:
            return (await theirs.search(QUESTION))[0].text

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert asyncio.run(ask()) == BEST
        with pytest.raises(UsageError, match="no collection 'none'"):
            open_collection("none", store=facade.url, foreign=foreign)
        with open_collection("theirs", store=facade.url, foreign=foreign) as theirs:
            assert isinstance(theirs.search_many([QUESTION]).__next__(), list)
            with pytest.raises(OptionError, match="context: needs a collection of ragctl"):
                theirs.search(QUESTION, context=1)
    with pytest.raises(OptionError, match="vector: name the model"):
        ForeignOptions(vector="x")


@pytest.fixture
def theirs(facade: QdrantFacade) -> Iterator[ForeignCollection]:
    write(facade, llama_index, vector="text-dense", distance="Dot", lengths=(2.0,))
    with closing(ServerStore(facade.url)) as store:
        layout = Layout(model="builtin", text="_node_content.text", source="doc_id")
        found = store.foreign("theirs", layout)
        assert found is not None
        yield found


def test_records_have_text_source_metadata_and_vector(theirs: ForeignCollection) -> None:
    records = list(theirs.records())
    assert [(r.id, r.text, r.source) for r in records] == [
        (str(n), TEXTS[n], SOURCES[n]) for n in range(5)
    ]
    assert records[0].metadata["team"] == "ops"
    assert "_node_content" not in records[0].metadata
    dense = np.array([record.dense for record in records])
    assert dense.dtype == np.float32
    np.testing.assert_allclose(dense, 2 * embed(TEXTS, DIM), atol=1e-6)
    assert theirs.sources() == {"a.md": ["0", "1"], "b.md": ["2"], "c.md": ["3", "4"]}
    assert {record.id for record in theirs.records(["4", "1"])} == {"1", "4"}


def test_nothing_is_written(theirs: ForeignCollection) -> None:
    for forbidden in (
        lambda: theirs.apply(Batch(deletes=["1"])),
        lambda: theirs.note({}),
        lambda: theirs.declare({"a": "keyword"}),
        theirs.lock,
        theirs.finish,
    ):
        with pytest.raises(StoreError, match=r"not made by ragctl.*ragctl copy"):
            forbidden()
    assert theirs.count() == 5


def test_a_path_leads_into_json_text() -> None:
    assert value_at({"a": '{"b": {"c": 1}}'}, "a.b.c") == 1
    assert value_at({"a": "{" * 100_000}, "a.b") is None
    assert value_at({"a": '{"b": ' + "[" * 100_000}, "a.b") is None
    assert value_at({"a": "text"}, "a.b") is None
    assert value_at([], "a") is None
