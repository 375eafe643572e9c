"""Tokens of o200k_base, from ranks that are part of the package: nothing is downloaded.

tiktoken splits a text by a pattern and merges bytes within each piece. The pattern has no
look-behind, and looks ahead only over white space, so certain positions are ends of pieces in any
context (`SEAM`). Between two seams the tokens are the same in the whole text and in any part of it;
with that `TokenMap` counts the tokens of any span exactly after encoding the text once.
"""

import gzip
import re
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from functools import cache, lru_cache
from importlib.resources import files
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import tiktoken

ENCODING = "o200k_base"
RANKS = "o200k_base.gz"  # format: see `pack`; loads in 80 ms, the published file in 170 ms
RANKS_SHA256 = "446a9538cb6c348e3516120d7c08b09f57c36495e2acfffe59a5bf8b0cfb1a2d"

# Pattern and special tokens as in tiktoken_ext.openai_public, which downloads the ranks before it
# returns them.
PATTERN = "|".join(
    [
        r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?",
        r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?",
        r"\p{N}{1,3}",
        r" ?[^\s\p{L}\p{N}]+[\r\n/]*",
        r"\s*[\r\n]+",
        r"\s+(?!\S)",
        r"\s+",
    ]
)
SPECIAL_TOKENS = {"<|endoftext|>": 199999, "<|endofprompt|>": 200018}

# A piece ends after the matched character in any context: any character before a blank, a letter
# or digit before punctuation or a line end.
_SEAM = r"(?:\S(?=[ \t])|[^\W_](?=[\n.,;:!?()\[\]…。，、；：！？（）「」]))"
SEAM = re.compile(_SEAM)
LAST_SEAM = re.compile(f"(?s:.*){_SEAM}")

# Longer texts are encoded in pieces: tiktoken's time grows faster than the length of a text, and
# its regex fails on megabytes of blanks.
MAX_PIECE_CHARACTERS = 1 << 16
SEAM_REACH_CHARACTERS = 96  # how far from the edge of a span a seam is searched

Tokens = NDArray[np.uint32]
"""Token ids, shape (tokens,)."""


def vocabulary() -> list[bytes]:
    """Return the ordinary tokens by rank, which is their id."""
    packed = gzip.decompress(files("ragctl.chunking").joinpath(RANKS).read_bytes())
    count = int.from_bytes(packed[:4], "little")
    ends = np.cumsum(np.frombuffer(packed, np.uint8, count, 4), dtype=np.int64) + 4 + count
    starts = [4 + count, *ends[:-1].tolist()]
    return [packed[start:end] for start, end in zip(starts, ends.tolist(), strict=True)]


def pack(tokens: Sequence[bytes]) -> bytes:
    """Return the content of RANKS: number of tokens, their lengths (uint8), their bytes; gzip."""
    lengths = bytes(map(len, tokens))
    packed = len(tokens).to_bytes(4, "little") + lengths + b"".join(tokens)
    return gzip.compress(packed, mtime=0)


@cache
def _load() -> "tuple[tiktoken.Encoding, NDArray[np.uint8]]":
    import tiktoken

    tokens = vocabulary()
    lengths = np.fromiter(map(len, tokens), np.uint8, len(tokens))
    encoding = tiktoken.Encoding(
        name=ENCODING,
        pat_str=PATTERN,
        mergeable_ranks=dict(zip(tokens, range(len(tokens)), strict=True)),
        special_tokens=SPECIAL_TOKENS,
    )
    return encoding, lengths


def encoding() -> "tiktoken.Encoding":
    """Return the o200k_base encoding, loaded once per process (about 0.25 s)."""
    return _load()[0]


def byte_lengths() -> NDArray[np.uint8]:
    """Return the length in bytes of every ordinary token by id, shape (tokens,)."""
    return _load()[1]


def encode(text: str) -> Tokens:
    """Return the tokens of `text`; the text of a special token is encoded as ordinary text."""
    tokens: Tokens = encoding().encode_to_numpy(text, disallowed_special=())
    return tokens


@lru_cache(1 << 12)
def count_edge(text: str) -> int:
    """Return the number of tokens of a few characters: words at edges repeat, so it is cached."""
    return len(encoding().encode_ordinary(text))


