"""Base of the wires to models in this process: load once, count tokens, batch by tokens."""

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
from ragctl.text import counted, describe_exception

MAX_TEXTS_PER_PASS = 256
TRIAL_TEXT = "text"
"""Embedded once per side after loading, to detect a wrong model at once."""


class RuntimeWire(BackendWire):
    """A wire to a model in this process. A subclass loads the model, counts tokens and runs it.

    The model is loaded and tried at the first request, under a lock that admits one
    request at a time. Every text is counted with the model's own tokenizer, prompt
    included, so that none is truncated silently and usage is exact.
    """

    truncates = True
    package: ClassVar[str]
    """The package that must be importable. The extra that installs it has the wire's name."""
    install_note: ClassVar[str] = ""
    """Added to the message that names the missing extra."""

    def __init__(
        self, model: Model, backend: Backend, dim: int, usage: Usage, options: Options
    ) -> None:
        """Raise UsageError if the extra or the folder of weights is missing. Loads nothing."""
        if find_spec(self.package) is None:
            raise UsageError(
                f"the {backend.name} backend needs its extra: "
                f"{install_command(backend.wire)}{self.install_note}"
            )
        self.model = model
        self.backend = backend
        self.dim = dim
        self.usage = usage
        self.options = options
        self.runtime = backend.runtime
        self.tokens_per_pass: int | None = None
        """Tokens per forward pass, padding included; None: only the number of texts is limited."""
        self.devices = 1
        """Number of devices that share a request."""
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
        """Load the model. Return the tokens of a text that it reads, None if it does not say."""

    @abstractmethod
    def truncate_at(self, tokens: int) -> None:
        """Make the model read only that many tokens of each text."""

    @abstractmethod
    def count(self, instruction: Instruction, texts: Sequence[str]) -> list[int]:
        """Return the token count of each text, with its prompt and the tokenizer's own tokens."""

    @abstractmethod
    def run(self, instruction: Instruction, texts: list[str], *, whole: bool = False) -> Vectors:
        """Return one vector per text, shape (texts, native size or `dim`).

        `whole`: return native vectors; otherwise the runtime may cut them itself. Raises
        MemoryError if a smaller batch might pass; the caller turns any other exception
        into a BackendError.
        """

    @abstractmethod
    def describe_call(self, instruction: Instruction) -> str:
        """Return, for messages, the arguments of a call and the version of the runtime."""

    def check_trial(self, instruction: Instruction, rows: Vectors) -> None:
        """Raise BackendError if the vectors of TRIAL_TEXT, shape (1, size), cannot be right."""

    @abstractmethod
    def unload(self) -> None:
        """Free the model."""

    @property
    def served(self) -> ServedModel:
        """The model as this backend serves it."""
        return self.backend.models[self.model.name]

    @property
    def weights(self) -> Path | None:
        """The local folder to load the model from, if there is one."""
        return None if self.served.weights is None else Path(self.served.weights)

    @property
    def location(self) -> str:
        """Where the model is loaded from: a folder, or its name on the hub."""
        return self.served.weights or self.served.id

    def call(self, request: EmbeddingRequest) -> Embeddings:
        """Return the vectors, after loading the model at the first request."""
        with self._lock:
            self._load_once()
            document = request.side == "document"
            instruction = self.model.document if document else self.model.query
            counts = self.count(instruction, request.texts)
            self._check_lengths(counts)
            rows = self._rows(instruction, request, counts)
        limit = self._limit
        read = sum(count if limit is None else min(count, limit) for count in counts)
        return answers.from_vectors(rows, read, self.model, self.dim, self.backend.name)

    def close(self) -> None:
        """Unload the model, if it was loaded."""
        with self._lock:
            if self._loaded:
                self._loaded = False
                self.unload()

    def _load_once(self) -> None:
        """Load the model once and embed TRIAL_TEXT on each side, so that errors show at once."""
        if self._failure is not None:
            raise self._failure
        if self._loaded:
            return
        try:
            self._load()
            self._loaded = True
            for instruction in (self.model.document, self.model.query):
                self._run_trial(instruction)
        except RagctlError as error:
            self._failure = error
            raise

    def _load(self) -> None:
        try:
            own = self.load()
            limits = (own, self.model.context, self.served.context)
            self._limit = min((limit for limit in limits if limit), default=None)
            if self.options.truncate and self._limit is not None:
                self.truncate_at(self._limit)
        except RagctlError:
            raise
        except Exception as error:  # a repository's own code may raise anything
            raise BackendError(
                f"{self.model.name} cannot be loaded from {self.location}: "
                f"{describe_exception(error)}"
            ) from error

    def _run_trial(self, instruction: Instruction) -> None:
        try:
            rows = self._run(instruction, [TRIAL_TEXT], whole=True)
        except MemoryError as error:
            raise BackendError(f"there is not enough memory to run {self.model.name}") from error
        if rows.shape != (1, self.model.dim):
            raise BackendError(
                f"{self.location} makes vectors of {counted(rows.shape[-1], 'dimension')}, and "
                f"{self.model.name} has {self.model.dim}: these are other weights"
            )
        self.check_trial(instruction, rows)

    def _run(self, instruction: Instruction, texts: list[str], *, whole: bool = False) -> Vectors:
        try:
            return self.run(instruction, texts, whole=whole)
        except (RagctlError, MemoryError):
            raise
        except Exception as error:  # a repository's own code may raise anything
            raise BackendError(
                f"{self.model.name} from {self.location} failed, called with "
                f"{self.describe_call(instruction)}: {describe_exception(error)}"
            ) from error

    def _check_lengths(self, counts: list[int]) -> None:
        """Raise Refused if a text is too long; if truncation is allowed, count those texts."""
        limit = self._limit
        if limit is None or max(counts) <= limit:
            return
        if not self.options.truncate:
            raise Refused(
                f"{counted(max(counts), 'token is', 'tokens are')} more than the {limit:,} that "
                f"{self.model.name} reads "
                f"in {self.backend.name}, prompt included; use a smaller --chunk-size, or "
                "--truncate",
                certain=True,
            )
        for count in counts:
            if count > limit:
                self.usage.cut_one()

    def _rows(
        self, instruction: Instruction, request: EmbeddingRequest, counts: list[int]
    ) -> Vectors:
        """Return the vectors of the texts in their order.

        The texts run sorted by length, longest first, so that batches need little padding.
        """
        order = sorted(range(len(counts)), key=lambda position: -counts[position])
        parts: list[Vectors] = []
        done = 0
        while done < len(order):
            if request.stopped.is_set():
                raise Interrupted("stopped between two batches")
            longest = counts[order[done]]
            part = order[done : done + self._texts_per_pass(longest)]
            try:
                parts.append(self._run(instruction, [request.texts[position] for position in part]))
            except MemoryError as error:
                self._shrink(len(part), longest, error)
                continue
            done += len(part)
        rows = np.concatenate(parts)
        in_order = np.empty_like(rows)
        in_order[order] = rows
        return in_order

    def _texts_per_pass(self, longest: int) -> int:
        """Return the texts per pass if the longest has `longest` tokens."""
        size = self.runtime.batch or MAX_TEXTS_PER_PASS
        if self.tokens_per_pass is not None:
            size = min(size, max(1, self.tokens_per_pass // longest))
        return size * self.devices

    def _shrink(self, size: int, longest: int, error: MemoryError) -> None:
        """Halve the batches from now on. Raises Refused if a single text is too large."""
        per_device = -(-size // self.devices)
        if per_device == 1:
            raise Refused(
                f"a text of {counted(longest, 'token')} needs more memory than there is for "
                f"{self.model.name}; use a smaller --chunk-size"
            ) from error
        self.tokens_per_pass = longest * (per_device // 2)
