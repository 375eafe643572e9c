"""What both APIs of Text Embeddings Inference share: /info, /tokenize, and its messages.

From running servers of version 1.9.3 with all-MiniLM-L6-v2 on a CPU.
"""

from typing import Any

from tests.servers.host import Refusal
from tests.servers.vectors import tokens

CHARACTERS_PER_TOKEN = 250  # a text of more characters than this times its tokens is refused


def invalid(message: str, status: int = 422) -> Refusal:
    """Return the refusal of a request whose JSON has the right form."""
    return Refusal(status, f"Input validation error: {message}")


def malformed(message: str) -> Refusal:
    """Return the plain-text refusal of JSON of the wrong form."""
    reason = f"Failed to deserialize the JSON body into the target type: {message}"
    return Refusal(422, reason, "plain")


def server_info(
    model: str, kind: dict[str, Any], *, limit: int, batch: int, slots: int, auto_truncate: bool
) -> dict[str, Any]:
    """Return the answer to GET /info, on a CPU."""
    return {
        "model_id": model,
        "model_sha": None,
        "model_dtype": "float16",
        "served_model_name": model,
        "model_type": kind,
        "max_concurrent_requests": slots,
        "max_input_length": limit,
        "max_batch_tokens": 16384,
        "max_batch_requests": 4,
        "max_client_batch_size": batch,
        "auto_truncate": auto_truncate,
        "tokenization_workers": 4,
        "version": "1.9.3",
        "sha": "0000000000000000000000000000000000000000",
        "docker_label": None,
    }


def checked_texts(given: Any, batch: int, field: str = "inputs") -> list[str]:
    """Return the texts of a request. Token ids become words. Raises Refusal."""
    given = [given] if isinstance(given, str) or _is_ids(given) else given
    if not isinstance(given, list) or not all(isinstance(t, str) or _is_ids(t) for t in given):
        raise malformed(f"{field}: data did not match any variant of untagged enum Input")
    if not given or not all(given):
        raise invalid("`inputs` cannot be empty", 400)
    if len(given) > batch:
        raise Refusal(422, f"batch size {len(given)} > maximum allowed batch size {batch}")
    return [text if isinstance(text, str) else " ".join(f"id{n}" for n in text) for text in given]


def check_lengths(texts: list[str], limit: int) -> None:
    """Refuse texts with more tokens or characters than the server takes."""
    for text in texts:
        most = CHARACTERS_PER_TOKEN * limit
        if len(text) > most:
            raise invalid(f"`inputs` must have less than {most} characters. Given: {len(text)}")
        if tokens(text) > limit:
            raise invalid(f"`inputs` must have less than {limit} tokens. Given: {tokens(text)}")


def tokenized(texts: list[str]) -> list[list[dict[str, Any]]]:
    """Return the answer to POST /tokenize."""
    return [
        [{"id": n, "text": "…", "special": False, "start": 0, "stop": 1} for n in range(tokens(t))]
        for t in texts
    ]


def check_size(size: int, limit: int) -> None:
    """Refuse a body of more than `limit` bytes."""
    if size > limit:
        raise Refusal(413, "Failed to buffer the request body: length limit exceeded", "plain")


def check_content_type(value: str | None) -> None:
    """Refuse a request that does not say that its body is JSON."""
    if not (value or "").startswith("application/json"):
        raise Refusal(415, "Expected request with `Content-Type: application/json`", "plain")


def error_type(refusal: Refusal) -> str:
    """Return the content type of an error: plain text, none for an empty body, or JSON."""
    if refusal.code == "plain":
        return "text/plain; charset=utf-8"
    return "application/json" if refusal.message else ""


def _is_ids(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(type(n) is int for n in value)
