"""Three backends of one model: who takes over, who must not, and that no text is lost."""

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
from ragctl.embedding.failover import ConnectedBackend, Failover
from ragctl.errors import BackendError, DocumentError, IdentityMismatch, Interrupted
from ragctl.hosts.usage import Usage
from tests.servers import faults
from tests.servers.faults import Fault, Items
from tests.servers.host import CANARIES, Job
from tests.servers.jina import JinaServer
from tests.servers.openai import OpenAIServer
from tests.servers.vectors import vector
from tests.waiting import until

MODEL, NATIVE, DIM = "qwen3-embedding-8b", 4096, 1024
KEY = "sk-" + "0123456789abcdef" * 2
ENVIRON = {"SCW_SECRET_KEY": KEY, "SILICONFLOW_API_KEY": KEY, "DEEPINFRA_TOKEN": KEY}
PATIENCE = Patience(total=0.2, unanswered=0.1, first=0.001, longest=0.01, read=10)
TEXTS = [f"text number {n}" for n in range(60)]


class Host(OpenAIServer):
    """One of the three. `change` is what it does otherwise; `angle` turns each vector by noise."""

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

    def read(self, body: Any) -> Job:
        return self.change(super().read(body))

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
    def paid(self) -> Counter[str]:
        """The texts that it embedded, canaries apart, and how often."""
        return Counter(text.text for text in self.texts)


def scaleway(**more: Any) -> Host:
    """Takes no `dimensions`: answers the native vector, which is cut here."""
    return Host("scaleway", **more)


def siliconflow(**more: Any) -> Host:
    return Host("siliconflow", **more)


def deepinfra(like: str = "deepinfra", **more: Any) -> Host:
    return Host(like, **more)


BACKENDS = ("scaleway", "siliconflow", "deepinfra")


class Row:
    """Backends in a row, under the backends of the catalogue in its order unless named."""

    def __init__(self, *hosts: Host, names: Sequence[str] = BACKENDS) -> None:
        self.hosts = hosts
        self.names = names
        self._stack = ExitStack()

    def __enter__(self) -> "Row":
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
        told: dict[str, Any] = {"dim": DIM, "backends": self.backends, "environ": ENVIRON} | more
        embedder = connect(MODEL, patience=PATIENCE, **told)
        self._stack.callback(embedder.close)
        embedder.limits = RequestLimits(texts=4)
        return embedder


def expected(text: str, side: str = "document", dim: int = DIM) -> Any:
    return vector(text, side, MODEL, NATIVE, dim)


def check(embedder: Embedder, texts: Sequence[str] = TEXTS, tolerance: float = 1e-6) -> None:
    """Embed all, and check every vector."""
    vectors = embedder.documents(texts)
    for text, row in zip(texts, vectors, strict=True):
        assert expected(text) @ row > 1 - tolerance, text


@pytest.fixture(scope="module")
def canary() -> Canary:
    """What a collection of this model keeps."""
    with Row(scaleway()) as row:
        made = row.connect().canary()
    assert made is not None
    return made


def unlucky(fault: Fault, after: int = 0) -> Callable[[], Host]:
    """A host on which every request fails but the first so many."""

    def make() -> Host:
        host = scaleway()
        host.faults += [Fault()] * after + [fault] * 10_000
        return host

    return make


NO = b'{"error": {"message": "no", "type": null, "param": null, "code": null}}'
FAILING: dict[str, Callable[[], Host]] = {
    "key refused": lambda: scaleway(key="another"),
    "out of credit": lambda: scaleway(credit=0),
    "forbidden": unlucky(faults.failing(403)),
    "no such model": unlucky(faults.failing(404)),
    "down": unlucky(faults.failing(503)),
    "cuts connections": unlucky(faults.dropped()),
    "quota of the day": unlucky(faults.busy(86_400)),
    "400 to everything": unlucky(faults.text(400, NO)),
    "an HTML page": unlucky(faults.html()),
    "other dimension": unlucky(faults.wrong_dim()),
}


@pytest.mark.parametrize("name", list(FAILING))
@pytest.mark.parametrize("known", [False, True], ids=["new", "collection"])
def test_the_next_takes_over_from_one_that_fails(name: str, known: bool, canary: Canary) -> None:
    with Row(FAILING[name](), siliconflow()) as row:
        embedder = row.connect(canary=canary if known else None)
        check(embedder, TEXTS[:10])
        first, second = row.hosts
        assert (first.paid, second.paid) == (Counter(), Counter(TEXTS[:10]))
        [failure] = embedder.failures
        assert failure.startswith(f"scaleway at {first.url}: ")
        assert KEY not in failure