def pieces(text: str) -> Iterator[tuple[int, int, bool]]:
    """Yield (start, end, whether it ends at a seam) of pieces of at most MAX_PIECE_CHARACTERS.

    A piece ends at its last seam. Without one, in 64 Ki characters without a blank or a full
    stop, it ends at its maximal length.
    """
    start = 0
    while len(text) - start > MAX_PIECE_CHARACTERS:
        stop = start + MAX_PIECE_CHARACTERS
        for reach in (256, MAX_PIECE_CHARACTERS - 1):
            if seam := LAST_SEAM.match(text, max(start, stop - reach), stop):
                break
        end = seam.end() if seam else stop
        yield start, end, seam is not None
        start = end
    if start < len(text) or not text:
        yield start, len(text), True


def count(text: str) -> int:
    """Return the number of tokens of `text` in o200k_base.

    The number is exact, except for text with 64 Ki characters in a row without a blank or a full
    stop: they are encoded in pieces, which may add a token where two pieces meet.
    """
    return sum(len(encode(text[start:end])) for start, end, _ in pieces(text))


def truncate(text: str, tokens: int) -> str:
    """Return the longest beginning of `text` with at most `tokens` tokens, in whole characters."""
    left = tokens
    for start, end, _ in pieces(text):
        found = encode(text[start:end])
        if len(found) > left:
            size = int(byte_lengths()[found[:left]].sum())
            kept = text[start:end].encode()[:size].decode("utf-8", "ignore")
            return text[:start] + kept
        left -= len(found)
    return text


class TokenMap:
    """The positions of the tokens of one text, and exact token counts of its spans.

    The text is encoded once. Counting a span encodes the few characters between its edges and
    the nearest seams again, and otherwise takes O(log n).

    Attributes:
        text: the text.
        starts: offset of the character at which each token begins, shape (tokens,).
        total: number of tokens.
    """

    def __init__(self, text: str) -> None:
        self.text = text
        spans = list(pieces(text))
        tokens = [encode(text[start:end]) for start, end, _ in spans]
        self._rough_ends = [end for _, end, at_seam in spans if not at_seam]
        lengths = byte_lengths()[tokens[0] if len(tokens) == 1 else np.concatenate(tokens)]
        starts = lengths.cumsum(dtype=np.int64)
        starts -= lengths
        if not text.isascii():
            # Bytes from 0x80 to 0xBF continue a character.
            begins = np.frombuffer(text.encode(), np.int8) >= -0x40
            starts = begins.cumsum()[starts] - 1
        self.starts: NDArray[np.int64] = starts
        self.total = len(starts)
        self._starts = starts.data  # a memoryview, which bisect reads faster

    def at(self, position: int) -> int:
        """Return the index of the first token that starts at or after a character offset."""
        return bisect_left(self._starts, position)

    def at_all(self, positions: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return `at` of many offsets, as an array of the same shape."""
        return self.starts.searchsorted(positions)

    def exact(self, start: int, end: int) -> int:
        """Return the number of tokens of `text[start:end]`, which must not end in white space.

        Between the first and the last seam of the span the tokens are those of the whole text;
        only the characters outside of them are encoded again.
        """
        text = self.text
        if end - start <= SEAM_REACH_CHARACTERS:
            return count_edge(text[start:end])
        if self._rough_ends and any(start < cut < end for cut in self._rough_ends):
            return len(encode(text[start:end]))
        if start == 0 or (text[start - 1] == "\n" and text[start] not in "/\n"):
            first, head = start, 0
        elif seam := SEAM.search(text, start, start + SEAM_REACH_CHARACTERS):
            first = seam.end()
            head = count_edge(text[start:first])
        else:
            return len(encode(text[start:end]))
        if end == len(text) or SEAM.match(text, end - 1):
            last, tail = end, 0
        elif seam := LAST_SEAM.match(text, max(first, end - SEAM_REACH_CHARACTERS), end):
            last = seam.end()
            tail = count_edge(text[last:end])
        else:
            return len(encode(text[start:end]))
        return head + self.at(last) - self.at(first) + tail
