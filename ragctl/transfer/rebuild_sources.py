"""The sources of a rebuilt collection, as its notes record them.

A pipeline file is read again where it is, and flags of `ingest` are used as they were given. What
nobody recorded, or what is not on this machine, is left to the user, with the command that helps.
"""

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from ragctl.collection.notes import Notes, SourcePlace, SourcesNote
from ragctl.errors import UsageError
from ragctl.pipeline import Pipeline, from_flags, read_pipeline
from ragctl.transfer.rebuild import RebuildReport


@dataclass(slots=True)
class Recovery:
    """How the rest of a collection is brought back.

    `pipelines`: to be run now. `advice`: a line for each of the other sources.
    """

    pipelines: list[Pipeline] = field(default_factory=list)
    advice: list[str] = field(default_factory=list)


def plan_recovery(
    notes: Notes, report: RebuildReport, *, store: str, environ: Mapping[str, str]
) -> Recovery:
    """Return what to do after a rebuild.

    Recorded sources are read again even if nothing seems to be missing, because a document that
    is lost with all its points leaves no trace. Those of which no document was kept are not, as
    somebody may have deleted them, unless no document was kept at all.
    """
    recovery = Recovery()
    is_lossy = bool(report.incomplete or report.damaged or report.lost or not report.points)
    recorded: set[str] = set()
    places = notes.get("places", {})
    for note in notes.get("sources", ()):
        recorded.update(note["names"])
        command = _command(note, report.collection, store)
        if report.names and not report.names & set(note["names"]):
            if is_lossy:
                recovery.advice.append(
                    f"{_name(note)}: no document of it was kept; if it belongs to the collection, "
                    f"run: {command}"
                )
            continue
        locations = [places[name]["location"] for name in note["names"] if name in places]
        absent = [path for path in (note["pipeline"], *locations) if path and _absent(path)]
        if absent:
            recovery.advice.append(
                f"{absent[0]}: it is not on this machine; what is missing is embedded by: {command}"
            )
            continue
        try:
            recovery.pipelines.append(_pipeline(note, report.collection, store, environ))
        except UsageError as error:
            recovery.advice.append(f"{error}; correct it, then run: {command}")
    if is_lossy:
        unrecorded = sorted(report.names - recorded)
        recovery.advice += [_unrecorded(name, places, report, store) for name in unrecorded]
    if is_lossy and not recovery.pipelines and not recovery.advice:
        recovery.advice.append(
            "nothing says where its documents came from; run `ragctl ingest` or `ragctl run` as "
            "before: it embeds only what is missing"
        )
    return recovery


def _pipeline(
    note: SourcesNote, collection: str, store: str, environ: Mapping[str, str]
) -> Pipeline:
    """Return the recorded pipeline. Raises UsageError."""
    if note["pipeline"] is None:
        return from_flags({**note["flags"], "collection": collection, "store": store}, environ)
    pipeline = read_pipeline(Path(note["pipeline"]), environ)
    if pipeline.collection != collection:
        raise UsageError(
            f"{note['pipeline']}: it is for collection {pipeline.collection!r} by now, not for "
            f"{collection!r}"
        )
    return replace(pipeline, store=store)


def _command(note: SourcesNote, collection: str, store: str) -> str:
    if note["pipeline"] is not None:
        return shlex.join(["ragctl", "run", note["pipeline"]])
    return _ingest(_paths(note), collection, store)


def _unrecorded(
    name: str, places: Mapping[str, SourcePlace], report: RebuildReport, store: str
) -> str:
    if "://" in name:
        return f"{name}: its documents were copied from there; run the same `ragctl copy` again"
    place = places.get(name)
    path = f"{name}=FOLDER" if place is None else f"{name}={place['location']}"
    command = _ingest([path], report.collection, store)
    return f"{name}: no run has recorded how it was read; if without options, run: {command}"


def _ingest(paths: Sequence[str], collection: str, store: str) -> str:
    return shlex.join(["ragctl", "ingest", *paths, "-c", collection, "--store", store])


def _name(note: SourcesNote) -> str:
    return note["pipeline"] or ", ".join(_paths(note))


def _paths(note: SourcesNote) -> list[str]:
    sources = note["flags"]["sources"]
    assert isinstance(sources, list)
    return [
        f"{each['name']}={each['path']}" if "name" in each else str(each["path"])
        for each in sources
        if isinstance(each, dict)
    ]


def _absent(path: str) -> bool:
    return not Path(path).exists()
