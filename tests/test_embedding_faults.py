"""What a host may do wrong, on every wire: tried again, refused, or one text refused."""

import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache

import numpy as np
import pytest

from ragctl.catalog import BackendConfig, Catalog, Layer
from ragctl.embedding import Embedder, Patience, connect
from ragctl.embedding.catalogs import user_catalog
from ragctl.embedding.wire_registry import WIRES as KNOWN_WIRES
from ragctl.errors import BackendError, DocumentError, UsageError
from ragctl.records import Json
from tests.servers import faults
from tests.servers.cohere import CohereServer
from tests.servers.elastic import ElasticServer
from tests.servers.faults import Fault
from tests.servers.gemini import GeminiServer
from tests.servers.host import EmbeddingServer
from tests.servers.jina import JinaServer
from tests.servers.ollama import OllamaLegacyServer, OllamaServer
from tests.servers.openai import OpenAIServer
from tests.servers.tei import TeiServer
from tests.servers.voyage import VoyageServer

KEY = "sk-0123456789abcdef"
VARIABLE = "TEST_KEY"
TEXTS = ["one", "two words", "три слова тут"]
DIM = 256
PATIENCE = Patience(total=0.5, first=0.001, longest=0.01, read=5)


@dataclass(frozen=True)
class Spoken:
    """A wire under test: its strict server, a model on it, and what the protocol has.

    `answered`: the size of the vectors that come back. `requests`: how many it
    takes for TEXTS. `most`: texts at once beyond which the host refuses.
    `proved`: the host does not say that a text is the reason, so that a plain
    word is tried.
    """

    server: Callable[..., EmbeddingServer]
    model: str
    answered: int = DIM
    requests: int = 1
    indexed: bool = False
    most: int | None = None
    proved: bool = False


WIRES: dict[str, Spoken] = {
    "jina": Spoken(JinaServer, "jina-embeddings-v5-text-small", indexed=True, most=512),
    "openai": Spoken(OpenAIServer, "text-embedding-3-small", indexed=True, most=2048),
    "ollama": Spoken(OllamaServer, "qwen3-embedding-0.6b"),
    "ollama-legacy": Spoken(OllamaLegacyServer, "qwen3-embedding-0.6b", 1024, requests=3),
    "tei": Spoken(TeiServer, "qwen3-embedding-0.6b"),
    "elastic": Spoken(ElasticServer, "jina-embeddings-v3", 1024, most=16, proved=True),
    "cohere": Spoken(CohereServer, "embed-v4.0", most=96),
    "voyage": Spoken(VoyageServer, "voyage-3.5", indexed=True, most=1000),
    "gemini": Spoken(GeminiServer, "gemini-embedding-001", most=100),
}
BATCHING = [name for name, spoken in WIRES.items() if spoken.requests == 1]
INDEXED = [name for name, spoken in WIRES.items() if spoken.indexed]
LIMITED = [name for name, spoken in WIRES.items() if spoken.most]


def with_row(wire: str, **row: Json) -> Catalog:
    """Return the catalogue with one key for every backend, and `row` laid over this one's."""
    rows = {wire: {"keys": [VARIABLE], "key_required": True} | row}
    return user_catalog({"RAGCTL_CONFIG": "/nowhere"}, Layer("test", {}, "test", rows))


@cache
def keyed(wire: str) -> Catalog:
    return with_row(wire)


def connected(
    server: EmbeddingServer,
    wire: str,
    key: str = KEY,
    patience: Patience = PATIENCE,
    **row: Json,
) -> Embedder:
    """Connect to a test server. `row` is laid over the backend's own."""
    return connect(
        WIRES[wire].model,
        dim=DIM,
        backends=[BackendConfig(wire, server.url)],
        catalog=with_row(wire, **row) if row else keyed(wire),
        environ={VARIABLE: key},
        patience=patience,
    )


