"""Failover between three backends: which takes over, which must not, and that no text is lost."""

import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from ragctl.catalog import BackendConfig, RequestLimits
from ragctl.embedding import Canary, Embedder, Patience, connect
from ragctl.embedding.base import EmbeddingRequest, Embeddings
from ragctl.embedding.canary import DOCUMENTS
from ragctl.embedding.failover import ConnectedBackend, Failover
from ragctl.embedding.isolation import PLAIN_TEXT
from ragctl.errors import BackendError, DocumentError, IdentityMismatch, Interrupted
from ragctl.hosts.usage import Usage
from tests.servers import faults
from tests.servers.faults import Fault, Items
from tests.servers.host import CANARIES, Job
from tests.servers.jina import JinaServer
from tests.servers.openai import OpenAIServer
from tests.servers.vectors import vector
from tests.waiting import until

pytestmark = pytest.mark.slow

MODEL, NATIVE, DIM = "qwen3-embedding-8b", 4096, 1024
KEY = "sk-" + "0123456789abcdef" * 2
ENVIRON = {"SCW_SECRET_KEY": KEY, "SILICONFLOW_API_KEY": KEY, "DEEPINFRA_TOKEN": KEY}
PATIENCE = Patience(total=0.2, unanswered=0.1, first=0.001, longest=0.01, read=10)
TEXTS = [f"text number {n}" for n in range(60)]


class Host(OpenAIServer):
    """A test backend. `change` alters each job; `angle` rotates each vector by noise."""

    def __init__(
        self,
        like: str,
        key: str = KEY,
        *,
        change: Callable[[Job], Job] = lambda job: job,
        angle: float = 0.0,
        **more: Any,
    ) -> None:
        super().__init__(key, like=like, **more)
        self.change = change
        self.angle = angle

    def parse(self, body: Any) -> Job:
        return self.change(super().parse(body))

    def answer(self, job: Job) -> tuple[Items, dict[str, Any]]:
        items, rest = super().answer(job)
        for item, (_, text) in zip(items, job.texts, strict=True):
            whole = item["embedding"] / np.linalg.norm(item["embedding"])
            noise = np.random.default_rng(len(text)).standard_normal(len(whole))
            noise -= noise @ whole * whole
            turned = np.cos(self.angle) * whole
            item["embedding"] = turned + np.sin(self.angle) * noise / np.linalg.norm(noise)
        return items, rest

    @property
    def embedded_counts(self) -> Counter[str]:
        """Return how often each text was embedded, canaries excluded."""
        return Counter(text.text for text in self.texts)


def scaleway(**more: Any) -> Host:
    """Return a host that refuses `dimensions`: the native vector is truncated by ragctl."""
    return Host("scaleway", **more)


def siliconflow(**more: Any) -> Host:
    return Host("siliconflow", **more)


def deepinfra(like: str = "deepinfra", **more: Any) -> Host:
    return Host(like, **more)


BACKENDS = ("scaleway", "siliconflow", "deepinfra")


class HostGroup:
    """Several hosts, configured as the catalogue backends `names` in this order."""

    def __init__(self, *hosts: Host, names: Sequence[str] = BACKENDS) -> None:
        self.hosts = hosts
        self.names = names
        self._stack = ExitStack()

    def __enter__(self) -> "HostGroup":
        for host in self.hosts:
            self._stack.enter_context(host)
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    @property
    def backends(self) -> list[BackendConfig]:
        pairs = zip(self.names, self.hosts, strict=False)
        return [BackendConfig(name, host.url, price=1.0) for name, host in pairs]

    def connect(self, **more: Any) -> Embedder:
        options: dict[str, Any] = {"dim": DIM, "backends": self.backends, "environ": ENVIRON} | more
        embedder = connect(MODEL, patience=PATIENCE, **options)
        self._stack.callback(embedder.close)
        embedder.limits = RequestLimits(texts=4)
        return embedder


def expected(text: str, side: str = "document", dim: int = DIM) -> Any:
    return vector(text, side, MODEL, NATIVE, dim)


def check(embedder: Embedder, texts: Sequence[str] = TEXTS, tolerance: float = 1e-6) -> None:
    """Embed all texts and check every vector."""
    vectors = embedder.documents(texts)
    for text, row in zip(texts, vectors, strict=True):
        assert expected(text) @ row > 1 - tolerance, text


