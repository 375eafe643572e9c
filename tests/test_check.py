"""`ragctl check`: correct backends pass, and each kind of wrong one has its own finding."""

import itertools
import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import ExitStack, closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ragctl.catalog import BackendConfig, Layer, Rates
from ragctl.check import CheckReport, assess, check_pipeline
from ragctl.check.findings import worst
from ragctl.check.trial import TRIAL_TEXT
from ragctl.embedding import canary
from ragctl.embedding.catalogs import package_catalog, user_catalog
from ragctl.errors import UsageError
from ragctl.index.embedder import add_canary, connect_for, new_settings
from ragctl.pipeline import Embedding, Pipeline, Source
from ragctl.stores import is_server, open_store
from tests.servers import faults
from tests.servers.faults import Fault
from tests.servers.host import Job, Text
from tests.servers.jina import JinaServer
from tests.servers.openai import OpenAIServer
from tests.servers.qdrant import Fault as Stall
from tests.servers.qdrant import QdrantFacade
from tests.world import KEY

pytestmark = pytest.mark.slow

ENVIRON = {"JINA_API_KEY": KEY, "DEEPINFRA_TOKEN": KEY, "SILICONFLOW_API_KEY": KEY}
UNREACHABLE = "http://127.0.0.1:9"  # the discard port: no server listens there
V3, QWEN = "jina-embeddings-v3", "qwen3-embedding-0.6b"
SHORT_TIMEOUT = 0.6  # seconds, for tests that wait for a timeout


def pipeline(
    store: object,
    model: str | None = None,
    dim: int | None = None,
    *backends: BackendConfig,
    environ: Mapping[str, str] = ENVIRON,
    **more: Any,
) -> Pipeline:
    return Pipeline(
        sources=(Source(Path("none")),),
        store=str(store),
        embedding=Embedding(model, dim, backends, **more),
        environ=environ,
    )


def lines(checked: CheckReport, status: str) -> dict[str, str]:
    """Return the findings with a status: subject and check -> text. Duplicates are a defect."""
    found = [
        (f"{subject} {f.what}", f.text) for subject, f in checked.findings if f.status == status
    ]
    assert len(dict(found)) == len(found)
    return dict(found)


def only_failure(checked: CheckReport) -> tuple[str, str]:
    ((where, text),) = lines(checked, "fail").items()
    return where, text


def create_collection(config: Pipeline) -> None:
    """Create the pipeline's collection, as the first ingest would, without documents."""
    with (
        closing(open_store(config.store, environ=config.environ)) as store,
        connect_for(config, None, config.environ) as embedder,
    ):
        settings = add_canary(new_settings(config, embedder), embedder)
        store.create(config.collection, settings).close()


# Correct backends


def test_correct_backend_passes(tmp_path: Path) -> None:
    with JinaServer(KEY) as host:
        checked = check_pipeline(pipeline(tmp_path / "s", V3, 256, BackendConfig("jina", host.url)))
    assert lines(checked, "fail") == {}
    assert checked.exit_code == 0
    assert [request.body["task"] for request in host.requests] == [
        *("retrieval.passage", "retrieval.query", "retrieval.passage"),
    ]
    assert [request.body["dimensions"] for request in host.requests] == [256, 256, 1024]
    assert {text for _, text in host.texts} == {TRIAL_TEXT}
    (backend,) = checked.backends
    assert (backend.key, backend.model) == ("JINA_API_KEY", V3)
    assert backend.document is not None
    assert backend.query is not None
    assert backend.document.length == backend.query.length == 256
    assert backend.document.norm == pytest.approx(1)
    assert backend.document.tokens == 15
    assert 0 < backend.query.milliseconds < 5000
    assert backend.cosine is not None
    assert backend.cosine < 0.9
    assert backend.cut == pytest.approx(1)
    good = lines(checked, "ok")
    assert good["jina key"] == "from JINA_API_KEY"
    assert good["jina dimensions"].startswith("256 of 1024, cut by the host as it would be")
    assert "15 and 15 tokens billed" in good["jina answers"]
    assert "does not exist yet" in lines(checked, "note")["store collection"]
    assert not (tmp_path / "s").exists()


