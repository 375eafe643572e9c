"""The difference between a scan and a collection's state. Pure: no files, no network."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from ragctl.collection.state import State, StoredDocument
from ragctl.errors import PruneRefused
from ragctl.index.prepared import FileStat
from ragctl.text import counted

ALWAYS_REMOVABLE_DOCUMENTS = 10
"""Up to this many documents are removed without confirmation, whatever their share."""


@dataclass(frozen=True, slots=True)
class WorkItem:
    """A file to read, why, and its documents in the collection.

    `recipe`: digest of the current recipe of its documents.
    `why`: "new", "changed", "recipe" (the recipe changed) or "incomplete".
    """

    stat: FileStat
    recipe: str
    why: str
    stored: tuple[StoredDocument, ...]

    @property
    def known(self) -> dict[str, str]:
        """Digests, by source, of the documents to skip if their content did not change."""
        return {d.source: d.digest for d in self.stored if d.complete and d.recipe == self.recipe}


@dataclass(frozen=True, slots=True)
class Plan:
    """What a run will do.

    `unchanged`: number of documents that are up to date. `removed`: documents whose points
    are removed at the end of the run. `elsewhere`: number of documents of other roots,
    which are left alone.
    """

    work_items: tuple[WorkItem, ...]
    unchanged: int
    removed: tuple[StoredDocument, ...]
    elsewhere: int

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to do."""
        return not self.work_items and not self.removed


def make_plan(
    files: Sequence[FileStat],
    state: State,
    recipe: Callable[[FileStat], str],
    *,
    scopes: frozenset[str] = frozenset(),
    keep: Callable[[str], bool] = lambda _: False,
    selected: Callable[[str], bool] = lambda _: True,
) -> Plan:
    """Compare the files on disk with the documents in the collection.

    `recipe` returns the recipe digest of a file. `scopes`: roots that were listed
    completely, so that documents not found there are removed; empty: remove nothing.
    `keep`: files that are kept although they were not found. `selected`: the files
    that this run looks at.
    """
    work_items: list[WorkItem] = []
    unchanged = 0
    present = {stat.file for stat in files if selected(stat.file)}
    for stat in files:
        if stat.file not in present:
            continue
        current_recipe = recipe(stat)
        stored = state.files.get(stat.file, ())
        why = _why(stat, current_recipe, stored)
        if why is None:
            unchanged += len(stored)
        else:
            work_items.append(WorkItem(stat, current_recipe, why, stored))
    absent = [d for d in state.documents.values() if d.file not in present and not keep(d.file)]
    removed = tuple(d for d in absent if d.root in scopes and selected(d.file))
    return Plan(tuple(work_items), unchanged, removed, elsewhere=len(absent) - len(removed))


def _why(stat: FileStat, recipe: str, stored: tuple[StoredDocument, ...]) -> str | None:
    """Return why a file must be read; None if its documents are up to date."""
    if not stored:
        return "new"
    if not all(d.complete and d.parts == len(stored) for d in stored):
        return "incomplete"
    if any(d.recipe != recipe for d in stored):
        return "recipe"
    current = (stat.size, stat.mtime_ns, stat.root)
    if any((d.size, d.mtime_ns, d.root) != current for d in stored):
        return "changed"
    return None


def check_prune(plan: Plan, state: State, share: float) -> None:
    """Raise PruneRefused if the plan removes more than `share` (0 to 1) of the documents.

    A renamed file keeps its size and time, so a removed file that a new one matches in
    both is not counted; `check_removal` checks again when the contents are known.
    """
    new_files = Counter(
        (work.stat.size, work.stat.mtime_ns) for work in plan.work_items if work.why == "new"
    )
    documents = Counter(d.file for d in plan.removed)
    removed = 0
    for file in {d.file: d for d in plan.removed}.values():
        stat = (file.size, file.mtime_ns)
        if new_files[stat] > 0:
            new_files[stat] -= 1
        else:
            removed += documents[file.file]
    check_removal(removed, len(state.documents), share)


def check_removal(removed: int, total: int, share: float) -> None:
    """Raise PruneRefused for more than `share` of `total` and ALWAYS_REMOVABLE_DOCUMENTS."""
    if removed > ALWAYS_REMOVABLE_DOCUMENTS and removed > share * total:
        raise PruneRefused(
            f"{removed} of {counted(total, 'document')} ({removed / total:.0%}) would be "
            "removed, more than "
            f"{share:.0%}; if they are really gone, allow it with --prune-limit 100, "
            "or keep them with --no-prune"
        )


def renamed_sources(removed: Sequence[StoredDocument], added: Mapping[str, int]) -> set[str]:
    """Return which removed documents were added under another name in this run.

    `added`: number of added documents by digest.
    """
    left = Counter(added)
    renamed = set()
    for document in removed:
        if left[document.digest] > 0:
            left[document.digest] -= 1
            renamed.add(document.source)
    return renamed
