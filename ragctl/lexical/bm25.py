"""BM25 sparse vectors, made with Qdrant's own tokenizers, stemmers and stop words.

A document is tokenized by the rules of its language, a query by those of every language
that it may be in. All rules hash tokens in the same way, so they share one sparse vector
space. The weights are the term-frequency part of BM25, as Qdrant computes it; the store
applies the IDF (a sparse vector with modifier IDF).

This module makes up for two gaps of Qdrant's tokenizers (measured with 0.9): the
multilingual one drops numbers, and the word one takes a run of Chinese inside a document
of another language for a single word.
"""

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from functools import cache
from typing import cast

import qdrant_edge

from ragctl.errors import UsageError
from ragctl.lexical.languages import BM25_NAMES
from ragctl.records import Json

SparseVector = tuple[list[int], list[float]]
"""Token ids in ascending order, and their weights."""

_UNSPACED_LANGUAGES = frozenset({"zh", "ja"})
"""Languages written without spaces: only the multilingual tokenizer splits them."""
_UNSPACED_RUN = re.compile(
    r"[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff"
    r"\U00020000-\U0003134f]+"
)
# Standalone numbers; digits inside a word (E104, V400) belong to the word. The pattern starts
# with a digit because one that starts with a look-behind takes three times as long.
_LETTER = r"[A-Za-z\u0400-\u04ff]"
_NUMBERS = re.compile(rf"\d(?<!{_LETTER}\d)\d*(?!{_LETTER})")
_COUNTING_K = 1e6
"""BM25's k at which a weight hardly saturates, so that counts can be read back from weights."""


@dataclass(frozen=True, slots=True)
class Bm25Config:
    """The BM25 settings of a collection, stored with it.

    `languages` are ISO 639-1 codes, each a key of `languages.BM25_NAMES`. `k` sets how fast
    term frequency saturates, `b` how strongly chunk length is normalised, and `avg_len` is
    the length of an average chunk in tokens, without stop words.
    Raises UsageError for a language without rules or a number out of range.
    """

    languages: tuple[str, ...] = ()
    k: float = 1.2
    b: float = 0.5
    avg_len: float = 150.0

    def __post_init__(self) -> None:
        for code in self.languages:
            if code not in BM25_NAMES:
                raise UsageError(
                    f"language {code!r}: BM25 has no rules for it; known: {', '.join(BM25_NAMES)}"
                )
        if len(set(self.languages)) != len(self.languages):
            raise UsageError(f"languages {', '.join(self.languages)}: one is named twice")
        if not (self.k >= 0 and 0 <= self.b <= 1 and 0 < self.avg_len < float("inf")):
            raise UsageError(
                f"BM25 k={self.k}, b={self.b}, avg_len={self.avg_len}: "
                "k must be at least 0, b within 0..1, avg_len above 0"
            )

    def to_json(self) -> dict[str, Json]:
        """Return the settings as a JSON object."""
        return {**asdict(self), "languages": list(self.languages)}

    @classmethod
    def from_json(cls, stored: Mapping[str, Json]) -> "Bm25Config":
        """Return the settings that `to_json` wrote. Raises UsageError for anything else."""
        found = dict(stored)
        names = {field.name for field in fields(cls)}
        if set(found) != names:
            raise UsageError(f"stored BM25 configuration needs exactly {sorted(names)}: {found!r}")
        languages = found.pop("languages")
        if not isinstance(languages, list) or not all(isinstance(c, str) for c in languages):
            raise UsageError(f"stored BM25 languages must be a list of codes: {languages!r}")
        for name, value in found.items():
            if isinstance(value, bool) or not isinstance(value, int | float):
                raise UsageError(f"stored BM25 {name} must be a number: {value!r}")
        numbers = {name: float(cast(float, value)) for name, value in found.items()}
        return cls(tuple(cast(list[str], languages)), **numbers)

    def server_config(self, language: str) -> dict[str, Json]:
        """Return the rules of one language as the JSON of Qdrant's own `Bm25Config`.

        A server (1.16 or later) accepts it as options of its model `qdrant/bm25` and then
        produces the same token ids and weights, except for what `Bm25Encoder` adds. A
        language outside `languages` gets the neutral rules: no stemmer, no stop words.
        """
        rules: dict[str, Json] = {"k": self.k, "b": self.b, "avg_len": self.avg_len}
        if language in self.languages and language not in _UNSPACED_LANGUAGES:
            return {**rules, "tokenizer": "word", "language": BM25_NAMES[language]}
        return {
            **rules,
            "tokenizer": "multilingual",
            "stemmer": {"type": "none"},
            "stopwords": {"languages": [], "custom": []},
        }


