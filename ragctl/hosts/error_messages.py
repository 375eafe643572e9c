"""What a host says when it refuses: one reader for the shapes that are in use.

{"error": {"message", "type", "param", "code"}}     OpenAI and its kin
{"error": {"message", "status", "details": […]}}    Google (google.rpc.Status)
{"error": {"root_cause": […], "type", "reason"}}    Elasticsearch
{"error": "text"}, {"message", "code"}, "text"      smaller servers, bare JSON strings
{"detail": "text", "code"}                          Jina, authentication
{"detail": {"message", "code"}}                     Jina, the rest
{"detail": "text", "errors": [{"field", "message"}]}    Jina, validation
{"detail": [{"loc", "msg", "type"}]}                FastAPI, validation
an HTML page                                        a proxy in between
"""

import json
import re
from dataclasses import dataclass, replace

from ragctl.text import one_line

MAX_MESSAGE_CHARACTERS = 300
_SECONDS = re.compile(r"(\d+(?:\.\d+)?)s")  # a duration as protobuf writes it in JSON
_TITLE = re.compile(r"<title[^>]*>(.*?)</title", re.IGNORECASE | re.DOTALL)


@dataclass(frozen=True, slots=True)
class Complaint:
    """A refusal in one line, its machine-readable codes, and the request fields it names.

    `wait` is how many seconds it asks to wait, None where it says nothing of it.
    """

    message: str
    codes: frozenset[str] = frozenset()
    fields: frozenset[str] = frozenset()
    wait: float | None = None


def read(body: bytes, secret: str | None = None) -> Complaint:
    """Read the body of an error answer. `secret` never appears in the result."""
    text = body.decode("utf-8", "replace").strip()
    if is_html(text):
        title = _TITLE.search(text)
        found = Complaint(f"an HTML page{f': {title[1]}' if title else ''}, not the API itself")
    else:
        try:
            found = _from_json(json.loads(text))
        except ValueError:
            found = Complaint(text)
    message = found.message.replace(secret, "***") if secret else found.message
    return replace(
        found, message=one_line(message, limit=MAX_MESSAGE_CHARACTERS, printable_only=True)
    )


def is_html(text: str) -> bool:
    return text.lstrip()[:15].lower().startswith(("<!doctype html", "<html"))


def _from_json(body: object) -> Complaint:
    if isinstance(body, str):
        return Complaint(body)
    if not isinstance(body, dict):
        return Complaint(json.dumps(body, ensure_ascii=False))
    inner = next((body[key] for key in ("error", "detail") if body.get(key)), body)
    if isinstance(inner, list):
        return _from_list(inner)
    if isinstance(inner, dict):
        said = (inner.get(key) for key in ("message", "msg", "reason"))
        message = next(filter(None, said), None) or json.dumps(inner, ensure_ascii=False)
        codes = _texts(inner.get("code"), inner.get("type"), inner.get("status"), body.get("code"))
        reasons, wait = _from_details(inner.get("details"))
        return Complaint(str(message), codes | reasons, _texts(inner.get("param")), wait)
    listed = body.get("errors")
    named = _from_list(listed) if isinstance(listed, list) else Complaint("")
    message = f"{inner}: {named.message}" if named.message else str(inner)
    return Complaint(message, _texts(body.get("code"), body.get("type")), named.fields)


def _from_list(errors: list[object]) -> Complaint:
    messages: list[str] = []
    fields: set[str] = set()
    for error in errors:
        if not isinstance(error, dict):
            messages.append(str(error))
            continue
        where = error.get("loc") or error.get("field") or ""
        path = [str(part) for part in where] if isinstance(where, list) else str(where).split(".")
        path = [part for part in path if part and part != "body"]
        if path:
            fields.add(path[0])
        message = str(error.get("msg") or error.get("message") or "")
        messages.append(f"{'.'.join(path)}: {message}" if path else message)
    return Complaint("; ".join(dict.fromkeys(messages)), fields=frozenset(fields))


def _from_details(details: object) -> tuple[frozenset[str], float | None]:
    """Return the reasons and quotas that Google's error details name, and the wait they ask for."""
    reasons: list[object] = []
    wait = None
    for detail in details if isinstance(details, list) else []:
        if not isinstance(detail, dict):
            continue
        reasons.append(detail.get("reason"))
        violations = detail.get("violations")
        for violation in violations if isinstance(violations, list) else []:
            reasons += [violation.get("quotaId")] if isinstance(violation, dict) else []
        delay = _SECONDS.fullmatch(str(detail.get("retryDelay")))
        wait = float(delay[1]) if delay else wait
    return _texts(*reasons), wait


def _texts(*values: object) -> frozenset[str]:
    return frozenset(str(value) for value in values if value is not None and value != "")
