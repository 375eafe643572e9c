"""The files that there are, and whether they were all looked at (a prune depends on it)."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from ragctl.collection.points import FileStat
from ragctl.errors import PruneRefused, UsageError
from ragctl.loaders import format_of, walk
from ragctl.pipeline import Pipeline, Source


@dataclass(slots=True)
class Scan:
    """`scopes`: roots looked at whole. `failures`: (source, error) of what could not be seen."""

    files: list[FileStat] = field(default_factory=list)
    scopes: set[str] = field(default_factory=set)
    unknown: int = 0
    failures: list[tuple[str, str]] = field(default_factory=list)
    unread: list[str] = field(default_factory=list)  # folders among them, with the reason

    @property
    def bytes(self) -> int:
        return sum(file.size for file in self.files)


def scan(pipeline: Pipeline) -> Scan:
    """Walk all sources. Nothing is read but folders.

    Raises PruneRefused for a root that is missing or has no documents, and,
    where documents may be removed, for a folder that cannot be looked into;
    UsageError for two files that would be one document.
    """
    found = Scan()
    for number, source in enumerate(pipeline.sources):
        files = scan_source(source, number, found)
        _refuse_unread(pipeline, found)
        if not files and not (pipeline.prune and pipeline.prune_limit >= 100):
            raise PruneRefused(
                f"{source.place}: no documents found there; is it the right folder, and mounted? "
                "If it is meant to be empty, run with --prune-limit 100"
            )
        found.files += files
    # What two sources of one root both match belongs to the first of them.
    first: dict[tuple[str, str], FileStat] = {}
    for file in found.files:
        first.setdefault((file.root, file.file), file)
    found.files = list(first.values())
    found.failures = list(dict.fromkeys(found.failures))
    refuse_collisions(found.files)
    return found


def scan_source(source: Source, number: int, found: Scan) -> list[FileStat]:
    """The files of one source, `number` in its pipeline; `found` gets all else that was seen.

    Raises PruneRefused for a root that is missing, UsageError for a file that nothing reads.
    """
    if source.path.is_dir():
        return _folder(source, number, found)
    if source.within is not None and source.path.exists():
        raise PruneRefused(f"{source.path}: is no folder; nothing was changed")
    return [_file(source.path, number)]


def _refuse_unread(pipeline: Pipeline, found: Scan) -> None:
    if pipeline.prune and found.unread:
        raise PruneRefused(
            f"{found.unread[0]}; what lies there would look removed. Make it readable, "
            "leave it out with --exclude, or run with --no-prune"
        )


def _folder(source: Source, number: int, found: Scan) -> list[FileStat]:
    root = source.path.resolve()
    place = str(root)
    entries = walk(root, source.include, source.exclude, source.within)
    files = [
        FileStat(entry.source, place, entry.size, entry.mtime_ns, entry.path, number)
        for entry in entries
    ]
    found.unknown += entries.unknown.total()
    found.failures += [(failure.source or place, failure.error) for failure in entries.failures]
    found.unread += [
        f"{root}/{failure.source}: {failure.error}"
        for failure in entries.failures
        if failure.folder
    ]
    found.scopes.add(place)
    return files


def _file(path: Path, number: int) -> FileStat:
    try:
        stat = path.stat()
    except OSError as error:
        raise PruneRefused(f"{path}: {error.strerror}; nothing was changed") from error
    if not path.is_file() or not format_of(path.name):
        raise UsageError(f"{path}: not a kind of file that ragctl reads")
    root = path.parent.resolve()
    return FileStat(path.name, str(root), stat.st_size, stat.st_mtime_ns, str(path), number)


def refuse_collisions(files: Iterable[FileStat]) -> None:
    """Raise UsageError for files of two roots that would be one document."""
    roots: dict[str, str] = {}
    for file in files:
        other = roots.setdefault(file.file, file.root)
        if other != file.root:
            raise UsageError(
                f"{file.file} is in both {other} and {file.root}: one collection cannot hold two "
                "documents of one name; ingest the common parent folder, or use two collections"
            )
