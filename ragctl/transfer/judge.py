"""Compare two generations of a collection with questions whose answers are known."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from ragctl.catalog import Catalog
from ragctl.embedding.embedder import Embedder
from ragctl.evaluate import measures
from ragctl.evaluate.compare import compare
from ragctl.evaluate.questions import Questions
from ragctl.evaluate.sweep import evaluate
from ragctl.evaluate.variant import Variant
from ragctl.hosts.retry import Patience
from ragctl.progress import Progress
from ragctl.records import Notify, ignore
from ragctl.search.query import embedder_of
from ragctl.stores import is_server
from ragctl.stores.base import Collection, Store
from ragctl.text import counted
from ragctl.transfer.migration_report import Verdict

SIGNIFICANCE = 0.05
"""Highest p of the paired randomisation test at which the new generation counts as better."""


@dataclass(frozen=True, slots=True)
class Judge:
    """Accepts a new generation whose nDCG@10 is significantly higher.

    Both are searched in hybrid mode. The paired test is that of `ragctl eval`.
    """

    store: Store
    questions: Questions
    environ: Mapping[str, str]
    catalog: Catalog | None = None
    notify: Notify = ignore
    progress: Progress = field(default_factory=Progress)

    def __call__(self, current: Collection, target: Collection, embedder: Embedder) -> Verdict:
        """Return the verdict. Embeds the questions with both models. Raises RagctlError."""
        with embedder_of(
            current,
            environ=self.environ,
            catalog=self.catalog,
            remote=is_server(self.store.location),
            patience=Patience(),
            notify=self.notify,
        ) as former:
            before = self._scores(current, former)
        after = self._scores(target, embedder)
        shared = sorted(before.keys() & after.keys())
        if not shared:
            return Verdict(False, "no question has an answer in both generations")
        (found,) = compare(
            {question: before[question] for question in shared},
            [{question: after[question] for question in shared}],
        )
        accepted = found.difference > 0 and found.p < SIGNIFICANCE
        return Verdict(
            accepted,
            f"nDCG@10 {found.first:.4f} → {found.second:.4f} over "
            f"{counted(len(shared), 'question')} "
            f"(p = {found.p:.3f}): {'better' if accepted else 'not significantly better'}",
        )

    def _scores(self, collection: Collection, embedder: Embedder) -> Mapping[str, float]:
        result = evaluate(
            self.store,
            collection,
            self.questions,
            [Variant()],
            embedder=embedder,
            progress=self.progress,
        ).results[0]
        return result.scores[measures.NDCG]
