"""Chunking: exact offsets, sizes in o200k_base tokens, and edits that change few chunks.

numpy, tiktoken and the ranks of its tokens are imported on first use.
"""

from ragctl.errors import UsageError
from ragctl.records import Chunk, Document, Json

__all__ = ["DEFAULT_OVERLAP", "DEFAULT_SIZE", "check", "count", "recipe", "split", "truncate"]

VERSION = 2  # increase it with every change that can move a boundary; documents are chunked again
DEFAULT_SIZE = 512  # tokens
DEFAULT_OVERLAP = 0  # tokens
MIN_SIZE = 16  # tokens


def split(
    document: Document, *, size: int = DEFAULT_SIZE, overlap: int = DEFAULT_OVERLAP
) -> list[Chunk]:
    """Cut a document into chunks of at most `size` tokens.

    Every character that is not white space is in a chunk, and without overlap in exactly one. No
    chunk ends with white space, or starts with it, except for the indentation of its first line
    in source code and fenced code. With `overlap`, a chunk also repeats up to that many tokens of
    the text before it, from the start of a sentence or word, but not from before a heading.

    Raises UsageError for sizes that `check` refuses. Most of the time is spent on tokenising the
    text, once.
    """
    check(size, overlap)
    from ragctl.chunking.splitter import make_chunks

    return make_chunks(document, size, overlap)


def count(text: str) -> int:
    """Return the number of o200k_base tokens in a text."""
    from ragctl.chunking.tokens import count

    return count(text)


def truncate(text: str, tokens: int) -> str:
    """Return the longest beginning of a text that has at most `tokens` o200k_base tokens."""
    from ragctl.chunking.tokens import truncate

    return truncate(text, tokens)


def recipe(size: int = DEFAULT_SIZE, overlap: int = DEFAULT_OVERLAP) -> dict[str, Json]:
    """Return what decides the chunks of a document, apart from its content."""
    check(size, overlap)
    return {"chunker": VERSION, "size": size, "overlap": overlap, "tokenizer": "o200k_base"}


def check(size: int, overlap: int) -> None:
    """Raise UsageError if chunks of `size` tokens with `overlap` tokens cannot be made."""
    if size < MIN_SIZE:
        raise UsageError(f"chunk size {size} is too small; use at least {MIN_SIZE} tokens")
    if overlap < 0:
        raise UsageError(f"overlap {overlap} is negative; use 0 for none")
    if overlap >= size // 2:
        raise UsageError(
            f"overlap {overlap} is too large for chunk size {size}; use at most {size // 2 - 1}"
        )
