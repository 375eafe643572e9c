"""Faults of a host, on every wire: retried, fatal, or limited to one text."""

import json
import re
import traceback
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache, partial

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

pytestmark = pytest.mark.slow

KEY = "sk-0123456789abcdef"
VARIABLE = "TEST_KEY"
TEXTS = ["one", "two words", "три слова тут"]
DIM = 256
PATIENCE = Patience(total=0.5, first=0.001, longest=0.01, read=5)


@dataclass(frozen=True)
class WireCase:
    """A wire under test: its strict server, a model on it, and properties of the protocol.

    `answered`: dimension of the vectors in the answer. `requests`: number of requests for
    TEXTS. `max_texts`: texts per request beyond which the host refuses. `needs_probe`: the
    host does not say that a text is the reason, so a plain word is tried.
    """

    server: Callable[..., EmbeddingServer]
    model: str
    answered: int = DIM
    requests: int = 1
    indexed: bool = False
    max_texts: int | None = None
    needs_probe: bool = False


WIRES: dict[str, WireCase] = {
    "jina": WireCase(JinaServer, "jina-embeddings-v5-text-small", indexed=True, max_texts=512),
    "openai": WireCase(OpenAIServer, "text-embedding-3-small", indexed=True, max_texts=2048),
    "ollama": WireCase(OllamaServer, "qwen3-embedding-0.6b"),
    "ollama-legacy": WireCase(OllamaLegacyServer, "qwen3-embedding-0.6b", 1024, requests=3),
    # Without /tokenize, so that the server is what refuses a long text.
    "tei": WireCase(partial(TeiServer, tokenizes=False), "qwen3-embedding-0.6b"),
    "elastic": WireCase(ElasticServer, "jina-embeddings-v3", 1024, max_texts=16, needs_probe=True),
    "cohere": WireCase(CohereServer, "embed-v4.0", max_texts=96),
    "voyage": WireCase(VoyageServer, "voyage-3.5", indexed=True, max_texts=1000),
    "gemini": WireCase(GeminiServer, "gemini-embedding-001", max_texts=100),
}
BATCHING = [name for name, case in WIRES.items() if case.requests == 1]
INDEXED = [name for name, case in WIRES.items() if case.indexed]
LIMITED = [name for name, case in WIRES.items() if case.max_texts]


def with_row(wire: str, **row: Json) -> Catalog:
    """Return the catalogue with a key for this wire's backend, and `row` merged into its row."""
    rows = {wire: {"keys": [VARIABLE], "key_required": True} | row}
    return user_catalog({"RAGCTL_CONFIG": "/nowhere"}, Layer("test", {}, "test", rows))


@cache
def catalog_with_key(wire: str) -> Catalog:
    return with_row(wire)


def connected(
    server: EmbeddingServer,
    wire: str,
    key: str = KEY,
    patience: Patience = PATIENCE,
    **row: Json,
) -> Embedder:
    """Connect to a test server. `row` is merged into the backend's row."""
    return connect(
        WIRES[wire].model,
        dim=DIM,
        backends=[BackendConfig(wire, server.url)],
        catalog=with_row(wire, **row) if row else catalog_with_key(wire),
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
    """Run a test on these wires only."""
    return pytest.mark.parametrize("wire", wires, indirect=True)


def fault_id(fault: object) -> str:
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
    ids=fault_id,
)
def test_transient_faults_are_retried(
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
        # Each wait for a byte is short; the time limit of the whole attempt ends it.
        (faults.trickle(), Patience(total=5, first=0.001, read=5, attempt=0.2)),
    ],
    ids=["hang", "trickle"],
)
def test_request_that_never_ends_is_retried(
    wire: str, server: EmbeddingServer, fault: Fault, patience: Patience
) -> None:
    server.faults.append(fault)
    with connected(server, wire, patience=patience) as embedder:
        assert embedder.documents(TEXTS).shape == (3, DIM)
    assert len(server.requests) > WIRES[wire].requests


def test_host_that_stays_down_raises(server: EmbeddingServer, wire: str) -> None:
    server.faults += [faults.failing(503)] * 10_000
    patience = Patience(total=0.05, first=0.001, longest=0.005, read=5)
    with (
        connected(server, wire, patience=patience) as embedder,
        pytest.raises(BackendError) as caught,
    ):
        embedder.query("one")
    assert re.search(r"\b503\b", str(caught.value))  # not a part of the port
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
    ids=fault_id,
)
def test_wait_longer_than_the_patience_raises_at_once(wire: str, fault: Fault) -> None:
    # A separate key: the limiter blocks it for that hour, and ports are reused.
    key = "-".join(["sk", wire, *fault.headers])
    with WIRES[wire].server(key) as server, connected(server, wire, key) as embedder:
        server.faults.append(fault)
        with pytest.raises(BackendError, match="tried once; run again in 60 min or later"):
            embedder.query("one")
        assert len(server.requests) == 1


