"""Error bodies of hosts, parsed into one-line messages."""

import json
import time

import pytest

from ragctl.hosts.error_messages import ErrorDetails, parse_error


@pytest.mark.parametrize(
    ("body", "message", "codes", "fields"),
    [
        (
            {"error": {"message": "No", "type": "t", "param": "input", "code": "c"}},
            "No",
            {"t", "c"},
            {"input"},
        ),
        ({"error": {"message": "No", "param": None, "code": None}}, "No", set(), set()),
        ({"error": {"code": 402, "message": "pay", "metadata": {}}}, "pay", {"402"}, set()),
        (
            {
                "error": {
                    "root_cause": [{"type": "t", "reason": "No"}],
                    "type": "t",
                    "reason": "No [e]",
                },
                "status": 404,
            },
            "No [e]",
            {"t"},
            set(),
        ),
        ({"error": "plain"}, "plain", set(), set()),
        ({"message": "flat", "code": 424, "type": "Backend"}, "flat", {"424", "Backend"}, set()),
        ({"object": "error", "message": "old", "code": 400}, "old", {"400"}, set()),
        ({"detail": "no key", "code": "AUTH", "request_id": "r"}, "no key", {"AUTH"}, set()),
        ({"detail": {"message": "m", "request_id": "r", "code": "C"}}, "m", {"C"}, set()),
        (
            {"detail": "bad", "errors": [{"field": "dimensions", "message": "too big"}]},
            "bad: dimensions: too big",
            set(),
            {"dimensions"},
        ),
        (
            {"detail": [{"loc": ["body", "text", "input", "list[constrained-str]"], "msg": "m"}]},
            "text.input.list[constrained-str]: m",
            set(),
            {"text", "input"},
        ),
        (
            {"detail": [{"loc": ["body", "input", 3], "msg": "empty", "type": "value_error"}]},
            "input.3: empty",
            set(),
            {"input"},
        ),
        ("bare text", "bare text", set(), set()),
        (["a"], '["a"]', set(), set()),
        ({}, "{}", set(), set()),
        (None, "null", set(), set()),
    ],
)
def test_error_formats(body: object, message: str, codes: set[str], fields: set[str]) -> None:
    details_read = parse_error(json.dumps(body).encode())
    assert details_read == ErrorDetails(message, frozenset(codes), frozenset(fields))


@pytest.mark.parametrize(
    ("details", "codes", "wait"),
    [
        (
            [
                {"@type": "Help", "links": [{"url": "https://x"}]},
                {"@type": "QuotaFailure", "violations": [{"quotaId": "PerDay"}, {"quotaId": "Q"}]},
                {"@type": "RetryInfo", "retryDelay": "33.384105706s"},
            ],
            {"PerDay", "Q"},
            33.384105706,
        ),
        ([{"@type": "ErrorInfo", "reason": "API_KEY_INVALID"}], {"API_KEY_INVALID"}, None),
        ([{"@type": "RetryInfo", "retryDelay": "0s"}], set(), 0.0),
        ([{"retryDelay": "-3s"}, {"retryDelay": "soon"}, {"retryDelay": 3}], set(), None),
        ([{"violations": "x"}, {"violations": ["x"]}, "x", None], set(), None),
        ({}, set(), None),
        (None, set(), None),
    ],
)
def test_google_error_details(details: object, codes: set[str], wait: float | None) -> None:
    error = {"code": 429, "message": "m", "status": "RESOURCE_EXHAUSTED", "details": details}
    details_read = parse_error(json.dumps({"error": error}).encode())
    assert details_read.codes == codes | {"429", "RESOURCE_EXHAUSTED"}
    assert details_read.wait == wait


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (b"", ""),
        (b"upstream connect\r\n error", "upstream connect error"),
        (b"\x1b[31mred\x00\xff", "red �"),
        (b"<html><title>502\nBad</title>...", "an HTML page: 502 Bad, not the API itself"),
        (b" <!DOCTYPE html><p>x", "an HTML page, not the API itself"),
        (b"x" * 9999, "x" * 300 + "…"),
    ],
)
def test_bodies_that_are_not_json(raw: bytes, message: str) -> None:
    assert parse_error(raw).message == message


def test_key_is_redacted() -> None:
    body = {"error": {"message": "wrong key sk-1"}}
    assert parse_error(json.dumps(body).encode(), "sk-1").message == "wrong key ***"


def test_time_for_a_page_of_titles_is_linear() -> None:
    """The text is shortened before its title is searched for."""
    body = b"<html>" + b"<title" * 1_000_000
    started = time.process_time()
    parse_error(body)
    assert time.process_time() - started < 0.5


@pytest.mark.parametrize(
    "quoted",
    [
        "{key}",
        "{start20}",
        "{start20}...{end4}",
        "{start6}****{end4}",
        "key={end12}",
    ],
)
def test_no_part_of_a_key_is_shown(quoted: str) -> None:
    key = "sk-proj-Zq81mXw93LpTbV64KdRj20YnHc57"
    parts = {"key": key, "start20": key[:20], "start6": key[:6], "end4": key[-4:]}
    text = quoted.format(**parts, end12=key[-12:])
    message = parse_error(
        json.dumps({"error": f"Incorrect API key: {text}."}).encode(), key
    ).message
    assert message.startswith("Incorrect API key: ")
    assert "***" in message
    assert not any(key[at : at + 4] in message for at in range(len(key) - 3))
