"""Estimates how many tokens of a model's own tokenizer a text has.

Chunks are measured in o200k_base tokens; a model counts with its own vocabulary. The factors
were measured with the tokenizer of all-MiniLM-L6-v2 (WordPiece, 30,522 words) on windows of 800
characters: English 0.94 to 1.41, German 1.19 to 1.57, Turkish 1.78, Russian 2.40 to 2.80, Arabic
2.92, Chinese 1.29 WordPiece tokens per token of o200k_base. In a script for which the vocabulary
has no words, WordPiece makes one token of each character: 0.82 per character of Russian, Greek
and Arabic, 1.00 of Chinese and Japanese, and 1.96 of Korean, whose syllables it takes apart.
"""

import re
import unicodedata

from ragctl import chunking

TOKEN_RATIO = 1.3
"""Tokens of a model's own vocabulary per token of o200k_base: a margin, not a bound.

If a host or a runtime counts exactly, its count decides.
"""
LATIN_RATIO = 1.7
"""The same for WordPiece and languages with Latin letters beyond ASCII."""
MIN_LATIN_SHARE = 0.005  # of a text's letters that are such; below it, they are names in English
UPPER_MARGIN = 1.25
"""An estimate times this is above every measured number of tokens."""
SPECIAL_TOKENS = 8  # what a tokenizer may add to a text

_MULTILINGUAL = re.compile(r"XLM-R|BPE", re.IGNORECASE)
_OTHER_SCRIPT = re.compile(r"[^\x00-\u024f\u1e00-\u1eff\s]+")
_LATIN_BEYOND_ASCII = re.compile(r"[À-ÖØ-öø-ɏḀ-ỿ]")


class TokenBounds:
    """Estimates for one tokenizer, named as in models.toml; None: unknown, as WordPiece is."""

    def __init__(self, tokenizer: str | None) -> None:
        self._multilingual = tokenizer is not None and bool(_MULTILINGUAL.search(tokenizer))

    def estimate(self, text: str) -> int:
        """Return about how many tokens a text has, without what the tokenizer adds."""
        if self._multilingual:
            return round(TOKEN_RATIO * chunking.count(text))
        others = "".join(_OTHER_SCRIPT.findall(text))
        latin = _OTHER_SCRIPT.sub(" ", text) if others else text
        letters = len(_LATIN_BEYOND_ASCII.findall(latin))
        ratio = LATIN_RATIO if letters > MIN_LATIN_SHARE * len(latin) else TOKEN_RATIO
        characters = len(unicodedata.normalize("NFD", others))
        return characters + round(ratio * chunking.count(latin))

    def truncate(self, text: str, tokens: int) -> str:
        """Return the longest beginning of a text whose estimate is at most `tokens`."""
        low, high = 0, max(tokens, 0)  # o200k_base tokens
        while low < high:
            middle = (low + high + 1) // 2
            if self.estimate(chunking.truncate(text, middle)) <= tokens:
                low = middle
            else:
                high = middle - 1
        return chunking.truncate(text, max(low, 1))


def surely_fits(text: str, tokens: int) -> bool:
    """Return whether a text has at most `tokens` tokens in every vocabulary.

    A token is at least one byte of UTF-8.
    """
    return len(text.encode()) + SPECIAL_TOKENS <= tokens