def test_one_that_does_not_answer_at_all_is_left_for_the_next() -> None:
    with Row(scaleway(), siliconflow()) as row:
        nobody = BackendConfig("scaleway", "http://127.0.0.1:1/v1")
        embedder = row.connect(backends=[nobody, row.backends[1]])
        check(embedder, TEXTS[:5])
        assert "no answer ever came" in embedder.failures[0]


ENDS = {
    "out of credit": lambda: scaleway(credit=24),
    "down": unlucky(faults.failing(503), after=7),
    "key withdrawn": unlucky(faults.failing(401), after=7),
    "400 to everything": unlucky(faults.text(400, NO), after=7),
    "loses answers": unlucky(faults.cut(), after=7),
}


@pytest.mark.parametrize("name", list(ENDS))
def test_no_text_is_lost_when_one_fails_under_way(name: str) -> None:
    """Four requests are in flight. The one that takes over embeds each of its texts once."""
    with Row(ENDS[name](), siliconflow()) as row:
        embedder = row.connect()
        assert embedder.concurrency == 4
        check(embedder)
        first, second = row.hosts
        assert set(first.paid) | set(second.paid) == set(TEXTS)
        assert set(second.paid.values()) == {1}
        assert 4 <= len(first.paid) < len(TEXTS)
        both = set(first.paid) & set(second.paid)
        # An answer that is lost on its way was given all the same: what was in flight, no more.
        assert len(both) <= (16 if name == "loses answers" else 0)
        assert [failure.split(" at ")[0] for failure in embedder.failures] == ["scaleway"]


def test_texts_that_the_host_refuses_itself_are_no_failure_of_it() -> None:
    texts = [*TEXTS[:6], "far too long " * 30, *TEXTS[6:12]]
    with Row(scaleway(context=50), siliconflow()) as row:
        embedder = row.connect()
        found: dict[int, object] = {}
        with embedder.stream() as stream:
            for n, text in enumerate(texts):
                stream.add(n, text)
            while stream.pending:
                found.update(stream.completed(block=True))
        assert [n for n, outcome in found.items() if isinstance(outcome, DocumentError)] == [6]
        assert row.hosts[1].requests == []
        assert embedder.failures == []


def test_three_in_a_row_and_an_account_for_each() -> None:
    with Row(scaleway(credit=24), siliconflow(credit=23), deepinfra()) as row:
        embedder = row.connect()
        check(embedder)
        accounts = embedder.usage.usages
        assert [a.name.split(" at ")[0] for a in accounts] == list(BACKENDS)
        for host, account, own in zip(row.hosts, accounts, (4, 3, 3), strict=True):
            paid = host.paid
            assert account.texts == paid.total() + own, "its texts, and the canaries"
            billed = sum(len(text.split()) + 2 for text in paid.elements())
            assert billed < account.tokens < billed + 200
            assert account.cost == account.tokens / 1e6
            assert not account.estimated
            assert account.requests == len(host.requests)
        assert sum(host.paid.total() for host in row.hosts) == len(TEXTS)
        assert [account.texts for account in accounts[:2]] == [24, 23]
        assert embedder.usage.texts == len(TEXTS) + 4 + 3 + 3
        assert len(embedder.failures) == 2


def other(job: Job) -> Job:
    """Another model with vectors of the same size."""
    return replace(job, space="another-model-of-4096")


def test_another_model_of_the_same_size_takes_nothing_over() -> None:
    with Row(scaleway(credit=24), siliconflow(change=other)) as row:
        embedder = row.connect()
        with pytest.raises(IdentityMismatch) as caught:
            embedder.documents(TEXTS)
        first, second = row.hosts
        assert second.paid == Counter(), "nothing but canaries was ever asked of it"
        assert caught.value.exit_code == 6
        assert f"scaleway at {first.url}: " in str(caught.value)
        assert f"siliconflow at {second.url} makes other vectors of documents" in str(caught.value)
        assert "and 0.99 is the minimum" in str(caught.value)


def test_the_one_after_it_does() -> None:
    with Row(scaleway(credit=24), siliconflow(change=other), deepinfra()) as row:
        embedder = row.connect()
        check(embedder)
        assert row.hosts[1].paid == Counter()
        assert "makes other vectors" in embedder.failures[1]


