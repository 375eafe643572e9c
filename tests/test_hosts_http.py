"""The HTTP client: hidden keys, Retry-After, time limit per attempt, connection reuse."""

import pickle
import socket
import threading
import time
from collections.abc import Iterator

import pytest

from ragctl.catalog import BackendConfig, RequestLimits
from ragctl.embedding import Embedder, Patience, connect
from ragctl.errors import BackendError
from ragctl.hosts.errors import Refused
from ragctl.hosts.keys import ApiKey
from ragctl.hosts.responses import ErrorRules, Response, ResponseParser, retry_after
from tests.servers import faults
from tests.servers.jina import JinaServer
from tests.waiting import until, within

pytestmark = pytest.mark.slow

NOON = 1_704_110_400.0  # Mon, 01 Jan 2024 12:00:00 GMT


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"retry-after": "3"}, 3.0),
        ({"retry-after": "0"}, 0.0),
        ({"retry-after": "0.5"}, 0.5),
        ({"retry-after": "Mon, 01 Jan 2024 12:00:42 GMT"}, 42.0),
        ({"retry-after": "Mon, 01 Jan 2024 11:00:00 GMT"}, 0.0),
        ({"retry-after": "-5"}, None),
        ({"retry-after": "nan"}, None),
        ({"retry-after": "inf"}, None),
        ({"retry-after": "soon"}, None),
        ({"retry-after-ms": "250", "retry-after": "9"}, 0.25),
        ({"llm_provider-retry-after": "60"}, 60.0),
        ({"retry-after-ms": "x", "retry-after": "9"}, 9.0),
    ],
)
def test_retry_after(headers: dict[str, str], seconds: float | None) -> None:
    assert retry_after(headers, NOON) == seconds


@pytest.mark.parametrize(
    ("rules", "field", "about_text"),
    [
        (ErrorRules(), "input", True),
        (ErrorRules(), "passages", False),
        (ErrorRules(text_fields=frozenset({"passages"})), "passages", True),
        (ErrorRules(text_fields=frozenset({"passages"})), "width", False),
    ],
)
def test_error_about_the_text_field_refuses_a_text(
    rules: ErrorRules, field: str, about_text: bool
) -> None:
    body = f'{{"detail": [{{"loc": ["body", "{field}", 0], "msg": "wrong"}}]}}'
    parser = ResponseParser("host", rules, None, None)
    with pytest.raises(BackendError, match="wrong") as caught:
        parser.parse(Response(422, {}, body.encode()))
    assert isinstance(caught.value, Refused) == about_text


def test_error_during_warm_up_is_raised_by_the_first_request(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "no proxy at all://")
    hosted = BackendConfig("jina")
    with connect("jina-embeddings-v3", backends=[hosted], environ={"JINA_API_KEY": "k" * 20}) as e:
        e.backends[0].warm()
        with pytest.raises(BackendError, match="the environment's proxy"):
            e.query("words")


@pytest.mark.parametrize(
    ("duration", "seconds"),
    [
        ("6m0s", 360.0),
        ("1h2m", 3_720.0),
        ("250ms", 0.25),
        ("8.64s", 8.64),
        ("1m0.5s", 60.5),
        ("1.5ms", 0.0015),
        ("1d", 86_400.0),
        ("0s", 0.0),
        ("-1", None),
        ("", None),
        ("soon", None),
        ("6", None),  # ambiguous: some hosts send seconds, others an epoch time
        ("5s6m", None),
    ],
)
def test_rate_limit_reset_header(duration: str, seconds: float | None) -> None:
    headers = {"x-ratelimit-reset-requests": duration, "x-ratelimit-remaining-requests": "0"}
    assert retry_after(headers, NOON, throttled=True) == seconds
    assert retry_after(headers, NOON) is None, "only if the host is throttling"
    assert retry_after(headers | {"retry-after": "3"}, NOON, throttled=True) == 3.0


def test_reset_of_the_exhausted_limit_is_used() -> None:
    headers = {"x-ratelimit-reset-requests": "1s", "x-ratelimit-reset-tokens": "6m0s"}
    remaining = {"x-ratelimit-remaining-requests": "0", "x-ratelimit-remaining-tokens": "150000"}
    assert retry_after(headers | remaining, NOON, throttled=True) == 1.0
    assert retry_after(headers, NOON, throttled=True) == 360.0


def test_key_prints_only_its_variable() -> None:
    key = ApiKey("JINA_API_KEY", " secret\n")
    assert key.reveal() == "secret"
    assert f"{key} {key!r} {[key]}" == " ".join(["<key from JINA_API_KEY>"] * 2) + (
        " [<key from JINA_API_KEY>]"
    )
    with pytest.raises(TypeError):
        pickle.dumps(key)


@pytest.mark.parametrize("value", ["two words", "line\nend", "ключ", "nul\0"])
def test_invalid_key_value_is_not_quoted(value: str) -> None:
    with pytest.raises(BackendError, match="JINA_API_KEY has characters") as caught:
        ApiKey("JINA_API_KEY", value)
    assert value not in str(caught.value)


def connected(url: str, patience: Patience | None = None, concurrency: int = 1) -> Embedder:
    return connect(
        "jina-embeddings-v3",
        dim=32,
        backends=[BackendConfig(base_url=url, concurrency=concurrency)],
        environ={"JINA_API_KEY": "k"},
        patience=patience or Patience(total=1, first=0.001, longest=0.01, read=10),
    )