def test_builtin_model_needs_no_configuration(tmp_path: Path) -> None:
    checked = check_pipeline(pipeline(tmp_path / "s", environ={}))
    assert (checked.exit_code, checked.failures) == (0, 0)
    assert (checked.model, checked.dim) == ("builtin", package_catalog().model("builtin").dim)
    assert "builtin sides" in lines(checked, "ok")
    assert list(tmp_path.iterdir()) == []


def test_agreeing_backends_pass(tmp_path: Path) -> None:
    """One truncates itself, one is not sent `dimensions`, and one does not normalise."""
    with ExitStack() as stack:
        likes = ("deepinfra", "siliconflow", "infinity")
        hosts = [stack.enter_context(OpenAIServer(KEY, like=like)) for like in likes]
        hosts[2].key = None
        names = ("deepinfra", "siliconflow", "vllm")
        backends = [
            BackendConfig(name, host.url, price=1) for name, host in zip(names, hosts, strict=True)
        ]
        checked = check_pipeline(pipeline(tmp_path, QWEN, 512, *backends))
    assert checked.exit_code == 0
    good, notes = agreeing_pairs(checked), lines(replace(checked, agreements=()), "note")
    assert good == [("deepinfra", "siliconflow"), ("deepinfra", "vllm"), ("siliconflow", "vllm")]
    passed = lines(replace(checked, agreements=()), "ok")
    assert passed["vllm dimensions"] == "512 of 1024, cut here"
    assert passed["vllm key"] == "none, and none is required"
    assert notes["vllm norm"] == "2 and 2 as received; normalised here"
    assert "it is unknown what deepinfra does" in notes["deepinfra long texts"]
    assert "price" not in str(notes)
    for pair in checked.agreements:
        assert pair.cosines == pytest.approx((1, 1), abs=1e-5)


def agreeing_pairs(checked: CheckReport) -> list[tuple[str, str]]:
    return [pair.names for pair in checked.agreements if pair.finding.status == "ok"]


def test_late_chunking_is_requested(tmp_path: Path) -> None:
    with JinaServer(KEY) as host:
        config = pipeline(tmp_path, V3, None, BackendConfig("jina", host.url), late_chunking=True)
        checked = check_pipeline(config)
    assert checked.exit_code == 0
    late_chunking_sent = [request.body.get("late_chunking") for request in host.requests]
    assert late_chunking_sent == [True, None]
    assert lines(checked, "ok")["jina dimensions"] == "1024, the model's own"


def test_collection_is_compared_and_supplies_omitted_settings(
    store_location: str, host: JinaServer
) -> None:
    create_collection(pipeline(store_location, V3, 64, BackendConfig("jina", host.url)))
    checked = check_pipeline(pipeline(store_location))
    assert lines(checked, "fail") == {}
    good = lines(checked, "ok")
    assert good["store identity"] == f"{V3}, 64 dimensions: matches these settings"
    assert good["store collection"] == "docs: 0 points"
    assert good["jina canary"].startswith("the same vectors as the collection: cosine 1.0000")
    (backend,) = checked.backends
    assert backend.agreement == pytest.approx((1, 1), abs=1e-3)
    if is_server(store_location):
        assert ": Qdrant 1.17, 1 collection, " in good["store store"]
        assert checked.store.version == "1.17"


def test_check_writes_nothing_to_a_server(host: JinaServer) -> None:
    with QdrantFacade() as facade:
        config = pipeline(facade.url, V3, 64, BackendConfig("jina", host.url))
        assert check_pipeline(config).exit_code == 0
        create_collection(config)
        facade.requests.clear()
        assert check_pipeline(config).exit_code == 0
    assert set(facade.requests) == {
        *("GET /", "GET /aliases", "GET /collections", "GET /collections/{name}"),
        "GET /collections/{name}/aliases",
        "POST /collections/{name}/points/count",
    }


# Wrong backends


class IgnoresTask(JinaServer):
    """A host that accepts the task and ignores it."""

    def parse(self, body: Any) -> Job:
        job = super().parse(body)
        return replace(job, texts=[Text("document", text.text) for text in job.texts])


