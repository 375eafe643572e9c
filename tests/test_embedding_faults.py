"""What a host may do wrong, on both wires: tried again, refused, or one text refused."""

import traceback
from collections.abc import Callable, Iterator

import numpy as np
import pytest

from ragctl import catalog
from ragctl.embedding import Embedder, Patience, connect
from ragctl.errors import BackendError, DocumentError, UsageError
from tests.servers import faults
from tests.servers.faults import Fault
from tests.servers.host import EmbeddingServer
from tests.servers.jina import JinaServer
from tests.servers.openai import OpenAIServer

KEY = "sk-0123456789abcdef"
TEXTS = ["one", "two words", "три слова тут"]
PATIENCE = Patience(total=0.5, first=0.001, longest=0.01, read=5)

# wire -> its strict server, and a model on it
WIRES: dict[str, tuple[Callable[..., EmbeddingServer], str]] = {
    "jina": (JinaServer, "jina-embeddings-v5-text-small"),
    "openai": (OpenAIServer, "text-embedding-3-small"),
}


def connected(
    server: EmbeddingServer, wire: str, key: str = KEY, patience: Patience = PATIENCE
) -> Embedder:
    variable = catalog.builtin().provider(wire).keys[0]
    return connect(
        WIRES[wire][1], dim=64, base_url=server.url, environ={variable: key}, patience=patience
    )


