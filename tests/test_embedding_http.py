"""Keys stay hidden, and a host's wish to wait is read."""

import pickle

import pytest

from ragctl.embedding.http import Key, retry_after
from ragctl.errors import BackendError

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
        ({"retry-after-ms": "x", "retry-after": "9"}, 9.0),
    ],
)
def test_retry_after(headers: dict[str, str], seconds: float | None) -> None:
    assert retry_after(headers, NOON) == seconds


def test_a_key_shows_only_its_variable() -> None:
    key = Key("JINA_API_KEY", " secret\n")
    assert key.reveal() == "secret"
    assert f"{key} {key!r} {[key]}" == " ".join(["<key from JINA_API_KEY>"] * 2) + (
        " [<key from JINA_API_KEY>]"
    )
    with pytest.raises(TypeError):
        pickle.dumps(key)


@pytest.mark.parametrize("value", ["two words", "line\nend", "ключ", "nul\0"])
def test_a_value_that_is_no_key_is_not_quoted(value: str) -> None:
    with pytest.raises(BackendError, match="JINA_API_KEY has characters") as caught:
        Key("JINA_API_KEY", value)
    assert value not in str(caught.value)
