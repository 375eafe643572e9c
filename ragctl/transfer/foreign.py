"""Copy a collection of another program into one of ragctl, with its vectors.

    read theirs ─► embed a few of its texts and compare ─► create or open the copy ─► sync it

Nothing is written before the model's backend has reproduced stored vectors: otherwise questions
and later documents would be embedded by another model than the copied ones.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace

import numpy as np

from ragctl.collection.settings import Settings
from ragctl.embedding.canary import CANARY_THRESHOLD
from ragctl.errors import (
    BackendError,
    DocumentError,
    IdentityMismatch,
    OptionError,
    StoreError,
    UsageError,
)
from ragctl.hosts.usage import UsageTotals
from ragctl.index.cancellation import Cancellation
from ragctl.index.embedder import add_canary, connect_for, new_settings
from ragctl.index.report import Report
from ragctl.pipeline import Pipeline
from ragctl.progress import Progress
from ragctl.records import Notify, ignore
from ragctl.stores.base import Collection
from ragctl.stores.foreign import ForeignCollection
from ragctl.stores.foreign_layout import Layout
from ragctl.text import counted
from ragctl.transfer.copy import Copying, Place
from ragctl.transfer.documents import Difference
from ragctl.transfer.foreign_documents import ForeignDocuments

SAMPLE_POINTS = 20
SAMPLE_TEXTS = 5
"""Texts that the backend must reproduce: the shortest of SAMPLE_POINTS."""

ADVICE = "--unverified copies the vectors without this check"


@dataclass(slots=True)
class ForeignCopying:
    """One copy of a collection of another program.

    `layout`: where its points have what ragctl reads. `pipeline`: the model that made its vectors,
    and the backends. `unverified`: do not ask them. `prune_share`: share of the copied documents
    that may be deleted, from 0 to 1.
    """

    source: Place
    target: Place
    layout: Layout
    pipeline: Pipeline
    environ: Mapping[str, str]
    unverified: bool = False
    prune_share: float = 0.3
    patience: float = 0.0
    cancellation: Cancellation = field(default_factory=Cancellation)
    notify: Notify = ignore
    progress: Progress = field(default_factory=Progress)
    _usage: UsageTotals | None = None

    def run(self) -> Report:
        """Copy, or update an earlier copy. Raises RagctlError; the next call goes on from there."""
        theirs = self._open()
        pipeline = self._pipeline(theirs)
        address = f"{self.source.store.location}#{self.source.name}"
        with ExitStack() as stack:
            existing = self.target.store.open(self.target.name)
            if existing is not None:
                stack.callback(existing.close)
            settings = self._settings(pipeline, existing, theirs)
            original = ForeignDocuments(theirs, settings, address)
            with self.cancellation.interruptible():
                self.progress.begin("read")
                original.read()
            if original.counted and not original.sources:
                raise UsageError(
                    f"{self.source}: none of its {counted(original.counted, 'point')} has a "
                    "text at "
                    f"{self.layout.text} and a vector; name the field with --text-field"
                )
            check: Callable[[Difference], None] = lambda _: None  # noqa: E731
            if existing is None:
                original.settings = self._verified(pipeline, None, original, original.sources)
            else:
                check = self._checking(pipeline, existing, original)
            copying = Copying(
                self.source,
                self.target,
                prune_share=self.prune_share,
                patience=self.patience,
                cancellation=self.cancellation,
                notify=self.notify,
                progress=self.progress,
                on_plan=check,
                open_original=lambda _: original,
                source_name=address,
            )
            report = copying.run()
        if self._usage is not None:
            report.set_usage(self._usage)
        self._warn(report, original, theirs)
        return report

    def _open(self) -> ForeignCollection:
        from ragctl.stores.server import ServerStore

        if not isinstance(self.source.store, ServerStore):
            raise OptionError("model", "a folder holds only collections of ragctl")
        theirs = self.source.store.foreign(self.source.name, self.layout)
        if theirs is None:
            raise UsageError(f"there is no {self.source}")
        return theirs

    def _pipeline(self, theirs: ForeignCollection) -> Pipeline:
        """Return the pipeline with the dimension of the vectors. Raises UsageError."""
        pipeline, dim = self.pipeline, theirs.settings.dim
        asked = pipeline.embedding.dim
        problem = f"{self.source} has vectors of {dim} dimensions"
        if asked not in (None, dim):
            raise UsageError(
                f"{problem}, not {asked}; copy them, then run "
                f"`ragctl migrate {self.target.name} --dim {asked}`"
            )
        try:
            model = pipeline.catalog.model(self.layout.model)
            model.size(dim)
        except UsageError as error:
            raise UsageError(f"{problem}: {error}") from None
        embedding = replace(pipeline.embedding, model=model.name, dim=dim)
        return replace(pipeline, embedding=embedding)

    def _settings(
        self, pipeline: Pipeline, existing: Collection | None, theirs: ForeignCollection
    ) -> Settings:
        """Return the settings of the copy. Raises IdentityMismatch if it has another model."""
        with connect_for(pipeline, existing, self.environ, dry=True) as embedder:
            if existing is not None:
                settings = existing.settings
            else:
                settings = replace(new_settings(pipeline, embedder), namespace=self.target.name)
        return replace(settings, fields={**settings.fields, **theirs.settings.fields})

    def _checking(
        self, pipeline: Pipeline, existing: Collection, original: ForeignDocuments
    ) -> Callable[[Difference], None]:
        """Return a check of the documents that are about to be written."""

        def check(difference: Difference) -> None:
            changed = [document.source for document in difference.changed]
            if changed and self._usage is None:
                self._verified(pipeline, existing, original, changed)

        return check

    def _verified(
        self,
        pipeline: Pipeline,
        existing: Collection | None,
        original: ForeignDocuments,
        sources: Sequence[str],
    ) -> Settings:
        """Check that the model made the vectors; return the settings of a copy, with a canary.

        Raises IdentityMismatch if it did not, BackendError if it cannot be asked.
        """
        settings = original.settings
        if self.unverified:
            return replace(settings, origin=replace(settings.origin, unverified=True))
        try:
            with connect_for(pipeline, existing, self.environ, notify=self.notify) as embedder:
                self._usage = embedder.usage
                sample = original.sample(sources, SAMPLE_POINTS)
                sample = sorted(sample, key=lambda record: len(record.text))[:SAMPLE_TEXTS]
                if sources and not sample:
                    raise StoreError(f"{self.source} changes at this moment; copy again")
                stored = np.array([record.dense for record in sample], dtype=np.float64)
                with self.cancellation.interruptible():
                    if sample:
                        self._compare(stored, embedder.documents([r.text for r in sample]))
                    return settings if existing is not None else add_canary(settings, embedder)
        except (BackendError, DocumentError) as error:
            raise BackendError(
                f"{self.layout.model} cannot be asked whether it made the vectors of "
                f"{self.source}: {error}; {ADVICE}"
            ) from error

    def _compare(self, stored: np.ndarray, made: np.ndarray) -> None:
        norms = np.linalg.norm(stored, axis=1)
        lowest = float(np.min(np.sum(stored * made, axis=1) / norms))
        if not lowest >= CANARY_THRESHOLD:
            raise IdentityMismatch(
                f"{self.layout.model} does not reproduce the vectors of {self.source} (lowest "
                f"cosine {lowest:.3f} of {counted(len(made), 'text')}, {CANARY_THRESHOLD} is "
                "needed): another "
                f"model, prompt or text made them; name that model, or {ADVICE}"
            )

    def _warn(self, report: Report, original: ForeignDocuments, theirs: ForeignCollection) -> None:
        name = self.source.name
        if self.unverified:
            report.add_warning(name, f"nobody checked that {self.layout.model} made its vectors")
        if original.without_text:
            report.add_warning(
                name, f"left out: {counted(original.without_text, 'point')} without a text"
            )
        if original.without_vector:
            report.add_warning(
                name,
                f"left out: {counted(len(original.without_vector), 'point')} without a vector "
                f"({', '.join(original.without_vector[:3])})",
            )
        if theirs.distance == "Manhattan" or (theirs.distance != "Cosine" and not original.unit):
            report.add_warning(
                name,
                f"it ranks by {theirs.distance} and its vectors are not all of unit length; the "
                "copy ranks by cosine, so hits may come in another order",
            )