@pytest.fixture(scope="module")
def canary() -> Canary:
    """Return the canary that a collection of this model stores."""
    with HostGroup(scaleway()) as group:
        made = group.connect().canary()
    assert made is not None
    return made


def failing_after(fault: Fault, after: int = 0) -> Callable[[], Host]:
    """Return a factory for a host on which every request after the first `after` fails."""

    def make() -> Host:
        host = scaleway()
        host.faults += [Fault()] * after + [fault] * 10_000
        return host

    return make


REFUSAL_BODY = b'{"error": {"message": "no", "type": null, "param": null, "code": null}}'
FAILING: dict[str, Callable[[], Host]] = {
    "key refused": lambda: scaleway(key="another"),
    "out of credit": lambda: scaleway(credit=0),
    "forbidden": failing_after(faults.failing(403)),
    "no such model": failing_after(faults.failing(404)),
    "down": failing_after(faults.failing(503)),
    "cuts connections": failing_after(faults.dropped()),
    "quota of the day": failing_after(faults.busy(86_400)),
    "400 to everything": failing_after(faults.text(400, REFUSAL_BODY)),
    "an HTML page": failing_after(faults.html()),
    "other dimension": failing_after(faults.wrong_dim()),
}


@pytest.mark.parametrize("name", list(FAILING))
@pytest.mark.parametrize("known", [False, True], ids=["new", "collection"])
def test_next_backend_takes_over_from_a_failing_one(name: str, known: bool, canary: Canary) -> None:
    with HostGroup(FAILING[name](), siliconflow()) as group:
        embedder = group.connect(canary=canary if known else None)
        check(embedder, TEXTS[:10])
        first, second = group.hosts
        assert (first.embedded_counts, second.embedded_counts) == (Counter(), Counter(TEXTS[:10]))
        [failure] = embedder.failures
        assert failure.startswith(f"scaleway at {first.url}: ")
        assert KEY not in failure


def test_next_backend_takes_over_from_an_unreachable_one() -> None:
    with HostGroup(scaleway(), siliconflow()) as group:
        unreachable = BackendConfig("scaleway", "http://127.0.0.1:1/v1")
        embedder = group.connect(backends=[unreachable, group.backends[1]])
        check(embedder, TEXTS[:5])
        assert "no answer ever came" in embedder.failures[0]


FAILING_MIDWAY = {
    "out of credit": lambda: scaleway(credit=24),
    "down": failing_after(faults.failing(503), after=7),
    "key withdrawn": failing_after(faults.failing(401), after=7),
    "400 to everything": failing_after(faults.text(400, REFUSAL_BODY), after=7),
    "loses answers": failing_after(faults.cut(), after=7),
}


@pytest.mark.parametrize("name", list(FAILING_MIDWAY))
def test_no_text_is_lost_when_a_backend_fails_midway(name: str) -> None:
    """Four requests are in flight. The next backend embeds each of its texts once."""
    with HostGroup(FAILING_MIDWAY[name](), siliconflow()) as group:
        embedder = group.connect()
        assert embedder.concurrency == 4
        check(embedder)
        first, second = group.hosts
        embedded = set(first.embedded_counts) | set(second.embedded_counts)
        assert embedded - {PLAIN_TEXT} == set(TEXTS)
        assert set(second.embedded_counts.values()) == {1}
        assert 4 <= len(first.embedded_counts) < len(TEXTS)
        both = set(first.embedded_counts) & set(second.embedded_counts)
        # A lost answer was still computed: at most the requests in flight are embedded twice.
        assert len(both) <= (16 if name == "loses answers" else 0)
        assert [failure.split(" at ")[0] for failure in embedder.failures] == ["scaleway"]


def test_refused_text_is_not_a_backend_failure() -> None:
    texts = [*TEXTS[:6], "far too long " * 30, *TEXTS[6:12]]
    with HostGroup(scaleway(context=50), siliconflow()) as group:
        embedder = group.connect()
        found: dict[int, object] = {}
        with embedder.stream() as stream:
            for n, text in enumerate(texts):
                stream.add(n, text)
            while stream.pending:
                found.update(stream.completed(block=True))
        assert [n for n, outcome in found.items() if isinstance(outcome, DocumentError)] == [6]
        assert group.hosts[1].requests == []
        assert embedder.failures == []


