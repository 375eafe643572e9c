"""Texts longer than a model's context: never cut in silence."""

from ragctl import chunking
from ragctl.catalog import Model, Provider
from ragctl.embedding.base import Answer, Refused, Request, Wire
from ragctl.embedding.usage import Usage

RATIO = 1.3
"""Tokens of a model's own vocabulary to those of o200k_base, at most, in ordinary text.

Measured on nobody's behalf: a margin. Where a host or a runtime counts exactly, it decides.
"""
_SPECIAL = 8  # tokens that a tokenizer may add of its own


class Guarded:
    """A Wire that refuses, or on request cuts, texts which a host would cut without a word.

    A host that refuses such texts itself counts better than we can, and is left to it.
    """

    def __init__(
        self,
        wire: Wire,
        model: Model,
        provider: Provider,
        usage: Usage,
        *,
        truncate: bool,
        native: bool,
    ) -> None:
        """`truncate`: texts may be cut. `native`: the wire tells the host so."""
        self._wire = wire
        self._name = model.name
        self._host = provider.name
        self._usage = usage
        own, there = model.context, provider.models[model.name].context
        self._context = min((size for size in (own, there) if size), default=None)
        self._prompts = {"document": model.document.prompt, "query": model.query.prompt}
        self._refuses = provider.truncation == "refuses"
        self._truncate = truncate
        self._native = native

    def embed(self, request: Request) -> Answer:
        if self._context is not None and not (self._refuses and not self._truncate):
            request = self._checked(request, self._context)
        return self._wire.embed(request)

    def _checked(self, request: Request, context: int) -> Request:
        if self._truncate and self._native:
            return request
        prompt = self._prompts[request.side] or ""
        texts = list(request.texts)
        for position, text in enumerate(texts):
            # A token is at least a byte of UTF-8 in every vocabulary.
            if len(prompt) * 4 + len(text) * 4 + _SPECIAL <= context or (
                len((prompt + text).encode()) + _SPECIAL <= context
            ):
                continue
            room = int((context - _SPECIAL) / RATIO) - chunking.count(prompt)
            tokens = chunking.count(text)
            if tokens <= room:
                continue
            if not self._truncate:
                raise Refused(
                    f"about {tokens:,} tokens may be more than the {context:,} that {self._name} "
                    f"takes, and {self._host} would cut the text without a word; use a smaller "
                    "--chunk-size, or --truncate",
                    certain=True,
                )
            texts[position] = chunking.first(text, max(room, 1))
            self._usage.cut_one()
        return Request(
            request.side, tuple(texts), request.stopped, request.tokens, request.together
        )

    def close(self) -> None:
        self._wire.close()