@pytest.fixture(params=list(WIRES))
def wire(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def server(wire: str) -> Iterator[EmbeddingServer]:
    with WIRES[wire][0](KEY) as server:
        yield server


@pytest.fixture
def embedder(wire: str, server: EmbeddingServer) -> Iterator[Embedder]:
    with connected(server, wire) as embedder:
        yield embedder


@pytest.mark.parametrize(
    "fault",
    [
        faults.busy(),
        faults.busy(0),
        faults.busy("0.005"),
        faults.busy("Mon, 01 Jan 2024 00:00:00 GMT"),
        faults.busy("soon"),
        faults.busy(None, **{"retry-after-ms": "2"}),
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
    ids=lambda fault: f"{fault.status}-{fault.sending}-{dict(fault.headers)}",
)
def test_passing_faults_are_tried_again(
    server: EmbeddingServer, embedder: Embedder, fault: Fault
) -> None:
    expected = embedder.documents(TEXTS)
    server.faults += [fault, fault]
    np.testing.assert_array_equal(embedder.documents(TEXTS), expected)
    assert len(server.requests) == 4
    assert embedder.usage.requests == 4
    assert embedder.usage.texts == 2 * len(TEXTS)


def test_a_hanging_host_is_left_and_tried_again(wire: str, server: EmbeddingServer) -> None:
    server.faults.append(faults.hang())
    impatient = Patience(total=0.01, first=0.001, read=0.1)
    with connected(server, wire, patience=impatient) as embedder:
        assert embedder.documents(TEXTS).shape == (3, 64)
    assert len(server.requests) == 2


def test_a_host_that_stays_down_is_given_up(server: EmbeddingServer, embedder: Embedder) -> None:
    server.faults += [faults.failing(503)] * 10_000
    with pytest.raises(BackendError) as caught:
        embedder.query("one")
    assert "503" in str(caught.value)
    assert f"tried {len(server.requests)} times in " in str(caught.value)
    assert len(server.requests) > 10
    assert caught.value.exit_code == 4


def test_a_wait_beyond_patience_is_not_begun(server: EmbeddingServer, embedder: Embedder) -> None:
    server.faults.append(faults.busy(3600))
    with pytest.raises(BackendError, match="tried once; run again in 3600 s or later"):
        embedder.query("one")
    assert len(server.requests) == 1


@pytest.mark.parametrize("fault", [faults.shuffled(), faults.unindexed()], ids=["mixed", "none"])
def test_order_is_restored(server: EmbeddingServer, embedder: Embedder, fault: Fault) -> None:
    expected = embedder.documents(TEXTS)
    server.faults.append(fault)
    np.testing.assert_array_equal(embedder.documents(TEXTS), expected)


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        (faults.one_less(), "answered 2 vectors for 3 texts"),
        (faults.one_more(), "answered 4 vectors for 3 texts"),
        (faults.partly_indexed(), "cannot be put in order: index None"),
        (faults.repeated_index(), "cannot be put in order: index 0"),
        (faults.wrong_dim(), "vectors of 63 dimensions, not 64"),
        (faults.ragged(), r"different lengths: \[63, 64\]"),
        (faults.nan(), "NaN or infinity"),
        (faults.infinite(), "NaN or infinity"),
        (faults.zero(), "zero length"),
        (faults.no_embedding(), "an item without an embedding"),
        (faults.html(), "an HTML page: Gateway login, not the API itself; is the address right"),
        (faults.text(200, b"[1, 2]"), "JSON that is no object"),
        (faults.text(200, b"{}"), 'no list of embeddings under "data"'),
        (faults.failing(402), "refused: 402"),
        (faults.failing(403), "refused: 403"),
        (faults.failing(404), "no such model or address: 404"),
        (faults.failing(501), "refused: 501"),
        (faults.Fault(302, headers={"Location": "https://x.test/"}), "redirects to https://x.te"),
        (faults.busy(**{"x-should-retry": "false"}), "says not to try again: 429"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_wrong_answers_end_the_run_at_once(
    server: EmbeddingServer, embedder: Embedder, fault: Fault, said: str
) -> None:
    server.faults.append(fault)
    with pytest.raises(BackendError, match=said) as caught:
        embedder.documents(TEXTS)
    assert "127.0.0.1" in str(caught.value)
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 400
    assert len(server.requests) == 1


def test_no_credit_is_never_tried_again(wire: str) -> None:
    with WIRES[wire][0](KEY, credit=0) as server, connected(server, wire) as embedder:
        with pytest.raises(BackendError, match=r"refused: 4\d\d .*(balance|quota)"):
            embedder.documents(TEXTS)
        assert len(server.requests) == 1


@pytest.mark.parametrize("fault", [None, faults.dropped(), faults.text(500, KEY.encode())])
def test_the_key_is_nowhere_to_be_seen(
    wire: str, server: EmbeddingServer, fault: Fault | None
) -> None:
    """The servers quote a wrong key back; locals of every frame are looked at too."""
    key = KEY if fault else "sk-wrong-9876"
    server.faults += [fault] * 10_000 if fault else []
    with connected(server, wire, key) as embedder:
        with pytest.raises(BackendError) as caught:
            embedder.documents(TEXTS)
        if fault is None:
            assert f"refused the key in {catalog.builtin().provider(wire).keys[0]}: 401" in str(
                caught.value
            )
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
        WIRES[wire][0](KEY, context=30) as server,
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
    # Each good text once; the openai wire tried a plain word first to see that it is the texts.
    assert sorted(t for t in embedded if t != "text") == sorted(set(texts) - {texts[3]})
    assert embedded.count("text") == (0 if wire == "jina" else 1)


def test_a_text_refused_alone(wire: str) -> None:
    with WIRES[wire][0](KEY, context=30) as server, connected(server, wire) as embedder:
        with pytest.raises(DocumentError, match="refused by 127"):
            embedder.documents(["far too long " * 20])
        with pytest.raises(UsageError, match="the query: refused by 127"):
            embedder.query("far too long " * 20)


def test_a_refused_parameter_is_not_blamed_on_the_texts() -> None:
    """One host's list of sizes has 1536, the other's does not; its refusal is a bare string."""
    with (
        OpenAIServer(KEY, like="siliconflow") as server,
        connect(
            "qwen3-embedding-8b",
            dim=1536,
            backend="siliconflow-cn",
            base_url=server.url,
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
            base_url=server.url,
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
        connect("bge-m3", backend="vllm", base_url=server.url, environ={}) as embedder,
        pytest.raises(BackendError, match=r"without a key \(set VLLM_API_KEY\): 401"),
    ):
        embedder.documents(TEXTS)
