"""What a migration did, and what it spent."""

from dataclasses import dataclass, field

from ragctl.collection.notes import add_billed
from ragctl.collection.settings import Settings
from ragctl.embedding.embedder import Embedder
from ragctl.index.budget import BudgetTracker
from ragctl.index.report import Report
from ragctl.pipeline import Budget
from ragctl.records import Json
from ragctl.stores.base import Collection
from ragctl.transfer.migration_plan import How, same_form


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether to switch to the new generation, and the reason in one line."""

    accepted: bool
    reason: str


@dataclass(slots=True)
class MigrationReport:
    """What a migration did or would do.

    `report`: documents, chunks, tokens and cost, as for a run. `generation`: number of the new
    generation; None in a dry run, or if there was nothing to change. `switched`: whether the name
    leads to it now. `removed`: numbers of the generations that were deleted.
    """

    how: How
    before: Settings
    after: Settings
    report: Report
    generation: int | None = None
    switched: bool = False
    removed: list[int] = field(default_factory=list)
    verdict: Verdict | None = None

    @property
    def is_empty(self) -> bool:
        """Whether the collection is already as wanted."""
        return self.how == "keep" and same_form(self.before, self.after)

    def to_json(self) -> dict[str, Json]:
        """Return the JSON object of this report."""
        return {
            "how": self.how,
            "from": self.before.identity.to_json(),
            "to": self.after.identity.to_json(),
            "generation": self.generation,
            "switched": self.switched,
            "removed_generations": list(self.removed),
            "verdict": None if self.verdict is None else self.verdict.reason,
            **self.report.to_json(),
        }


class SpendingRecord:
    """Writes what a migration spent to the notes of the generation that it fills, once.

    `budget`: continues the spending in those notes.
    """

    def __init__(self, target: Collection, embedder: Embedder, budget: Budget, now: float) -> None:
        self.budget = BudgetTracker(budget, embedder.usage, target, now)
        self._target = target
        self._usage = embedder.usage
        self._written = False

    def write(self, report: Report) -> None:
        """Write the notes, unless they are written, and the usage to the report."""
        if self._written:
            return
        self._written = True
        report.set_usage(self._usage)
        if report.backends:
            billed = add_billed(self._target.notes(), report.backends)
            self._target.note({"billed": billed, "spent": self.budget.note()})
