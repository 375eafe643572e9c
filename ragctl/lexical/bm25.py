"""The sparse side: BM25 by Qdrant's own tokenizers, stemmers and stop words.

Each document is cut into tokens by the rules of its own language; a query by those of
the languages it may be in. All rules hash a token alike, so one sparse vector space
serves them all. The weights are Qdrant's; the IDF is the store's (a sparse vector with
modifier IDF).

Two things are added to what one configuration of Qdrant's can do (0.9, measured): its
multilingual tokenizer drops numbers, which are put back, and its word tokenizer takes a
run of Chinese in a document of another language for one word, so the run is cut as well.
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

_NEUTRAL = "und"
# Written without spaces between words: only the multilingual tokenizer splits them.
_UNSPACED = frozenset({"zh", "ja"})
_RUNS = re.compile(
    r"[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff"
    r"\U00020000-\U0003134f]+"
)
# Numbers that stand by themselves; those within a word (E104, V400) are part of it.
# A digit stands first in the pattern: a search that begins by looking back is thrice as slow.
_LETTER = r"[A-Za-z\u0400-\u04ff]"
_NUMBERS = re.compile(rf"\d(?<!{_LETTER}\d)\d*(?!{_LETTER})")
_COUNTING = 1e6  # a saturation so high that a weight is the count


@dataclass(frozen=True, slots=True)
class SparseConfig:
    """What makes a collection's BM25 vectors; stored with the collection.

    `languages` are ISO 639-1 codes, each one of `language.BM25_NAMES`. `avg_len` is
    the length in tokens after stop words of an average chunk; `k` and `b` are BM25's
    saturation of term frequency and normalisation of length.
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
        """As a JSON object."""
        return {**asdict(self), "languages": list(self.languages)}

    @classmethod
    def from_json(cls, stored: Mapping[str, Json]) -> "SparseConfig":
        """The configuration `to_json` wrote. Raises UsageError for anything else."""
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
        """The rules of one language as Qdrant's `Bm25Config` in JSON.

        A server (1.16 and later) takes it as the options of its model `qdrant/bm25`, and
        then makes the same token ids and weights, but for what `Sparse` adds. A language
        outside `languages` gets the neutral rules: no stemmer, no stop words.
        """
        rules: dict[str, Json] = {"k": self.k, "b": self.b, "avg_len": self.avg_len}
        if language in self.languages and language not in _UNSPACED:
            return {**rules, "tokenizer": "word", "language": BM25_NAMES[language]}
        return {
            **rules,
            "tokenizer": "multilingual",
            "stemmer": {"type": "none"},
            "stopwords": {"languages": [], "custom": []},
        }


class Sparse:
    """BM25 vectors of documents and queries under one configuration."""

    def __init__(self, config: SparseConfig) -> None:
        self.config = config

    def documents(self, texts: Sequence[str], languages: Sequence[str]) -> list[SparseVector]:
        """One vector per text: token ids, each once, and their weights.

        `languages` are the codes of the texts; one outside the configuration's, "und"
        among them, means the neutral rules. A text without tokens gives an empty vector.
        """
        return [
            self._document(text, language) for text, language in zip(texts, languages, strict=True)
        ]

    def query(self, text: str) -> SparseVector:
        """The token ids of `text`, weight 1 each.

        Of the collection's languages those count that find the most stop words in
        `text`, all where none finds any. The text as it stands, without those stop
        words, is always among the tokens: it serves documents of other languages.
        """
        languages = self._query_languages(text)
        ids = set(_neutral_tokens(text, languages))
        for language in languages:
            ids.update(self._tokens(text, language))
        return sorted(ids), [1.0] * len(ids)

    def _document(self, text: str, language: str) -> SparseVector:
        if self._is_spaced(language) and (text.isascii() or not _RUNS.search(text)):
            # Nothing is to be added.
            vector = _weighing(language, self.config).embed_document(text)
            return vector.indices, vector.values
        return self._weigh(self._tokens(text, language))

    def _is_spaced(self, language: str) -> bool:
        return language in self.config.languages and language not in _UNSPACED

    def _tokens(self, text: str, language: str) -> Counter[int]:
        if self._is_spaced(language):
            return _word_tokens(text, language)
        return _neutral_tokens(text, ())

    def _query_languages(self, text: str) -> tuple[str, ...]:
        spaced = [code for code in self.config.languages if code not in _UNSPACED]
        if len(spaced) < 2:
            return tuple(spaced)
        left = {code: len(_count(_bare(code), text)) for code in spaced}
        least = min(left.values())
        return tuple(code for code in spaced if left[code] == least)

    def _weigh(self, counts: Counter[int]) -> SparseVector:
        """BM25's term frequency, saturated and normalised by length, as Qdrant weighs it."""
        k, b = self.config.k, self.config.b
        norm = k * (1 - b + b * counts.total() / self.config.avg_len)
        ids = sorted(counts)
        return ids, [counts[token] * (k + 1) / (counts[token] + norm) for token in ids]


