"""Parses the bodies of error responses, in all shapes that hosts use.

{"error": {"message", "type", "param", "code"}}     OpenAI and compatible hosts
{"error": {"message", "status", "details": […]}}    Google (google.rpc.Status)
{"error": {"root_cause": […], "type", "reason"}}    Elasticsearch
{"error": "text"}, {"message", "code"}, "text"      smaller servers, bare JSON strings
{"detail": "text", "code"}                          Jina, authentication
{"detail": {"message", "code"}}                     Jina, other errors
{"detail": "text", "errors": [{"field", "message"}]}    Jina, validation
{"detail": [{"loc", "msg", "type"}]}                FastAPI, validation
an HTML page                                        a proxy in between
"""

import json
import math
import re
from dataclasses import dataclass, replace

from ragctl.text import one_line

MAX_MESSAGE_CHARACTERS = 300
MAX_BODY_BYTES = 1 << 16  # of an error that are parsed; what follows is not read
MAX_HTML_CHARACTERS = 4_096  # of a page that are searched for its title
_PROTOBUF_DURATION = re.compile(r"(\d+(?:\.\d+)?)s")  # as protobuf writes it in JSON
_HTML_TITLE = re.compile(r"<title[^>]*>(.*?)</title", re.IGNORECASE | re.DOTALL)
MIN_MASKED_PART = 8
"""Parts of a key from this length on are masked in messages: hosts quote its beginning or end."""
_MASKED_BY_HOST = re.compile(r"[^\s\"']*(?:\*|\.\.\.|…)[^\s\"']*")
MIN_QUOTED_PART = 3  # of a key, beside the asterisks or dots that a host writes for the rest


@dataclass(frozen=True, slots=True)
class ErrorDetails:
    """A host's error: its message in one line, its codes, and the request fields it names.

    `wait` is how many seconds the host asks to wait, None if it does not say.
    """

    message: str
    codes: frozenset[str] = frozenset()
    fields: frozenset[str] = frozenset()
    wait: float | None = None


def parse_error(body: bytes, secret: str | None = None) -> ErrorDetails:
    """Parse the body of an error response. `secret` is masked in the message."""
    text = body[:MAX_BODY_BYTES].decode("utf-8", "replace").strip()
    if is_html(text):
        title = _HTML_TITLE.search(text[:MAX_HTML_CHARACTERS])
        details = ErrorDetails(
            f"an HTML page{f': {title[1]}' if title else ''}, not the API itself"
        )
    else:
        try:
            details = _from_json(json.loads(text))
        except (ValueError, RecursionError):
            details = ErrorDetails(text)
    # Masked before it is shortened: the limit may cut through the key.
    message = one_line(details.message, limit=2 * MAX_MESSAGE_CHARACTERS, printable_only=True)
    message = mask_key(message, secret) if secret else message
    return replace(details, message=one_line(message, limit=MAX_MESSAGE_CHARACTERS))


def mask_key(message: str, secret: str) -> str:
    """Return a host's message with every part of the key that it quotes replaced by ***."""

    def masked(match: re.Match[str]) -> str:
        pieces = re.split(r"\*+|\.\.\.|…", match[0])
        quoted = any(
            len(piece) >= MIN_QUOTED_PART and (secret.startswith(piece) or secret.endswith(piece))
            for piece in pieces
        )
        return "***" if quoted else match[0]

    message = _MASKED_BY_HOST.sub(masked, message.replace(secret, "***"))
    parts: list[str] = []
    start = 0
    while start < len(message):
        end = start + MIN_MASKED_PART
        if message[start:end] not in secret or end > len(message):
            parts.append(message[start])
            start += 1
            continue
        while end < len(message) and message[start : end + 1] in secret:
            end += 1
        parts.append("***")
        start = end
    return "".join(parts)


def is_html(text: str) -> bool:
    """Return whether `text` begins like an HTML page."""
    return text.lstrip()[:15].lower().startswith(("<!doctype html", "<html"))


def _from_json(body: object) -> ErrorDetails:
    if isinstance(body, str):
        return ErrorDetails(body)
    if not isinstance(body, dict):
        return ErrorDetails(json.dumps(body, ensure_ascii=False))
    inner = next((body[key] for key in ("error", "detail") if body.get(key)), body)
    if isinstance(inner, list):
        return _from_list(inner)
    if isinstance(inner, dict):
        messages = (inner.get(key) for key in ("message", "msg", "reason"))
        message = next(filter(None, messages), None) or json.dumps(inner, ensure_ascii=False)
        codes = _texts(inner.get("code"), inner.get("type"), inner.get("status"), body.get("code"))
        reasons, wait = _from_details(inner.get("details"))
        return ErrorDetails(str(message), codes | reasons, _texts(inner.get("param")), wait)
    errors = body.get("errors")
    listed = _from_list(errors) if isinstance(errors, list) else ErrorDetails("")
    message = f"{inner}: {listed.message}" if listed.message else str(inner)
    return ErrorDetails(message, _texts(body.get("code"), body.get("type")), listed.fields)


def _from_list(errors: list[object]) -> ErrorDetails:
    """Join the messages of validation errors, each behind the path of its field."""
    messages: list[str] = []
    fields: set[str] = set()
    for error in errors:
        if not isinstance(error, dict):
            messages.append(str(error))
            continue
        loc = error.get("loc") or error.get("field") or ""
        path = [str(part) for part in loc] if isinstance(loc, list) else str(loc).split(".")
        path = [part for part in path if part and part != "body"]
        # infinity's path has the kind of input before the name of the field.
        fields.update(part for part in path if part.isidentifier())
        message = str(error.get("msg") or error.get("message") or "")
        messages.append(f"{'.'.join(path)}: {message}" if path else message)
    return ErrorDetails("; ".join(dict.fromkeys(messages)), fields=frozenset(fields))


def _from_details(details: object) -> tuple[frozenset[str], float | None]:
    """Return the reasons and quota ids in Google's error details, and the wait in seconds."""
    reasons: list[object] = []
    wait = None
    for detail in details if isinstance(details, list) else []:
        if not isinstance(detail, dict):
            continue
        reasons.append(detail.get("reason"))
        violations = detail.get("violations")
        for violation in violations if isinstance(violations, list) else []:
            reasons += [violation.get("quotaId")] if isinstance(violation, dict) else []
        delay = _PROTOBUF_DURATION.fullmatch(str(detail.get("retryDelay")))
        wait = _finite(delay[1]) if delay else wait
    return _texts(*reasons), wait


def _finite(digits: str) -> float | None:
    """Return a number of seconds, or None if it is too large for one."""
    seconds = float(digits)
    return seconds if math.isfinite(seconds) else None


def _texts(*values: object) -> frozenset[str]:
    return frozenset(str(value) for value in values if value is not None and value != "")