@only(INDEXED)
@pytest.mark.parametrize("fault", [faults.shuffled(), faults.unindexed()], ids=["mixed", "none"])
def test_order_is_restored_by_index(
    server: EmbeddingServer, embedder: Embedder, fault: Fault
) -> None:
    expected = embedder.documents(TEXTS)
    server.faults.append(fault)
    np.testing.assert_array_equal(embedder.documents(TEXTS), expected)


def refused(server: EmbeddingServer, embedder: Embedder) -> str:
    """Return the error message: one printable line that names the host."""
    with pytest.raises(BackendError) as caught:
        embedder.documents(TEXTS)
    expected_message = str(caught.value)
    assert "127.0.0.1" in expected_message
    assert expected_message.isprintable()
    assert len(expected_message) < 420
    assert not isinstance(caught.value.__cause__, DocumentError)
    return expected_message


@only(INDEXED)
@pytest.mark.parametrize(
    ("fault", "expected_message"),
    [
        (faults.partly_indexed(), "cannot be put in order: index None"),
        (faults.repeated_index(), "cannot be put in order: index 0"),
    ],
    ids=["partly", "repeated"],
)
def test_ambiguous_order_raises(
    server: EmbeddingServer, embedder: Embedder, fault: Fault, expected_message: str
) -> None:
    server.faults.append(fault)
    assert expected_message in refused(server, embedder)
    assert len(server.requests) == 1


@only(BATCHING)
@pytest.mark.parametrize(
    ("fault", "count"),
    [(faults.one_item_missing(), 2), (faults.one_item_extra(), 4)],
    ids=["less", "more"],
)
def test_wrong_number_of_vectors_raises(
    server: EmbeddingServer, embedder: Embedder, fault: Fault, count: int
) -> None:
    server.faults.append(fault)
    assert f"answered {count} vectors for 3 texts" in refused(server, embedder)
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    ("fault", "expected_message"),
    [
        (faults.wrong_dim(), "vectors of {short} dimensions, not 256"),
        (faults.padded(4096), "vectors of 4,096 dimensions, not 256"),
        (faults.padded(), "a vector padded with zeros to {answered} dimensions"),
    ],
    ids=["short", "long", "padded"],
)
def test_wrong_vectors_raise(
    wire: str, server: EmbeddingServer, embedder: Embedder, fault: Fault, expected_message: str
) -> None:
    case = WIRES[wire]
    server.faults += [fault] * case.requests
    expected = expected_message.format(
        short=f"{case.answered - 1:,}", answered=f"{case.answered:,}"
    )
    assert expected in refused(server, embedder)
    assert len(server.requests) == case.requests


@only([name for name in WIRES if name in INDEXED or name == "elastic"])
def test_item_without_a_vector_raises(server: EmbeddingServer, embedder: Embedder) -> None:
    server.faults.append(faults.no_embedding())
    assert "an item without an embedding" in refused(server, embedder)
    assert len(server.requests) == 1


@only(BATCHING)
@pytest.mark.parametrize(
    ("fault", "expected_message"),
    [
        (faults.nan(), "a vector with NaN or infinity in it"),
        (faults.infinite(), "a vector with NaN or infinity in it"),
        (faults.zero(), "a vector of zero length"),
    ],
    ids=["nan", "infinite", "zero"],
)
def test_unusable_vector_fails_its_text_alone(
    server: EmbeddingServer, embedder: Embedder, fault: Fault, expected_message: str
) -> None:
    server.faults.append(fault)
    found: dict[int, object] = {}
    with embedder.stream() as stream:
        for n, text in enumerate(TEXTS):
            stream.add(n, text)
        while stream.pending:
            found.update(stream.completed(block=True))
    failed = found.pop(len(TEXTS) - 1)
    assert isinstance(failed, DocumentError)
    assert str(failed).endswith(expected_message)
    assert not any(isinstance(outcome, DocumentError) for outcome in found.values())
    assert len(server.requests) == 1