def _word_tokens(text: str, language: str) -> Counter[int]:
    counts = _count(_spaced(language), text)
    runs = _RUNS.findall(text)
    return counts + _count(_multilingual(()), " ".join(runs)) if runs else counts


def _neutral_tokens(text: str, without: Iterable[str]) -> Counter[int]:
    """Tokens of any script, unstemmed, but for the stop words of some languages."""
    counts = _count(_multilingual(tuple(without)), text)
    numbers = _NUMBERS.findall(text)
    return counts + _count(_bare(None), " ".join(numbers)) if numbers else counts


def _count(model: qdrant_edge.Bm25, text: str) -> Counter[int]:
    """How often each token occurs, read back from a weight that hardly saturates."""
    vector = model.embed_document(text)
    return Counter(
        {
            token: round(weight * _COUNTING / (_COUNTING + 1 - weight))
            for token, weight in zip(vector.indices, vector.values, strict=True)
        }
    )


def _stop_words(languages: Iterable[str]) -> qdrant_edge.StopwordsSet:
    named = {getattr(qdrant_edge.Language, BM25_NAMES[code].capitalize()) for code in languages}
    return qdrant_edge.StopwordsSet(named, set())


def _model(
    tokenizer: qdrant_edge.TokenizerType,
    language: str | None = None,
    stemmer: qdrant_edge.DisabledStemmer | None = None,
    stop_words: qdrant_edge.StopwordsSet | None = None,
) -> qdrant_edge.Bm25:
    config = qdrant_edge.Bm25Config(
        k=_COUNTING,
        b=0.0,
        tokenizer=tokenizer,
        language=language,
        stemmer=stemmer,
        stopwords=stop_words,
    )
    return qdrant_edge.Bm25(config)


@cache
def _weighing(language: str, config: SparseConfig) -> qdrant_edge.Bm25:
    tokenizer, rules = qdrant_edge.TokenizerType.Word, BM25_NAMES[language]
    return qdrant_edge.Bm25(
        qdrant_edge.Bm25Config(
            k=config.k, b=config.b, avg_len=config.avg_len, tokenizer=tokenizer, language=rules
        )
    )


@cache
def _spaced(language: str) -> qdrant_edge.Bm25:
    return _model(qdrant_edge.TokenizerType.Word, language=BM25_NAMES[language])


@cache
def _bare(language: str | None) -> qdrant_edge.Bm25:
    """Words as they stand, without the stop words of `language`."""
    stop_words = _stop_words([language] if language else [])
    return _model(
        qdrant_edge.TokenizerType.Word,
        stemmer=qdrant_edge.DisabledStemmer(),
        stop_words=stop_words,
    )


@cache
def _multilingual(without: tuple[str, ...]) -> qdrant_edge.Bm25:
    return _model(
        qdrant_edge.TokenizerType.Multilingual,
        stemmer=qdrant_edge.DisabledStemmer(),
        stop_words=_stop_words(without),
    )