def test_usage_is_counted_per_backend() -> None:
    with HostGroup(scaleway(credit=24), siliconflow(credit=23), deepinfra()) as group:
        embedder = group.connect()
        check(embedder)
        accounts = embedder.usage.usages
        assert [a.name.split(" at ")[0] for a in accounts] == list(BACKENDS)
        for host, account, own in zip(group.hosts, accounts, (4, 3, 3), strict=True):
            embedded_counts = host.embedded_counts
            assert account.texts == embedded_counts.total() + own, "its texts, and the canaries"
            billed = sum(len(text.split()) + 2 for text in embedded_counts.elements())
            assert billed < account.tokens < billed + 200
            assert account.cost == account.tokens / 1e6
            assert not account.estimated
            assert account.requests == len(host.requests)
        assert sum(host.embedded_counts.total() for host in group.hosts) == len(TEXTS)
        assert [account.texts for account in accounts[:2]] == [24, 23]
        assert embedder.usage.texts == len(TEXTS) + 4 + 3 + 3
        assert len(embedder.failures) == 2


def other(job: Job) -> Job:
    """Answer with another model's vectors of the same dimension."""
    return replace(job, space="another-model-of-4096")


def test_backend_with_another_model_does_not_take_over() -> None:
    with HostGroup(scaleway(credit=24), siliconflow(change=other)) as group:
        embedder = group.connect()
        with pytest.raises(IdentityMismatch) as caught:
            embedder.documents(TEXTS)
        first, second = group.hosts
        assert second.embedded_counts == Counter(), "only canaries were sent to it"
        assert caught.value.exit_code == 6
        assert f"scaleway at {first.url}: " in str(caught.value)
        assert f"siliconflow at {second.url} makes other vectors of documents" in str(caught.value)
        assert "and 0.99 is the minimum" in str(caught.value)


def test_backend_with_another_model_is_skipped() -> None:
    with HostGroup(scaleway(credit=24), siliconflow(change=other), deepinfra()) as group:
        embedder = group.connect()
        check(embedder)
        assert group.hosts[1].embedded_counts == Counter()
        assert "makes other vectors" in embedder.failures[1]


def test_first_backend_is_checked_against_the_collection_canary(canary: Canary) -> None:
    """The same address may serve another model later."""
    with HostGroup(scaleway(change=other)) as group:
        with pytest.raises(IdentityMismatch, match="makes other vectors of documents"):
            group.connect(canary=canary).documents(TEXTS)
        assert group.hosts[0].embedded_counts == Counter()
        assert len(group.hosts[0].requests) == 1


@pytest.mark.parametrize(
    ("cosine", "threshold", "accepted"),
    [(0.995, 0.99, True), (0.985, 0.99, False), (0.985, 0.98, True), (0.995, 0.999, False)],
)
def test_threshold_decides_whether_a_quantised_model_is_accepted(
    cosine: float, threshold: float, accepted: bool
) -> None:
    near = siliconflow(angle=float(np.arccos(cosine)))
    with HostGroup(scaleway(credit=4), near) as group:
        embedder = group.connect(threshold=threshold)
        if accepted:
            check(embedder, TEXTS[:8], tolerance=1.001 - cosine)
            assert near.embedded_counts.total() == 8
        else:
            with pytest.raises(IdentityMismatch):
                embedder.documents(TEXTS[:8])
            assert near.embedded_counts == Counter()


def test_vectors_of_a_host_that_ignores_the_dimension_are_truncated(canary: Canary) -> None:
    """The host accepts the field but answers 4,096 numbers, without indexes."""
    with HostGroup(deepinfra("openrouter"), names=["deepinfra"]) as group:
        check(group.connect(canary=canary), TEXTS[:6])
        assert group.hosts[0].requests[0].body["dimensions"] == DIM


def padded(job: Job) -> Job:
    """Answer with a smaller model's vectors, padded with zeros to the requested dimension."""
    requested_dim = job.dim or job.native
    return replace(job, space="qwen3-embedding-0.6b", native=1024, dim=None, pad_to=requested_dim)


