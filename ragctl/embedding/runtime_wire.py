"""What the models that run in this process share: one load, exact lengths, batches by tokens."""

import threading
from abc import abstractmethod
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import ClassVar, Self

import numpy as np

from ragctl.catalog import Backend, Instruction, Model, ServedModel
from ragctl.embedding import answers
from ragctl.embedding.backend_wire import BackendWire, Connection
from ragctl.embedding.base import EmbeddingRequest, Embeddings, Options, Vectors
from ragctl.errors import BackendError, Interrupted, RagctlError, UsageError
from ragctl.hosts.errors import Refused
from ragctl.hosts.usage import Usage
from ragctl.installation import install_command
from ragctl.text import describe_exception

_MOST = 256  # texts a forward pass, however short they are
WORD = "text"  # what a model is tried with


class RuntimeWire(BackendWire):
    """A Wire to a model in this process. A runtime states how to load it, count for it, run it.

    The model is loaded and tried at the first request, under a lock that lets one
    request pass at a time. Every text is counted with the model's own tokenizer,
    prompt included, so that none is cut in silence and what is billed is exact.
    """

    truncates = True
    package: ClassVar[str]
    """What must be importable; the extra that brings it has the wire's name."""
    note: ClassVar[str] = ""
    """What to know before installing it."""

    def __init__(
        self, model: Model, backend: Backend, dim: int, usage: Usage, options: Options
    ) -> None:
        """Raise UsageError where the extra, or the folder of weights, is missing. Loads nothing."""
        if find_spec(self.package) is None:
            raise UsageError(
                f"the {backend.name} backend needs its extra: "
                f"{install_command(backend.wire)}{self.note}"
            )
        self.model = model
        self.backend = backend
        self.dim = dim
        self.usage = usage
        self.options = options
        self.runtime = backend.runtime
        self.budget: int | None = None
        """Tokens a forward pass, padding included; None: no bound but the number of texts."""
        self.devices = 1
        """How many devices share a request."""
        self._lock = threading.Lock()
        self._loaded = False
        self._failure: RagctlError | None = None
        self._limit: int | None = None
        if self.weights is not None and not self.weights.is_dir():
            raise UsageError(f"there is no folder of weights at {self.weights}")

    @classmethod
    def connect(cls, connection: Connection) -> Self:
        """Return a wire whose model is loaded at the first request."""
        return cls(
            connection.model,
            connection.backend,
            connection.dim,
            connection.usage,
            connection.options,
        )

    @abstractmethod
    def load(self) -> int | None:
        """Load the model. Return how many tokens of a text it reads, None if it does not say."""

    @abstractmethod
    def cut_at(self, tokens: int) -> None:
        """Have the model read that many tokens of each text and leave out the rest."""

    @abstractmethod
    def count(self, side: Instruction, texts: Sequence[str]) -> list[int]:
        """Return the tokens of each text, with its prompt and all that the tokenizer adds."""

    @abstractmethod
    def run(self, side: Instruction, texts: list[str], *, whole: bool = False) -> Vectors:
        """Return one row per text: the `whole` native vector, or one cut by the runtime itself.

        Raises MemoryError when a smaller batch might pass. Whatever else it raises
        becomes a BackendError.
        """

    @abstractmethod
    def told(self, side: Instruction) -> str:
        """Return in words what the model is told of a side, and by what version of the runtime."""

    def examine(self, side: Instruction, rows: Vectors) -> None:
        """Raise BackendError where what came of the first word on a side cannot be right."""

    @abstractmethod
    def unload(self) -> None: ...

    @property
    def served(self) -> ServedModel:
        return self.backend.models[self.model.name]

    @property
    def weights(self) -> Path | None:
        return None if self.served.weights is None else Path(self.served.weights)

    @property
    def origin(self) -> str:
        """Where the model comes from: a folder, or its name on the hub."""
        return self.served.weights or self.served.id

    def call(self, request: EmbeddingRequest) -> Embeddings:
        with self._lock:
            self._ready()
            self.usage.sent()
            side = self.model.document if request.side == "document" else self.model.query
            counts = self.count(side, request.texts)
            self._check(counts)
            rows = self._rows(side, request, counts)
        limit = self._limit
        read = sum(count if limit is None else min(count, limit) for count in counts)
        return answers.from_vectors(rows, read, self.model, self.dim, self.backend.name)

    def close(self) -> None:
        with self._lock:
            if self._loaded:
                self._loaded = False
                self.unload()

    def _ready(self) -> None:
        """Load the model once, and try each side with a word: what is wrong must show at once."""
        if self._failure is not None:
            raise self._failure
        if self._loaded:
            return
        try:
            self._load()
            self._loaded = True
            for side in (self.model.document, self.model.query):
                self._try(side)
        except RagctlError as error:
            self._failure = error
            raise

    def _load(self) -> None:
        try:
            own = self.load()
            limits = (own, self.model.context, self.served.context)
            self._limit = min((limit for limit in limits if limit), default=None)
            if self.options.truncate and self._limit is not None:
                self.cut_at(self._limit)
        except RagctlError:
            raise
        except Exception as error:  # a repository's own code may raise anything
            raise BackendError(
                f"{self.model.name} cannot be loaded from {self.origin}: "
                f"{describe_exception(error)}"
            ) from error

    def _try(self, side: Instruction) -> None:
        try:
            rows = self._run(side, [WORD], whole=True)
        except MemoryError as error:
            raise BackendError(f"there is no memory to run {self.model.name} in") from error
        if rows.shape != (1, self.model.dim):
            raise BackendError(
                f"{self.origin} makes vectors of {rows.shape[-1]} dimensions, and "
                f"{self.model.name} has {self.model.dim}: these are other weights"
            )
        self.examine(side, rows)

    def _run(self, side: Instruction, texts: list[str], *, whole: bool = False) -> Vectors:
        try:
            return self.run(side, texts, whole=whole)
        except (RagctlError, MemoryError):
            raise
        except Exception as error:  # as above
            raise BackendError(
                f"{self.model.name} from {self.origin} failed, told {self.told(side)}: "
                f"{describe_exception(error)}"
            ) from error

    def _check(self, counts: list[int]) -> None:
        """Refuse what the model would cut, or count it where that is asked for."""
        limit = self._limit
        if limit is None or max(counts) <= limit:
            return
        if not self.options.truncate:
            raise Refused(
                f"{max(counts):,} tokens are more than the {limit:,} that {self.model.name} reads "
                f"in {self.backend.name}, prompt included; use a smaller --chunk-size, or "
                "--truncate",
                certain=True,
            )
        for count in counts:
            if count > limit:
                self.usage.cut_one()

    def _rows(self, side: Instruction, request: EmbeddingRequest, counts: list[int]) -> Vectors:
        """Return the vectors of the texts in their order, run longest first.

        Texts of one length stand together, so that little is padding.
        """
        order = sorted(range(len(counts)), key=lambda position: -counts[position])
        parts: list[Vectors] = []
        done = 0
        while done < len(order):
            if request.stopped.is_set():
                raise Interrupted("stopped between two batches")
            longest = counts[order[done]]
            part = order[done : done + self._size(longest)]
            try:
                parts.append(self._run(side, [request.texts[position] for position in part]))
            except MemoryError as error:
                self._shrink(len(part), longest, error)
                continue
            done += len(part)
        rows = np.concatenate(parts)
        back = np.empty_like(rows)
        back[order] = rows
        return back

    def _size(self, longest: int) -> int:
        """Return how many texts go in one pass, when the longest has that many tokens."""
        size = self.runtime.batch or _MOST
        if self.budget is not None:
            size = min(size, max(1, self.budget // longest))
        return size * self.devices

    def _shrink(self, size: int, longest: int, error: MemoryError) -> None:
        """Make batches half as large from now on. Raises Refused when one text is too much."""
        each = -(-size // self.devices)
        if each == 1:
            raise Refused(
                f"a text of {longest:,} tokens needs more memory than there is for "
                f"{self.model.name}; use a smaller --chunk-size"
            ) from error
        self.budget = longest * (each // 2)
