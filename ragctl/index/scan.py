"""The files of all sources, and which roots were listed completely (pruning depends on it)."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import permutations
from pathlib import Path

from ragctl.errors import PruneRefused, UsageError
from ragctl.index.prepared import FileStat
from ragctl.index.record_names import without_record_names
from ragctl.index.source_walk import walk_source
from ragctl.loaders import format_of, supported_formats
from ragctl.pipeline import Pipeline, Source
from ragctl.sources import LocalFile, SkippedFiles
from ragctl.sources.skipped import NO_LOADER
from ragctl.text import counted


@dataclass(slots=True)
class Scan:
    """The files of the sources, with sizes and times.

    `scopes`: roots of folders that were listed. `skipped`: what was left out.
    `failures`: (source, error) of what could not be listed. `unread`: the folders among these, each
    with the reason; while there are any, nothing may be pruned.
    `indexed_twice` (root, warning): roots inside another root that has the same files.
    """

    files: list[FileStat] = field(default_factory=list)
    scopes: set[str] = field(default_factory=set)
    skipped: SkippedFiles = field(default_factory=SkippedFiles)
    failures: list[tuple[str, str]] = field(default_factory=list)
    unread: list[str] = field(default_factory=list)
    indexed_twice: list[tuple[str, str]] = field(default_factory=list)

    @property
    def bytes(self) -> int:
        """Total size of the files."""
        return sum(file.size for file in self.files)


def scan(pipeline: Pipeline) -> Scan:
    """List the files of all sources. Reads folders only, no file.

    Raises PruneRefused for a root that is missing or has no documents and, if pruning is
    enabled, for a folder that cannot be listed; UsageError for two files of one name.
    """
    scanned = Scan()
    for number, source in enumerate(pipeline.sources):
        try:
            files = scan_source(source, number, scanned)
        except PruneRefused as error:
            if not pipeline.config_source.is_file:
                raise
            location = pipeline.config_source.location(("sources", number, "path"))
            raise PruneRefused(f"{location}: {error}") from error
        _refuse_unread(pipeline, scanned)
        if not files and not (pipeline.prune and pipeline.prune_limit >= 100):
            raise PruneRefused(
                f"{source.location}: no documents found there{_only_skipped(scanned.skipped)}; "
                "is it the right folder, and mounted? If it is meant to be empty, run with "
                "--prune-limit 100"
            )
        scanned.files += files
    # A file that two sources of one root match belongs to the first of them.
    first: dict[tuple[str, str], FileStat] = {}
    for file in scanned.files:
        first.setdefault((file.root, file.file), file)
    scanned.files, refused = without_record_names(first.values())
    scanned.failures += refused
    scanned.failures = list(dict.fromkeys(scanned.failures))
    refuse_collisions(scanned.files)
    scanned.indexed_twice = _indexed_twice(scanned.files)
    return scanned


def _indexed_twice(files: Iterable[FileStat]) -> list[tuple[str, str]]:
    """Return each root that is inside another one, with a warning, if they share files."""
    names: dict[str, set[str]] = {}
    for file in files:
        names.setdefault(file.root, set()).add(file.file)
    warnings = []
    for inner, outer in permutations(names, 2):
        if Path(inner).is_relative_to(outer):
            below = Path(inner).relative_to(outer).as_posix()
            shared = sum(f"{below}/{name}" in names[outer] for name in names[inner])
            if shared:
                text = f"is inside {outer}, which has {counted(shared, 'file')} of it too"
                warnings.append((inner, f"{text}: indexed twice"))
    return warnings


def _only_skipped(skipped: SkippedFiles) -> str:
    """Return a note about files that were left out; "" if there are none."""
    found = []
    if without_loader := skipped.counts[NO_LOADER]:
        files = counted(without_loader, "file")
        found.append(f"{files} in formats that ragctl does not read")
    if ignored := skipped.ignored:
        found.append(f"{counted(ignored, 'file or folder', 'files and folders')} ignored by rules")
    return f", only {' and '.join(found)}" if found else ""


def scan_source(source: Source, number: int, scanned: Scan) -> list[FileStat]:
    """Return the files of one source; scopes, failures and counts are added to `scanned`.

    `number`: the source's position in its pipeline. Raises PruneRefused for a root that
    is missing, UsageError for a file that no loader reads.
    """
    if source.path.is_dir():
        return _folder(source, number, scanned)
    if source.within is not None and source.path.exists():
        raise PruneRefused(f"{source.path} is not a folder; nothing was changed")
    return [_file(source.path, number)]


def _refuse_unread(pipeline: Pipeline, scanned: Scan) -> None:
    if pipeline.prune and scanned.unread:
        raise PruneRefused(
            f"{scanned.unread[0]}; its documents would look removed. Make it readable, "
            "leave it out with --exclude, or run with --no-prune"
        )


def _folder(source: Source, number: int, scanned: Scan) -> list[FileStat]:
    root = source.path.resolve()
    root_name = str(root)
    entries = walk_source(source)
    files = [
        FileStat(e.source, root_name, e.size, _storable(e.mtime_ns), e.location, number)
        for e in entries
    ]
    scanned.skipped.update(entries.skipped)
    scanned.failures += [
        (failure.source or root_name, failure.error) for failure in entries.failures
    ]
    scanned.unread += [
        f"{root}/{failure.source}: {failure.error}"
        for failure in entries.failures
        if failure.folder
    ]
    scanned.scopes.add(root_name)
    return files


def _file(path: Path, number: int) -> FileStat:
    try:
        stat = path.stat()
    except OSError as error:
        raise PruneRefused(f"{path}: {error.strerror}; nothing was changed") from error
    if not path.is_file() or not format_of(path.name):
        raise UsageError(f"{path}: not a file that ragctl reads; it reads {supported_formats()}")
    root, target = path.parent.resolve(), path.resolve()  # a link that the user named is followed
    location = LocalFile(str(target.parent), target.name)
    mtime_ns = _storable(stat.st_mtime_ns)
    return FileStat(path.name, str(root), stat.st_size, mtime_ns, location, number)


def _storable(mtime_ns: int) -> int:
    """Return a time as a signed 64-bit integer, which a payload holds exactly.

    Times outside the years 1677 to 2262 wrap around, so that a change still shows.
    """
    return (mtime_ns + (1 << 63)) % (1 << 64) - (1 << 63)


def refuse_collisions(files: Iterable[FileStat]) -> None:
    """Raise UsageError if files of two roots have the same name."""
    roots: dict[str, str] = {}
    for file in files:
        other = roots.setdefault(file.file, file.root)
        if other != file.root:
            raise UsageError(
                f"{file.file} is in both {other} and {file.root}: one collection cannot hold two "
                "documents of one name; ingest the common parent folder, or use two collections"
            )