def half(job: Job) -> Job:
    """Answer with the right model, but the second half of its native vectors is zeros."""
    return replace(job, dim=job.native // 2, pad_to=job.native)


@pytest.mark.parametrize(
    ("host", "backend", "dim"),
    [
        (lambda: deepinfra(change=padded), "deepinfra", 2048),
        (lambda: scaleway(change=padded), "scaleway", 2048),
        (lambda: scaleway(change=half), "scaleway", 1024),
    ],
    ids=["requested", "native", "right-model-truncated"],
)
@pytest.mark.parametrize("first", [True, False])
def test_backend_with_zero_padded_vectors_is_rejected(
    host: Callable[[], Host], backend: str, dim: int, first: bool
) -> None:
    """Also when no canary exists yet to compare with."""
    if first:
        hosts, names = [host(), siliconflow()], [backend, "siliconflow"]
    else:
        hosts, names = [siliconflow(credit=4), host()], ["siliconflow", backend]
    with HostGroup(*hosts, names=names) as group:
        embedder = group.connect(dim=dim)
        if first:
            vectors = embedder.documents(TEXTS[:6])
            assert all(
                expected(text, dim=dim) @ v > 0.999999
                for text, v in zip(TEXTS, vectors, strict=False)
            )
        else:
            with pytest.raises((IdentityMismatch, BackendError), match="no backend is left"):
                embedder.documents(TEXTS[:6])
        padding = group.hosts[0 if first else 1]
        assert padding.embedded_counts == Counter()
        assert any("padded with zeros" in failure for failure in embedder.failures)


def test_error_names_all_failed_backends_and_the_next_request_retries_them() -> None:
    with HostGroup(scaleway(key="another"), siliconflow(), deepinfra(credit=0)) as group:
        group.hosts[1].faults += [faults.failing(503)] * 10_000
        embedder = group.connect()
        with pytest.raises(BackendError) as caught:
            embedder.documents(TEXTS)
        expected_message = str(caught.value)
        assert not isinstance(caught.value, IdentityMismatch)
        assert caught.value.exit_code == 4
        assert expected_message.startswith("no backend is left: scaleway at http://127.0.0.1:")
        assert expected_message.count(" at http://127.0.0.1:") == 3
        parts = [": 401 ", ": 503 ", "quota"]  # a port may hold the bare digits
        assert sorted(parts, key=expected_message.index) == parts
        assert "\n" not in expected_message
        assert KEY not in expected_message
        group.hosts[1].faults.clear()
        check(embedder, TEXTS[:4])
        assert group.hosts[1].embedded_counts.total() == 4


def test_first_working_backend_makes_the_canary(canary: Canary) -> None:
    with HostGroup(scaleway(credit=3), siliconflow()) as group:
        embedder = group.connect()
        made = embedder.canary()
        assert made is not None
        assert made.agreement("document", canary.documents) > 0.9999
        assert made.agreement("query", canary.query) > 0.9999
        assert embedder.canary() is made
        requests = [len(host.requests) for host in group.hosts]
        assert requests == [2, 2]  # first: documents, then no credit for the query; second: both
        check(embedder, TEXTS[:4])
        assert [len(host.requests) for host in group.hosts] == [2, 3]


def test_single_backend_is_checked_only_against_a_stored_canary(canary: Canary) -> None:
    with HostGroup(scaleway()) as group:
        group.connect().documents(TEXTS[:4])
        assert len(group.hosts[0].requests) == 1
        group.connect(canary=canary).documents(TEXTS[:4])
        assert len(group.hosts[0].requests) == 3
    with connect("builtin", dim=64, environ={}) as builtin:
        assert builtin.canary() is None


def test_first_query_includes_the_canary(canary: Canary) -> None:
    with HostGroup(siliconflow(), names=["siliconflow"]) as group:
        embedder = group.connect(canary=canary)
        for text in ("first question", "second question"):
            assert expected(text, "query") @ embedder.query(text) > 0.999999
        sent = [request.body["input"] for request in group.hosts[0].requests]
        assert [len(texts) for texts in sent] == [2, 1]
        assert any(text.endswith(canary_text) for text in sent[0] for canary_text in CANARIES)


def test_query_to_another_model_raises(canary: Canary) -> None:
    def sideless(job: Job) -> Job:
        """Use the right model, but embed a query as a document."""
        return replace(job, texts=[text._replace(side="document") for text in job.texts])

    for change in (other, sideless):
        with HostGroup(siliconflow(change=change), names=["siliconflow"]) as group:
            embedder = group.connect(canary=canary)
            with pytest.raises(IdentityMismatch, match="makes other vectors of queries") as caught:
                embedder.query("a question")
            assert caught.value.exit_code == 6
            assert len(group.hosts[0].requests) == 1


def test_query_fails_over_to_the_next_backend(canary: Canary) -> None:
    with HostGroup(scaleway(change=other), siliconflow(credit=0), deepinfra()) as group:
        embedder = group.connect(canary=canary)
        assert expected("a question", "query") @ embedder.query("a question") > 0.999999
        assert len(embedder.failures) == 2


class Refusing:
    """A wire that answers every request with the same error once the gate is open."""

    def __init__(self) -> None:
        self.gate = threading.Event()
        self.calls = 0

    def call(self, request: EmbeddingRequest) -> Embeddings:
        self.calls += 1
        assert self.gate.wait(10)
        raise BackendError("host refused the key")

    def close(self) -> None:
        pass


@pytest.mark.parametrize("backends", [1, 2])
def test_threads_waiting_for_one_canary_check_share_its_outcome(
    backends: int, canary: Canary
) -> None:
    """Otherwise each thread would retry a host that is down, one after the other."""
    wires = [Refusing() for _ in range(backends)]
    failover = Failover([ConnectedBackend("host", wire, Usage()) for wire in wires], canary=canary)
    request = EmbeddingRequest("document", ("text",), threading.Event())
    failures: list[str] = []

    def call() -> None:
        try:
            failover.call(request)
        except BackendError as error:
            failures.append(str(error))

    threads = [threading.Thread(target=call) for _ in range(4)]
    for thread in threads:
        thread.start()
    until(lambda: wires[0].calls == 1)
    threads[-1].join(0.1)  # the other threads reach the lock
    for wire in wires:
        wire.gate.set()
    for thread in threads:
        thread.join(10)
    assert len(failures) == 4
    assert wires[0].calls == 1


@pytest.mark.parametrize("backends", [1, 2])
def test_failed_stream_does_not_retry_but_another_stream_does(backends: int) -> None:
    """Requests of the same stream must not start with the first backend again."""
    wires = [Refusing() for _ in range(backends)]
    for wire in wires:
        wire.gate.set()
    failover = Failover(
        [ConnectedBackend(f"host {n}", wire, Usage()) for n, wire in enumerate(wires)]
    )
    stream, other = threading.Event(), threading.Event()
    for stopped, calls in ((stream, 1), (stream, 1), (other, 2)):
        with pytest.raises(BackendError, match="host refused the key"):
            failover.call(EmbeddingRequest("document", ("text",), stopped))
        assert [wire.calls for wire in wires] == [calls] * backends


def test_stop_ends_the_wait_for_a_canary_check(canary: Canary) -> None:
    patient = Patience(total=60, first=0.001, read=10)
    with (
        JinaServer() as server,
        connect(
            "jina-embeddings-v3",
            backends=[BackendConfig(base_url=server.url)],
            environ={"JINA_API_KEY": "k"},
            patience=patient,
            canary=canary,
        ) as embedder,
        embedder.stream() as stream,
    ):
        server.faults += [faults.busy(30)] * 9
        stream.add("a", "text")
        stream.flush()
        until(lambda: len(server.requests) == 1 and server.in_flight == 0)
        began = time.monotonic()
        stream.stop()
        assert stream.completed(block=True) == []
        assert time.monotonic() - began < 5
        stopped = threading.Event()
        stopped.set()
        fresh = connect(
            "jina-embeddings-v3",
            backends=[BackendConfig(base_url=server.url)],
            environ={"JINA_API_KEY": "k"},
            patience=patient,
        )
        with fresh, pytest.raises(Interrupted):
            fresh.canary(stopped)


def test_backend_is_compared_again_after_it_failed(canary: Canary) -> None:
    """A server that was restarted with another model: its vectors are not used."""
    with HostGroup(siliconflow(), names=["siliconflow"]) as group:
        (host,) = group.hosts
        embedder = group.connect(canary=canary)
        check(embedder, TEXTS[:4])
        host.faults.append(faults.failing(503))
        check(embedder, TEXTS[4:8])
        canaries = [
            request
            for request in host.requests
            if any(text.endswith(DOCUMENTS[0]) for text in request.body["input"])
        ]
        assert len(canaries) == 2  # at the beginning, and after the failure
        host.change = other
        host.faults.append(faults.failing(503))
        with pytest.raises(IdentityMismatch, match="makes other vectors of documents"):
            embedder.documents(TEXTS[8:12])


def test_queries_are_compared_again_after_a_failure(canary: Canary) -> None:
    with HostGroup(siliconflow(), names=["siliconflow"]) as group:
        (host,) = group.hosts
        embedder = group.connect(canary=canary)
        embedder.query("a question")
        host.change = other
        host.faults.append(faults.dropped())
        with pytest.raises(IdentityMismatch, match="makes other vectors of queries"):
            embedder.query("another question")
