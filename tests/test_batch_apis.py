"""The contract of a batch API (ragctl.batch.service), for each of them over a real socket."""

import tempfile
import threading
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass

import numpy as np
import pytest

from ragctl.batch.connect import WIRES, connect_batch
from ragctl.batch.service import BatchService, RemoteJob, Result
from ragctl.catalog import BATCH_APIS, BackendConfig
from ragctl.embedding import Embedder, Options, Patience, Usage, connect
from ragctl.embedding.catalogs import package_catalog
from ragctl.errors import BackendError, UsageError
from ragctl.hosts.errors import Transient
from ragctl.hosts.files import NotFound
from tests.servers.batch import BatchHost, GeminiBatch, MistralBatch, OpenAIBatch, VoyageBatch

KEY = "key-" + "k" * 40
TEXTS = {"a" * 32: "the first text", "b" * 32: "второй текст", "c" * 32: "第三个文本"}


@dataclass(frozen=True)
class Case:
    """A host, and a model that it serves."""

    backend: str
    server: type[BatchHost]
    model: str
    variable: str
    dim: int


CASES = {
    "openai": Case("openai", OpenAIBatch, "text-embedding-3-small", "OPENAI_API_KEY", 256),
    "voyage": Case("voyage", VoyageBatch, "voyage-3.5", "VOYAGE_API_KEY", 256),
    "mistral": Case("mistral", MistralBatch, "mistral-embed", "MISTRAL_API_KEY", 1024),
    "gemini": Case("gemini", GeminiBatch, "gemini-embedding-001", "GEMINI_API_KEY", 256),
}


@dataclass
class Host:
    """A running host, its client, and what the client sends as ordinary requests."""

    case: Case
    server: BatchHost
    service: BatchService
    embedder: Embedder

    def upload(self, job: str = "own-1", texts: dict[str, str] | None = None) -> str:
        with tempfile.TemporaryFile() as file:
            for key, text in (TEXTS if texts is None else texts).items():
                file.write(self.service.line(key, text))
            return self.service.upload(job, file)

    def submit(self, job: str = "own-1", texts: dict[str, str] | None = None) -> RemoteJob:
        return self.service.create(job, self.upload(job, texts))

    def collect(self, job: RemoteJob) -> dict[str, Result]:
        found = list(self.service.results(self.service.get(job.id)))
        assert len({result.key for result in found}) == len(found)
        return {result.key: result for result in found}


@pytest.fixture(params=BATCH_APIS)
def host(request: pytest.FixtureRequest) -> Iterator[Host]:
    case = CASES[request.param]
    environ = {case.variable: KEY}
    with case.server(KEY) as server:
        config = BackendConfig(case.backend, base_url=server.url)
        catalog = package_catalog()
        row = config.resolve(catalog, case.model)
        patience = Patience(total=1.0, read=5.0)
        service = connect_batch(
            row, catalog.model(case.model), case.dim, Options(), Usage(), environ, patience
        )
        embedder = connect(case.model, dim=case.dim, backends=[config], environ=environ)
        with closing(service), embedder:
            yield Host(case, server, service, embedder)


def test_the_results_are_the_vectors_of_ordinary_requests(host: Host) -> None:
    job = host.submit()
    assert (job.state, host.service.get(job.id).state) == ("waiting", "waiting")
    host.server.work()
    results = host.collect(job)
    assert set(results) == set(TEXTS)
    expected = host.embedder.documents(list(TEXTS.values()))
    for row, key in enumerate(TEXTS):
        vector = results[key].vector
        assert vector is not None
        assert np.allclose(vector, expected[row], atol=1e-5)
    assert sorted(host.server.submitted) == sorted(TEXTS.values()), "prompts apart, sent once"


def test_nothing_is_billed_by_an_upload_and_it_may_be_repeated(host: Host) -> None:
    uploads = {host.upload(), host.upload()}
    assert len(uploads) == 2
    assert (host.server.submitted, host.server.jobs) == ([], {})
    for name in uploads:
        host.service.delete_file(name)
    assert host.server.files == {}


def test_a_job_is_found_by_our_id_on_any_page(host: Host) -> None:
    jobs = {f"own-{n}": host.submit(f"own-{n}") for n in range(5)}
    for own, job in jobs.items():
        found = host.service.find(own, "")
        assert found is not None
        assert found.id == job.id
    assert host.service.find("own-9", "") is None


