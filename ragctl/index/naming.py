"""Name the documents of a run: which source each listed file belongs to. Only reads.

A document is identified by the name of its source and its path there; where the source lies is a
note in the collection. The rules, in this order:

1. A location that the collection knows keeps its name; a new name renames the source.
2. An unnamed source inside another one of the run, or inside a known one that has documents
   there, is a part of it; a named one with files of the other is refused.
3. A known name at another location has moved if most of its documents are found there; otherwise
   the run is refused.

Sources that are renamed, or become a part of another, are `replaced`: their documents get new
names, which embeds nothing, and the old ones are removed.
"""

import os
import random
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import PurePath
from shlex import quote

from ragctl.collection.names import check_source_name
from ragctl.collection.notes import SourcePlace
from ragctl.collection.state import State, StoredDocument
from ragctl.errors import PruneRefused, UsageError
from ragctl.index.contents import same_content
from ragctl.index.prepared import FileStat
from ragctl.index.record_names import without_record_names
from ragctl.index.scan import Scan
from ragctl.pipeline.globs import is_url
from ragctl.sources.base import Listing
from ragctl.sources.found import FoundFile
from ragctl.sources.selection import is_below
from ragctl.text import counted

COMPARED_FILES = 50
"""Files that are read to see whether a source has moved, chosen at random."""
EARLIEST_PLAUSIBLE_NS = 315_705_600_000_000_000  # 1980-01-03, 00:00 UTC
"""Earlier times stand for no time: the epochs of Unix and of zip archives."""
MIN_EQUAL_TIMES = 3
"""So many files with one and the same time were not edited at that time."""


@dataclass(slots=True)
class _Root:
    """A location of this run: the listings there, and the name that they get.

    `inner`: its path inside the source `name`; "" or with "/" at the end.
    """

    location: str
    real: str
    given: str | None
    listings: list[Listing]
    name: str = ""
    inner: str = ""
    settled: bool = False

    @property
    def whole(self) -> bool:
        return any(listing.whole for listing in self.listings)

    @property
    def files(self) -> Iterator[FoundFile]:
        return (file for listing in self.listings for file in listing.files)

    def below(self, path: str) -> bool:
        """Return whether any of its files is in the folder `path`."""
        return any(file.source.startswith(f"{path}/") for file in self.files)


@dataclass(frozen=True, slots=True)
class Naming:
    """The files of a run with their names, and what becomes of the sources.

    `scopes`: beginnings of the names of all documents in folders that were listed, by source;
    documents that are not found there are gone. `replaced`: sources whose documents get new names,
    by name, with the beginning of the new names. `failures` (name, error): what could not be
    listed. `names`: of the sources of this run. `places`: the note while the run works. `prefixes`:
    source and beginning of the names of each listing's files, by its number. `only`: the run looked
    only at these names and at those below them, each with "/" at its end; None: at all. `deleted`:
    files that their sources say are gone. `kept`: files that may be there although they were not
    listed.
    """

    files: list[FileStat]
    failures: tuple[tuple[str, str], ...]
    scopes: Mapping[str, tuple[str, ...]]
    replaced: Mapping[str, str]
    names: frozenset[str]
    places: Mapping[str, SourcePlace] = field(default_factory=dict)
    prefixes: Mapping[int, tuple[str, str]] = field(default_factory=dict)
    only: frozenset[str] | None = None
    deleted: frozenset[str] = frozenset()
    kept: frozenset[str] = frozenset()

    @property
    def complete(self) -> set[str]:
        """Names of the sources that were listed completely, and of those that are replaced."""
        whole = {name for name, starts in self.scopes.items() if f"{name}/" in starts}
        return whole | self.replaced.keys()

    def covers(self, source_name: str, file: str) -> bool:
        """Return whether the run has listed the folder of a file, or takes over its source."""
        if self.only is not None:
            return is_below(f"{file}/", self.only)
        return file.startswith(self.scopes.get(source_name, ())) or source_name in self.replaced


def default_name(location: str) -> str:
    """Return the name of a source that the user does not name: its folder's."""
    name = unicodedata.normalize("NFC", PurePath(location).name)
    return "".join(c if c.isprintable() else "_" for c in name) or "root"