class AlternatingPrompts(OpenAIServer):
    """A host that adds its own prompt to every other text."""

    def __init__(self, *arguments: Any, **more: Any) -> None:
        super().__init__(*arguments, **more)
        self.turn = itertools.cycle(("document", "query"))

    def parse(self, body: Any) -> Job:
        job = super().parse(body)
        return replace(job, texts=[Text(next(self.turn), text.text) for text in job.texts])


class AnotherModel(OpenAIServer):
    """A host with another model of the same dimension under the requested name."""

    def parse(self, body: Any) -> Job:
        return replace(super().parse(body), space="another model")


def test_host_that_ignores_the_side_fails(tmp_path: Path) -> None:
    with IgnoresTask(KEY) as host:
        checked = check_pipeline(pipeline(tmp_path, V3, None, BackendConfig("jina", host.url)))
    where, text = only_failure(checked)
    assert where == "jina sides"
    assert "the host ignores the task" in text
    assert checked.exit_code == 4
    assert checked.backends[0].cosine == pytest.approx(1)


def test_host_with_unexpected_sides_fails(tmp_path: Path) -> None:
    """bge-m3 has no sides: the same text must give the same vector twice."""
    with AlternatingPrompts(KEY, like="siliconflow") as host:
        checked = check_pipeline(
            pipeline(tmp_path, "bge-m3", None, BackendConfig("siliconflow", host.url))
        )
    assert only_failure(checked)[0] == "siliconflow sides"
    with OpenAIServer(KEY, like="siliconflow") as host:
        checked = check_pipeline(
            pipeline(tmp_path, "bge-m3", None, BackendConfig("siliconflow", host.url))
        )
    assert "the same, as expected of bge-m3" in lines(checked, "ok")["siliconflow sides"]
    assert checked.exit_code == 0


@pytest.mark.parametrize("zeros", [512, 9])
def test_host_that_pads_with_zeros_fails(tmp_path: Path, zeros: int) -> None:
    with OpenAIServer(KEY, like="deepinfra") as host:
        host.faults.extend(
            [corrupted(lambda vector: np.where(in_last_positions(vector, zeros), 0, vector))] * 9
        )
        checked = check_pipeline(
            pipeline(tmp_path, QWEN, 1024, BackendConfig("deepinfra", host.url))
        )
    where, text = only_failure(checked)
    assert where.startswith("deepinfra d")
    assert "zeros" in text
    assert checked.exit_code == 4


def in_last_positions(vector: Any, count: int) -> Any:
    return np.arange(len(vector)) >= len(vector) - count


def corrupted(change: Any) -> Fault:
    return Fault(corrupt=lambda items: [i | {"embedding": change(i["embedding"])} for i in items])


def test_host_that_ignores_dimensions_is_noted(tmp_path: Path) -> None:
    """Its full vectors are truncated by ragctl, so they are correct."""
    with OpenAIServer(KEY, like="openrouter") as host:
        checked = check_pipeline(
            pipeline(tmp_path, QWEN, 256, BackendConfig("deepinfra", host.url, price=1))
        )
    assert (checked.exit_code, checked.failures) == (0, 0)
    text = lines(checked, "note")["deepinfra dimensions"]
    assert text.startswith("not honoured by the host: 1024 instead of 256")


def test_host_that_truncates_differently_fails(tmp_path: Path) -> None:
    with OpenAIServer(KEY, like="deepinfra") as host:
        host.faults.extend([corrupted(lambda vector: np.roll(vector, 7))] * 2)
        checked = check_pipeline(
            pipeline(tmp_path, QWEN, 256, BackendConfig("deepinfra", host.url))
        )
    where, text = only_failure(checked)
    assert where == "deepinfra dimensions"
    assert "the 256 numbers are not the first of the 1024" in text
    assert checked.exit_code == 4