@pytest.fixture(params=list(WIRES))
def wire(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def server(wire: str) -> Iterator[EmbeddingServer]:
    with WIRES[wire].server(KEY) as server:
        yield server


@pytest.fixture
def embedder(wire: str, server: EmbeddingServer) -> Iterator[Embedder]:
    with connected(server, wire) as embedder:
        yield embedder


def only(wires: list[str]) -> pytest.MarkDecorator:
    """Run a test on these wires alone."""
    return pytest.mark.parametrize("wire", wires, indirect=True)


def named(fault: object) -> str:
    if isinstance(fault, Fault):
        return f"{fault.status}-{fault.sending}-{dict(fault.headers)}"
    return ""


def test_every_wire_is_tested_here() -> None:
    hosts = {name for name in KNOWN_WIRES.names if not KNOWN_WIRES.traits(name).in_process}
    assert set(WIRES) == hosts


@pytest.mark.parametrize(
    "fault",
    [
        faults.busy(),
        faults.busy(0),
        faults.busy("0.005"),
        faults.busy("Mon, 01 Jan 2024 00:00:00 GMT"),
        faults.busy("soon"),
        faults.busy(None, **{"retry-after-ms": "2"}),
        faults.busy(
            **{"x-ratelimit-remaining-tokens": "0", "x-ratelimit-reset-tokens": "1ms"},
        ),
        faults.failing(408),
        faults.failing(409, "CONFLICT_RESOURCE_BUSY"),
        faults.failing(500, "INTERNAL_ERROR"),
        faults.failing(503),
        faults.failing(504),
        faults.html(502),
        faults.dropped(),
        faults.cut(),
        faults.truncated(),
        faults.text(200, b""),
        faults.text(200, b'{"error":{"code":503,"message":"upstream is down"}}'),
    ],
    ids=named,
)
def test_passing_faults_are_tried_again(
    wire: str, server: EmbeddingServer, embedder: Embedder, fault: Fault
) -> None:
    expected = embedder.documents(TEXTS)
    server.faults += [fault, fault]
    np.testing.assert_array_equal(embedder.documents(TEXTS), expected)
    assert len(server.requests) == 2 * WIRES[wire].requests + 2
    assert embedder.usage.requests == len(server.requests)
    assert embedder.usage.texts == 2 * len(TEXTS)


@pytest.mark.parametrize(
    ("fault", "patience"),
    [
        (faults.hang(), Patience(total=5, first=0.001, read=0.1)),
        # No single wait for a byte is long here: the time of the whole try ends it.
        (faults.trickle(), Patience(total=5, first=0.001, read=5, attempt=0.2)),
    ],
    ids=["hang", "trickle"],
)
def test_a_host_that_does_not_come_to_an_end_is_left_and_tried_again(
    wire: str, server: EmbeddingServer, fault: Fault, patience: Patience
) -> None:
    server.faults.append(fault)
    with connected(server, wire, patience=patience) as embedder:
        assert embedder.documents(TEXTS).shape == (3, DIM)
    assert len(server.requests) > WIRES[wire].requests


def test_a_host_that_stays_down_is_given_up(server: EmbeddingServer, wire: str) -> None:
    server.faults += [faults.failing(503)] * 10_000
    patience = Patience(total=0.05, first=0.001, longest=0.005, read=5)
    with (
        connected(server, wire, patience=patience) as embedder,
        pytest.raises(BackendError) as caught,
    ):
        embedder.query("one")
    assert "503" in str(caught.value)
    assert f"tried {len(server.requests)} times in " in str(caught.value)
    assert len(server.requests) > 2
    assert caught.value.exit_code == 4


@pytest.mark.parametrize(
    "fault",
    [
        faults.busy(3600),
        faults.busy(**{"retry-after-ms": "3600000"}),
        faults.busy(
            **{"x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": "1h0m0s"},
        ),
    ],
    ids=named,
)
def test_a_wait_beyond_patience_is_not_begun(wire: str, fault: Fault) -> None:
    # A key of its own: the limiter keeps it back for that hour, and ports come round again.
    key = "-".join(["sk", wire, *fault.headers])
    with WIRES[wire].server(key) as server, connected(server, wire, key) as embedder:
        server.faults.append(fault)
        with pytest.raises(BackendError, match="tried once; run again in 3600 s or later"):
            embedder.query("one")
        assert len(server.requests) == 1


@only(INDEXED)
@pytest.mark.parametrize("fault", [faults.shuffled(), faults.unindexed()], ids=["mixed", "none"])
def test_order_is_restored(server: EmbeddingServer, embedder: Embedder, fault: Fault) -> None:
    expected = embedder.documents(TEXTS)
    server.faults.append(fault)
    np.testing.assert_array_equal(embedder.documents(TEXTS), expected)


def refused(server: EmbeddingServer, embedder: Embedder) -> str:
    """Return how the run ends, in one line that names the host and holds nothing strange."""
    with pytest.raises(BackendError) as caught:
        embedder.documents(TEXTS)
    said = str(caught.value)
    assert "127.0.0.1" in said
    assert said.isprintable()
    assert len(said) < 420
    assert not isinstance(caught.value.__cause__, DocumentError)
    return said


@only(INDEXED)
@pytest.mark.parametrize(
    ("fault", "said"),
    [
        (faults.partly_indexed(), "cannot be put in order: index None"),
        (faults.repeated_index(), "cannot be put in order: index 0"),
    ],
    ids=["partly", "repeated"],
)
def test_an_order_that_cannot_be_known_ends_the_run(
    server: EmbeddingServer, embedder: Embedder, fault: Fault, said: str
) -> None:
    server.faults.append(fault)
    assert said in refused(server, embedder)
    assert len(server.requests) == 1


@only(BATCHING)
@pytest.mark.parametrize(
    ("fault", "count"), [(faults.one_less(), 2), (faults.one_more(), 4)], ids=["less", "more"]
)
def test_a_wrong_count_ends_the_run(
    server: EmbeddingServer, embedder: Embedder, fault: Fault, count: int
) -> None:
    server.faults.append(fault)
    assert f"answered {count} vectors for 3 texts" in refused(server, embedder)
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        (faults.wrong_dim(), "vectors of {short} dimensions, not 256"),
        (faults.padded(4096), "vectors of 4096 dimensions, not 256"),
        (faults.padded(), "a vector padded with zeros to {answered} dimensions"),
        (faults.nan(), "NaN or infinity"),
        (faults.infinite(), "NaN or infinity"),
        (faults.zero(), "zero length"),
        (faults.no_embedding(), "an item without an embedding"),
    ],
    ids=["short", "long", "padded", "nan", "infinite", "zero", "none"],
)
def test_wrong_vectors_end_the_run(
    wire: str, server: EmbeddingServer, embedder: Embedder, fault: Fault, said: str
) -> None:
    spoken = WIRES[wire]
    server.faults += [fault] * spoken.requests
    expected = said.format(short=spoken.answered - 1, answered=spoken.answered)
    assert expected in refused(server, embedder)
    assert len(server.requests) == spoken.requests


