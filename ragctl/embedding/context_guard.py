"""Texts longer than a model's context: never cut in silence."""

from dataclasses import replace

from ragctl import chunking
from ragctl.catalog import Backend, Model
from ragctl.embedding.base import EmbeddingRequest, Embeddings, EmbeddingService
from ragctl.hosts.errors import Refused
from ragctl.hosts.usage import Usage

RATIO = 1.3
"""Tokens of a model's own vocabulary to those of o200k_base: a margin, not a bound.

WordPiece of all-MiniLM-L6-v2 has 0.98 to 1.16 on English prose, tables and code,
and 1.33 on German, which it hardly knows. Where a host or a runtime counts
exactly, that decides.
"""
_SPECIAL = 8  # tokens that a tokenizer may add of its own


class ContextGuard:
    """A Wire that refuses, or on request cuts, texts which a host would cut without a word.

    A host that refuses such texts itself counts better than we can, and is left to it.
    """

    def __init__(
        self,
        wire: EmbeddingService,
        model: Model,
        backend: Backend,
        usage: Usage,
        *,
        truncate: bool,
        native: bool,
    ) -> None:
        """`truncate`: texts may be cut. `native`: the wire tells the host so."""
        self._wire = wire
        self._name = model.name
        self._host = backend.name
        self._usage = usage
        own, there = model.context, backend.models[model.name].context
        self._context = min((size for size in (own, there) if size), default=None)
        self._prompts = {
            "document": model.document.prompt or "",
            "query": model.query.prompt or "",
        }
        self._truncate = truncate
        self._left_to_host = native if truncate else backend.truncation == "refuses"

    def call(self, request: EmbeddingRequest) -> Embeddings:
        if self._context is not None and not self._left_to_host:
            request = self._checked(request, self._context)
        return self._wire.call(request)

    def _checked(self, request: EmbeddingRequest, context: int) -> EmbeddingRequest:
        """Return the request with no text too long. Raises Refused where none may be cut."""
        prompt = self._prompts[request.side]
        if request.together:
            self._check_together(request, context)
        texts = []
        for text in request.texts:
            # A token is at least a byte of UTF-8 in every vocabulary.
            if len((prompt + text).encode()) + _SPECIAL <= context:
                texts.append(text)
                continue
            room = max(1, int((context - _SPECIAL) / RATIO) - chunking.count(prompt))
            tokens = chunking.count(text)
            if tokens > room:
                if not self._truncate:
                    raise self._too_long(f"about {tokens:,} tokens", context)
                text = chunking.first(text, room)
                self._usage.cut_one()
            texts.append(text)
        return replace(request, texts=tuple(texts))

    def _check_together(self, request: EmbeddingRequest, context: int) -> None:
        """All of them are one text to the model; to cut it would leave chunks without vectors."""
        tokens = sum(chunking.count(text) for text in request.texts)
        if tokens > int(context / RATIO):
            raise self._too_long(f"about {tokens:,} tokens together", context)

    def _too_long(self, what: str, context: int) -> Refused:
        return Refused(
            f"{what} may be more than the {context:,} that {self._name} takes, and {self._host} "
            "would cut the text without a word; use a smaller --chunk-size, or --truncate",
            certain=True,
        )

    def close(self) -> None:
        self._wire.close()