def name_sources(
    scanned: Scan,
    places: Mapping[str, SourcePlace],
    state: State,
    *,
    moved: bool = False,
    checksum: bool = False,
) -> Naming:
    """Return the names of all listed files.

    `places`: the sources that the collection knows. `moved`: a known source at another location
    has moved, whatever is found there. `checksum`: the contents of all files are to be compared.
    Raises UsageError for names that contradict each other, PruneRefused for a source at another
    location that may be another one.
    """
    return _Namer(scanned, places, state, moved=moved).naming(checksum=checksum)


class _Namer:
    def __init__(
        self, scanned: Scan, places: Mapping[str, SourcePlace], state: State, *, moved: bool
    ) -> None:
        self._places = places
        self._state = state
        self._moved = moved
        self._known = {place["location"]: name for name, place in places.items()}
        self._roots = _roots(scanned.listings)
        self._replaced: dict[str, str] = {}

    def naming(self, *, checksum: bool) -> Naming:
        self._name_roots()
        self._check_names()
        for name, place in self._places.items():
            self._absorb(name, place)
        for root in self._own():
            self._check_location(root)
        places = self._new_places()
        for name in {root.name for root in self._roots}:
            pending = self._places.get(name)
            if pending is not None:
                self._replaced = {**pending["replaces"], **self._replaced}
        for root in self._own():
            ours = {
                old: prefix
                for old, prefix in self._replaced.items()
                if prefix.startswith(f"{root.name}/")
            }
            places[root.name] = {**places[root.name], "replaces": ours}
        files, refused = without_record_names(_named_files(self._roots, checksum=checksum))
        return Naming(
            files=files,
            failures=tuple(dict.fromkeys((*_named_failures(self._roots), *refused))),
            scopes=_scopes(self._roots),
            replaced=self._replaced,
            names=frozenset(root.name for root in self._roots),
            places=places,
            prefixes={
                listing.number: (root.name, f"{root.name}/{root.inner}")
                for root in self._roots
                for listing in root.listings
            },
            deleted=_names(self._roots, lambda listing: listing.deleted),
            kept=_names(self._roots, lambda listing: listing.kept),
        )

    @cached_property
    def _documents(self) -> dict[str, list[StoredDocument]]:
        """One document of each stored file, by source."""
        documents: dict[str, list[StoredDocument]] = {}
        for first, *_ in self._state.files.values():
            documents.setdefault(first.source_name, []).append(first)
        return documents

    def _own(self) -> list[_Root]:
        """Return the roots that are sources of their own, not parts of others."""
        return [root for root in self._roots if not root.inner and self._is_first(root)]

    def _is_first(self, root: _Root) -> bool:
        return next(each for each in self._roots if each.name == root.name and not each.inner) is (
            root
        )

    def _name_roots(self) -> None:
        for root in self._roots:
            known = self._known.get(root.location)
            if root.given is not None:
                check_source_name(root.given)
                root.name = root.given
                if known is not None and known != root.given:
                    self._replaced[known] = f"{root.given}/"
            elif known is not None:
                root.name = known
        for root in self._roots:
            self._name(root)

    def _name(self, root: _Root) -> None:
        """Give a root its name, after the root around it."""
        if root.settled:
            return
        root.settled = True
        self._place_inside(root)
        if not root.name:
            root.name = default_name(root.location)
            self._find_renamed(root)

    def _place_inside(self, root: _Root) -> None:
        """Make a source a part of the one around it, if there is one with its files."""
        outer, inner = self._around(root)
        if outer is None:
            return
        if isinstance(outer, _Root):
            self._name(outer)
        place = self._places.get(root.name) if root.name else None
        shares = self._shares(outer, inner, root)
        if root.given is not None or (place is not None and place["named"]):
            if shares:
                where = outer.location if isinstance(outer, _Root) else outer
                raise UsageError(
                    f"the source {root.name} ({root.location}) is inside {where}, which has its "
                    "files too: leave it out there with exclude, or give it no name"
                )
            return
        if not shares and (place is not None or not isinstance(outer, _Root)):
            return  # a source of its own, which another run may leave out of the outer one
        name = outer.name if isinstance(outer, _Root) else self._known[outer]
        if place is not None:
            self._replaced[root.name] = f"{name}/{inner}"
        root.name, root.inner = name, inner
        if isinstance(outer, _Root):
            root.inner = outer.inner + inner

    def _around(self, root: _Root) -> tuple["_Root | str | None", str]:
        """Return the nearest source around a root, of this run or a known location.

        The second value is the path of the root in it, with "/" at the end unless it is empty.
        """
        found: list[tuple[str, _Root | str]] = []
        for other in self._roots:
            if other is root or not other.whole:
                continue
            inner = _inside(root.real, other.real) or _inside(root.location, other.location)
            if inner == "/" and self._roots.index(other) > self._roots.index(root):
                continue  # the same folder twice: the first is the source
            if inner is not None:
                found.append((inner.lstrip("/"), other))
        if not found:
            in_run = {other.location for other in self._roots}
            for name, place in self._places.items():
                inner = _inside(root.location, place["location"])
                if (
                    inner is not None
                    and inner != "/"
                    and place["whole"]
                    and place["location"] not in in_run
                    and name not in self._replaced
                ):
                    found.append((inner.lstrip("/"), place["location"]))
        nearest = min(found, key=lambda each: len(each[0]), default=None)
        return (None, "") if nearest is None else (nearest[1], nearest[0])

    def _shares(self, outer: "_Root | str", inner: str, root: _Root) -> bool:
        """Return whether the outer source has files of the inner one."""
        if isinstance(outer, _Root):
            ours = {inner + file.source for file in root.files}
            return any(file.source in ours for file in outer.files)
        name = self._known[outer]
        prefix = f"{name}/{inner}"
        return any(each.file.startswith(prefix) for each in self._documents.get(name, ()))

    def _check_names(self) -> None:
        """Raise UsageError if two locations have one name."""
        first: dict[str, _Root] = {}
        for root in self._roots:
            if root.inner:
                continue
            other = first.setdefault(root.name, root)
            if other is not root and other.real != root.real:
                raise UsageError(
                    f"two sources are named {root.name}: {other.location} and {root.location}; "
                    f"give one another name: {_named_command(root)}"
                )

    def _absorb(self, name: str, place: SourcePlace) -> None:
        """Make a known source a part of one of this run that lists its files too."""
        in_run = {root.name for root in self._roots}
        if name in in_run or name in self._replaced:
            return
        for root in self._own():
            inner = _inside(place["location"], root.location)
            if inner in (None, "/") or not root.whole:
                continue
            assert inner is not None
            if not root.below(inner.rstrip("/")):
                continue
            if place["named"]:
                raise UsageError(
                    f"the source {name} ({place['location']}) is inside {root.location}, which has "
                    "its files too: leave it out there with exclude, or delete its documents with "
                    f"ragctl delete {quote(f'{name}/')}"
                )
            self._replaced[name] = f"{root.name}/{inner}"
            return

    def _check_location(self, root: _Root) -> None:
        """Raise PruneRefused if a known name at another location may be another source."""
        place = self._places.get(root.name)
        if place is None or place["location"] == root.location or self._moved:
            return
        stored = self._documents.get(root.name)
        if not stored:
            return
        same = _count_same(stored, root)
        if root.whole and 2 * same <= len(stored):
            raise PruneRefused(
                f"the source {root.name} was indexed from {place['location']}, and of its "
                f"{counted(len(stored), 'file')} {'none is' if not same else f'only {same} are'} "
                f"the same in {root.location}; if it has moved there, add --moved; if this is "
                f"another source, name it: {_named_command(root)}"
            )
        if not root.whole and same < sum(1 for _ in root.files):
            raise PruneRefused(
                f"the source {root.name} was indexed from {place['location']}, not from "
                f"{root.location}; name this one: {_named_command(root)}"
            )

    def _find_renamed(self, root: _Root) -> None:
        """Take over an unnamed source whose folder is gone, if its documents are found here."""
        if not root.whole or root.name in self._places or self._documents.get(root.name):
            return
        in_run = {each.location for each in self._roots}
        for name, place in self._places.items():
            if (
                place["named"]
                or not place["whole"]
                or name in self._replaced
                or place["location"] in in_run
                or is_url(place["location"])
                or os.path.lexists(place["location"])
            ):
                continue
            stored = self._documents.get(name, [])
            if stored and 2 * _count_same(stored, root) > len(stored):
                self._replaced[name] = f"{root.name}/"
                return

    def _new_places(self) -> dict[str, SourcePlace]:
        places = {name: place for name, place in self._places.items() if name not in self._replaced}
        for root in self._own():
            known = self._places.get(root.name)
            at_home = known is not None and known["location"] == root.location
            if known is not None and not (root.whole or at_home):
                continue  # one of its files at another place
            places[root.name] = {
                "location": root.location,
                "named": root.given is not None or (known is not None and known["named"]),
                "whole": root.whole or (at_home and known is not None and known["whole"]),
                "replaces": {},
            }
        return places


