"""Walk the folder of a source with its rules; list what the walks of a pipeline leave out."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

from ragctl.pipeline import Pipeline, Source
from ragctl.sources import SkippedFile, SkippedFiles, Walk, walk
from ragctl.sources.selection import Selection


def walk_source(
    source: Source,
    *,
    only: Selection | None = None,
    stop: Callable[[], bool] = lambda: False,
    on_skipped: Callable[[SkippedFile], None] | None = None,
) -> Walk:
    """Return a walk over the folder of a source. Raises as `walk`."""
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


def list_skipped(
    pipeline: Pipeline, on_skipped: Callable[[Path, SkippedFile], None]
) -> SkippedFiles:
    """Call `on_skipped` with everything that a run leaves out, and the path of its source.

    Return the counts. Reads folders and ignore rules only.
    """
    skipped = SkippedFiles()
    for source in pipeline.sources:
        if source.path.is_dir() or not source.path.exists():  # a missing one is refused there
            found = walk_source(source, on_skipped=partial(on_skipped, source.path))
            for _ in found:
                pass
            skipped.update(found.skipped)
    return skipped