class Bm25Encoder:
    """Encodes documents and queries as BM25 vectors, under one configuration."""

    def __init__(self, config: Bm25Config) -> None:
        self.config = config

    def documents(self, texts: Sequence[str], languages: Sequence[str]) -> list[SparseVector]:
        """Return one vector per text; empty for a text without tokens.

        `languages` are the codes of the texts. A code outside the configured languages,
        such as "und", selects the neutral rules.
        """
        return [
            self._document(text, language) for text, language in zip(texts, languages, strict=True)
        ]

    def query(self, text: str) -> SparseVector:
        """Return the token ids of a query, each with weight 1.

        Applies the rules of those configured languages that recognise the most stop words
        in `text` (all of them if none recognises any). The unstemmed words, without those
        stop words, are always included, to match documents in other languages.
        """
        languages = self._query_languages(text)
        ids = set(_neutral_tokens(text, languages))
        for language in languages:
            ids.update(self._tokens(text, language))
        return sorted(ids), [1.0] * len(ids)

    def _document(self, text: str, language: str) -> SparseVector:
        if self._is_spaced(language) and (text.isascii() or not _UNSPACED_RUN.search(text)):
            # No run to split: Qdrant's own vector is complete.
            vector = _weighted_model(language, self.config).embed_document(text)
            return vector.indices, vector.values
        return self._weigh(self._tokens(text, language))

    def _is_spaced(self, language: str) -> bool:
        return language in self.config.languages and language not in _UNSPACED_LANGUAGES

    def _tokens(self, text: str, language: str) -> Counter[int]:
        if self._is_spaced(language):
            return _word_tokens(text, language)
        return _neutral_tokens(text, ())

    def _query_languages(self, text: str) -> tuple[str, ...]:
        spaced = [code for code in self.config.languages if code not in _UNSPACED_LANGUAGES]
        if len(spaced) < 2:
            return tuple(spaced)
        words_left = {code: len(_count(_unstemmed(code), text)) for code in spaced}
        fewest = min(words_left.values())
        return tuple(code for code in spaced if words_left[code] == fewest)

    def _weigh(self, counts: Counter[int]) -> SparseVector:
        """Return BM25's term-frequency weights, saturated and length-normalised as in Qdrant."""
        k, b = self.config.k, self.config.b
        norm = k * (1 - b + b * counts.total() / self.config.avg_len)
        ids = sorted(counts)
        return ids, [counts[token] * (k + 1) / (counts[token] + norm) for token in ids]


def _word_tokens(text: str, language: str) -> Counter[int]:
    counts = _count(_stemmed(language), text)
    runs = _UNSPACED_RUN.findall(text)
    return counts + _count(_multilingual(()), " ".join(runs)) if runs else counts


def _neutral_tokens(text: str, without: Iterable[str]) -> Counter[int]:
    """Count the unstemmed tokens of any script, without the stop words of some languages."""
    counts = _count(_multilingual(tuple(without)), text)
    numbers = _NUMBERS.findall(text)
    return counts + _count(_unstemmed(None), " ".join(numbers)) if numbers else counts


def _count(model: qdrant_edge.Bm25, text: str) -> Counter[int]:
    """Count each token, from weights that hardly saturate (see _COUNTING_K)."""
    vector = model.embed_document(text)
    return Counter(
        {
            token: round(weight * _COUNTING_K / (_COUNTING_K + 1 - weight))
            for token, weight in zip(vector.indices, vector.values, strict=True)
        }
    )


def _stop_words(languages: Iterable[str]) -> qdrant_edge.StopwordsSet:
    named = {getattr(qdrant_edge.Language, BM25_NAMES[code].capitalize()) for code in languages}
    return qdrant_edge.StopwordsSet(named, set())


def _counting_model(
    tokenizer: qdrant_edge.TokenizerType,
    language: str | None = None,
    stemmer: qdrant_edge.DisabledStemmer | None = None,
    stop_words: qdrant_edge.StopwordsSet | None = None,
) -> qdrant_edge.Bm25:
    config = qdrant_edge.Bm25Config(
        k=_COUNTING_K,
        b=0.0,
        tokenizer=tokenizer,
        language=language,
        stemmer=stemmer,
        stopwords=stop_words,
    )
    return qdrant_edge.Bm25(config)


@cache
def _weighted_model(language: str, config: Bm25Config) -> qdrant_edge.Bm25:
    tokenizer, rules = qdrant_edge.TokenizerType.Word, BM25_NAMES[language]
    return qdrant_edge.Bm25(
        qdrant_edge.Bm25Config(
            k=config.k, b=config.b, avg_len=config.avg_len, tokenizer=tokenizer, language=rules
        )
    )


@cache
def _stemmed(language: str) -> qdrant_edge.Bm25:
    return _counting_model(qdrant_edge.TokenizerType.Word, language=BM25_NAMES[language])


@cache
def _unstemmed(language: str | None) -> qdrant_edge.Bm25:
    """Return a model of unstemmed words, without the stop words of `language`."""
    stop_words = _stop_words([language] if language else [])
    return _counting_model(
        qdrant_edge.TokenizerType.Word,
        stemmer=qdrant_edge.DisabledStemmer(),
        stop_words=stop_words,
    )


@cache
def _multilingual(without: tuple[str, ...]) -> qdrant_edge.Bm25:
    return _counting_model(
        qdrant_edge.TokenizerType.Multilingual,
        stemmer=qdrant_edge.DisabledStemmer(),
        stop_words=_stop_words(without),
    )