def _roots(listings: Iterable[Listing]) -> list[_Root]:
    """Group the listings by location. Raises UsageError for two names of one location."""
    roots: dict[str, _Root] = {}
    for listing in listings:
        root = roots.setdefault(listing.location, _Root(listing.location, listing.real, None, []))
        root.listings.append(listing)
        if listing.name is not None and root.given not in (None, listing.name):
            raise UsageError(
                f"{listing.location} has two names, {root.given} and {listing.name}; "
                "give it one of them"
            )
        root.given = listing.name or root.given
    return list(roots.values())


def _inside(path: str, folder: str) -> str | None:
    """Return the path below a folder or URL with "/" at the end, "/" for itself, else None."""
    base = folder.rstrip("/")
    if path.rstrip("/") == base:
        return "/"
    return f"{path[len(base) + 1 :].rstrip('/')}/" if path.startswith(f"{base}/") else None


def _named_command(root: _Root) -> str:
    location = quote(root.location)
    return f'ragctl ingest NAME={location}, or name = "NAME" in [[sources]]'


def _count_same(stored: Sequence[StoredDocument], root: _Root) -> int:
    """Estimate how many of the stored files are at this root with the same content."""
    found = {root.inner + file.source: file for file in root.files}
    pairs = [
        (document, file)
        for document in stored
        if (file := found.get(document.path)) is not None and file.size == document.size
    ]
    sample = random.sample(pairs, min(len(pairs), COMPARED_FILES))
    same = sum(same_content(file, document) for document, file in sample)
    return round(len(pairs) * same / len(sample)) if sample else 0


