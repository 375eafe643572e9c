"""The contract of a reranker's wire: request, answer, and how to connect."""

import threading
from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import ClassVar, Self, TypeAlias

from ragctl.catalog import RerankerRow, WireTraits
from ragctl.hosts.keys import ApiKey
from ragctl.hosts.retry import Patience
from ragctl.hosts.service import Service
from ragctl.hosts.usage import Usage


@dataclass(frozen=True, slots=True)
class RerankRequest:
    """A question and the passages to be scored for it, best hit first.

    `tokens`: estimated tokens of all texts together; 0: not counted. `stopped` ends every
    wait for a retry or a rate limit.
    """

    question: str
    passages: tuple[str, ...]
    stopped: threading.Event = field(default_factory=threading.Event)
    tokens: int = 0

    @property
    def texts(self) -> tuple[str, ...]:
        """All texts that are sent, for usage and rate limits."""
        return (self.question, *self.passages)


@dataclass(frozen=True, slots=True)
class Scores:
    """One finite score per passage, in the order of the passages; a greater one is better.

    `tokens`: tokens billed; 0: the host does not say.
    """

    values: tuple[float, ...]
    tokens: int = 0


RerankService: TypeAlias = Service[RerankRequest, Scores]
"""A wire of a reranker, or a wrapper around one."""


@dataclass(frozen=True, slots=True)
class RerankConnection:
    """Everything a wire may need to connect to a reranker.

    `base_url` is "" for a model in this process. `key` is None if the reranker takes none.
    """

    row: RerankerRow
    model: str | None
    base_url: str
    key: ApiKey | None = field(repr=False)
    usage: Usage
    patience: Patience


class RerankWire(ABC):
    """The request and answer format of a reranking host, or a runtime in this process."""

    traits: ClassVar[WireTraits] = WireTraits()
    """What the catalogue checks rows of this wire by."""

    @classmethod
    @abstractmethod
    def connect(cls, connection: RerankConnection) -> Self:
        """Return a wire to this reranker. Sends nothing and loads no model.

        Raises UsageError for a model that the wire cannot have.
        """

    @property
    @abstractmethod
    def max_passages(self) -> int:
        """How many passages one request may carry."""

    @abstractmethod
    def call(self, request: RerankRequest) -> Scores:
        """Score the passages. Must be safe to call from several threads.

        Raises Transient if a retry may help, another BackendError otherwise.
        """

    @abstractmethod
    def close(self) -> None:
        """Close connections, or unload the model."""
