"""Tokens of o200k_base, from ranks that lie in the package: no download, the same everywhere.

tiktoken splits a text by a pattern and merges bytes inside each piece. The
pattern looks back at nothing and ahead only over white space, so some places
are ends of pieces whatever stands around them (`SEAM`). Between two seams the
tokens are the same in the whole text and in any part cut from it; `TokenMap`
rests on that to count any span exactly after encoding the text once.
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
RANKS = "o200k_base.gz"  # see `pack`; that needs 80 ms, the published file 170
RANKS_SHA256 = "446a9538cb6c348e3516120d7c08b09f57c36495e2acfffe59a5bf8b0cfb1a2d"

# The pattern and the special tokens are facts of the encoding, as in
# tiktoken_ext.openai_public, which cannot state them without downloading the ranks.
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

# After the matched character a piece ends, in any context: a letter, digit or
# mark before a blank, a letter or digit before a point or a line end.
_SEAM = r"(?:\S(?=[ \t])|[^\W_](?=[\n.,;:!?()\[\]…。，、；：！？（）「」]))"
SEAM = re.compile(_SEAM)
LAST_SEAM = re.compile(f"(?s:.*){_SEAM}")

# tiktoken's time grows faster than a piece's length, and its regex gives up on
# megabytes of blanks; pieces of this many characters keep both harmless.
PIECE = 1 << 16
_NEAR = 96  # how far from an edge to look for a seam, in characters

Tokens = NDArray[np.uint32]


def vocabulary() -> list[bytes]:
    """The ordinary tokens by rank."""
    packed = gzip.decompress(files("ragctl.chunking").joinpath(RANKS).read_bytes())
    count = int.from_bytes(packed[:4], "little")
    ends = np.cumsum(np.frombuffer(packed, np.uint8, count, 4), dtype=np.int64) + 4 + count
    starts = [4 + count, *ends[:-1].tolist()]
    return [packed[start:end] for start, end in zip(starts, ends.tolist(), strict=True)]


def pack(tokens: Sequence[bytes]) -> bytes:
    """The content of RANKS: how many tokens, the length of each in a byte, all of them."""
    lengths = bytes(map(len, tokens))
    packed = len(tokens).to_bytes(4, "little") + lengths + b"".join(tokens)
    return gzip.compress(packed, mtime=0)


@cache
def _loaded() -> "tuple[tiktoken.Encoding, NDArray[np.uint8]]":
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
    """The o200k_base encoding, loaded once per process (about 0.25 s)."""
    return _loaded()[0]


def byte_lengths() -> NDArray[np.uint8]:
    """Length in bytes of every ordinary token, by token id."""
    return _loaded()[1]


def encode(text: str) -> Tokens:
    """Tokens of `text`; the text of a special token is ordinary text here."""
    tokens: Tokens = encoding().encode_to_numpy(text, disallowed_special=())
    return tokens


@lru_cache(1 << 12)
def count_edge(text: str) -> int:
    """Tokens of the few characters at the edge of a span: a word or a stop, seen before."""
    return len(encoding().encode_ordinary(text))


def pieces(text: str) -> Iterator[tuple[int, int, bool]]:
    """Spans of at most `PIECE` characters, and whether each ends at a seam.

    They end at the last seam there is; where a run has none (64 Ki characters
    without a blank or a point) the piece ends anywhere, and says so.
    """
    start = 0
    while len(text) - start > PIECE:
        stop = start + PIECE
        for reach in (256, PIECE - 1):
            if seam := LAST_SEAM.match(text, max(start, stop - reach), stop):
                break
        end = seam.end() if seam else stop
        yield start, end, seam is not None
        start = end
    if start < len(text) or not text:
        yield start, len(text), True


def count(text: str) -> int:
    """Tokens of `text` in o200k_base.

    Exact, but for text with 64 Ki characters on end that hold no blank and no
    point: such a run is encoded in pieces, which may add a token at each joint.
    """
    return sum(len(encode(text[start:end])) for start, end, _ in pieces(text))


def first(text: str, tokens: int) -> str:
    """The start of `text`, of at most `tokens` tokens; no character is cut in two."""
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
    """Where the tokens of one text lie, and exact counts of its spans.

    Each piece of the text is encoded once, and again only the few characters
    between the edge of a counted span and the nearest seam.
    """

    def __init__(self, text: str) -> None:
        self.text = text
        spans = list(pieces(text))
        tokens = [encode(text[start:end]) for start, end, _ in spans]
        self.rough = [end for _, end, at_seam in spans if not at_seam]
        lengths = byte_lengths()[tokens[0] if len(tokens) == 1 else np.concatenate(tokens)]
        starts = lengths.cumsum(dtype=np.int64)
        starts -= lengths
        if not text.isascii():
            # Bytes from 0x80 to 0xBF go on a character.
            begins = np.frombuffer(text.encode(), np.int8) >= -0x40
            starts = begins.cumsum()[starts] - 1
        self.starts: NDArray[np.int64] = starts  # character at which each token starts
        self.total = len(starts)
        self._starts = starts.data  # what bisect reads faster

    def at(self, position: int) -> int:
        """Index of the first token that starts at or after a character position."""
        return bisect_left(self._starts, position)

    def at_all(self, positions: NDArray[np.int64]) -> NDArray[np.int64]:
        """`at` of many positions."""
        return self.starts.searchsorted(positions)

    def exact(self, start: int, end: int) -> int:
        """Tokens of `text[start:end]`, which must not end in white space.

        Between the first and the last seam of the span the tokens are those of
        the whole text; only what lies outside of them is encoded anew.
        """
        text = self.text
        if end - start <= _NEAR:
            return count_edge(text[start:end])
        if self.rough and any(start < cut < end for cut in self.rough):
            return len(encode(text[start:end]))
        if start == 0 or (text[start - 1] == "\n" and text[start] not in "/\n"):
            first, head = start, 0
        elif seam := SEAM.search(text, start, start + _NEAR):
            first = seam.end()
            head = count_edge(text[start:first])
        else:
            return len(encode(text[start:end]))
        if end == len(text) or SEAM.match(text, end - 1):
            last, tail = end, 0
        elif seam := LAST_SEAM.match(text, max(first, end - _NEAR), end):
            last = seam.end()
            tail = count_edge(text[last:end])
        else:
            return len(encode(text[start:end]))
        return head + self.at(last) - self.at(first) + tail
