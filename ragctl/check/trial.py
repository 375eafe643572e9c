"""One backend on its own: what does it answer to one text as a document, and as a query?"""

import threading
import time
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

import numpy as np

from ragctl.catalog import Backend, BackendConfig, Catalog, Model
from ragctl.check import judge
from ragctl.check.findings import BackendReport, Finding, Reply, failed, good, note
from ragctl.embedding import Canary, Options, Patience, answers, canary, connect
from ragctl.embedding.base import EmbeddingRequest, Embeddings, EmbeddingService, Vectors
from ragctl.embedding.base import Side as SideName
from ragctl.errors import BackendError, Interrupted, UsageError

TEXT = "Invoices are kept for ten years after the end of the business year."


@dataclass(frozen=True, slots=True)
class Terms:
    """What every backend of a check is asked for.

    `model` has the sides of the `task`. `canary` is what the collection keeps, if it
    does; `several`: there are other backends to compare with. `seconds` are for each.
    """

    model: Model
    dim: int
    task: str | None
    options: Options
    catalog: Catalog = field(repr=False)
    environ: Mapping[str, str] = field(repr=False)
    canary: Canary | None
    threshold: float
    several: bool
    seconds: float


class Trial:
    """Asks a backend step by step, until a step fails. For one use."""

    def __init__(self, terms: Terms, name: str, config: BackendConfig) -> None:
        self._terms = terms
        self._config = config
        self._report = BackendReport(name, config.label, ())
        self._stopped = threading.Event()
        self._step = "backend"

    def run(self) -> BackendReport:
        """Ask, and return what came of it. Errors of the backend are findings."""
        terms = self._terms
        try:
            row = self._config.resolve(terms.catalog, terms.model.name, terms.task)
            self._add(*judge.doubts(row, terms.model, terms.catalog))
            self._report = replace(self._report, model=row.models[terms.model.name].id)
            with self._limited(row), self._connected(terms.dim) as wire:
                self._add_key(row)
                self._ask_both(row, wire)
                if not row.is_builtin and (terms.several or terms.canary is not None):
                    self._ask_canary(wire)
        except Interrupted:
            late = f"not done within {terms.seconds:g} s; more time with --seconds"
            self._add(failed(self._step, BackendError(late)))
        except (BackendError, UsageError) as error:
            self._add(failed(self._step, error))
        return self._report

    def _add(self, *findings: Finding) -> None:
        self._report = replace(self._report, findings=(*self._report.findings, *findings))

    @contextmanager
    def _limited(self, row: Backend) -> Iterator[None]:
        """Stop asking when time is up. A model may take its time to load into this process."""
        timer = threading.Timer(self._terms.seconds, self._stopped.set)
        timer.daemon = True
        if not row.in_process:
            timer.start()
        try:
            yield
        finally:
            timer.cancel()

    @contextmanager
    def _connected(self, dim: int) -> Iterator[EmbeddingService]:
        """Connect this backend alone; what would be a warning is a note."""
        terms = self._terms
        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always")
            try:
                embedder = connect(
                    terms.model.name,
                    dim=dim,
                    task=terms.task,
                    backends=[self._config],
                    catalog=terms.catalog,
                    environ=terms.environ,
                    patience=_patience(terms.seconds),
                    options=terms.options,
                )
            except BackendError:
                self._step = "key"
                raise
        notes = [note("warning", str(warning.message)) for warning in told]
        self._add(*(said for said in notes if said not in self._report.findings))
        with embedder:
            yield embedder.backends[0].service

    def _add_key(self, row: Backend) -> None:
        if row.in_process:
            return
        set_ = (name for name in row.keys if self._terms.environ.get(name, "").strip())
        found = f"the command {row.key_command[0]!r}" if row.key_command else next(set_, None)
        self._report = replace(self._report, key=found)
        self._add(good("key", f"from {found}" if found else "none, and none is required"))

    def _ask(self, wire: EmbeddingService, side: SideName, step: str) -> tuple[Embeddings, Reply]:
        self._begin(step)
        together = self._terms.options.late_chunking and side == "document"
        began = time.monotonic()
        answer = wire.call(EmbeddingRequest(side, (TEXT,), self._stopped, together=together))
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
        self._add(judge.speed(document, query, row), judge.norm(document, query))
        self._add(judge.sides(cosine, self._terms.model, row))
        model, dim = self._terms.model, self._terms.dim
        asked = model.matryoshka and row.cuts_to(model.name, dim)
        if not row.is_builtin and judge.padded(np.stack((answer.vectors, other.vectors))):
            self._add(judge.filled_up(document.length))
        elif asked and document.length == dim < model.dim and not row.in_process:
            self._compare_cut(answer.vectors[0])
        else:
            self._add(judge.dimensions(document.length, dim, model, row, asked))

    def _compare_cut(self, vector: Vectors) -> None:
        """Compare what the host cut with its whole vector, cut here."""
        model, dim = self._terms.model, self._terms.dim
        with self._connected(model.dim) as wire:
            whole, _ = self._ask(wire, "document", "dimensions")
        (mine,) = answers.to_unit_vectors(
            whole.vectors,
            dim,
            native=model.dim,
            cut=True,
            layer_norm=model.layer_norm,
            host=self._report.place,
        )
        cosine = _cosine(vector, mine)
        self._report = replace(self._report, cut=cosine)
        self._add(judge.cut(cosine, dim, model))

    def _ask_canary(self, wire: EmbeddingService) -> None:
        terms = self._terms
        self._begin("canary")
        documents = canary.embed_canary(wire, "document", self._stopped).vectors
        self._begin("canary")
        made = Canary(documents, canary.embed_canary(wire, "query", self._stopped).vectors)
        self._report = replace(self._report, canary=made)
        if terms.canary is not None:
            cosines = judge.agreement(terms.canary, made)
            self._report = replace(self._report, agreement=cosines)
            self._add(judge.agreed("canary", "the collection", cosines, terms.threshold))


def _patience(seconds: float) -> Patience:
    """Return how long to wait where everything together has so many seconds."""
    half = seconds / 2  # a second try is always made
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
