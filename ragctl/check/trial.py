"""Test of one backend on its own, with one text as a document and as a query."""

import threading
import time
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

import numpy as np

from ragctl.catalog import Backend, BackendConfig, Catalog, Model
from ragctl.check import assess
from ragctl.check.findings import BackendReport, Finding, Reply, failed, good, note
from ragctl.embedding import Canary, Options, Patience, answers, canary, connect
from ragctl.embedding.base import EmbeddingRequest, Embeddings, EmbeddingService, Side, Vectors
from ragctl.embedding.failover import ConnectedBackend
from ragctl.embedding.served_model import unnamed_warning
from ragctl.errors import BackendError, Interrupted, UsageError

TRIAL_TEXT = "Invoices are kept for ten years after the end of the business year."


@dataclass(frozen=True, slots=True)
class TrialSettings:
    """The settings that every backend of a check is tested with.

    `model` has the instructions of `task`. `canary` is the collection's, if it has one.
    `reference`: the model that made the collection. `compare`: there are other backends to
    compare with. `seconds` is the time limit of each.
    """

    model: Model
    dim: int
    task: str | None
    options: Options
    catalog: Catalog = field(repr=False)
    environ: Mapping[str, str] = field(repr=False)
    canary: Canary | None
    threshold: float
    compare: bool
    seconds: float
    reference: str | None = None


