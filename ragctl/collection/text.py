"""The exact text that is embedded for a chunk."""

from collections.abc import Sequence

from ragctl.collection.points import digest

CONTEXT_VERSION = 1
"""Version of the rule that puts the heading path before a chunk; part of the recipe."""


def embedded_text(text: str, heading: Sequence[str]) -> str:
    """Return the text that is embedded for a chunk: its heading path, then the chunk.

    A heading that the chunk itself begins with is not repeated.
    """
    return context_of(text, heading) + text


def context_of(text: str, heading: Sequence[str]) -> str:
    """Return the prefix of a chunk's embedded text: its heading path; "" without headings."""
    first = text.split("\n", 1)[0].strip("#= \t")
    path = list(heading)
    if path and path[-1] == first:
        path.pop()
    return f"{' > '.join(path)}\n\n" if path else ""


def text_hash(text: str) -> str:
    """Return the hash of an embedded text, without the model's prompt (part of the identity)."""
    return digest(text.encode("utf-8"))
