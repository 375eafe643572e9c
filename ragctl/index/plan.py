"""The difference between a scan and a collection's state. Pure: no files, no network."""

from collections import Counter
from collections.abc import Callable, Container, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from ragctl.collection.state import State, StoredDocument
from ragctl.errors import PruneRefused
from ragctl.index.prepared import FileStat
from ragctl.text import counted

_NOTHING: Mapping[str, Any] = MappingProxyType({})

ALWAYS_REMOVABLE_DOCUMENTS = 10
"""Up to this many documents are removed without confirmation, whatever their share."""


@dataclass(frozen=True, slots=True)
class WorkItem:
    """A file to read, why, and its documents in the collection.

    `recipe`: digest of the current recipe of its documents.
    `why`: "new", "changed", "recipe" (the recipe changed), "incomplete", or "doubtful" (only its
    content shows whether it changed).
    """

    stat: FileStat
    recipe: str
    why: str
    stored: tuple[StoredDocument, ...]

    @property
    def known(self) -> dict[str, str]:
        """Digests, by source, of the documents to skip if their content did not change."""
        return {d.source: d.digest for d in self.stored if d.complete and d.recipe == self.recipe}

    @property
    def restamped(self) -> bool:
        """Whether size, time or stamp of the file are not those that are stored."""
        current = (self.stat.size, self.stat.mtime_ns, self.stat.stamp)
        return any((d.size, d.mtime_ns, d.stamp) != current for d in self.stored)


@dataclass(frozen=True, slots=True)
class Plan:
    """What a run will do.

    `unchanged`: number of documents that are up to date. `removed`: documents whose points
    are removed at the end of the run. `elsewhere`: number of documents that are not among the
    sources of this run and are left alone. `renamed_files`: new names of the files of removed
    documents whose source was renamed or became a part of another.
    """

    work_items: tuple[WorkItem, ...]
    unchanged: int
    removed: tuple[StoredDocument, ...]
    elsewhere: int
    renamed_files: Mapping[str, str] = field(default_factory=dict)

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to do."""
        return not self.work_items and not self.removed

    def keeps(self, document: StoredDocument, failed: Container[str | None]) -> bool:
        """Return whether a removed document stays: its file failed under its new name.

        `failed`: files that failed.
        """
        return self.renamed_files.get(document.file, "") in failed


def make_plan(
    files: Sequence[FileStat],
    state: State,
    recipe: Callable[[FileStat], str],
    *,
    scopes: Mapping[str, tuple[str, ...]] = _NOTHING,
    replaced: Mapping[str, str] = _NOTHING,
    deleted: Container[str] = (),
    keep: Callable[[str], bool] = lambda _: False,
    selected: Callable[[str], bool] = lambda _: True,
) -> Plan:
    """Compare the files on disk with the documents in the collection.

    `recipe` returns the recipe digest of a file. `scopes`: by source, how the names of documents in
    completely listed folders begin, so that those not found there are removed; empty: remove
    nothing. `replaced`: see Naming; their documents are removed once they are there under their
    new names, and those that are not found in a listed folder. `deleted`: files that are gone
    although their source was not listed completely.
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

    def is_gone(source_name: str, file: str) -> bool:
        listed = file in deleted or file.startswith(scopes.get(source_name, ()))
        return listed and selected(file) and not keep(file)

    absent = [d for d in state.documents.values() if d.file not in present and not keep(d.file)]
    renamed_files = {}
    removed = []
    for document in absent:
        prefix = replaced.get(document.source_name)
        if prefix is not None:
            new_name = prefix + document.path
            if new_name in present:
                renamed_files[document.file] = new_name
                removed.append(document)
            elif is_gone(prefix.partition("/")[0], new_name):
                removed.append(document)
        elif is_gone(document.source_name, document.file):
            removed.append(document)
    elsewhere = len(absent) - len(removed)
    return Plan(tuple(work_items), unchanged, tuple(removed), elsewhere, renamed_files)


def _why(stat: FileStat, recipe: str, stored: tuple[StoredDocument, ...]) -> str | None:
    """Return why a file must be read; None if its documents are up to date."""
    if not stored:
        return "new"
    if not all(d.complete and d.parts == len(stored) for d in stored):
        return "incomplete"
    if any(d.recipe != recipe for d in stored):
        return "recipe"
    current = (stat.size, stat.mtime_ns)
    if any((d.size, d.mtime_ns) != current for d in stored):
        return "changed"
    if stat.doubtful or any(d.stamp != stat.stamp for d in stored if d.stamp and stat.stamp):
        return "doubtful"
    return None


def check_prune(plan: Plan, state: State, share: float) -> None:
    """Raise PruneRefused if the plan removes more than `share` (0 to 1) of a source's documents.

    A renamed file keeps its size and time, so a removed file that a new one matches in
    both is not counted; `check_removal` checks again when the contents are known.
    """
    new_files = Counter(
        (work.stat.size, work.stat.mtime_ns) for work in plan.work_items if work.why == "new"
    )
    documents = Counter(d.file for d in plan.removed)
    removed: Counter[str] = Counter()
    for file in {d.file: d for d in plan.removed}.values():
        stat = (file.size, file.mtime_ns)
        if file.file in plan.renamed_files:
            continue
        if new_files[stat] > 0:
            new_files[stat] -= 1
        else:
            removed[file.source_name] += documents[file.file]
    check_removal(removed, state, share)


def check_removal(removed: Mapping[str, int], state: State, share: float) -> None:
    """Raise PruneRefused for more than `share` of a source and ALWAYS_REMOVABLE_DOCUMENTS.

    `removed`: number of documents to be removed, by source name.
    """
    if not any(count > ALWAYS_REMOVABLE_DOCUMENTS for count in removed.values()):
        return
    totals = state.sizes()
    for name, count in removed.items():
        total = totals[name]
        if count > ALWAYS_REMOVABLE_DOCUMENTS and count > share * total:
            raise PruneRefused(
                f"{count:,} of {counted(total, 'document')} of {name} ({count / total:.0%}) would "
                f"be removed, more than {share:.0%}; if they are really gone, allow it with "
                "--prune-limit 100, or keep them with --no-prune"
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
