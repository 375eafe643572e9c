"""The sparse side: BM25 term weights from Qdrant's own implementation.

Each document is split, stemmed and freed of stop words by the rules of its own
language; a query by the rules of every language the collection holds. All rules
hash a token the same way, so one sparse vector space serves them all. The store
adds the IDF (sparse vector with modifier IDF).
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

import qdrant_edge

from ragctl.embedding.language import BM25_NAMES
from ragctl.errors import UsageError
from ragctl.records import Json

SparseVector = tuple[list[int], list[float]]

# Written without spaces between words: only the multilingual tokenizer splits them.
_UNSPACED = frozenset({"zh", "ja"})
_NEUTRAL = ""


@dataclass(frozen=True, slots=True)
class SparseConfig:
    """What makes a collection's BM25 vectors; stored with the collection.

    `languages` are ISO 639-1 codes, each one of `language.BM25_NAMES`. `avg_len` is
    the length in tokens after stop words of an average chunk; `k` and `b` are BM25's
    saturation of term frequency and normalisation of length.
    Raises UsageError for a language without rules or a number out of range.
    """

    languages: tuple[str, ...] = ("en",)
    k: float = 1.2
    b: float = 0.75
    avg_len: float = 200.0

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

    def to_json(self) -> str:
        """As JSON text, the keys in order: equal configurations give equal text."""
        return json.dumps(asdict(self), sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> "SparseConfig":
        """The configuration `to_json` wrote. Raises UsageError for anything else."""
        try:
            found = json.loads(text)
        except ValueError as error:
            raise UsageError(f"stored BM25 configuration is not JSON: {error}") from error
        names = {field.name for field in fields(cls)}
        if not isinstance(found, dict) or set(found) != names:
            raise UsageError(f"stored BM25 configuration needs exactly {sorted(names)}: {text!r}")
        languages = found.pop("languages")
        if not isinstance(languages, list) or not all(isinstance(c, str) for c in languages):
            raise UsageError(f"stored BM25 languages must be a list of codes: {languages!r}")
        for name, value in found.items():
            if isinstance(value, bool) or not isinstance(value, int | float):
                raise UsageError(f"stored BM25 {name} must be a number: {value!r}")
        return cls(tuple(languages), **{name: float(value) for name, value in found.items()})

    def server_config(self, language: str) -> dict[str, Json]:
        """The rules for one language as Qdrant's `Bm25Config` in JSON.

        A server (1.16 and later) takes it as the options of its model `qdrant/bm25`.
        A language outside `languages` gets the neutral rules: the multilingual
        tokenizer, no stemmer, no stop words.
        """
        numbers: dict[str, Json] = {"k": self.k, "b": self.b, "avg_len": self.avg_len}
        if language in self.languages and language not in _UNSPACED:
            return {**numbers, "tokenizer": "word", "language": BM25_NAMES[language]}
        return {
            **numbers,
            "tokenizer": "multilingual",
            "stemmer": {"type": "none"},
            "stopwords": {"languages": [], "custom": []},
        }


class Sparse:
    """BM25 vectors of documents and queries under one configuration."""

    def __init__(self, config: SparseConfig) -> None:
        self.config = config
        self._models = {
            code: _model(config.server_config(code)) for code in (*config.languages, _NEUTRAL)
        }

    def documents(self, texts: Sequence[str], languages: Sequence[str]) -> list[SparseVector]:
        """One vector per text: token ids (unique) and weights, by the text's language."""
        neutral = self._models[_NEUTRAL]
        vectors = []
        for text, language in zip(texts, languages, strict=True):
            vector = self._models.get(language, neutral).embed_document(text)
            vectors.append((list(vector.indices), list(vector.values)))
        return vectors

    def query(self, text: str) -> SparseVector:
        """The token ids of `text` under every language of the collection, weight 1 each."""
        ids: set[int] = set()
        for model in self._models.values():
            ids.update(model.embed_query(text).indices)
        return sorted(ids), [1.0] * len(ids)


def _model(config: dict[str, Any]) -> qdrant_edge.Bm25:
    neutral = "stemmer" in config
    return qdrant_edge.Bm25(
        qdrant_edge.Bm25Config(
            k=config["k"],
            b=config["b"],
            avg_len=config["avg_len"],
            tokenizer=(
                qdrant_edge.TokenizerType.Multilingual
                if config["tokenizer"] == "multilingual"
                else qdrant_edge.TokenizerType.Word
            ),
            language=config.get("language"),
            stemmer=qdrant_edge.DisabledStemmer() if neutral else None,
            stopwords=qdrant_edge.StopwordsSet(set(), set()) if neutral else None,
        )
    )
