"""From an HTTP response to its JSON, or to the error that says what to do about it."""

import contextlib
import json
import math
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime

from ragctl.errors import BackendError
from ragctl.hosts.error_messages import ErrorDetails, is_html, parse_error
from ragctl.hosts.errors import Refused, Transient
from ragctl.hosts.keys import ApiKey

TEXT_FIELDS = frozenset({"input", "inputs", "texts", "prompt"})
"""The usual names of the request field that holds the texts."""

_NUMBER = r"(\d+(?:\.\d+)?)"
_DURATION = re.compile(
    rf"(?:{_NUMBER}d)?(?:{_NUMBER}h)?(?:{_NUMBER}m)?(?:{_NUMBER}s)?(?:{_NUMBER}ms)?"
)
_WAIT_HEADERS = {"retry-after-ms": 0.001, "retry-after": 1.0, "llm_provider-retry-after": 1.0}
"""Header -> seconds in its unit."""
_DURATION_UNIT_SECONDS = (86_400.0, 3_600.0, 60.0, 1.0, 0.001)
_INVALID_JSON = object()


@dataclass(frozen=True, slots=True)
class Response:
    """An HTTP response. Headers and content are not in its repr: a host may quote the key."""

    status: int
    headers: Mapping[str, str] = field(repr=False)
    content: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class ErrorRules:
    """Codes and phrases by which a wire's error responses are classified, beside the status.

    Phrases are lower case and are searched for in the message.

    Attributes:
        text_fields: Names of the request field that holds the texts. An error about it refuses
            a text; an error about another field refuses the request.
        text_codes: The text itself is refused.
        text_phrases: The same, by the message.
        suspect_phrases: The text, or the model, is the reason whatever the status: a vector
            with NaN, for example.
        fatal_codes: No text would be accepted.
        key_codes: The key is refused, whatever the status.
        quota_phrases: The quota is used up for today; searched for in the codes too.
        key_phrases: The key is refused, by the message.
        fatal_phrases: No text would be accepted, by the message.
        transient_phrases: The host itself failed, by the message, whatever the status.
    """

    text_fields: frozenset[str] = TEXT_FIELDS
    text_codes: frozenset[str] = frozenset()
    text_phrases: frozenset[str] = frozenset()
    suspect_phrases: frozenset[str] = frozenset()
    fatal_codes: frozenset[str] = frozenset()
    key_codes: frozenset[str] = frozenset()
    quota_phrases: frozenset[str] = frozenset()
    key_phrases: frozenset[str] = frozenset()
    fatal_phrases: frozenset[str] = frozenset()
    transient_phrases: frozenset[str] = frozenset()

    def refuses_text(self, error: ErrorDetails) -> bool:
        """Return whether the message says that the text itself is refused."""
        return _mentions(error, self.text_phrases)

    def refuses_key(self, error: ErrorDetails) -> bool:
        """Return whether the host refuses the key."""
        return bool(error.codes & self.key_codes) or _mentions(error, self.key_phrases)

    def refuses_all(self, error: ErrorDetails) -> bool:
        """Return whether no text would be accepted."""
        return (
            bool(error.codes & self.fatal_codes)
            or _mentions(error, self.fatal_phrases)
            or self.quota_used_up(error)
        )

    def quota_used_up(self, error: ErrorDetails) -> bool:
        """Return whether the host says that no quota is left today."""
        text = " ".join((error.message, *error.codes)).lower()
        return any(phrase in text for phrase in self.quota_phrases)


