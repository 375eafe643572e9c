"""Chunks of a document: exact offsets, sizes in o200k_base tokens, edits that stay local.

What is heavy (numpy, tiktoken and its ranks) is imported when first used.
"""

from ragctl.errors import UsageError
from ragctl.records import Chunk, Document, Json

__all__ = ["DEFAULT_OVERLAP", "DEFAULT_SIZE", "check", "count", "first", "recipe", "split"]

# Raised by every change that can move a boundary: documents are chunked anew.
VERSION = 1
DEFAULT_SIZE = 512
DEFAULT_OVERLAP = 0
SMALLEST = 16


def split(
    document: Document, *, size: int = DEFAULT_SIZE, overlap: int = DEFAULT_OVERLAP
) -> list[Chunk]:
    """Cut a document into chunks of at most `size` tokens.

    Every character that is not white space lies in a chunk; without overlap in
    one. No chunk ends with white space or starts with it, but for the
    indentation of its first line in source code and fenced code. With
    `overlap`, a chunk also repeats up to that many tokens of the text before
    it, back to the start of a sentence or a word, but not past a heading.

    Raises UsageError for sizes that cannot work (see `check`).
    """
    check(size, overlap)
    from ragctl.chunking.splitter import chunks

    return chunks(document, size, overlap)


def count(text: str) -> int:
    """Tokens of a text in o200k_base."""
    from ragctl.chunking.tokens import count

    return count(text)


def first(text: str, tokens: int) -> str:
    """The start of a text, of at most so many tokens of o200k_base."""
    from ragctl.chunking.tokens import first

    return first(text, tokens)


def recipe(size: int = DEFAULT_SIZE, overlap: int = DEFAULT_OVERLAP) -> dict[str, Json]:
    """What decides the chunks of a document, beside the document."""
    check(size, overlap)
    return {"chunker": VERSION, "size": size, "overlap": overlap, "tokenizer": "o200k_base"}


def check(size: int, overlap: int) -> None:
    """Raise UsageError unless chunks of `size` with `overlap` tokens can be made."""
    if size < SMALLEST:
        raise UsageError(f"chunk size {size} is too small; use at least {SMALLEST} tokens")
    if overlap < 0:
        raise UsageError(f"overlap {overlap} is negative; use 0 for none")
    if overlap >= size // 2:
        raise UsageError(
            f"overlap {overlap} is too large for chunk size {size}; use at most {size // 2 - 1}"
        )
