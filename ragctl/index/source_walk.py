"""Open the source of a pipeline: its folder with its rules, or what is elsewhere."""

from collections.abc import Callable
from functools import partial

from ragctl.errors import UsageError
from ragctl.pipeline import Pipeline, Source
from ragctl.sources import SkippedFile, SkippedFiles, Walk, walk
from ragctl.sources.base import Kind
from ragctl.sources.folder import Folder
from ragctl.sources.ignore import Rules
from ragctl.sources.selection import Selection


def walk_source(
    source: Source,
    *,
    only: Selection | None = None,
    stop: Callable[[], bool] = lambda: False,
    on_skipped: Callable[[SkippedFile], None] | None = None,
) -> Walk:
    """Return a walk over the folder of a source. Raises as `walk`, UsageError without a folder."""
    if source.path is None:
        raise UsageError(f"{source.location} is no folder on this machine")
    return walk(
        source.path.resolve(),
        source.include,
        source.exclude,
        source.within,
        default_ignores=source.default_ignores,
        gitignore=source.gitignore,
        only=only,
        stop=stop,
        on_skipped=on_skipped,
    )


def kind_of(source: Source, pipeline: Pipeline, only: Selection | None = None) -> Kind | None:
    """Return what lists a source; None for a single file. `only`: the paths of a folder to look at.

    Raises UsageError for libraries that are not installed, PruneRefused for a server that cannot be
    reached.
    """
    limit = pipeline.parsing.max_bytes
    if source.command is not None:
        from ragctl.sources.command import Command

        return Command(
            source.command,
            source.base,
            _rules(source),
            name=str(source.name),
            complete=source.complete,
            seconds=source.timeout,
            limit=limit,
            environ=pipeline.environ,
        )
    if source.sitemap is not None or source.urls is not None:
        from ragctl.sources.web import Web

        return Web(source.sitemap, source.urls, _rules(source), rate=source.rate, limit=limit)
    if source.url is not None:
        from ragctl.sources.remote import connect

        return connect(source.url, _rules(source), limit)
    path = source.folder
    if path.is_dir():
        return Folder(
            path.resolve(),
            source.include,
            source.exclude,
            source.within,
            source.default_ignores,
            source.gitignore,
            only,
        )
    if source.is_archive:
        from ragctl.sources.remote import open_archive

        return open_archive(path, _rules(source), limit)
    return None


def _rules(source: Source) -> Rules:
    return Rules(source.include, source.exclude, source.within, defaults=source.default_ignores)


def list_skipped(
    pipeline: Pipeline, on_skipped: Callable[[str, SkippedFile], None]
) -> SkippedFiles:
    """Call `on_skipped` with everything that a run leaves out, and the location of its source.

    Return the counts. Reads folders and ignore rules only.
    """
    skipped = SkippedFiles()
    for source in pipeline.sources:
        if source.path is None or source.is_archive:
            kind = kind_of(source, pipeline)
            assert kind is not None, "it is no single file"
            found = kind.list_files().skipped
            for each in found.files:
                on_skipped(source.location, each)
            skipped.update(found)
        elif source.path.is_dir() or not source.path.exists():  # a missing one is refused there
            entries = walk_source(source, on_skipped=partial(on_skipped, source.location))
            for _ in entries:
                pass
            skipped.update(entries.skipped)
    return skipped
