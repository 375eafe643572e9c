"""Rerankers: what is sent, what is accepted, and how each fault of a host is handled."""

import json
import math
from collections.abc import Iterator
from pathlib import Path

import pytest

from ragctl.embedding import Patience
from ragctl.errors import BackendError, UsageError
from ragctl.pipeline import read_pipeline
from ragctl.records import Hit
from ragctl.rerank.reranker import Reranker, connect_reranker, rerank_hits
from ragctl.rerank.wire_registry import rerankers
from ragctl.search.library import open_collection
from ragctl.search.options import SearchOptions
from tests.servers import faults
from tests.servers.rerank import (
    SERVERS,
    JinaReranker,
    RerankServer,
    TeiReranker,
    VllmReranker,
    index_of,
    score_of,
    word_overlap,
)
from tests.test_search_many import command
from tests.world import World, paragraphs

pytestmark = pytest.mark.slow

KEY = "rerank-secret-0123456789"
KEYS = {f"{name}_API_KEY": KEY for name in ("JINA", "CO", "VOYAGE", "TEI", "VLLM", "LLAMA")}
QUICK = Patience(total=0.5, first=0.001, longest=0.002, attempt=5.0)
PASSAGES = ["a pump ran", "the valve was open and dry", "valve open", "nothing", "the open valve"]
QUESTION = "open valve dry"


@pytest.fixture(params=SERVERS)
def server(request: pytest.FixtureRequest) -> Iterator[RerankServer]:
    server_class = SERVERS[request.param][0]
    with server_class(KEY) as running:
        yield running


@pytest.fixture
def reranker(server: RerankServer) -> Iterator[Reranker]:
    (name,) = (spec for server_class, spec in SERVERS.values() if isinstance(server, server_class))
    with connect_reranker(name, environ=KEYS, base_url=server.url, patience=QUICK) as reranker:
        yield reranker


def hit(text: str, ordinal: int) -> Hit:
    return Hit("s.md", 1.0 / (ordinal + 1), text, 0, len(text), None, (), ordinal, {})


def test_scores_are_in_passage_order(server: RerankServer, reranker: Reranker) -> None:
    scores = reranker.scores(QUESTION, PASSAGES)
    assert scores == pytest.approx([0, 1, 2 / 3, 0, 2 / 3])
    size = min(server.max_passages, len(PASSAGES))
    assert len(server.requests) == math.ceil(len(PASSAGES) / size)
    assert reranker.usage.requests == len(server.requests)
    assert not server.requests[0].body.get("return_documents", False)


def test_equal_scores_keep_their_order(reranker: Reranker) -> None:
    reranked = rerank_hits(reranker, QUESTION, [hit(text, n) for n, text in enumerate(PASSAGES)])
    assert [each.ordinal for each in reranked] == [1, 2, 4, 0, 3]
    assert reranked[0].score == pytest.approx(1.0)
    assert rerank_hits(reranker, QUESTION, []) == []


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        (faults.one_item_missing(), "scores for"),
        (faults.one_item_extra(), "scores for"),
        (faults.repeated_index(), "each of"),
        (faults.unindexed(), "each of"),
        (index_of(-1), "each of"),
        (index_of(3), "each of"),
        (index_of(10**30), "each of"),
        (index_of(True), "each of"),
        (index_of("0"), "each of"),
        (score_of(math.nan), "not a number"),
        (score_of(math.inf), "not a number"),
        (score_of(-math.inf), "not a number"),
        (score_of(10**400), "not a number"),
        (score_of(None), "not a number"),
        (score_of("0.5"), "not a number"),
        (score_of(True), "not a number"),
        (faults.html(), "HTML page"),
        (faults.text(200, b'"scores"'), "answered"),
        (faults.text(200, b'{"results": 3, "data": 3}'), "no list of scores"),
    ],
)
def test_malformed_answer_is_refused(
    server: RerankServer, reranker: Reranker, fault: faults.Fault, message: str
) -> None:
    server.faults.append(fault)
    with pytest.raises(BackendError, match=message):
        reranker.scores(QUESTION, PASSAGES[:3])
    assert reranker.scores(QUESTION, PASSAGES[:3]) == pytest.approx([0, 1, 2 / 3])


def test_transient_faults_are_retried(server: RerankServer, reranker: Reranker) -> None:
    server.faults += [faults.busy(0.001), faults.failing(503), faults.cut(), faults.truncated()]
    assert reranker.scores(QUESTION, PASSAGES[:3])[1] == pytest.approx(1.0)
    assert len(server.requests) == 5