def test_a_collection_s_canary_holds_for_its_first_backend_too(canary: Canary) -> None:
    """The same address may serve another model tomorrow."""
    with Row(scaleway(change=other)) as row:
        with pytest.raises(IdentityMismatch, match="makes other vectors of documents"):
            row.connect(canary=canary).documents(TEXTS)
        assert row.hosts[0].paid == Counter()
        assert len(row.hosts[0].requests) == 1


@pytest.mark.parametrize(
    ("cosine", "threshold", "accepted"),
    [(0.995, 0.99, True), (0.985, 0.99, False), (0.985, 0.98, True), (0.995, 0.999, False)],
)
def test_a_quantised_model_is_the_same_within_the_threshold(
    cosine: float, threshold: float, accepted: bool
) -> None:
    near = siliconflow(angle=float(np.arccos(cosine)))
    with Row(scaleway(credit=4), near) as row:
        embedder = row.connect(threshold=threshold)
        if accepted:
            check(embedder, TEXTS[:8], tolerance=1.001 - cosine)
            assert near.paid.total() == 8
        else:
            with pytest.raises(IdentityMismatch):
                embedder.documents(TEXTS[:8])
            assert near.paid == Counter()


def test_one_that_drops_the_dimension_is_cut_here(canary: Canary) -> None:
    """It takes the field and answers 4,096 numbers, in no stated order."""
    with Row(deepinfra("openrouter"), names=["deepinfra"]) as row:
        check(row.connect(canary=canary), TEXTS[:6])
        assert row.hosts[0].requests[0].body["dimensions"] == DIM


def padded(job: Job) -> Job:
    """A smaller model, its vectors filled up with zeros to the size that is asked."""
    asked = job.dim or job.native
    return replace(job, space="qwen3-embedding-0.6b", native=1024, dim=None, pad_to=asked)


