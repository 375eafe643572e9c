"""Checks texts against a model's context length, so that none is truncated silently."""

from dataclasses import replace

from ragctl import chunking
from ragctl.catalog import Backend, Model
from ragctl.embedding.base import EmbeddingRequest, Embeddings, EmbeddingService
from ragctl.hosts.errors import Refused
from ragctl.hosts.usage import Usage
from ragctl.text import counted

TOKEN_RATIO = 1.3
"""Tokens of a model's own vocabulary per token of o200k_base: a margin, not a bound.

WordPiece of all-MiniLM-L6-v2 has 0.98 to 1.16 on English prose, tables and code, and 1.33 on
German, for which it has few words. If a host or a runtime counts exactly, its count decides.
"""
SPECIAL_TOKENS = 8  # what a tokenizer may add to a text


class ContextGuard:
    """A service that refuses, or on request truncates, texts beyond the context length.

    It is for backends that truncate without a message. A backend that refuses such texts
    counts more exactly than is possible here, and gets them unchecked.
    """

    def __init__(
        self,
        service: EmbeddingService,
        model: Model,
        backend: Backend,
        usage: Usage,
        *,
        truncate: bool,
        native: bool,
    ) -> None:
        """`truncate`: texts may be truncated. `native`: the wire can ask the backend to do it."""
        self._service = service
        self._model = model.name
        self._backend = backend.name
        self._usage = usage
        limits = (model.context, backend.models[model.name].context)
        self._context = min((limit for limit in limits if limit), default=None)
        self._prompts = {
            "document": model.document.prompt or "",
            "query": model.query.prompt or "",
        }
        self._truncate = truncate
        self._left_to_backend = native if truncate else backend.truncation == "refuses"

    def call(self, request: EmbeddingRequest) -> Embeddings:
        """Answer a request whose texts fit. Raises Refused for one that does not."""
        if self._context is not None and not self._left_to_backend:
            request = self._fitted(request, self._context)
        return self._service.call(request)

    def _fitted(self, request: EmbeddingRequest, context: int) -> EmbeddingRequest:
        """Return the request with long texts truncated. Raises Refused if they may not be."""
        prompt = self._prompts[request.side]
        if request.together:
            self._check_together(request, context)
        texts = []
        for text in request.texts:
            # A token is at least one byte of UTF-8 in every vocabulary.
            if len((prompt + text).encode()) + SPECIAL_TOKENS <= context:
                texts.append(text)
                continue
            available = int((context - SPECIAL_TOKENS) / TOKEN_RATIO) - chunking.count(prompt)
            limit = max(1, available)
            tokens = chunking.count(text)
            if tokens > limit:
                if not self._truncate:
                    raise self._too_long(f"about {counted(tokens, 'token')}", context)
                text = chunking.truncate(text, limit)
                self._usage.cut_one()
            texts.append(text)
        return replace(request, texts=tuple(texts))

    def _check_together(self, request: EmbeddingRequest, context: int) -> None:
        """Refuse texts that are too long together: truncated, some would have no vectors."""
        tokens = sum(chunking.count(text) for text in request.texts)
        if tokens > int(context / TOKEN_RATIO):
            raise self._too_long(f"about {counted(tokens, 'token')} together", context)

    def _too_long(self, length: str, context: int) -> Refused:
        return Refused(
            f"{length} may be more than the {context:,} that {self._model} takes, and "
            f"{self._backend} would truncate the text without a message; use a smaller "
            "--chunk-size, or --truncate",
            certain=True,
        )

    def close(self) -> None:
        """Close the wrapped service."""
        self._service.close()
