"""What a walk left out, and why: all of it counted, the first of each kind named."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

from ragctl.records import Json

MAX_NAMED = 1_000
"""Names kept of each kind; all are counted."""
MAX_SUFFIXES = 1_000
"""Suffixes that are counted apart; files with another one are counted as OTHER_SUFFIXES."""
OTHER_SUFFIXES = "other"

NO_LOADER = "no_loader"
LINK_TO_FOLDER = "link_to_folder"
LINK_OUT = "link_out"
BROKEN_LINK = "broken_link"
NOT_REGULAR = "not_regular"
UNASKED = (NO_LOADER, LINK_TO_FOLDER, LINK_OUT, BROKEN_LINK, NOT_REGULAR)
"""Kinds of files that are left out though no rule says so."""

INDEXED_BY_ITSELF = "indexed_by_itself"
DEFAULT = "default"
GITIGNORE = "gitignore"
RAGCTLIGNORE = "ragctlignore"
EXCLUDE = "exclude"
INCLUDE = "include"
ROBOTS = "robots"
IGNORED = (DEFAULT, GITIGNORE, RAGCTLIGNORE, EXCLUDE, INCLUDE, ROBOTS)
"""Kinds of files and folders that a rule leaves out; a folder counts as one."""

KINDS = (*UNASKED, INDEXED_BY_ITSELF, *IGNORED)


class SkippedFile(NamedTuple):
    """A file or folder that was left out: its source, a folder's with "/" at its end, and why."""

    source: str
    kind: str
    reason: str

    def to_json(self) -> Json:
        """Return the JSON object of this file."""
        return {"file": self.source, "kind": self.kind, "reason": self.reason}


def _ignore(skipped: SkippedFile) -> None:
    """Do nothing: the default of `SkippedFiles.notify`."""


@dataclass(slots=True)
class SkippedFiles:
    """The counts of what was left out, and the first names of each kind.

    `suffixes` counts the files without a loader by suffix, or by name if they have none.
    `notify` is called with each file, also with those that are not kept.
    """

    counts: Counter[str] = field(default_factory=Counter)
    suffixes: Counter[str] = field(default_factory=Counter)
    files: list[SkippedFile] = field(default_factory=list)
    notify: Callable[[SkippedFile], None] = _ignore

    @property
    def unasked(self) -> int:
        """Number of files left out though no rule says so."""
        return sum(self.counts[kind] for kind in UNASKED)

    @property
    def ignored(self) -> int:
        """Number of files and folders that a rule leaves out."""
        return sum(self.counts[kind] for kind in IGNORED)

    def add(self, source: str, kind: str, reason: str) -> None:
        """Add a file or folder."""
        skipped = SkippedFile(source, kind, reason)
        self.counts[kind] += 1
        if self.counts[kind] <= MAX_NAMED:
            self.files.append(skipped)
        self.notify(skipped)

    def add_without_loader(self, source: str, name: str) -> None:
        """Add a file that no loader reads."""
        stem, dot, suffix = name.rpartition(".")
        shown = f".{suffix.lower()}" if stem and dot else name
        self._count_suffix(shown, 1)
        self.add(source, NO_LOADER, f"no loader for {shown}")

    def update(self, other: "SkippedFiles") -> None:
        """Add what another walk left out."""
        for skipped in other.files:
            if self.counts[skipped.kind] < MAX_NAMED:
                self.files.append(skipped)
                self.counts[skipped.kind] += 1
                other.counts[skipped.kind] -= 1
        self.counts.update(other.counts)
        for suffix, count in other.suffixes.items():
            self._count_suffix(suffix, count)

    def to_json(self) -> dict[str, Json]:
        """Return the keys of the JSON report about what was left out."""
        return {
            "skipped": self.unasked,
            "skipped_types": dict(sorted(self.suffixes.items())),
            "ignored": self.ignored,
            "skipped_files": [skipped.to_json() for skipped in self.files],
        }

    def _count_suffix(self, suffix: str, count: int) -> None:
        known = suffix in self.suffixes or len(self.suffixes) < MAX_SUFFIXES
        self.suffixes[suffix if known else OTHER_SUFFIXES] += count
