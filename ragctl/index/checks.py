"""What a run verifies of a collection before it makes its plan.

Every run reads the points of a random sample of documents, small collections entirely, so that
damage cannot stay unnoticed while nothing changes. All points are read by `ragctl verify`, and
by a run whose pipeline asks for it (`policy.verify_days`).
"""

import random
from collections.abc import Callable

from ragctl.collection.notes import Notes
from ragctl.collection.state import State
from ragctl.index.plan import Plan
from ragctl.index.report import Report
from ragctl.index.verify import Damage, inspect_collection
from ragctl.stores.base import Collection

SAMPLE_POINTS = 2_000
"""Points that a run reads of an otherwise unchanged collection: 0.2 s in the embedded store."""
DAY_SECONDS = 86_400.0


def is_due(notes: Notes, days: float | None, now: float) -> bool:
    """Return whether the last verification of all points is older than `days`.

    `now`: seconds since 1970. A time in the future, after the clock was set back, is due too.
    """
    if days is None:
        return False
    verified = notes.get("verified")
    return verified is None or not verified <= now < verified + days * DAY_SECONDS


def inspect_sample(collection: Collection, state: State, *, vectors: bool) -> Damage:
    """Return the damage of some complete documents, chosen at random. Writes nothing.

    `vectors`: read the vectors too. Raises UnreadableCollection if the store cannot read them.
    """
    complete = [document for document in state.documents.values() if document.complete]
    random.shuffle(complete)
    sample: list[str] = []
    points = 0
    for document in complete:
        if points >= SAMPLE_POINTS:
            break
        sample.append(document.source)
        points += max(1, document.chunks)
    return inspect_collection(collection, state, sources=sample, vectors=vectors)


def report_damage(damage: Damage, report: Report) -> None:
    """Add the damage to a report: a warning for each damaged document."""
    report.damaged = len(damage.documents)
    first = {fault.source: fault.what for fault in reversed(damage.faults)}
    for source in sorted(damage.documents):
        report.add_warning(source, f"it was damaged in the collection ({first[source]})")


def report_unrepaired(
    damage: Damage, plan: Plan, report: Report, *, known: Callable[[str], bool]
) -> None:
    """Add a failure for each damaged document that this plan neither reads again nor removes.

    `known`: whether a document is a failure of this run already.
    """
    covered = {document.source for work in plan.work_items for document in work.stored}
    covered |= {document.source for document in plan.removed}
    for source in sorted(damage.documents - covered):
        if not known(source):
            report.add_failure(
                source,
                "it is damaged in the collection, and not among the files of this run; run the "
                "whole pipeline that indexed it, or delete it with `ragctl delete`",
            )