def test_backend_with_another_model_fails(tmp_path: Path) -> None:
    """It disagrees with the two others, which agree."""
    with (
        OpenAIServer(KEY, like="deepinfra") as first,
        OpenAIServer(KEY, like="siliconflow") as second,
        AnotherModel(KEY, like="deepinfra") as third,
    ):
        backends = (
            BackendConfig("deepinfra", first.url),
            BackendConfig("siliconflow", second.url),
            BackendConfig("deepinfra", third.url),
        )
        checked = check_pipeline(pipeline(tmp_path, QWEN, None, *backends))
    assert [backend.name for backend in checked.backends] == [
        *("deepinfra 1", "siliconflow", "deepinfra 2"),
    ]
    assert agreeing_pairs(checked) == [("deepinfra 1", "siliconflow")]
    assert checked.failures == 2
    assert checked.exit_code == 6
    assert max(checked.agreements[1].cosines) < 0.99
    assert "different vectors than deepinfra 2" in checked.agreements[1].finding.text


def test_backend_that_disagrees_with_the_collection_fails(tmp_path: Path, host: JinaServer) -> None:
    create_collection(pipeline(tmp_path, V3, 64, BackendConfig("jina", host.url)))
    with IgnoresTask(KEY) as other:
        checked = check_pipeline(pipeline(tmp_path, None, None, BackendConfig("jina", other.url)))
    failures = lines(checked, "fail")
    assert set(failures) == {"jina sides", "jina canary"}
    assert "cosine 1.0000 for documents" in failures["jina canary"]
    assert checked.exit_code == 6
    assert checked.backends[0].agreement is not None
    assert checked.backends[0].agreement[1] < 0.99


def test_wrong_key_does_not_stop_the_next_backend(tmp_path: Path) -> None:
    with JinaServer("jina_" + "o" * 60) as host, JinaServer() as other:
        backends = (BackendConfig("jina", host.url), BackendConfig("jina-on-prem", other.url))
        checked = check_pipeline(pipeline(tmp_path, V3, None, *backends))
    where, text = only_failure(checked)
    assert where == "jina document"
    assert "refused the key in JINA_API_KEY: 401" in text
    assert "jina-on-prem canary" not in lines(checked, "ok")  # no canary to compare with
    assert "jina-on-prem sides" in lines(checked, "ok")
    assert (
        "except by customers of jina or elastic" in lines(checked, "note")["jina-on-prem licence"]
    )
    assert checked.exit_code == 4
    assert KEY not in json.dumps(checked.to_json()) + repr(checked)


def test_missing_key_and_unserved_model(tmp_path: Path) -> None:
    config = pipeline(
        tmp_path, V3, 100, BackendConfig("jina"), BackendConfig("deepinfra"), environ={}
    )
    checked = check_pipeline(config)
    failures = lines(checked, "fail")
    assert failures["jina key"].startswith(
        "jina needs a key: set JINA_API_KEY (or JINA_AI_API_TOKEN, "
    )
    assert "does not serve jina-embeddings-v3" in failures["deepinfra backend"]
    assert checked.exit_code == 4
    assert "not at 100" in lines(checked, "note")["model dimensions"]
    alone = check_pipeline(pipeline(tmp_path, V3, None, BackendConfig("deepinfra")))
    assert alone.exit_code == 2


def test_unreachable_and_hanging_backends_fail(tmp_path: Path) -> None:
    with JinaServer(KEY) as silent:
        silent.faults.extend([faults.hang()] * 9)
        began = time.monotonic()
        backends = (
            BackendConfig("jina", UNREACHABLE + "/v1"),
            BackendConfig("jina-on-prem", silent.url),
        )
        checked = check_pipeline(pipeline(tmp_path, V3, None, *backends), seconds=SHORT_TIMEOUT)
        assert time.monotonic() - began < 4
    failures = lines(checked, "fail")
    assert "Connection refused" in failures["jina document"]
    assert "jina-on-prem document" in failures
    assert checked.exit_code == 4


def test_timeout_while_waiting_for_the_rate_limit(tmp_path: Path) -> None:
    with JinaServer(KEY) as host:
        slow = BackendConfig("jina", host.url, rates=Rates(requests=1))
        checked = check_pipeline(pipeline(tmp_path, V3, None, slow), seconds=1)
    assert only_failure(checked) == (
        "jina query",
        "not done within 1 s; allow more time with --seconds",
    )


