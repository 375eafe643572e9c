"""What has to be done, worked out before anything is written. Pure: no file, no network."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from ragctl.collection.points import FileStat
from ragctl.collection.state import State, Stored
from ragctl.errors import PruneRefused

PRUNE_ALWAYS = 10  # documents that may go without asking, whatever their share


@dataclass(frozen=True, slots=True)
class WorkItem:
    """A file to read, why, and the documents of it that the store has."""

    stat: FileStat
    recipe: str
    why: str  # "new" | "changed" | "recipe" | "incomplete"
    stored: tuple[Stored, ...]

    @property
    def known(self) -> dict[str, str]:
        """Documents that need nothing if their content is still the same."""
        return {d.source: d.digest for d in self.stored if d.whole and d.recipe == self.recipe}


@dataclass(frozen=True, slots=True)
class Plan:
    """`unchanged`: documents that stand. `removed`: sources whose points go, last of all."""

    work_items: tuple[WorkItem, ...]
    unchanged: int
    removed: tuple[Stored, ...]
    elsewhere: int  # documents of other roots, left alone

    @property
    def is_empty(self) -> bool:
        return not self.work_items and not self.removed


def make_plan(
    found: Sequence[FileStat],
    state: State,
    recipe: Callable[[FileStat], str],
    *,
    scopes: frozenset[str] = frozenset(),
    keep: Callable[[str], bool] = lambda _: False,
    selected: Callable[[str], bool] = lambda _: True,
) -> Plan:
    """Compare the files there are with the documents there are.

    `recipe`: of a file. `scopes`: roots that were looked at whole, so that
    what was not found there is gone; empty when nothing may be removed.
    `keep`: files to leave alone though not found. `selected`: the only files that
    this run has to do with.
    """
    work_items: list[WorkItem] = []
    unchanged = 0
    present = {stat.file for stat in found if selected(stat.file)}
    for stat in found:
        if stat.file not in present:
            continue
        wanted = recipe(stat)
        stored = state.files.get(stat.file, ())
        why = _why(stat, wanted, stored)
        if why is None:
            unchanged += len(stored)
        else:
            work_items.append(WorkItem(stat, wanted, why, stored))
    gone = [d for d in state.documents.values() if d.file not in present and not keep(d.file)]
    removed = tuple(d for d in gone if d.root in scopes and selected(d.file))
    return Plan(tuple(work_items), unchanged, removed, elsewhere=len(gone) - len(removed))


def _why(stat: FileStat, recipe: str, stored: tuple[Stored, ...]) -> str | None:
    if not stored:
        return "new"
    if not all(d.whole and d.parts == len(stored) for d in stored):
        return "incomplete"
    if any(d.recipe != recipe for d in stored):
        return "recipe"
    standing = (stat.size, stat.mtime_ns, stat.root)
    if any((d.size, d.mtime_ns, d.root) != standing for d in stored):
        return "changed"
    return None


def check_prune(plan: Plan, state: State, share: float) -> None:
    """Refuse a plan that removes more than `share` (0 to 1) of the documents.

    A file that was only renamed keeps its size and time, so what reappears with
    the same ones is not counted; `check_removal` looks again when contents are known.
    """
    arriving = Counter(
        (work.stat.size, work.stat.mtime_ns) for work in plan.work_items if work.why == "new"
    )
    documents = Counter(d.file for d in plan.removed)
    going = 0
    for file in {d.file: d for d in plan.removed}.values():
        stat = (file.size, file.mtime_ns)
        if arriving[stat] > 0:
            arriving[stat] -= 1
        else:
            going += documents[file.file]
    check_removal(going, len(state.documents), share)


def check_removal(going: int, total: int, share: float) -> None:
    """Raises PruneRefused for more than `share` of `total` and more than PRUNE_ALWAYS."""
    if going > PRUNE_ALWAYS and going > share * total:
        raise PruneRefused(
            f"{going} of {total} documents ({going / total:.0%}) would be removed, more than "
            f"{share:.0%}; if they are really gone, allow it with --prune-limit 100, "
            "or keep them with --no-prune"
        )


def renames(removed: Sequence[Stored], added: Mapping[str, int]) -> int:
    """How many of `removed` live on under another source: content (digest) added in this run."""
    left = Counter(added)
    count = 0
    for document in removed:
        if left[document.digest] > 0:
            left[document.digest] -= 1
            count += 1
    return count
