"""The settings of a pipeline for a collection that has lost its own.

Nothing stored says which model made the vectors then. So the pipeline's model must reproduce a
sample of them from their texts before anything is written with its settings.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from ragctl.collection.family import other_members
from ragctl.collection.payload import Point
from ragctl.collection.settings import Settings
from ragctl.collection.text import embedded_text
from ragctl.embedding.base import Vectors
from ragctl.embedding.canary import CANARY_THRESHOLD
from ragctl.errors import IdentityMismatch, UnreadableCollection
from ragctl.index.embedder import add_canary, connect_for, new_settings
from ragctl.index.verify import vector_problem
from ragctl.pipeline import Pipeline
from ragctl.records import Notify, ignore
from ragctl.text import counted

SAMPLE_POINTS = 200
"""Points among which the sample is chosen."""

SAMPLE_TEXTS = 5


@dataclass(frozen=True, slots=True)
class Confirmed:
    """Settings with a canary. `members`: other models of the family that may have made vectors."""

    settings: Settings
    members: Sequence[str]


@dataclass(frozen=True)
class PipelineSettings:
    """The settings that a run of this pipeline would give a new collection."""

    pipeline: Pipeline
    environ: Mapping[str, str]
    notify: Notify = ignore

    @cached_property
    def settings(self) -> Settings:
        """The settings, without a canary and unconfirmed. Raises UsageError."""
        with connect_for(self.pipeline, None, self.environ, dry=True) as embedder:
            return new_settings(self.pipeline, embedder)

    def confirmed(self, points: Sequence[Point]) -> Confirmed:
        """Return the settings with a canary, if the model reproduces vectors of these points.

        Vectors of other members of its family are as near to the model's own as the family's are.
        `points`: sound ones of the collection. Raises UnreadableCollection if there is nothing to
        compare, IdentityMismatch if the vectors differ, BackendError if the model cannot be asked.
        """
        name = self.pipeline.collection
        lost = f"collection {name!r} has lost its settings, and those of the pipeline "
        otherwise = f"delete it with `ragctl delete --all -c {name}` and ingest again"
        if self.settings.identity.late_chunking:
            raise UnreadableCollection(
                f"{lost}cannot be checked: a vector of late chunking depends on the texts around "
                f"its own; {otherwise}"
            )
        chunks = [point for point in points if point.payload["chunks"]]
        usable = [point for point in chunks if vector_problem(point, self.settings.dim) is None]
        if not usable:
            reason = "no vector can be read"
            if chunks:
                reason = f"{vector_problem(chunks[0], self.settings.dim)}"
            raise UnreadableCollection(f"{lost}do not fit what is left: {reason}; {otherwise}")
        sample = usable[:: max(1, len(usable) // SAMPLE_TEXTS)][:SAMPLE_TEXTS]
        stored = np.array([point.dense for point in sample], dtype=np.float64)
        rows = [point.payload for point in sample]
        with connect_for(self.pipeline, None, self.environ, notify=self.notify) as embedder:
            made = embedder.documents([embedded_text(r["text"], r["heading"]) for r in rows])
            lowest = float(np.min(np.sum(stored * made, axis=1)))
            own = lowest >= CANARY_THRESHOLD
            least = embedder.model.family_cosine or CANARY_THRESHOLD
            if not own and not (lowest >= least and _is_nearest(stored, made, least)):
                raise IdentityMismatch(
                    f"{lost}are not its own: {embedder.model.name} does not reproduce its vectors "
                    f"(lowest cosine {lowest:.3f} of {counted(len(sample), 'text')}, "
                    f"{least:g} is needed); name the model that made them in the "
                    f"pipeline file, or {otherwise}"
                )
            identity, catalog = self.settings.identity, self.pipeline.catalog
            others = () if own else other_members(identity, catalog)
            return Confirmed(add_canary(self.settings, embedder), others)


def _is_nearest(stored: NDArray[np.float64], made: Vectors, least: float) -> bool:
    """Return whether each vector stored by another member is nearest to the one of its own text.

    Texts that the model itself makes alike, at a cosine of `least`, are not told apart.
    """
    alike = made @ made.T >= least
    np.fill_diagonal(alike, False)
    cosines = np.where(alike, -1.0, stored @ made.T)
    return bool(np.all(np.argmax(cosines, axis=1) == np.arange(len(made))))
