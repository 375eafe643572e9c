"""The texts of a certification, and the most that they cost."""

from ragctl.catalog import Model
from ragctl.embedding import canary
from ragctl.embedding.token_bounds import SPECIAL_TOKENS, TokenBounds

MAX_TEXTS = 12
"""The most texts that a backend embeds for its certification."""

BATCH = (*canary.DOCUMENTS, canary.QUERY)
"""Texts that are embedded in one request, as documents."""

LONGEST_TAIL_TOKENS = 1024  # texts beyond the usual chunk would cost more than they tell
LONGEST_EXCESS_TOKENS = 2048  # of a context up to which a longer text is sent
TAIL_SHARE = 0.08  # of a long text; replacing it changes the vector of every kind of pooling
FILL = 0.75  # of the context: hosts that cut are sent no text that may be too long

_WORDS = (
    "the time of day is a good way to see how much work there is in a year and what people do "
    "with it at home or in the city when they have some money and want to go out"
)
_TAILS = ("river water fish boat", "music song band dance")
"""Common words: one token each in every large vocabulary."""

WORD = "vector"
"""Is not embedded: the server's tokenizer is asked about it."""

_ENDINGS = {"wordpiece": "[SEP]", "xlm-r": "</s>", "qwen3-embedding": "<|endoftext|>"}
"""Part of a tokenizer's name in models.toml -> the token that ends each text."""


def tail_words(model: Model, context: int | None, chunk_size: int | None) -> int:
    """Return how many words a long text has: those of a chunk, or all that surely fit."""
    longest = max(LONGEST_TAIL_TOKENS, 2 * (chunk_size or 0))
    limit = min(context or longest, longest)
    prompt = TokenBounds(model.tokenizer).estimate(model.document.prompt or "")
    return max(16, int((limit - prompt - SPECIAL_TOKENS) * FILL))


def tail_pair(words: int) -> tuple[str, str]:
    """Return two texts of so many words that differ only in the last ones."""
    tail = max(4, int(words * TAIL_SHARE))
    start = _repeated(_WORDS, words - tail)
    return f"{start} {_repeated(_TAILS[0], tail)}", f"{start} {_repeated(_TAILS[1], tail)}"


def too_long(context: int) -> str:
    """Return a text of more than `context` tokens."""
    return _repeated(_WORDS, context + 16)


def ending_of(model: Model) -> str | None:
    """Return the token that ends each text for this model; None: it is not known."""
    name = f"{model.tokenizer or ''} {model.name}".lower()
    return next((token for part, token in _ENDINGS.items() if part in name), None)


def estimate(model: Model, context: int | None, words: int, *, whole: bool) -> int:
    """Return the most tokens that a certification is billed, as they are estimated here.

    `whole`: the vector of one text is asked for at the model's full size too.
    """
    bounds = TokenBounds(model.tokenizer)
    document, query = model.document.prompt or "", model.query.prompt or ""
    short = [document + text for text in BATCH]
    texts = [*short, *short[:3], query + canary.QUERY, *(short[:1] if whole else ())]
    texts += [document + text for text in tail_pair(words)]
    if context is not None and context <= LONGEST_EXCESS_TOKENS:
        texts.append(too_long(context))
    return sum(bounds.estimate(text) + SPECIAL_TOKENS for text in texts)


def _repeated(line: str, count: int) -> str:
    words = line.split()
    return " ".join(words[position % len(words)] for position in range(count))
