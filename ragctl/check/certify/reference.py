"""The vectors that a backend is compared with, and how they change with each fault."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from ragctl.catalog import Model
from ragctl.catalog.model_table import Pooling
from ragctl.embedding import Canary, canary
from ragctl.embedding.backend_wire import BackendWire
from ragctl.errors import BackendError

if TYPE_CHECKING:
    from ragctl.embedding.wires.sentence_transformers import SentenceTransformers

Cause = Literal[
    "eos", "pooling", "quantisation", "model", "task", "prompt", "revision", "truncation"
]


@dataclass(frozen=True)
class Variant:
    """The canary as a backend with one fault makes it. `how`: completes "the vectors are …"."""

    cause: Cause
    how: str
    canary: Canary


@dataclass(frozen=True)
class Reference:
    """The canary of the collection, or of another backend, by its `name`.

    `variants`: of a model in this process. `revision`: as that backend states it.
    """

    name: str
    canary: Canary
    variants: tuple[Variant, ...] = ()
    revision: str | None = None


def variants_of(wire: BackendWire | None, model: Model, right: Canary) -> tuple[Variant, ...]:
    """Return the canary with each fault that a model in this process can show.

    The model must have been used before. None, if it cannot be run step by step.
    """
    from ragctl.embedding.wires.sentence_transformers import SentenceTransformers

    if not isinstance(wire, SentenceTransformers):
        return ()
    try:
        return tuple(_variants(wire, model, right))
    except BackendError:
        return ()


def _variants(wire: "SentenceTransformers", model: Model, right: Canary) -> Iterator[Variant]:
    document, query = model.document.prompt or "", model.query.prompt or ""

    def made(
        before: str, before_query: str, *, pooling: Pooling | None = None, ending: bool = True
    ) -> Canary:
        texts = [before + text for text in canary.DOCUMENTS]
        asked = [before_query + canary.QUERY]
        return Canary(
            wire.variant(texts, pooling=pooling, ending=ending),
            wire.variant(asked, pooling=pooling, ending=ending),
        )

    ending = made(document, query, ending=False)
    yield Variant("eos", "those of texts without the token that ends them", ending)
    names: dict[Pooling, str] = {
        "mean": "the mean of all tokens",
        "cls": "the first token",
        "last": "the last token",
    }
    for pooling, name in names.items():
        if pooling != model.pooling:
            yield Variant("pooling", f"pooled as {name}", made(document, query, pooling=pooling))
    if document or query:
        bare = made("", "")
        yield Variant("task", "those of texts without the model's prompts", bare)
        swapped = made(query, document)
        yield Variant("task", "those of the other side: queries as documents", swapped)
        side = "those of queries for documents too"
        yield Variant("task", side, Canary(swapped.documents, right.query))
        side = "those of documents for queries too"
        yield Variant("task", side, Canary(right.documents, swapped.query))
        for prompt in (document, query):
            if prompt:
                doubled = made(prompt + document, prompt + query)
                yield Variant("prompt", f"those of texts with {prompt!r} in front twice", doubled)
    for name, prompt in wire.prompts.items():
        if prompt and prompt not in (document, query):
            added = made(prompt + document, prompt + query)
            how = f"those of texts with the prompt {name!r} in front, which the server adds"
            yield Variant("prompt", how, added)