def test_backend_without_any_usable_vector_fails_itself(
    server: EmbeddingServer, embedder: Embedder
) -> None:
    server.faults += [faults.every_zero()] * 100
    assert "a vector of zero length (a plain one-word text is refused too)" in refused(
        server, embedder
    )


@pytest.mark.parametrize("status", [403, 424, 500, 502, 504, 524])
def test_text_on_which_the_host_always_fails_is_found(
    server: EmbeddingServer, embedder: Embedder, status: int
) -> None:
    """A router's moderation answers 403 to one text, a server 500 to another, each time."""
    server.forbidden["POISON"] = status
    found: dict[int, object] = {}
    texts = [*TEXTS, "this is POISON"]
    with embedder.stream() as stream:
        for n, text in enumerate(texts):
            stream.add(n, text)
        while stream.pending:
            found.update(stream.completed(block=True))
    assert {n for n, outcome in found.items() if isinstance(outcome, DocumentError)} == {3}
    assert str(status) in str(found[3])


def test_403_to_every_text_raises(wire: str, server: EmbeddingServer, embedder: Embedder) -> None:
    server.faults += [faults.failing(403)] * 100
    assert "(a plain one-word text is refused too)" in refused(server, embedder)
    assert len(server.requests) == 2 * encodings_tried(wire)


def test_vectors_of_different_lengths_raise(
    wire: str, server: EmbeddingServer, embedder: Embedder
) -> None:
    server.faults.append(faults.ragged())
    size = WIRES[wire].answered
    assert f"different lengths: [{size - 1}, {size}]" in refused(server, embedder)


@pytest.mark.parametrize(
    ("fault", "expected_message"),
    [
        (faults.html(), "an HTML page: Gateway login, not the API itself; is the address right"),
        (faults.text(200, b"3"), "answered "),
        (faults.failing(402), "refused: 402"),
        (faults.failing(404), "no such model or address: 404"),
        (faults.failing(498), "refused the key in TEST_KEY: 498"),
        (faults.failing(501), "refused: 501"),
        (Fault(302, headers={"Location": "https://x.test/"}), "redirects to https://x.test"),
        (faults.busy(**{"x-should-retry": "false"}), "asks not to be tried again: 429"),
    ],
    ids=fault_id,
)
def test_refusals_raise_without_retry(
    server: EmbeddingServer, embedder: Embedder, fault: Fault, expected_message: str
) -> None:
    server.faults.append(fault)
    assert expected_message in refused(server, embedder)
    assert len(server.requests) == 1


@pytest.mark.parametrize("body", [b"{}", b"[1, 2]", b'{"data": 1, "embeddings": 2}'])
def test_json_of_another_shape_raises(
    wire: str, server: EmbeddingServer, embedder: Embedder, body: bytes
) -> None:
    server.faults += [faults.text(200, body)] * WIRES[wire].requests
    assert " answered " in refused(server, embedder)


def test_unknown_field_is_not_blamed_on_the_texts(wire: str, server: EmbeddingServer) -> None:
    with connected(server, wire, extra={"surprise": 1}) as embedder:
        assert "surprise" in refused(server, embedder)
    assert server.texts == []
    # The second is the probe with a plain word.
    assert len(server.requests) <= 2 * encodings_tried(wire)


def encodings_tried(wire: str) -> int:
    """Return in how many encodings a refused first request is sent: the row may state one."""
    return 2 if wire == "cohere" else 1


def test_missing_credit_is_not_retried(wire: str) -> None:
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
def test_key_is_not_shown_in_errors(
    wire: str, server: EmbeddingServer, fault: Fault | None
) -> None:
    """The servers quote a wrong key; the locals of every frame are searched as well."""
    key = KEY if fault else "sk-wrong-9876"
    server.faults += [fault] * 10_000 if fault else []
    patience = Patience(total=0.02, first=0.001, longest=0.01, read=5)
    with connected(server, wire, key, patience) as embedder:
        with pytest.raises(BackendError) as caught:
            embedder.documents(TEXTS)
        if fault is None:
            assert f"refused the key in {VARIABLE}: 40" in str(caught.value)
        error = caught.value
        frames = error.__traceback__.tb_next if error.__traceback__ else None  # skip this test
        error = error.with_traceback(frames)
        shown = traceback.TracebackException.from_exception(error, capture_locals=True)
        assert key not in "".join(shown.format())
        assert "documents" in "".join(shown.format())


