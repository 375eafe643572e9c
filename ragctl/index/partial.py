"""A run that looks at some paths only, because a watcher says that they may have changed.

It is the same run with another scan: only these paths are listed, and of the collection only their
documents are read, so that it takes as long among 100,000 files as among ten. How the sources are
named was decided by a run that listed all of them.
"""

import os
import unicodedata
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from ragctl.collection.notes import SourcePlace
from ragctl.collection.state import State, read_documents
from ragctl.errors import PruneRefused
from ragctl.index.naming import Naming, named_files
from ragctl.index.prepared import FileStat
from ragctl.index.scan import Scan, refuse_unread, scan_source
from ragctl.loaders.registry import format_of
from ragctl.pipeline import Pipeline
from ragctl.sources.selection import Selection
from ragctl.stores.base import Collection


class NamesChanged(Exception):
    """The sources of the collection are not those of the run that named them: list them again."""


@dataclass(frozen=True, slots=True)
class Changed:
    """Paths that may have changed, and how their sources are named.

    `paths`: by the number of the source in its pipeline, relative to its folder, as on disk; of a
    source that is a single file its name. `vanished`: those of them that existed only for a moment,
    so that nothing is stored below them. `naming`: of a run that listed all sources.
    """

    paths: Mapping[int, frozenset[str]]
    naming: Naming
    vanished: frozenset[tuple[int, str]] = frozenset()

    def scan(self, pipeline: Pipeline) -> Scan:
        """List the paths. Raises PruneRefused for a root that is missing or empty."""
        scanned = Scan()
        for number, paths in sorted(self.paths.items()):
            source = pipeline.sources[number]
            if source.folder.is_dir():
                _refuse_empty(source.folder)
            scan_source(source, number, scanned, pipeline, Selection(paths))
        refuse_unread(pipeline, scanned)
        return scanned

    def name(self, scanned: Scan, places: Mapping[str, SourcePlace]) -> Naming:
        """Return the names of the scanned files. Raises NamesChanged.

        `places`: the sources that the collection knows now.
        """
        if places != self.naming.places:
            raise NamesChanged
        prefixes = self.naming.prefixes
        files: dict[str, FileStat] = {}
        for listing in scanned.listings:
            # A file may be written twice within the resolution of its times: compare contents.
            for file in named_files(listing, *prefixes[listing.number], checksum=True):
                files.setdefault(file.file, file)
        names = frozenset(prefixes[number][0] for number in self.paths)
        return Naming(
            files=list(files.values()),
            failures=tuple(
                (f"{prefixes[listing.number][1]}{path}", error)
                for listing in scanned.listings
                for path, error in listing.failures
            ),
            scopes={name: (f"{name}/",) for name in names},
            replaced={},
            names=names,
            places=self.naming.places,
            prefixes=prefixes,
            only=frozenset(f"{name}/" for name, _, _ in self._named()),
        )

    def state(self, collection: Collection, pipeline: Pipeline) -> State:
        """Return the state of the documents at and below the paths."""
        sources, prefixes = set(), set()
        for name, folder, vanished in self._named_on_disk(pipeline):
            sources.add(name)
            form = format_of(name)
            if form is not None and form.many_documents:
                prefixes.add(f"{name}#")
            if folder and not vanished:
                prefixes.add(f"{name}/")
        found = read_documents(collection, sorted(sources))
        # What is stored as a document was no folder.
        prefixes = {each for each in prefixes if each[:-1] not in found.files or each[-1] == "#"}
        return read_documents(collection, sorted(sources), sorted(prefixes)) if prefixes else found

    def _named(self) -> Iterator[tuple[str, int, str]]:
        """Yield each path as the name of a document, with its source's number and itself."""
        for number, paths in self.paths.items():
            _, prefix = self.naming.prefixes[number]
            for path in paths:
                yield f"{prefix}{unicodedata.normalize('NFC', path)}", number, path

    def _named_on_disk(self, pipeline: Pipeline) -> Iterator[tuple[str, bool, bool]]:
        """Yield the names, whether each may be a folder, and whether it only existed briefly."""
        for name, number, path in self._named():
            root = pipeline.sources[number].folder
            location = root / path if root.is_dir() else root
            yield name, not location.is_file(), (number, path) in self.vanished


def _refuse_empty(root: Path) -> None:
    """Raise PruneRefused for a folder that has nothing in it: it may not be mounted."""
    try:
        with os.scandir(root) as entries:
            if next(entries, None) is not None:
                return
        reason = "it is empty; is it mounted?"
    except OSError as error:
        reason = f"it cannot be read: {error.strerror}"
    raise PruneRefused(f"{root}: {reason} Nothing was changed")