def test_a_job_is_found_by_its_file_if_the_host_keeps_no_id(host: Host) -> None:
    uploaded = host.upload()
    job = host.service.create("own-1", uploaded)
    found = host.service.find("another", uploaded)
    assert found is not None
    assert found.id == job.id


def test_a_text_that_is_refused_has_the_host_s_message(host: Host) -> None:
    host.server.forbidden["forbidden"] = 400
    job = host.submit(texts={"d" * 32: "a forbidden text", **TEXTS})
    host.server.work()
    results = host.collect(job)
    assert results.pop("d" * 32).vector is None
    assert all(result.vector is not None for result in results.values())
    (message,) = [r.error for r in host.collect(job).values() if r.error]
    assert "a text contains forbidden" in message


@pytest.mark.parametrize("status", ["expired", "cancelled"])
def test_a_job_that_ended_early_has_the_results_that_it_has(host: Host, status: str) -> None:
    job = host.submit()
    host.server.work(share=0.4, status=status)
    ended = host.service.get(job.id)
    assert ended.state == "ended"
    assert ended.message
    results = host.collect(job)
    assert [key for key, result in results.items() if result.vector is not None] == ["a" * 32]
    assert all(result.error is None for result in results.values())


def test_a_job_that_the_host_refuses_as_a_whole_says_why(host: Host) -> None:
    job = host.submit()
    host.server.fail("the quota of waiting tokens is used up")
    failed = host.service.get(job.id)
    assert failed.state == "failed"
    assert "quota of waiting tokens" in failed.message


def test_what_is_gone_is_not_found(host: Host) -> None:
    with pytest.raises(NotFound):
        host.service.get("batches/b999999" if host.case.backend == "gemini" else "batch_999999")
    job = host.submit()
    host.server.work()
    ended = host.service.get(job.id)
    for name in (ended.uploaded, *ended.files):
        host.service.delete_file(name)
    with pytest.raises(NotFound):
        host.collect(job)
    with pytest.raises(NotFound):
        host.service.delete_file(ended.uploaded)


def test_the_key_is_in_no_error(host: Host) -> None:
    host.server.key = "another"
    for attempt in (host.upload, host.submit, lambda: host.service.get("x")):
        with pytest.raises(BackendError) as raised:
            attempt()
        assert KEY not in str(raised.value)
        assert KEY not in repr(raised.value.__context__)


RUBBISH = [
    b"not JSON\n",
    b"[1, 2]\n",
    b'"text"\n',
    b"[" * 200_000 + b"\n",
    b"\xff\xfe\x00\n",
    b"\n\n\n",
    b"{}\n",
    b'{"custom_id": 7, "key": [], "response": "x", "error": 3}\n',
    b'{"custom_id": "a", "key": "a", "response": {"status_code": "?", "body": null}}\n',
    b'{"custom_id": "a", "key": "a", "response": {"status_code": 200, "body": {"data": [{}]}}}\n',
    b'{"custom_id": "a", "key": "a", "response": {"embedding": {"values": ["x"]}}}\n',
    b'{"custom_id": "a", "key": "a", "response": {"body": {"data": [{"embedding": [NaN]}]}}}\n',
    b'{"custom_id": "a", "key": "a", "error": {"message": null, "code": 400}}\n',
]


@pytest.mark.parametrize("content", RUBBISH, ids=range(len(RUBBISH)))
def test_rubbish_in_a_result_file_is_at_worst_the_host_s_failure(
    host: Host, content: bytes
) -> None:
    job = host.submit()
    host.server.work()
    for name in host.service.get(job.id).files:
        host.server.files[name].content = content
    try:
        results = host.collect(job)
    except BackendError:
        return
    assert all(result.vector is None for result in results.values())


@pytest.mark.parametrize("status", [429, 500, 503])
def test_a_failure_that_may_pass_is_transient(host: Host, status: int) -> None:
    host.server.broken["GET"] = [status]
    with pytest.raises(Transient):
        host.service.get("x")


def test_every_api_has_its_wire_and_its_case() -> None:
    assert set(WIRES) == set(BATCH_APIS) == set(CASES)


def test_a_backend_without_a_batch_api_is_refused() -> None:
    catalog = package_catalog()
    row = BackendConfig("cohere").resolve(catalog, "embed-v4.0")
    with pytest.raises(UsageError, match="no batch API of cohere is known"):
        connect_batch(row, catalog.model("embed-v4.0"), 256, Options(), Usage(), {}, Patience())


def test_threads_are_not_left_behind(host: Host) -> None:
    before = threading.active_count()
    host.submit()
    assert threading.active_count() <= before + 2  # those of the server