@pytest.fixture
def slow() -> Iterator[str]:
    """Return the URL of a host that sends its response header one byte at a time, endlessly."""
    finished = threading.Event()

    def serve(listening: socket.socket) -> None:
        while not finished.is_set():
            try:
                connection, _ = listening.accept()
            except OSError:
                return
            threading.Thread(target=trickle, args=(connection,), daemon=True).start()

    def trickle(connection: socket.socket) -> None:
        with connection:
            try:
                connection.sendall(b"HTTP/1.1 200 OK\r\nX-Long: ")
                while not finished.wait(0.01):
                    connection.sendall(b"x")
            except OSError:
                return

    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(target=serve, args=(listening,), daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{listening.getsockname()[1]}/v1"
        finished.set()
        listening.shutdown(socket.SHUT_RDWR)
        thread.join(10)


def test_trickling_response_header_ends_with_its_attempt(slow: str) -> None:
    """Each byte arrives within the read timeout; the attempt's time limit ends the request."""
    began = time.monotonic()
    patience = Patience(total=0.1, first=0.001, read=10, attempt=0.2)
    with (
        connected(slow, patience) as embedder,
        pytest.raises(BackendError, match=r"no complete answer within 0.2 s; tried 2 times"),
    ):
        embedder.query("text")
    assert time.monotonic() - began < 5
    remaining = [thread for thread in threading.enumerate() if thread.name == "request"]
    for thread in remaining:  # ends when the embedder closes its connection
        thread.join(10)
        assert not thread.is_alive()


def test_timed_out_attempt_does_not_affect_other_requests() -> None:
    """While one answer trickles beyond its time limit, another on the same client completes."""
    patience = Patience(total=within(5), first=0.001, read=30, attempt=within(0.3))
    with JinaServer() as server, connected(server.url, patience, concurrency=2) as embedder:
        server.faults.append(faults.trickle())
        late = threading.Thread(target=embedder.query, args=("late",))
        late.start()
        until(lambda: len(server.requests) == 1)
        for n in range(20):
            embedder.query(f"text {n}")
        late.join(120)
        assert "late" in [text.text for text in server.texts]
        assert len(server.requests) == 23  # one for "text", before "late" is sent again


def test_timed_out_attempts_do_not_exhaust_the_connections() -> None:
    patience = Patience(total=20, first=0.001, longest=0.01, read=10, attempt=0.2)
    with JinaServer() as server, connected(server.url, patience) as embedder:
        server.faults += [faults.trickle()] * 4  # more than the client's connection limit
        embedder.query("text")
        assert len(server.requests) == 5


def test_sequential_requests_share_a_connection() -> None:
    with JinaServer() as server, connected(server.url) as embedder:
        server.faults += [faults.failing(500), faults.busy(0), faults.text(200, b"")]
        for n in range(20):
            embedder.query(f"text {n}")
        assert len(server.requests) == 23
        assert server.connections == 1


def test_concurrent_requests_use_at_most_one_connection_each() -> None:
    with JinaServer() as server, connected(server.url, concurrency=3) as embedder:
        embedder.limits = RequestLimits(texts=1)
        embedder.documents([f"text {n}" for n in range(60)])
        assert len(server.requests) == 60
        assert server.connections <= 3


def test_invalid_host_name_raises() -> None:
    with (
        pytest.warns(UserWarning, match="plain http"),
        connected(f"http://{'a' * 70}.test/v1") as embedder,
        pytest.raises(BackendError, match=r"is not a valid host name; is the address right"),
    ):
        embedder.query("text")


def test_unreachable_address_is_given_up_soon() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
    patience = Patience(total=60, unanswered=0.05, first=0.001, longest=0.01)
    began = time.monotonic()
    with (
        connected(f"http://127.0.0.1:{port}/v1", patience) as embedder,
        pytest.raises(BackendError, match=r"no answer ever came: is the address right") as caught,
    ):
        embedder.query("text")
    assert f"127.0.0.1:{port}: [Errno" in str(caught.value)
    assert time.monotonic() - began < 10


def test_host_that_answered_before_gets_the_full_patience() -> None:
    patience = Patience(total=0.3, unanswered=0.01, first=0.001, longest=0.01, read=10)
    with connected("http://127.0.0.1:1/v1", patience) as unreachable:
        with JinaServer() as server, connected(server.url, patience) as embedder:
            embedder.query("text")
            server.faults += [faults.dropped()] * 10_000
            began = time.monotonic()
            with pytest.raises(BackendError, match="run again later: what is stored is kept"):
                embedder.query("text")
            spent = time.monotonic() - began
        began = time.monotonic()
        with pytest.raises(BackendError, match="no answer ever came"):
            unreachable.query("text")
        assert spent > 0.2
        assert time.monotonic() - began < spent


@pytest.mark.parametrize(
    ("variable", "value", "message"),
    [
        ("ALL_PROXY", "rubbish://user:secret@proxy.test", "Unknown scheme for proxy URL"),
        ("SSL_CERT_FILE", "/no/such/file", "No such file or directory"),
    ],
)
def test_invalid_proxy_or_certificate_setting_is_reported(
    monkeypatch: pytest.MonkeyPatch, variable: str, value: str, message: str
) -> None:
    monkeypatch.setenv(variable, value)
    with connected("https://host.test/v1") as embedder, pytest.raises(BackendError) as caught:
        embedder.query("text")
    assert str(caught.value).startswith("host.test: the environment's proxy or certificates cannot")
    assert message in str(caught.value)
    assert "secret" not in str(caught.value)
