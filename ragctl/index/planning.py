"""Make the plan of a run from the scan, the settings and the collection. Only reads."""

import json
from collections.abc import Callable, Container, Iterable, Mapping
from dataclasses import dataclass

from ragctl.collection.notes import Notes, SourcePlace
from ragctl.collection.points import digest
from ragctl.collection.settings import Settings
from ragctl.collection.state import State, as_incomplete, read_state
from ragctl.embedding import Embedder
from ragctl.errors import UsageError
from ragctl.index.embedder import model_warnings, new_settings
from ragctl.index.failures import FailedFile, postpone, read_failures
from ragctl.index.naming import Naming, name_sources
from ragctl.index.partial import Changed
from ragctl.index.plan import Plan, check_prune, make_plan
from ragctl.index.recipe import Recipe, make_recipe, recipe_digests
from ragctl.index.recorded_sources import sources_note
from ragctl.index.scan import Scan
from ragctl.pipeline import Pipeline
from ragctl.pipeline.command import migrate_command
from ragctl.records import Json
from ragctl.sources import matcher
from ragctl.stores import is_server
from ragctl.stores.base import Collection


@dataclass(frozen=True, slots=True)
class RunPlan:
    """The plan of a run, and what it was made from.

    `settings`: of the collection, existing or to be created. `naming`: the files and their names.
    `conflicts` (file, error): files left alone because a copied document has their name.
    `scan_failures` (name, error): files and folders that could not be listed. `run_digest`: digest
    of the run's settings that can make a document fail. `failed_before`: the files that
    failed in earlier runs, by name; `postponed`: those of them not tried in this run.
    `in_scope` tells whether this run covers a failed file. `sources_note`: to be written at the
    end, if the sources were not recorded before. `warnings`: about the
    model, if the collection is new.
    """

    settings: Settings
    recipe: Recipe
    state: State
    plan: Plan
    naming: Naming
    conflicts: tuple[tuple[str, str], ...]
    scan_failures: tuple[tuple[str, str], ...]
    run_digest: str
    failed_before: Mapping[str, FailedFile]
    postponed: tuple[FailedFile, ...]
    in_scope: Callable[[FailedFile], bool]
    sources_note: Notes
    warnings: tuple[str, ...] = ()

    def final_places(self, failed: Container[str | None]) -> dict[str, SourcePlace]:
        """Return where the sources are after the run.

        `failed`: files that failed. A source with documents left is still to be taken over.
        """
        if self.naming.only is not None:  # what is left is not known
            return dict(self.naming.places)
        removed = {d.source for d in self.plan.removed if not self.plan.keeps(d, failed)}
        left = {
            d.source_name
            for d in self.state.documents.values()
            if d.source_name in self.naming.replaced and d.source not in removed
        }
        return {
            name: {
                **place,
                "replaces": {old: start for old, start in place["replaces"].items() if old in left},
            }
            for name, place in self.naming.places.items()
        }


