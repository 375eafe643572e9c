"""Checks texts against a model's context length, so that none is truncated silently."""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from ragctl import chunking
from ragctl.catalog import Backend, Model
from ragctl.embedding.backend_wire import BackendWire, TextLimits
from ragctl.embedding.base import EmbeddingRequest, Embeddings, EmbeddingService
from ragctl.embedding.token_bounds import (
    SPECIAL_TOKENS,
    TOKEN_RATIO,
    UPPER_MARGIN,
    TokenBounds,
    surely_fits,
)
from ragctl.hosts.errors import Refused
from ragctl.hosts.usage import Usage
from ragctl.text import counted


class ContextGuard:
    """A service that fails, or on request truncates, texts beyond the context length.

    A server with a tokenizer counts exactly, and is asked about texts that may be too long.
    Where there is none, texts for a backend that truncates without a message are estimated;
    a backend that refuses such texts counts more exactly than is possible here, and gets them
    unchecked. A text that is too long fails alone; the others of the request are embedded.
    """

    def __init__(
        self,
        service: EmbeddingService,
        wire: BackendWire,
        model: Model,
        backend: Backend,
        usage: Usage,
        *,
        truncate: bool,
    ) -> None:
        """`wire`: is asked about the server's limits. `truncate`: texts may be truncated."""
        self._service = service
        self._wire = wire
        self._model = model
        self._backend = backend
        self._usage = usage
        self._bounds = TokenBounds(model.tokenizer)
        limits = (model.context, backend.models[model.name].context)
        self._context = min((limit for limit in limits if limit), default=None)
        self._prompts = {
            "document": model.document.prompt or "",
            "query": model.query.prompt or "",
        }
        self._truncate = truncate

    def call(self, request: EmbeddingRequest) -> Embeddings:
        """Answer a request. Raises Refused if texts embedded together are too long."""
        if self._truncate and self._wire.truncates:
            return self._service.call(request)
        server = self._wire.text_limits()
        context = min((n for n in (self._context, server.tokens) if n), default=None)
        if context is None or (self._truncate and server.cuts):
            return self._service.call(request)
        refuses = not self._truncate and self._refuses(server)
        if refuses and server.count is None:
            return self._service.call(request)
        if request.together and not refuses:
            self._check_together(request, context)
        lengths = self._too_long(request, server, context, refuses)
        if self._truncate:
            return self._call_truncated(request, lengths, context)
        return self._call_without(
            request,
            {position: self._reason(lengths[position], server, context) for position in lengths},
        )

    def _refuses(self, server: TextLimits) -> bool:
        """Return whether the backend refuses long texts: the server's own word decides."""
        if server.cuts is not None:
            return not server.cuts
        return self._backend.truncation == "refuses"

    def _too_long(
        self, request: EmbeddingRequest, server: TextLimits, context: int, refuses: bool
    ) -> dict[int, str]:
        """Return the positions of texts that are too long, each with its number of tokens."""
        prompt = self._prompts[request.side]
        estimates = {
            position: self._bounds.estimate(prompt + text)
            for position, text in enumerate(request.texts)
            if not surely_fits(prompt + text, context)
        }
        available = context - SPECIAL_TOKENS
        if server.count is not None:
            doubtful = [n for n in estimates if estimates[n] * UPPER_MARGIN > available]
            exact = server.count(request, doubtful) if doubtful else []
            if exact is not None:
                counts = dict(zip(doubtful, exact, strict=True))
                return {n: counted(k, "token") for n, k in counts.items() if k > context}
        if refuses:
            return {}
        return {
            position: f"about {counted(estimate, 'token')}"
            for position, estimate in estimates.items()
            if estimate > available
        }

    def _reason(self, length: str, server: TextLimits, context: int) -> str:
        """Return why a text fails, and what to do about it."""
        own = self._model.context or context
        if not length.startswith("about"):
            hint = f" (the model takes {own:,}: see --max-batch-tokens)" if own != context else ""
            return (
                f"{length}, and {self._backend.name} takes {context:,} tokens per "
                f"text{hint}; use a smaller --chunk-size, or --truncate"
            )
        return (
            f"{length} may be more than the {context:,} tokens that {self._model.name} takes, and "
            f"{self._backend.name} would truncate the text without a message; use a smaller "
            "--chunk-size, or --truncate"
        )

    def _call_truncated(
        self, request: EmbeddingRequest, too_long: Mapping[int, str], context: int
    ) -> Embeddings:
        """Answer a request with the beginnings of texts that are too long."""
        available = context - SPECIAL_TOKENS
        prompt = self._bounds.estimate(self._prompts[request.side])
        texts = [
            self._bounds.truncate(text, available - prompt) if position in too_long else text
            for position, text in enumerate(request.texts)
        ]
        answer = self._service.call(replace(request, texts=tuple(texts)) if too_long else request)
        for _ in too_long:
            self._usage.cut_one()
        return answer

    def _call_without(self, request: EmbeddingRequest, failed: dict[int, str]) -> Embeddings:
        """Answer a request without the texts that have `failed`."""
        if not failed:
            return self._service.call(request)
        kept = [position for position in range(len(request.texts)) if position not in failed]
        if not kept:
            raise Refused(next(iter(failed.values())), certain=True)
        texts = tuple(request.texts[position] for position in kept)
        tokens = round(request.tokens * len(kept) / len(request.texts))
        answer = self._service.call(replace(request, texts=texts, tokens=tokens))
        vectors = np.zeros((len(request.texts), answer.vectors.shape[1]), np.float32)
        vectors[kept] = answer.vectors
        failed |= {kept[position]: reason for position, reason in answer.failed.items()}
        return replace(answer, vectors=vectors, failed=failed)

    def _check_together(self, request: EmbeddingRequest, context: int) -> None:
        """Refuse texts that are too long together: truncated, some would have no vectors."""
        tokens = sum(chunking.count(text) for text in request.texts)
        if tokens > int(context / TOKEN_RATIO):
            length = f"about {counted(tokens, 'token')} together"
            raise Refused(self._reason(length, TextLimits(), context), certain=True)

    def close(self) -> None:
        """Close the wrapped service."""
        self._service.close()