def test_key_over_plain_http_is_noted(tmp_path: Path) -> None:
    far = BackendConfig("jina", "http://nowhere.invalid/v1")
    checked = check_pipeline(pipeline(tmp_path, V3, None, far), seconds=SHORT_TIMEOUT)
    assert "is sent to nowhere.invalid over plain http" in lines(checked, "note")["jina warning"]
    assert only_failure(checked)[0] == "jina document"


# The store


def test_unreachable_store_fails(tmp_path: Path) -> None:
    with JinaServer(KEY) as host:
        checked = check_pipeline(pipeline(UNREACHABLE, V3, None, BackendConfig("jina", host.url)))
    where, text = only_failure(checked)
    assert where == "store store"
    assert text.startswith(f"no Qdrant at {UNREACHABLE}")
    assert checked.exit_code == 5
    assert "jina sides" in lines(checked, "ok")
    unnamed = check_pipeline(pipeline(UNREACHABLE))
    assert (unnamed.exit_code, unnamed.backends, unnamed.model) == (5, (), None)
    assert "no model is named" in lines(unnamed, "note")["store model"]


def test_wrong_store_key_fails() -> None:
    with QdrantFacade(api_key="q" * 30) as facade:
        config = pipeline(facade.url, "builtin", environ={"QDRANT_API_KEY": "w" * 30})
        checked = check_pipeline(config, seconds=SHORT_TIMEOUT)
    assert "refused the key in QDRANT_API_KEY" in only_failure(checked)[1]
    assert checked.exit_code == 5
    assert "w" * 30 not in json.dumps(checked.to_json())


def test_hanging_store_fails() -> None:
    with QdrantFacade() as facade:
        facade.inject(Stall("slow", route="GET /", times=9, seconds=30))
        began = time.monotonic()
        checked = check_pipeline(pipeline(facade.url, "builtin"), seconds=SHORT_TIMEOUT)
        assert time.monotonic() - began < 5
    assert "no answer in time" in only_failure(checked)[1]
    assert checked.exit_code == 5