def _named_files(roots: Iterable[_Root], *, checksum: bool) -> Iterator[FileStat]:
    """Yield each file once; one that several listings have belongs to the first of them."""
    listings = [(root, listing) for root in roots for listing in root.listings]
    seen: set[str] = set()
    for root, listing in sorted(listings, key=lambda each: each[1].number):
        prefix = f"{root.name}/{root.inner}"
        for file in named_files(listing, root.name, prefix, checksum=checksum):
            if file.file not in seen:
                seen.add(file.file)
                yield file


def named_files(
    listing: Listing, source_name: str, prefix: str, *, checksum: bool
) -> Iterator[FileStat]:
    """Yield the files of a listing; `prefix` begins their names. `checksum`: see `name_sources`."""
    doubtful = _doubts(listing)
    for file in listing.files:
        yield FileStat(
            prefix + file.source,
            source_name,
            file.size,
            file.mtime_ns,
            file.location,
            listing.number,
            file.stamp,
            checksum or (not file.exact and doubtful(file.mtime_ns)),
            file.title,
            file.meta,
        )


def _doubts(listing: Listing) -> Callable[[int], bool]:
    """Return whether a modification time proves nothing."""
    files = [file for file in listing.files if not file.exact]
    if len(files) >= MIN_EQUAL_TIMES and all(f.mtime_ns == files[0].mtime_ns for f in files):
        return lambda _: True
    return lambda mtime_ns: mtime_ns < EARLIEST_PLAUSIBLE_NS


def _names(roots: Iterable[_Root], paths: Callable[[Listing], Sequence[str]]) -> frozenset[str]:
    """Return the names of some paths of all listings."""
    return frozenset(
        f"{root.name}/{root.inner}{path}"
        for root in roots
        for listing in root.listings
        for path in paths(listing)
    )


def _named_failures(roots: Iterable[_Root]) -> Iterator[tuple[str, str]]:
    for root in roots:
        for listing in root.listings:
            for path, error in listing.failures:
                yield f"{root.name}/{root.inner}{path}" if path else root.location, error


def _scopes(roots: Iterable[_Root]) -> dict[str, tuple[str, ...]]:
    scopes: dict[str, tuple[str, ...]] = {}
    for root in roots:
        if root.whole:
            prefix = f"{root.name}/{root.inner}"
            scopes[root.name] = (*scopes.get(root.name, ()), prefix)
    return scopes