class Trial:
    """Tests a backend step by step until a step fails. Use an instance once."""

    def __init__(self, settings: TrialSettings, name: str, config: BackendConfig) -> None:
        self._settings = settings
        self._config = config
        self._report = BackendReport(name, config.label, ())
        self._stopped = threading.Event()
        self._step = "backend"

    def run(self) -> BackendReport:
        """Run the test and return its report. Errors of the backend become findings."""
        settings = self._settings
        try:
            row = self._config.resolve(settings.catalog, settings.model.name, settings.task)
            self._add(*assess.catalog_notes(row, settings.model, settings.catalog))
            self._report = replace(self._report, model=row.models[settings.model.name].id)
            with self._limited(row), self._connected(settings.dim) as backend:
                self._add_key(row)
                self._examine(row, backend)
                if backend.wire is not None and backend.wire.unnamed:
                    self._add(note("model", unnamed_warning(self._settings.model.name)))
        except Interrupted:
            late = f"not done within {settings.seconds:g} s; allow more time with --seconds"
            self._add(failed(self._step, BackendError(late)))
        except (BackendError, UsageError) as error:
            self._add(failed(self._step, error))
        return self._report

    def _examine(self, row: Backend, backend: ConnectedBackend) -> None:
        """Send the texts of this test, and add what the answers show."""
        self._ask_both(row, backend.service)
        if not row.is_builtin and (self._settings.compare or self._settings.canary is not None):
            self._ask_canary(backend.service)

    def _add(self, *findings: Finding) -> None:
        self._report = replace(self._report, findings=(*self._report.findings, *findings))

    @contextmanager
    def _limited(self, row: Backend) -> Iterator[None]:
        """Stop when the time is up. Loading a model into this process is not limited."""
        timer = threading.Timer(self._settings.seconds, self._stopped.set)
        timer.daemon = True
        if not row.in_process:
            timer.start()
        try:
            yield
        finally:
            timer.cancel()

    @contextmanager
    def _connected(self, dim: int) -> Iterator[ConnectedBackend]:
        """Connect only this backend; warnings become notes."""
        settings = self._settings
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            try:
                embedder = connect(
                    settings.model.name,
                    dim=dim,
                    task=settings.task,
                    backends=[self._config],
                    catalog=settings.catalog,
                    environ=settings.environ,
                    patience=_patience(settings.seconds),
                    options=settings.options,
                )
            except BackendError:
                self._step = "key"
                raise
        notes = [note("warning", str(warning.message)) for warning in caught]
        self._add(*(finding for finding in notes if finding not in self._report.findings))
        with embedder:
            yield embedder.backends[0]

    def _add_key(self, row: Backend) -> None:
        if row.in_process:
            return
        variables = (name for name in row.keys if self._settings.environ.get(name, "").strip())
        found = f"the command {row.key_command[0]!r}" if row.key_command else next(variables, None)
        self._report = replace(self._report, key=found)
        self._add(good("key", f"from {found}" if found else "none, and none is required"))

    def _ask(self, wire: EmbeddingService, side: Side, step: str) -> tuple[Embeddings, Reply]:
        self._begin(step)
        together = self._settings.options.late_chunking and side == "document"
        began = time.monotonic()
        answer = wire.call(EmbeddingRequest(side, (TRIAL_TEXT,), self._stopped, together=together))
        spent = (time.monotonic() - began) * 1000
        length = answer.length or answer.vectors.shape[1]
        return answer, Reply(spent, answer.tokens, length, answer.norms[0])

    def _begin(self, step: str) -> None:
        self._step = step
        if self._stopped.is_set():
            raise Interrupted("time is up")

    def _ask_both(self, row: Backend, wire: EmbeddingService) -> None:
        answer, document = self._ask(wire, "document", "document")
        other, query = self._ask(wire, "query", "query")
        cosine = _cosine(answer.vectors[0], other.vectors[0])
        self._report = replace(self._report, document=document, query=query, cosine=cosine)
        self._add(assess.timing(document, query, row), assess.norm(document, query))
        self._add(assess.sides(cosine, self._settings.model, row))
        model, dim = self._settings.model, self._settings.dim
        asked = model.matryoshka and row.cuts_to(model.name, dim)
        if not row.is_builtin and assess.ends_in_zeros(np.stack((answer.vectors, other.vectors))):
            self._add(assess.zero_padding(document.length))
        elif asked and document.length == dim < model.dim and not row.in_process:
            self._compare_cut(answer.vectors[0])
        else:
            self._add(assess.dimensions(document.length, dim, model, row, asked))

    def _compare_cut(self, vector: Vectors) -> None:
        """Compare the vector that the host cut with its whole vector, cut here."""
        model, dim = self._settings.model, self._settings.dim
        with self._connected(model.dim) as backend:
            whole, _ = self._ask(backend.service, "document", "dimensions")
        cosine = cut_cosine(vector, whole.vectors, dim, model)
        self._report = replace(self._report, cut=cosine)
        self._add(assess.cut(cosine, dim, model))

    def _ask_canary(self, wire: EmbeddingService) -> None:
        settings = self._settings
        self._begin("canary")
        documents = canary.embed_canary(wire, "document", self._stopped).vectors
        self._begin("canary")
        vectors = Canary(documents, canary.embed_canary(wire, "query", self._stopped).vectors)
        self._report = replace(self._report, canary=vectors)
        if settings.canary is not None:
            cosines = assess.min_cosines(settings.canary, vectors)
            self._report = replace(self._report, agreement=cosines)
            if settings.reference in (None, settings.model.name):
                finding = assess.agreement("canary", "the collection", cosines, settings.threshold)
            else:
                finding = assess.membership(
                    settings.model, settings.canary, vectors, cosines, settings.threshold
                )
            self._add(finding)


def cut_cosine(vector: Vectors, whole: Vectors, dim: int, model: Model) -> float:
    """Return the cosine of a vector that a host cut to its whole one, (1, model.dim), cut here."""
    (cut_here,) = answers.to_unit_vectors(
        whole, dim, native=model.dim, cut=True, layer_norm=model.layer_norm, host="the host"
    )
    return _cosine(vector, cut_here)


def _patience(seconds: float) -> Patience:
    """Return time limits for a test that may take `seconds` in all."""
    half = seconds / 2  # there is always time for a retry
    return Patience(
        total=half,
        unanswered=min(3.0, half),
        first=0.25,
        longest=2.0,
        connect=min(5.0, half),
        read=half,
        attempt=half,
    )


def _cosine(one: Vectors, other: Vectors) -> float:
    return float(one.astype(np.float64) @ other.astype(np.float64))
