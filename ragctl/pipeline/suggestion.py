"""What models would cost for some documents, and which one to begin with.

The rules are in docs/init.md with their reasons. They compare facts of the catalogue (languages
according to the model's maker, list prices) and which API keys are set; they know nothing of the
quality that a model has for these documents, which `ragctl eval` measures.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from ragctl.catalog import Catalog, Model
from ragctl.pipeline.sections import DEFAULT_MODEL

RELEVANT_MODELS = (
    "qwen3-embedding-8b",
    "jina-embeddings-v3",
    "embed-v4.0",
    "voyage-3.5",
    "text-embedding-3-small",
    "bge-m3",
)
"""Models of hosted APIs with a known price for many languages, in the order of docs/models.md."""

_LISTED = re.compile(r"[a-z]{2}(?:, [a-z]{2})*")


@dataclass(frozen=True, slots=True)
class Offer:
    """A model at the backend with the lowest known price.

    Attributes:
        price: US dollars per million tokens.
        cost: US dollars for the documents.
        key: the variable of its API key; None if it needs none.
        has_key: whether one of its variables is set.
        covers: whether its maker names all languages of the documents.
    """

    model: str
    backend: str
    price: float
    cost: float
    key: str | None = None
    has_key: bool = True
    covers: bool = True


@dataclass(frozen=True, slots=True)
class Suggestion:
    """An offer, and why it is suggested."""

    offer: Offer
    reason: str


def offers(
    catalog: Catalog, tokens: int, languages: Iterable[str], environ: Mapping[str, str]
) -> list[Offer]:
    """Return the built-in model and RELEVANT_MODELS, each with its price for `tokens`."""
    codes = frozenset(languages)
    found = [Offer(DEFAULT_MODEL, DEFAULT_MODEL, 0.0, 0.0)]
    for name in RELEVANT_MODELS:
        if name in catalog.models:
            found += _offer(catalog, catalog.model(name), tokens, codes, environ)
    return found


def _offer(
    catalog: Catalog,
    model: Model,
    tokens: int,
    codes: frozenset[str],
    environ: Mapping[str, str],
) -> list[Offer]:
    """Return the cheapest offer of a hosted backend; one whose key is set goes first."""
    rows = [catalog.backend(name) for name in catalog.serving(model.name)]
    priced = [
        Offer(
            model.name,
            row.name,
            price,
            tokens * price / 1e6,
            row.keys[0] if row.keys else None,
            any(environ.get(key, "").strip() for key in row.keys),
            covers(model.languages, codes),
        )
        for row in rows
        if not row.in_process and (price := row.models[model.name].price)
    ]
    return sorted(priced, key=lambda each: (not each.has_key, each.price, each.backend))[:1]


def covers(languages: str, codes: frozenset[str]) -> bool:
    """Return whether a model's languages, as the catalogue has them, include all of `codes`.

    A list of codes is taken literally; any other text ("89 languages") is for many languages.
    """
    if _LISTED.fullmatch(languages):
        return codes <= frozenset(languages.split(", "))
    return True


def suggest(candidates: Sequence[Offer], budget: float) -> Suggestion:
    """Return the model to begin with, for at most `budget` US dollars.

    The first of `candidates` is the built-in model.
    """
    offline, *hosted = candidates
    if budget <= 0:
        return Suggestion(offline, "needs no key, server or download, and costs nothing")
    fitting = [each for each in hosted if each.covers and each.cost <= budget]
    with_key = [each for each in fitting if each.has_key]
    if with_key:
        return Suggestion(with_key[0], f"covers these languages, and {with_key[0].key} is set")
    if fitting:
        return Suggestion(fitting[0], "covers these languages within the budget")
    return Suggestion(offline, "no hosted model covers these languages within the budget")
