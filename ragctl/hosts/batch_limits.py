"""How many texts a host takes in one request, read from the message with which it refuses more."""

import re

_COUNTED = re.compile(
    r"\b(?:batch|array|list|inputs?|texts?|items?|documents?|requests?|elements?)\b",
    re.IGNORECASE,
)
_BOUND = re.compile(
    r"(?:max(?:imum)?|limit(?:ed)?|at most|up to|(?:no|not) more than|"
    r"(?:larger|greater|more|longer) than|exceeds?|<=?)[^\d]{0,40}?(\d{1,3}(?:,\d{3})+|\d{1,6})\b"
    r"(?!\s*(?:tokens?|char|bytes?|[km]b\b|ms\b|s\b|second|minute|dim))",
    re.IGNORECASE,
)


def stated_batch_limit(message: str, texts: int) -> int | None:
    """Return the limit that a host's `message` states for a request of `texts` texts, or None.

    Seen in messages of DashScope, SiliconFlow, TEI, OpenAI, Voyage, Cohere, Gemini and of
    servers with pydantic. Only a number below `texts` can be the limit that was exceeded.
    """
    if not _COUNTED.search(message):
        return None
    bounds = (int(match[1].replace(",", "")) for match in _BOUND.finditer(message))
    return min((bound for bound in bounds if 1 <= bound < texts), default=None)