def test_wrong_key_raises_and_is_not_shown(server: RerankServer) -> None:
    wrong = dict.fromkeys(KEYS, "other-secret-0123456789")
    (name,) = (spec for server_class, spec in SERVERS.values() if isinstance(server, server_class))
    with (
        connect_reranker(name, environ=wrong, base_url=server.url, patience=QUICK) as reranker,
        pytest.raises(BackendError, match="_API_KEY") as caught,
    ):
        reranker.scores(QUESTION, PASSAGES)
    assert "other-secret" not in str(caught.value)
    assert len(server.requests) <= 1


def test_tei_info_is_retried_while_it_starts() -> None:
    with (
        TeiReranker() as server,
        connect_reranker("tei", environ={}, base_url=server.url, patience=QUICK) as reranker,
    ):
        server.starting = 2
        assert reranker.scores(QUESTION, PASSAGES) == [word_overlap(QUESTION, p) for p in PASSAGES]
        assert server.starting == 0


def test_unreachable_reranker_exits_with_4(world: World, tmp_path: Path) -> None:
    world.write("a.md", paragraphs("pump"))
    world.ingest()
    with VllmReranker() as server:
        url = server.url
    for name in (f"vllm:{VllmReranker.models[0]}", "tei"):
        with (
            open_collection(store=world.store, environ=world.environ) as opened,
            connect_reranker(name, environ={}, base_url=url, patience=QUICK) as reranker,
            pytest.raises(BackendError, match=r"127\.0\.0\.1:\d+: .*refused") as caught,
        ):
            list(opened.answers(["pump"], SearchOptions(mode="sparse"), reranker))
        assert caught.value.exit_code == 4
        assert "\n" not in str(caught.value)


def test_empty_hits_send_no_request() -> None:
    with VllmReranker() as server:
        name = f"vllm:{VllmReranker.models[0]}"
        with connect_reranker(name, environ={}, base_url=server.url) as reranker:
            assert rerank_hits(reranker, QUESTION, []) == []
            assert reranker.scores(QUESTION, []) == []
        assert not server.requests


def test_invalid_names_are_refused(tmp_path: Path) -> None:
    for name, message in (
        ("jinna", "did you mean jina"),
        ("vllm", "vllm:MODEL"),
        ("sentences:x", "no models"),
        (f"cross-encoder:{tmp_path / 'none'}", "no folder"),
    ):
        with pytest.raises(UsageError, match=message):
            connect_reranker(name, environ={})
    with pytest.raises(UsageError, match="no base URL"):
        connect_reranker("sentences", environ={}, base_url="http://localhost")
    with pytest.raises(UsageError, match="base URL"):
        connect_reranker("tei", environ={}, base_url="localhost:80")
    with pytest.raises(BackendError, match="set JINA_API_KEY"):
        connect_reranker("jina", environ={})


def test_base_url_may_include_the_path() -> None:
    with (
        JinaReranker(KEY) as server,
        connect_reranker("jina", environ=KEYS, base_url=f"{server.url}/rerank/") as reranker,
    ):
        assert reranker.scores(QUESTION, ["open valve dry"]) == [1.0]


def test_tei_with_another_model_is_refused() -> None:
    with (
        TeiReranker(kind="embedding") as server,
        connect_reranker("tei", environ={}, base_url=server.url) as reranker,
        pytest.raises(BackendError, match="type embedding: no reranker"),
    ):
        reranker.scores(QUESTION, PASSAGES)
    with (
        TeiReranker() as server,
        connect_reranker("tei:other/model", environ={}, base_url=server.url) as reranker,
        pytest.raises(BackendError, match="not other/model"),
    ):
        reranker.scores(QUESTION, PASSAGES)


def test_tei_is_named_by_its_served_name_too() -> None:
    with TeiReranker(served_model_name="our-reranker") as server:
        for name in ("tei:our-reranker", "tei:BAAI/bge-reranker-v2-m3", "tei"):
            with connect_reranker(name, environ={}, base_url=f"{server.url}/v1") as reranker:
                assert reranker.scores(QUESTION, ["open valve dry"]) == [1.0]


def test_missing_model_raises() -> None:
    with (
        VllmReranker() as server,
        connect_reranker("vllm:none", environ={}, base_url=server.url) as reranker,
        pytest.raises(BackendError, match="no such model"),
    ):
        reranker.scores(QUESTION, PASSAGES)