def test_vectors_of_different_lengths_end_the_run(
    wire: str, server: EmbeddingServer, embedder: Embedder
) -> None:
    server.faults.append(faults.ragged())
    size = WIRES[wire].answered
    assert f"different lengths: [{size - 1}, {size}]" in refused(server, embedder)


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        (faults.html(), "an HTML page: Gateway login, not the API itself; is the address right"),
        (faults.text(200, b"3"), "answered "),
        (faults.failing(402), "refused: 402"),
        (faults.failing(403), "refused: 403"),
        (faults.failing(404), "no such model or address: 404"),
        (faults.failing(498), "refused the key in TEST_KEY: 498"),
        (faults.failing(501), "refused: 501"),
        (Fault(302, headers={"Location": "https://x.test/"}), "redirects to https://x.test"),
        (faults.busy(**{"x-should-retry": "false"}), "asks not to be tried again: 429"),
    ],
    ids=named,
)
def test_refusals_end_the_run_at_once(
    server: EmbeddingServer, embedder: Embedder, fault: Fault, said: str
) -> None:
    server.faults.append(fault)
    assert said in refused(server, embedder)
    assert len(server.requests) == 1


@pytest.mark.parametrize("body", [b"{}", b"[1, 2]", b'{"data": 1, "embeddings": 2}'])
def test_json_of_another_shape_ends_the_run(
    wire: str, server: EmbeddingServer, embedder: Embedder, body: bytes
) -> None:
    server.faults += [faults.text(200, body)] * WIRES[wire].requests
    assert " answered " in refused(server, embedder)


def test_a_field_that_the_host_does_not_know_is_not_blamed_on_the_texts(
    wire: str, server: EmbeddingServer
) -> None:
    with connected(server, wire, extra={"surprise": 1}) as embedder:
        assert "surprise" in refused(server, embedder)
    assert server.texts == []
    assert len(server.requests) <= 2  # the second is a plain word


def test_no_credit_is_never_tried_again(wire: str) -> None:
    with WIRES[wire].server(KEY, credit=0) as server, connected(server, wire) as embedder:
        with pytest.raises(BackendError, match=r"refused: 4\d\d .*(balance|quota)"):
            embedder.documents(TEXTS)
        assert len(server.requests) == 1


