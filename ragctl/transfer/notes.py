"""Notes move with a collection: what was spent stays spent, whatever generation is current."""

from collections.abc import Sequence

from ragctl.collection.notes import DaySpending, Notes, Recorded
from ragctl.stores.base import Collection


def carry_notes(current: Collection, target: Collection) -> None:
    """Bring the notes of a generation that is not current up to date with those of the current.

    What a migration has spent on it so far is added. Repeating it changes nothing.
    """
    before, own = current.notes(), target.notes()
    before.pop("replaces", None)  # each generation has its own
    before.pop("members", None)
    start = recorded(before)
    mine = recorded(own)
    base = own.get("baseline", mine)
    target.note(
        {
            **before,
            "places": own.get("places") or before.get("places", {}),
            **_open_jobs(before, own),
            "billed": _sums(start["billed"], mine["billed"], base["billed"]),
            "spent": _days(start["spent"], mine["spent"], base["spent"]),
            "baseline": start,
        }
    )


def carry_members(current: Collection, target: Collection) -> None:
    """Note in the target which models made the vectors that are copied to it."""
    note_members(target, current.notes().get("members", []))


def note_members(target: Collection, members: Sequence[str]) -> None:
    """Note which other models of the family made vectors in the target."""
    own = target.notes().get("members", [])
    if missing := [name for name in members if name not in own]:
        target.note({"members": [*own, *missing]})


def _open_jobs(before: Notes, own: Notes) -> Notes:
    """Return the open batch jobs of both generations."""
    jobs = {job["id"]: job for job in (*own.get("batches", ()), *before.get("batches", ()))}
    return {"batches": list(jobs.values())} if jobs else {}


def note_switch(current: Collection, target: Collection) -> None:
    """Bring the notes of the target up to date, and note that it is about to replace `current`."""
    carry_notes(current, target)
    settle_notes(current)
    target.note({"replaces": current.settings.generation})


def settle_notes(current: Collection) -> None:
    """Note that the spending on a generation was carried to another one; under its lock."""
    current.note({"baseline": recorded(current.notes())})


def recorded(notes: Notes) -> Recorded:
    """Return the spending in notes."""
    return {"billed": notes.get("billed", {}), "spent": notes.get("spent", {})}


def _sums(before: dict[str, int], own: dict[str, int], base: dict[str, int]) -> dict[str, int]:
    return {
        name: before.get(name, 0) + max(0, own.get(name, 0) - base.get(name, 0))
        for name in sorted({*before, *own})
    }


def _days(
    before: dict[str, DaySpending], own: dict[str, DaySpending], base: dict[str, DaySpending]
) -> dict[str, DaySpending]:
    nothing: DaySpending = {"tokens": 0, "cost": 0.0}
    days: dict[str, DaySpending] = {}
    for day in sorted({*before, *own}):
        row, mine, start = (notes.get(day, nothing) for notes in (before, own, base))
        days[day] = {
            "tokens": row["tokens"] + max(0, mine["tokens"] - start["tokens"]),
            "cost": round(row["cost"] + max(0.0, mine["cost"] - start["cost"]), 8),
        }
    return days