def test_store_path_that_is_not_a_folder_fails(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    checked = check_pipeline(pipeline(tmp_path / "file/store", "builtin"))
    assert only_failure(checked) == (
        "store store",
        f"{tmp_path / 'file'} is not a folder; give another with --store",
    )


def test_collection_with_another_identity_fails(tmp_path: Path, host: JinaServer) -> None:
    chosen = BackendConfig("jina", host.url)
    create_collection(pipeline(tmp_path, V3, 64, chosen))
    checked = check_pipeline(pipeline(tmp_path, V3, 128, chosen))
    where, text = only_failure(checked)
    assert where == "store identity"
    assert "dimension 64 ≠ 128" in text
    assert checked.exit_code == 6
    assert "jina sides" in lines(checked, "ok")
    assert checked.backends[0].agreement is None  # 128 dimensions cannot agree with 64


def test_invalid_settings_are_usage_errors(tmp_path: Path) -> None:
    for config in (
        pipeline(tmp_path, "no-such-model"),
        pipeline(tmp_path, V3, 5000),
        pipeline(tmp_path, V3, None, task="no-such-task"),
        pipeline("ftp://host"),
        replace(pipeline(tmp_path), collection="../up"),
    ):
        with pytest.raises(UsageError):
            check_pipeline(config)


# Assessment


def test_exit_code_is_the_worst_one() -> None:
    assert worst([0, 2, 4]) == 4
    assert worst([4, 6, 2]) == 6
    assert worst([6, 5, 4]) == 5
    assert worst([0, 0]) == 0
    assert worst([]) == 0


def test_truncation_without_layer_norm_is_a_note() -> None:
    nomic, qwen = (package_catalog().model(name) for name in ("nomic-embed-text-v1.5", QWEN))
    assert assess.cut(0.98, 256, nomic).status == "note"
    assert assess.cut(0.98, 256, qwen).status == "fail"
    assert assess.cut(0.9995, 256, nomic).status == assess.cut(0.9995, 256, qwen).status == "ok"


def test_catalog_notes() -> None:
    rows = {"deepinfra": {"truncation": "cuts", "price": 1, "models": {V3: "jina-v3"}}}
    catalog = user_catalog({"RAGCTL_CONFIG": "none"}, Layer("models", {}, "rows", rows))
    found = assess.catalog_notes(catalog.backend("deepinfra"), catalog.model(V3), catalog)
    assert [finding.what for finding in found] == ["long texts", "licence"]
    rows["deepinfra"]["licensed"] = True
    catalog = user_catalog({"RAGCTL_CONFIG": "none"}, Layer("models", {}, "rows", rows))
    assert (
        len(list(assess.catalog_notes(catalog.backend("deepinfra"), catalog.model(V3), catalog)))
        == 1
    )
    qwen = catalog.model("qwen3-embedding-4b")
    unpriced = replace(
        catalog.backend("deepinfra"),
        models={qwen.name: replace(catalog.backend("deepinfra").models[qwen.name], price=None)},
    )
    assert [each.what for each in assess.catalog_notes(unpriced, qwen, catalog)] == [
        "long texts",
        "price",
    ]


def test_agreement_is_the_minimum_of_both_sides() -> None:
    for cosines, status in (((0.99, 0.99), "ok"), ((1, 0.98), "fail"), ((0.98, 1), "fail")):
        assert assess.agreement("canary", "it", cosines, 0.99).status == status
    assert TRIAL_TEXT not in (*canary.DOCUMENTS, canary.QUERY)


# The command


def ragctl(home: Path, *words: str, **environ: str) -> subprocess.CompletedProcess[str]:
    clean = {k: v for k, v in os.environ.items() if not k.endswith(("_KEY", "_TOKEN"))}
    return subprocess.run(
        [sys.executable, "-m", "ragctl", "check", *words],
        env={**clean, "RAGCTL_HOME": str(home / "store"), **environ},
        capture_output=True,
        text=True,
        check=False,
        cwd=home,
    )


def test_command_with_flags(tmp_path: Path) -> None:
    done = ragctl(tmp_path, "--model", "builtin")
    assert done.returncode == 0, done.stderr
    *rows, summary = done.stdout.splitlines()
    assert summary == "builtin at 2048 dimensions: all good"
    assert rows[0].startswith("ok    store    store       ")
    assert {row.split()[0] for row in rows} == {"ok", "note"}
    assert len({row.index(row.split(maxsplit=3)[3]) for row in rows}) == 1  # in columns
    assert done.stderr == ""
    assert list(tmp_path.iterdir()) == []


def test_command_with_a_file_never_shows_a_key(tmp_path: Path) -> None:
    wrong = "jina_" + "w" * 60
    with JinaServer(KEY) as host, JinaServer(KEY) as other:
        other.faults.extend([faults.html()] * 9)
        (tmp_path / "p.toml").write_text(
            f'env_file = ".env"\n[[sources]]\npath = "docs"\n[embedding]\nmodel = "{V3}"\n'
            f'[[embedding.backends]]\nbackend = "jina"\nbase_url = "{host.url}"\n'
            f'[[embedding.backends]]\nbackend = "jina"\nbase_url = "{other.url}"\n'
        )
        (tmp_path / ".env").write_text(f"JINA_AI_TOKEN={wrong}\n")
        done = ragctl(tmp_path, "p.toml", "--json")
    assert done.returncode == 4
    assert wrong not in done.stdout + done.stderr
    found = json.loads(done.stdout)
    assert list(found) == [
        *("model", "dimension", "task", "failures", "exit_code", "notes", "store", "backends"),
        "agreement",
    ]
    assert (found["model"], found["failures"], found["exit_code"]) == (V3, 2, 4)
    assert [backend["backend"] for backend in found["backends"]] == ["jina 1", "jina 2"]
    assert {backend["key"] for backend in found["backends"]} == {"JINA_AI_TOKEN"}
    (refused,) = [f for f in found["backends"][0]["findings"] if f["status"] == "fail"]
    assert refused["what"] == "document"
    conflicting = ragctl(tmp_path, "p.toml", "--dim", "64")
    assert conflicting.returncode == 2
    assert "not both" in conflicting.stderr
