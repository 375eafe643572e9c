"""The note of the sources that runs have read, which a rebuild reads again."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import cast

from ragctl.collection.notes import Notes, SourcesNote
from ragctl.index.naming import Naming
from ragctl.pipeline import Pipeline
from ragctl.pipeline.file import Flags
from ragctl.pipeline.globs import is_url
from ragctl.records import Json

MAX_RECORDED_RUNS = 50
"""Runs of different sources that are recorded; older ones are forgotten."""

_TABLES = ("meta", "parsing", "prune", "budget")
"""What is recorded of the flags besides the sources: the collection keeps its own settings."""


def sources_note(
    recorded: Sequence[SourcesNote],
    pipeline: Pipeline,
    naming: Naming,
) -> Notes:
    """Return the note `sources` after a run; empty if it stays as it is.

    Earlier records of sources that were listed completely are obsolete, and those of sources that
    have other names now. A run of selected files is not recorded.
    """
    note = _note(pipeline, sorted(naming.names))
    if note is None or pipeline.only:
        return {}
    others = [
        each
        for each in recorded
        if _identity(each) != _identity(note) and not naming.complete.issuperset(each["names"])
    ]
    kept = [*others, note][-MAX_RECORDED_RUNS:]
    return {} if kept == list(recorded) else {"sources": kept}


def _note(pipeline: Pipeline, names: list[str]) -> SourcesNote | None:
    source = pipeline.config_source
    if source.is_file:
        return {"names": names, "pipeline": str(Path(source.name).absolute()), "flags": {}}
    if not isinstance(source, Flags):  # made by a program
        return None
    tables = {key: source.tables[key] for key in _TABLES if key in source.tables}
    given = cast(Sequence[Mapping[str, Json]], source.tables["sources"])
    tables["sources"] = [{**each, "path": _absolute(str(each["path"]))} for each in given]
    return {"names": names, "pipeline": None, "flags": tables}


def _absolute(path: str) -> str:
    if is_url(path):
        return path
    return str(Path(path).expanduser().absolute())


def _identity(note: SourcesNote) -> tuple[object, ...]:
    """Return what two records of the same sources have in common."""
    sources = cast(Sequence[Mapping[str, Json]], note["flags"].get("sources", ()))
    return note["pipeline"], *(each["path"] for each in sources)