def half(job: Job) -> Job:
    """The right model, but the second half of its native vectors is zeros."""
    return replace(job, dim=job.native // 2, pad_to=job.native)


@pytest.mark.parametrize(
    ("host", "backend", "dim"),
    [
        (lambda: deepinfra(change=padded), "deepinfra", 2048),
        (lambda: scaleway(change=padded), "scaleway", 2048),
        (lambda: scaleway(change=half), "scaleway", 1024),
    ],
    ids=["asked", "native", "right but cut"],
)
@pytest.mark.parametrize("first", [True, False])
def test_one_that_fills_up_with_zeros_is_never_used(
    host: Callable[[], Host], backend: str, dim: int, first: bool
) -> None:
    """Also where no canary is there yet that could tell."""
    if first:
        hosts, names = [host(), siliconflow()], [backend, "siliconflow"]
    else:
        hosts, names = [siliconflow(credit=4), host()], ["siliconflow", backend]
    with Row(*hosts, names=names) as row:
        embedder = row.connect(dim=dim)
        if first:
            vectors = embedder.documents(TEXTS[:6])
            assert all(
                expected(text, dim=dim) @ v > 0.999999
                for text, v in zip(TEXTS, vectors, strict=False)
            )
        else:
            with pytest.raises((IdentityMismatch, BackendError), match="no backend is left"):
                embedder.documents(TEXTS[:6])
        padding = row.hosts[0 if first else 1]
        assert padding.paid == Counter()
        assert any("padded with zeros" in failure for failure in embedder.failures)


def test_when_all_fail_each_is_named_and_the_next_request_begins_anew() -> None:
    with Row(scaleway(key="another"), siliconflow(), deepinfra(credit=0)) as row:
        row.hosts[1].faults += [faults.failing(503)] * 10_000
        embedder = row.connect()
        with pytest.raises(BackendError) as caught:
            embedder.documents(TEXTS)
        said = str(caught.value)
        assert not isinstance(caught.value, IdentityMismatch)
        assert caught.value.exit_code == 4
        assert said.startswith("no backend is left: scaleway at http://127.0.0.1:")
        assert said.count(" at http://127.0.0.1:") == 3
        assert said.index("401") < said.index("503") < said.index("quota")
        assert "\n" not in said
        assert KEY not in said
        row.hosts[1].faults.clear()
        check(embedder, TEXTS[:4])
        assert row.hosts[1].paid.total() == 4


def test_the_first_to_answer_makes_the_canary_of_a_new_collection(canary: Canary) -> None:
    with Row(scaleway(credit=3), siliconflow()) as row:
        embedder = row.connect()
        made = embedder.canary()
        assert made is not None
        assert made.agreement("document", canary.documents) > 0.9999
        assert made.agreement("query", canary.query) > 0.9999
        assert embedder.canary() is made
        requests = [len(host.requests) for host in row.hosts]
        assert requests == [2, 2]  # its documents, and no credit for its query; then both
        check(embedder, TEXTS[:4])
        assert [len(host.requests) for host in row.hosts] == [2, 3]


def test_a_single_backend_is_compared_only_with_what_is_kept(canary: Canary) -> None:
    with Row(scaleway()) as row:
        row.connect().documents(TEXTS[:4])
        assert len(row.hosts[0].requests) == 1
        row.connect(canary=canary).documents(TEXTS[:4])
        assert len(row.hosts[0].requests) == 3
    with connect("builtin", dim=64, environ={}) as builtin:
        assert builtin.canary() is None


def test_a_question_takes_the_canary_along_until_its_backend_is_known(canary: Canary) -> None:
    with Row(siliconflow(), names=["siliconflow"]) as row:
        embedder = row.connect(canary=canary)
        for text in ("first question", "second question"):
            assert expected(text, "query") @ embedder.query(text) > 0.999999
        sent = [request.body["input"] for request in row.hosts[0].requests]
        assert [len(texts) for texts in sent] == [2, 1]
        assert any(text.endswith(canary_text) for text in sent[0] for canary_text in CANARIES)
        trusted = row.connect(canary=canary, trusted=lambda config: config == row.backends[0])
        trusted.query("third question")
        assert len(row.hosts[0].requests[-1].body["input"]) == 1


def test_a_question_to_another_model_is_not_answered(canary: Canary) -> None:
    def sideless(job: Job) -> Job:
        """It knows the model, but embeds a question as a document."""
        return replace(job, texts=[text._replace(side="document") for text in job.texts])

    for change in (other, sideless):
        with Row(siliconflow(change=change), names=["siliconflow"]) as row:
            embedder = row.connect(canary=canary)
            with pytest.raises(IdentityMismatch, match="makes other vectors of queries") as caught:
                embedder.query("a question")
            assert caught.value.exit_code == 6
            assert len(row.hosts[0].requests) == 1


def test_a_question_goes_on_to_the_next_backend(canary: Canary) -> None:
    with Row(scaleway(change=other), siliconflow(credit=0), deepinfra()) as row:
        embedder = row.connect(canary=canary)
        assert expected("a question", "query") @ embedder.query("a question") > 0.999999
        assert len(embedder.failures) == 2


class Refusing:
    """A wire whose every answer is one error, given only when the gate is open."""

    def __init__(self) -> None:
        self.gate = threading.Event()
        self.asked = 0

    def call(self, request: EmbeddingRequest) -> Embeddings:
        self.asked += 1
        assert self.gate.wait(10)
        raise BackendError("host refused the key")

    def close(self) -> None:
        pass


@pytest.mark.parametrize("backends", [1, 2])
def test_threads_that_wait_for_one_introduction_share_its_outcome(
    backends: int, canary: Canary
) -> None:
    """Else each would spend its own patience on a host that is down, one after the other."""
    wires = [Refusing() for _ in range(backends)]
    failover = Failover([ConnectedBackend("host", wire, Usage()) for wire in wires], canary=canary)
    request = EmbeddingRequest("document", ("text",), threading.Event())
    failures: list[str] = []

    def ask() -> None:
        try:
            failover.call(request)
        except BackendError as error:
            failures.append(str(error))

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    until(lambda: wires[0].asked == 1)
    threads[-1].join(0.1)  # the others come to the lock
    for wire in wires:
        wire.gate.set()
    for thread in threads:
        thread.join(10)
    assert len(failures) == 4
    assert wires[0].asked == 1


@pytest.mark.parametrize("backends", [1, 2])
def test_a_stream_that_none_can_serve_asks_nobody_again_and_another_does(backends: int) -> None:
    """Batches that are about to leave must not begin with the first backend once more."""
    wires = [Refusing() for _ in range(backends)]
    for wire in wires:
        wire.gate.set()
    failover = Failover(
        [ConnectedBackend(f"host {n}", wire, Usage()) for n, wire in enumerate(wires)]
    )
    stream, other = threading.Event(), threading.Event()
    for stopped, asked in ((stream, 1), (stream, 1), (other, 2)):
        with pytest.raises(BackendError, match="host refused the key"):
            failover.call(EmbeddingRequest("document", ("text",), stopped))
        assert [wire.asked for wire in wires] == [asked] * backends


def test_stop_ends_the_wait_for_an_introduction(canary: Canary) -> None:
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