@pytest.mark.parametrize(
    "fault",
    [
        None,
        faults.dropped(),
        faults.text(500, KEY.encode()),
        faults.text(200, KEY.encode()),
        faults.text(200, f'{{"data": "{KEY}", "embeddings": "{KEY}"}}'.encode()),
    ],
    ids=["wrong", "dropped", "refused", "broken", "answered"],
)
def test_the_key_is_nowhere_to_be_seen(
    wire: str, server: EmbeddingServer, fault: Fault | None
) -> None:
    """The servers quote a wrong key back; locals of every frame are looked at too."""
    key = KEY if fault else "sk-wrong-9876"
    server.faults += [fault] * 10_000 if fault else []
    patience = Patience(total=0.02, first=0.001, longest=0.01, read=5)
    with connected(server, wire, key, patience) as embedder:
        with pytest.raises(BackendError) as caught:
            embedder.documents(TEXTS)
        if fault is None:
            assert f"refused the key in {VARIABLE}: 40" in str(caught.value)
        error = caught.value
        frames = error.__traceback__.tb_next if error.__traceback__ else None  # not this test's
        error = error.with_traceback(frames)
        shown = traceback.TracebackException.from_exception(error, capture_locals=True)
        assert key not in "".join(shown.format())
        assert "documents" in "".join(shown.format())


def test_one_bad_text_does_not_hold_up_the_others(wire: str) -> None:
    texts = [f"text {n}" for n in range(16)]
    texts[3] = texts[10] = "far too long " * 20
    with (
        WIRES[wire].server(KEY, context=30) as server,
        connected(server, wire) as embedder,
        embedder.stream() as stream,
    ):
        for n, text in enumerate(texts):
            stream.add(n, text)
        outcomes: dict[int, object] = {}
        while stream.pending:
            outcomes.update(stream.completed(block=True))
        embedded = [text.text for text in server.texts]
    bad = {n for n, outcome in outcomes.items() if isinstance(outcome, DocumentError)}
    assert bad == {3, 10}
    assert "refused by 127.0.0.1" in str(outcomes[3])
    assert set(outcomes) == set(range(16))
    # Nothing was cut, and what some hosts do not blame on the texts was tried with a plain word.
    assert set(embedded) - {"text"} == set(texts) - {texts[3]}
    # Once for the first batch, and once for each text that stood alone.
    assert embedded.count("text") == 3 * WIRES[wire].proved
    if WIRES[wire].requests == 1:
        assert len(embedded) == 14 + 3 * WIRES[wire].proved, "a good text was paid for twice"


def test_a_text_refused_alone(wire: str) -> None:
    with WIRES[wire].server(KEY, context=30) as server, connected(server, wire) as embedder:
        with pytest.raises(DocumentError, match="refused by 127"):
            embedder.documents(["far too long " * 20])
        with pytest.raises(UsageError, match="the query: refused by 127"):
            embedder.query("far too long " * 20)


@only(LIMITED)
def test_more_texts_than_the_host_takes_are_sent_in_parts(
    wire: str, server: EmbeddingServer
) -> None:
    most = WIRES[wire].most
    assert most is not None
    texts = [f"text {n % 50}" for n in range(most + 1)]
    with connected(server, wire, limits={"texts": 5000}) as embedder:
        vectors = embedder.documents(texts)
        expected = embedder.documents(texts[:10])
    np.testing.assert_array_equal(vectors[:10], expected)
    np.testing.assert_array_equal(vectors[50:60], expected[: len(vectors[50:60])])
    assert [text.text for text in server.texts if text.text != "text"] == texts + texts[:10]


def test_a_refused_parameter_is_not_blamed_on_the_texts() -> None:
    """One host's list of sizes has 1536, the other's does not; its refusal is a bare string."""
    with (
        OpenAIServer(KEY, like="siliconflow") as server,
        connect(
            "qwen3-embedding-8b",
            dim=1536,
            backends=[BackendConfig("siliconflow-cn", server.url)],
            environ={"SILICONFLOW_API_KEY": KEY},
            patience=PATIENCE,
        ) as embedder,
    ):
        with pytest.raises(BackendError, match=r"dimensions 1536 .*\(a plain one-word text is"):
            embedder.documents([f"text {n}" for n in range(20)])
        assert len(server.requests) == 2


def test_a_parameter_refused_by_name_ends_the_run() -> None:
    with (
        OpenAIServer(KEY, like="scaleway") as server,
        connect(
            "text-embedding-3-small",
            backends=[BackendConfig(base_url=server.url)],
            environ={"OPENAI_API_KEY": KEY},
            patience=PATIENCE,
        ) as embedder,
    ):
        with pytest.raises(BackendError, match="Unrecognized request argument: encoding_format"):
            embedder.documents(TEXTS)
        assert len(server.requests) == 1


def test_a_host_that_wants_a_key_where_none_is_set() -> None:
    with (
        OpenAIServer(KEY, like="vllm") as server,
        connect("bge-m3", backends=[BackendConfig("vllm", server.url)], environ={}) as embedder,
        pytest.raises(BackendError, match=r"without a key \(set VLLM_API_KEY\): 401"),
    ):
        embedder.documents(TEXTS)