def test_bad_texts_do_not_affect_the_others(wire: str) -> None:
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
    # Nothing was truncated; hosts that do not blame the text were probed with a plain word.
    assert set(embedded) - {"text"} == set(texts) - {texts[3]}
    # One probe for the first batch, and one for each text refused alone.
    assert embedded.count("text") == 3 * WIRES[wire].needs_probe
    if WIRES[wire].requests == 1:
        assert len(embedded) == 14 + 3 * WIRES[wire].needs_probe, "a good text was paid for twice"


def test_refused_single_text_raises_a_document_or_usage_error(wire: str) -> None:
    with WIRES[wire].server(KEY, context=30) as server, connected(server, wire) as embedder:
        with pytest.raises(DocumentError, match="refused by 127"):
            embedder.documents(["far too long " * 20])
        with pytest.raises(UsageError, match="the query: refused by 127"):
            embedder.query("far too long " * 20)


@only(LIMITED)
def test_batch_over_the_host_limit_is_split(wire: str, server: EmbeddingServer) -> None:
    max_texts = WIRES[wire].max_texts
    assert max_texts is not None
    texts = [f"text {n % 50}" for n in range(max_texts + 1)]
    with connected(server, wire, limits={"texts": 5000}) as embedder:
        vectors = embedder.documents(texts)
        expected = embedder.documents(texts[:10])
    np.testing.assert_allclose(vectors[:10], expected, atol=1e-6)
    np.testing.assert_allclose(vectors[50:60], expected[: len(vectors[50:60])], atol=1e-6)
    assert [text.text for text in server.texts if text.text != "text"] == texts + texts[:10]


def test_refused_parameter_is_not_blamed_on_the_texts() -> None:
    """1536 is on the list of one host but not of the other, whose refusal is a bare string."""
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
        assert len(server.requests) == 2 * 2  # with base64, and without


def test_parameter_refused_by_name_raises() -> None:
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


def test_missing_optional_key_is_named_on_401() -> None:
    with (
        OpenAIServer(KEY, like="vllm") as server,
        connect("bge-m3", backends=[BackendConfig("vllm", server.url)], environ={}) as embedder,
        pytest.raises(BackendError, match=r"without a key \(set VLLM_API_KEY\): 401"),
    ):
        embedder.documents(TEXTS)


def test_wrong_key_of_litellm_is_named() -> None:
    """Without a database of keys it answers 400 to any key but its master key."""
    body = {"message": "No connected db.", "type": "no_db_connection", "param": None, "code": "400"}
    with OpenAIServer(KEY, like="router") as server:
        server.faults += [faults.text(400, json.dumps({"error": body}).encode())] * 9
        for environ, message in (
            (
                {"LITELLM_API_KEY": "sk-other-0123456789"},
                "refused the key in LITELLM_API_KEY",
            ),
            ({}, r"without a key \(set LITELLM_API_KEY\): 400 No connected db"),
        ):
            with (
                router(server, environ) as embedder,
                pytest.raises(BackendError, match=message),
            ):
                embedder.documents(["text"])
        assert len(server.requests) == 2


@pytest.mark.parametrize("status", [400, 429])
def test_spent_budget_of_litellm_is_not_retried(status: int) -> None:
    message = "Budget has been exceeded! Current cost: 0.2, Max budget: 0.1"
    body = {"message": message, "type": "budget_exceeded", "param": None, "code": str(status)}
    with OpenAIServer(like="router") as server, router(server, {}) as embedder:
        server.faults += [faults.text(status, json.dumps({"error": body}).encode())] * 9
        with pytest.raises(BackendError, match=r"refused: .*Budget has been exceeded"):
            embedder.documents(["text"])
        assert len(server.requests) == 1


@pytest.mark.parametrize(
    "body",
    [
        {"detail": [{"loc": ["body", "encoding_format"], "msg": "Field required"}]},
        {"error": {"message": "encoding_format must be 'float' or 'base64'", "type": "invalid"}},
    ],
    ids=["field", "message"],
)
def test_refused_encoding_names_the_key_of_the_row(body: dict[str, object]) -> None:
    with OpenAIServer(like="router") as server, router(server, {}) as embedder:
        server.faults += [faults.text(422, json.dumps(body).encode())] * 9
        with pytest.raises(BackendError, match=r'; set encoding = "float" in \[backends.router\]'):
            embedder.documents(["text"])
        assert len(server.requests) == 3


def router(server: EmbeddingServer, environ: Mapping[str, str]) -> Embedder:
    return connect(
        "bge-m3",
        backends=[BackendConfig("router", server.url)],
        environ=environ,
        patience=Patience(total=0.3, first=0.001, longest=0.01, read=5),
    )