class ResponseParser:
    """Parses the responses of one host. Its errors name the host and never contain the key."""

    def __init__(
        self,
        host: str,
        rules: ErrorRules,
        key: ApiKey | None,
        key_variable: str | None,
        wall: Callable[[], float] = time.time,
    ) -> None:
        """`key_variable` is named if the host wants a key and `key` is None."""
        self._host = host
        self._rules = rules
        self._key = key
        self._key_variable = key_variable
        self._wall = wall

    def parse(self, response: Response, *, error_fails: bool = True) -> object:
        """Return the JSON of a successful response. Raises Transient, Refused or BackendError.

        `error_fails`: an `error` in the body means that this request failed.
        """
        if response.status != 200:
            raise self._error(response.status, response)
        body = _parse_json(response.content)
        if body is _INVALID_JSON:
            if is_html(response.content.decode("utf-8", "replace")):
                page = parse_error(response.content, self._secret).message
                raise BackendError(f"{self._host} answered {page}; is the address right?")
            raise Transient(f"{self._host} answered JSON that is incomplete or invalid")
        if error_fails and isinstance(body, dict) and "data" not in body and body.get("error"):
            # Some routers answer 200 and put the failure of the host behind them in the body.
            raise self._error(_status_in_body(body["error"]), response)
        return body

    def _error(self, status: int, response: Response) -> BackendError:
        """Return the error for a status other than 200."""
        error = parse_error(response.content, self._secret)
        message = f"{status} {error.message}".strip()
        if status in (401, 498) or self._rules.refuses_key(error):
            return BackendError(f"{self._host} refused {self._key_label}: {message}")
        if status == 402 or self._rules.refuses_all(error):
            return BackendError(f"{self._host} refused: {message}")
        if _mentions(error, self._rules.transient_phrases):
            return self._transient(status, response, error, message)
        # llama.cpp's servers answer 500 to a text that is too long.
        if error.codes & self._rules.text_codes or (
            status == 500 and self._rules.refuses_text(error)
        ):
            return Refused(f"refused by {self._host}: {message}", certain=True)
        if _mentions(error, self._rules.suspect_phrases):
            return Refused(f"refused by {self._host}: {message}")
        if status in (408, 409, 429, 499) or (status >= 500 and status != 501):
            return self._transient(status, response, error, message)
        # 403: a router's moderation of one text. 424: the model failed on these texts.
        if status in (400, 403, 413, 422, 424):
            return self._refused(status, error, message)
        if status == 404:
            return BackendError(f"{self._host} has no such model or address: {message}")
        if 300 <= status < 400:
            # Without its query, which may quote the key.
            target = response.headers.get("location", "elsewhere").partition("?")[0]
            target = target.replace(self._secret, "***") if self._secret else target
            return BackendError(f"{self._host} redirects to {target}: set the final address")
        return BackendError(f"{self._host} refused: {message}")

    def _transient(
        self, status: int, response: Response, error: ErrorDetails, message: str
    ) -> BackendError:
        if response.headers.get("x-should-retry") == "false":
            return BackendError(f"{self._host} failed and asks not to be tried again: {message}")
        wait = retry_after(response.headers, self._wall(), throttled=status == 429)
        wait = error.wait if wait is None else wait
        return Transient(
            f"{self._host}: {message}",
            wait,
            throttled=status in (429, 503),
            timed_out=status in (408, 504, 524),
            status=status,
        )

    def _refused(self, status: int, error: ErrorDetails, message: str) -> BackendError:
        # vLLM says that the field `input_tokens` is wrong: the message counts for more.
        refused = self._rules.refuses_text(error)
        about_text = refused or bool(error.fields & self._rules.text_fields)
        if error.fields and not about_text:
            return BackendError(f"{self._host} refused the request: {message}")
        return Refused(f"refused by {self._host}: {message}", about_text or status == 413)

    @property
    def _key_label(self) -> str:
        """The key by where it came from, or what to set if there is none."""
        if self._key is not None:
            return f"the key in {self._key.variable}"
        return f"to work without a key (set {self._key_variable})" if self._key_variable else "us"

    @property
    def _secret(self) -> str | None:
        return self._key.reveal() if self._key else None


def _mentions(error: ErrorDetails, phrases: frozenset[str]) -> bool:
    """Return whether an error's message contains one of `phrases`, which are in lower case."""
    message = error.message.lower()
    return any(phrase in message for phrase in phrases)


def _status_in_body(error: object) -> int:
    """Return the status that stands for an `error` in the body of a successful response.

    A router's 404 means that none of its hosts answered this time: that passes, like a 502.
    """
    code = error.get("code") if isinstance(error, dict) else None
    if type(code) is not int or not 400 <= code <= 599:
        return 500
    return 502 if code == 404 else code


def json_object(body: object, host: str) -> dict[str, object]:
    """Return `body` if it is a JSON object, else raise BackendError."""
    if not isinstance(body, dict):
        raise BackendError(f"{host} answered JSON that is not an object")
    return body


def retry_after(headers: Mapping[str, str], now: float, throttled: bool = False) -> float | None:
    """Return how many seconds the host asks to wait, or None; `now` is the wall clock.

    Reads `retry-after-ms`, and `Retry-After` as seconds or as an HTTP date (RFC 9110,
    10.2.3), also with the prefix that LiteLLM gives it. If a `throttled` host sends none, the
    time until its limit on requests or tokens resets (`x-ratelimit-reset-…`, in OpenAI's
    durations such as 6m0s). Invalid and negative values are ignored.
    """
    for name, scale in _WAIT_HEADERS.items():
        value = headers.get(name)
        if value is None:
            continue
        try:
            seconds = float(value) * scale
        except ValueError:
            try:
                seconds = parsedate_to_datetime(value).timestamp() - now
            except ValueError:
                continue
            seconds = max(seconds, 0.0)
        if math.isfinite(seconds) and seconds >= 0:
            return seconds
    return _rate_limit_reset(headers) if throttled else None


def _rate_limit_reset(headers: Mapping[str, str]) -> float | None:
    """Return the seconds until the limit that is used up resets."""
    waits = []
    for what in ("requests", "tokens"):
        if headers.get(f"x-ratelimit-remaining-{what}", "").strip() not in ("", "0"):
            continue
        match = _DURATION.fullmatch(headers.get(f"x-ratelimit-reset-{what}", "").strip())
        if match and match[0]:
            parts = zip(match.groups(), _DURATION_UNIT_SECONDS, strict=True)
            waits.append(sum(float(part or 0) * unit for part, unit in parts))
    return max(filter(math.isfinite, waits), default=None)


def _parse_json(content: bytes) -> object:
    """Return the JSON, or _INVALID_JSON; json's own error would show all of the content."""
    import orjson  # six times as fast as json on vectors

    body: object = _INVALID_JSON
    try:
        body = orjson.loads(content)
    except ValueError:
        # json accepts NaN, which is reported later. Deep nesting is a RecursionError there.
        with contextlib.suppress(ValueError, RecursionError):
            body = json.loads(content)
    return body
