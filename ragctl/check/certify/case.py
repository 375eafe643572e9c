"""Everything that is known about a backend, and how findings about it are worded."""

from collections.abc import Mapping
from dataclasses import dataclass

from ragctl.catalog import Backend, Model
from ragctl.check.certify.diagnosis import Diagnosis
from ragctl.check.certify.evidence import Evidence
from ragctl.check.certify.reference import Cause, Reference
from ragctl.check.findings import Finding, failed, good, skipped
from ragctl.errors import BackendError, IdentityMismatch


@dataclass(frozen=True, slots=True)
class Case:
    """Everything that is known about a backend.

    `context`: the most tokens of a text here. `asked`: the host was asked for `dim` dimensions.
    `references`, and a diagnosis for each. `moved`: as `diagnosis.misplaced` returns it. `limit`:
    the canary limit. `revision`: that the catalogue or the collection names. `truncates`: longer
    texts are truncated at the user's wish.
    """

    model: Model
    row: Backend
    dim: int
    context: int | None
    asked: bool
    evidence: Evidence
    references: tuple[Reference, ...]
    diagnoses: tuple[Diagnosis, ...]
    moved: Mapping[int, int]
    limit: float
    truncates: bool

    def with_cause(self, *causes: Cause) -> Diagnosis | None:
        """Return the first diagnosis with one of these causes."""
        return next((each for each in self.diagnoses if each.cause in causes), None)

    @property
    def difference(self) -> Diagnosis | None:
        """The first diagnosis that found a fault."""
        return next((each for each in self.diagnoses if each.cause is not None), None)

    @property
    def compared(self) -> str:
        """The names of the references."""
        return " and ".join(each.name for each in self.references)


def compared(case: Case, what: str, more: str = "") -> Finding:
    """Return the finding on a property that shows only in a comparison, which found no fault."""
    if case.row.is_builtin:
        return good(what, "part of ragctl: its version decides the vectors")
    if not case.references:
        return skipped(
            what,
            f"there is nothing to compare with{more}: name a collection (-c), or --against with a "
            "second backend or a model in this process",
        )
    difference = case.difference
    if difference is None:
        lowest = min(each.lowest for each in case.diagnoses)
        return good(what, f"the vectors are those of {case.compared} (cosine {lowest:.4f}){more}")
    if difference.shown:
        return good(what, f"the vectors differ by nothing but {difference.cause}{more}")
    return skipped(what, f"the vectors differ, see {difference.cause}{more}")


def fault(what: str, text: str) -> Finding:
    """Return the finding of a fault that shows in the answers themselves."""
    return failed(what, BackendError(text))


def mismatch(case: Case, what: str, found: Diagnosis, remedy: str, name: str = "wrong") -> Finding:
    """Return the finding that a difference from a reference has this cause."""
    certain = found.shown or any(each.variants for each in case.references)
    return failed(
        what,
        IdentityMismatch(
            f"{name}: other vectors than {found.reference} ({found.figures}); {found.detail}. "
            f"{remedy[0].upper()}{remedy[1:]}"
            + ("" if certain else "; --against a model in this process names it for certain")
        ),
    )