def plan_run(
    pipeline: Pipeline,
    scanned: Scan,
    existing: Collection | None,
    embedder: Embedder,
    *,
    now: float,
    state: State | None = None,
    damaged: frozenset[str] = frozenset(),
    changed: Changed | None = None,
) -> RunPlan:
    """Compare the scanned files with the collection.

    `state`: of the collection, if it has been read. `changed`: the run looks only at these paths.
    `now` (seconds since 1970) decides which failed documents are due. `damaged`:
    sources of documents to treat as incomplete, whatever their marks say.
    Raises PruneRefused if too many documents would be removed, UsageError or
    IdentityMismatch for settings that do not fit the collection.
    """
    settings = existing.settings if existing else new_settings(pipeline, embedder)
    _check_quantization(pipeline, settings)
    _check_server_options(pipeline, settings)
    recipe = make_recipe(pipeline, settings, embedder)
    if state is None:
        state = read_state(existing) if existing else State()
    state = as_incomplete(state, damaged)
    notes = existing.notes() if existing else Notes()
    places = notes.get("places", {})
    naming = (
        changed.name(scanned, places)
        if changed is not None
        else name_sources(scanned, places, state, moved=pipeline.moved, checksum=pipeline.checksum)
    )
    selected = _selection(pipeline)
    conflicts = _conflicts(naming, state)
    conflicting = {file for file, _ in conflicts}
    plan = make_plan(
        [file for file in naming.files if file.file not in conflicting],
        state,
        recipe_digests(recipe),
        scopes=naming.scopes if pipeline.prune else {},
        replaced=naming.replaced,
        deleted=naming.deleted if pipeline.prune else (),
        keep={*conflicting, *naming.kept, *(name for name, _ in naming.failures)}.__contains__,
        selected=selected,
    )
    check_prune(plan, state, pipeline.prune_limit / 100)
    failed_before = read_failures(notes)
    _check_only(pipeline, selected, (*(f.file for f in naming.files), *state.files, *failed_before))
    run_digest = _run_digest(pipeline, embedder)
    plan, postponed = postpone(
        plan, {} if pipeline.retry_failed else failed_before, run_digest, now
    )
    present = {file.file for file in naming.files}
    return RunPlan(
        settings=settings,
        recipe=recipe,
        state=state,
        plan=plan,
        naming=naming,
        conflicts=tuple((file, error) for file, error in conflicts if selected(file)),
        scan_failures=tuple((name, error) for name, error in naming.failures if selected(name)),
        run_digest=run_digest,
        failed_before=failed_before,
        postponed=tuple(postponed),
        in_scope=lambda failed: (
            (failed.file in present or naming.covers(failed.source_name, failed.file))
            and selected(failed.file)
        ),
        sources_note=Notes()
        if changed is not None
        else sources_note(notes.get("sources", ()), pipeline, naming),
        warnings=() if existing else tuple(model_warnings(pipeline, embedder)),
    )


def _check_quantization(pipeline: Pipeline, settings: Settings) -> None:
    asked, stored = pipeline.quantization, settings.quantization
    if asked not in (None, stored):
        raise pipeline.error(
            "quantization",
            f"the collection was made with {stored or 'none'}, this run says {asked}; "
            "leave it out, use another --collection, or move this one: "
            f"{migrate_command(pipeline)}",
        )


def _check_server_options(pipeline: Pipeline, settings: Settings) -> None:
    stored = settings.server.to_json()
    for name, asked in pipeline.server.options().to_json().items():
        if name != "defer_indexing" and asked != stored.get(name):
            raise pipeline.error(
                f"server.{name}",
                f"the collection was made with {_shown(stored.get(name))}, this run says "
                f"{_shown(asked)}; leave it out, or move the collection: "
                f"{migrate_command(pipeline)}",
            )


def _shown(value: Json) -> str:
    return "the default" if value is None else str(value).lower()


def _run_digest(pipeline: Pipeline, embedder: Embedder) -> str:
    """Return a digest of the settings outside the recipe that can make a document fail."""
    parsing = pipeline.parsing
    parts: list[Json] = [
        [usage.name for usage in embedder.usage.usages],
        embedder.options.truncate,
        pipeline.pdf_password is not None,
        [parsing.timeout, parsing.memory_mb, parsing.max_file_mb],
    ]
    return digest(json.dumps(parts).encode())


def _check_only(pipeline: Pipeline, selected: Callable[[str], bool], names: Iterable[str]) -> None:
    """Raise UsageError for --only patterns that match nothing: they are misspelled."""
    if pipeline.only and not any(map(selected, names)):
        raise UsageError(
            f"--only {' '.join(pipeline.only)} matches no file and no indexed document"
        )


def _selection(pipeline: Pipeline) -> Callable[[str], bool]:
    """Return whether the run looks at a file: --only matches its name, or its path in its source.

    Raises UsageError for an invalid pattern.
    """
    if not pipeline.only:
        return lambda file: True
    matches = matcher(pipeline.only, "--only")
    return lambda file: matches(file, file.partition("/")[2])


def _conflicts(naming: Naming, state: State) -> list[tuple[str, str]]:
    """Return the files whose name belongs to a document that was copied from elsewhere."""
    conflicts = []
    for file in naming.files:
        for stored in state.files.get(file.file, ()):
            if stored.source_name != file.source_name and is_server(stored.source_name):
                error = (
                    f"a document of this name was copied from {stored.source_name}; "
                    "give the source another name"
                )
                conflicts.append((file.file, error))
                break
    return conflicts