def test_pipeline_rows_override_user_rows(tmp_path: Path) -> None:
    (tmp_path / "rerankers.toml").write_text(
        '[ours]\nwire = "cohere"\nbase_url = "http://localhost:1/v1"\ndocuments = 8\n'
    )
    file = tmp_path / "p.toml"
    file.write_text(
        "[[sources]]\npath = '.'\n"
        "[rerankers.ours]\nbase_url = 'http://localhost:2/v1'\n"
        "[rerankers.here]\nwire = 'jina'\nbase_url = 'http://localhost:3/v1'\nmodels = ['a']\n"
    )
    environ = {"RAGCTL_CONFIG": str(tmp_path), "RAGCTL_HOME": "/home"}
    rows = read_pipeline(file, environ).rerankers
    assert rows is not None
    assert (rows["ours"].base_url, rows["ours"].documents) == ("http://localhost:2/v1", 8)
    assert (rows["here"].wire, rows["here"].models) == ("jina", ("a",))
    assert set(SERVERS) <= set(rows)
    file.write_text("[[sources]]\npath = '.'\n")
    (tmp_path / "rerankers.toml").write_text("[ours\n")  # not read without [rerankers]
    assert read_pipeline(file, environ).rerankers is None


def test_search_uses_rows_and_keys_of_its_pipeline(world: World, tmp_path: Path) -> None:
    world.write("a.md", paragraphs("pump", "fan", "coil"))
    world.ingest()
    file = tmp_path / "p.toml"
    with VllmReranker(KEY) as server:
        (tmp_path / "keys.env").write_text(f"OUR_KEY={KEY}\n")
        file.write_text(
            f'store = "{world.store}"\nenv_file = "keys.env"\n[[sources]]\npath = "docs"\n'
            f'[rerankers.gpu]\nwire = "cohere"\nbase_url = "{server.url}"\nkeys = ["OUR_KEY"]\n'
            f'model = "{VllmReranker.models[0]}"\ndocuments = 2\n'
        )
        with open_collection(pipeline=file, environ=world.environ) as opened:
            hits = opened.search("coil dry weather", mode="sparse", rerank="gpu")
            assert "coil" in hits[0].text
            assert hits[0].score == pytest.approx(2 / 3)
            assert [len(request.body["documents"]) for request in server.requests] == [2, 1]
            with pytest.raises(UsageError, match="did you mean gpu"):
                opened.search("coil", mode="sparse", rerank="gpuu")
        with (
            open_collection(store=world.store, environ=world.environ) as opened,
            pytest.raises(UsageError, match="no reranker is called 'gpu'"),
        ):
            opened.search("coil", mode="sparse", rerank="gpu")
        words = (
            "search",
            "-p",
            str(file),
            "--mode",
            "sparse",
            "--rerank",
            "gpu",
            "coil dry weather",
        )
        done = command(tmp_path, *words, "--rerank", "gpu", "--json")
        assert done.returncode == 0, done.stderr
        (first, *_) = json.loads(done.stdout)["hits"]
        assert first["score"] == pytest.approx(2 / 3)


def test_user_rows(tmp_path: Path) -> None:
    (tmp_path / "rerankers.toml").write_text(
        '[ours]\nwire = "cohere"\nbase_url = "http://localhost:1/v1"\ndocuments = 8\n'
        "[tei]\ndocuments = 2\n"
    )
    rows = rerankers({"RAGCTL_CONFIG": str(tmp_path)})
    assert rows["ours"].documents == 8
    assert rows["tei"].documents == 2
    assert rows["tei"].wire == "tei"
    assert set(SERVERS) <= set(rows)
    for text, message in (
        ('[x]\nwire = "cohre"\n', "cohere"),
        ('[x]\nwire = "cohere"\n', "base_url is missing"),
        ('[x]\nwire = "tei"\nbase_url = "ftp://x"\n', "http"),
        ('[x]\nwire = "tei"\nbase_url = "http://x"\ndocument = 3\n', "unknown key 'document'"),
        ('[x]\nwire = "tei"\nbase_url = "http://x"\napi_key = "k"\n', "does not belong"),
        ("x = 3\n", "table"),
    ):
        (tmp_path / "rerankers.toml").write_text(text)
        with pytest.raises(UsageError, match=message):
            rerankers({"RAGCTL_CONFIG": str(tmp_path)})
