"""List the files of all sources, and say which folders were listed completely.

The names of documents are not known here: they depend on the sources that the collection knows
already; see naming.py.
"""

import os
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from ragctl.errors import PruneRefused, UsageError
from ragctl.index.source_walk import kind_of
from ragctl.loaders import format_of, supported_formats
from ragctl.pipeline import Pipeline, Source
from ragctl.sources import Listing, LocalFile, SkippedFiles
from ragctl.sources.base import Kind
from ragctl.sources.found import FoundFile
from ragctl.sources.selection import Selection
from ragctl.sources.skipped import NO_LOADER
from ragctl.text import counted


@dataclass(slots=True)
class Scan:
    """What the sources hold.

    `skipped`: what was left out. `unread`: the folders that could not be listed, each with the
    reason; while there are any, nothing may be pruned.
    """

    listings: list[Listing] = field(default_factory=list)
    skipped: SkippedFiles = field(default_factory=SkippedFiles)
    unread: list[str] = field(default_factory=list)

    @property
    def files(self) -> Iterable[FoundFile]:
        """All files; one that two sources have comes twice."""
        return (file for listing in self.listings for file in listing.files)

    @property
    def bytes(self) -> int:
        """Total size of the files."""
        return sum(file.size for file in self.files)


def scan(pipeline: Pipeline) -> Scan:
    """List the files of all sources. Reads folders only, no file.

    Raises PruneRefused for a root that is missing or has no documents and, if pruning is
    enabled, for a folder that cannot be listed; UsageError for a file that no loader reads.
    """
    scanned = Scan()
    for number, source in enumerate(pipeline.sources):
        try:
            listing = scan_source(source, number, scanned, pipeline)
        except PruneRefused as error:
            if not pipeline.config_source.is_file:
                raise
            location = pipeline.config_source.location(("sources", number, "path"))
            raise PruneRefused(f"{location}: {error}") from error
        refuse_unread(pipeline, scanned)
        if (
            listing.whole
            and not listing.files
            and not (pipeline.prune and pipeline.prune_limit >= 100)
        ):
            raise PruneRefused(
                f"{source.location}: no documents found there{_only_skipped(scanned.skipped)}; "
                "is it the right folder, and mounted? If it is meant to be empty, run with "
                "--prune-limit 100"
            )
    return scanned


def _only_skipped(skipped: SkippedFiles) -> str:
    """Return a note about files that were left out; "" if there are none."""
    found = []
    if without_loader := skipped.counts[NO_LOADER]:
        files = counted(without_loader, "file")
        found.append(f"{files} in formats that ragctl does not read")
    if ignored := skipped.ignored:
        found.append(f"{counted(ignored, 'file or folder', 'files and folders')} ignored by rules")
    return f", only {' and '.join(found)}" if found else ""


def scan_source(
    source: Source,
    number: int,
    scanned: Scan,
    pipeline: Pipeline,
    only: Selection | None = None,
) -> Listing:
    """List one source, and add it to `scanned`.

    `number`: the source's position in its pipeline. `only`: the paths of a folder to look at.
    Raises PruneRefused for a root that is missing, or elsewhere and not listed completely;
    UsageError for a file that no loader reads.
    """
    kind = kind_of(source, pipeline, only)
    if kind is not None:
        listing = _list(kind, source, number, scanned)
    elif source.within is not None and source.folder.exists():
        raise PruneRefused(f"{source.folder} is not a folder; nothing was changed")
    else:
        listing = _file(source, number)
    scanned.listings.append(listing)
    return listing


def refuse_unread(pipeline: Pipeline, scanned: Scan) -> None:
    """Raise PruneRefused if documents would look removed because folders could not be listed."""
    if pipeline.prune and scanned.unread:
        raise PruneRefused(
            f"{scanned.unread[0]}; its documents would look removed. Make it readable, "
            "leave it out with --exclude, or run with --no-prune"
        )


def _list(kind: Kind, source: Source, number: int, scanned: Scan) -> Listing:
    found = kind.list_files()
    location = real = source.location
    if source.path is not None:
        location, real = location_of(source.path), str(source.path.resolve())
    scanned.skipped.update(found.skipped)
    scanned.unread += [
        f"{real}/{failure.source}: {failure.error}" for failure in found.failures if failure.folder
    ]
    return Listing(
        number,
        source.name,
        location,
        real,
        found.whole,
        [file._replace(mtime_ns=_storable(file.mtime_ns)) for file in found.files],
        failures=[(failure.source, failure.error) for failure in found.failures],
        deleted=found.deleted,
        kept=found.kept,
    )


def _file(source: Source, number: int) -> Listing:
    path = source.folder
    try:
        stat = path.stat()
    except OSError as error:
        raise PruneRefused(f"{path}: {error.strerror}; nothing was changed") from error
    if not path.is_file() or not format_of(path.name):
        raise UsageError(f"{path}: not a file that ragctl reads; it reads {supported_formats()}")
    folder = Path(location_of(path)).parent
    target = path.resolve()  # a link that the user named is followed
    file = FoundFile(
        unicodedata.normalize("NFC", path.name),
        LocalFile(str(target.parent), target.name),
        stat.st_size,
        _storable(stat.st_mtime_ns),
        str(stat.st_ctime_ns),
    )
    return Listing(number, source.name, str(folder), str(folder.resolve()), False, [file])


def location_of(path: Path) -> str:
    """Return the absolute path as typed: links are kept, unless a ".." follows them."""
    absolute = path.absolute()
    parts = absolute.parts
    if ".." in parts:
        at = len(parts) - parts[::-1].index("..")
        absolute = Path(os.path.realpath(Path(*parts[:at])), *parts[at:])
    return str(absolute)


def _storable(mtime_ns: int) -> int:
    """Return a time as a signed 64-bit integer, which a payload holds exactly.

    Times outside the years 1677 to 2262 wrap around, so that a change still shows.
    """
    return (mtime_ns + (1 << 63)) % (1 << 64) - (1 << 63)
