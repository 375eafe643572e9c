"""`ragctl verify`."""

import math
import shlex
from contextlib import closing
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ragctl.cli import console
from ragctl.cli.options import (
    AsJson,
    CollectionName,
    StoreLocation,
    environ,
    open_store,
    opened,
    pipeline_in,
)
from ragctl.cli.summary import print_notes, summary
from ragctl.errors import BackendError, DocumentError, UnreadableCollection, UsageError
from ragctl.text import counted, one_line

if TYPE_CHECKING:
    from collections.abc import Callable

    from ragctl.embedding import Embedder
    from ragctl.index.report import Report
    from ragctl.index.verify import Damage
    from ragctl.pipeline import Pipeline
    from ragctl.progress import Progress
    from ragctl.records import Json
    from ragctl.stores.base import Collection, Store

MAX_SHOWN_DIFFERENCES = 50


def verify(
    file: Annotated[
        Path | None,
        typer.Argument(
            metavar="[PIPELINE.toml]", help="Also compare with the sources of this pipeline."
        ),
    ] = None,
    collection: CollectionName = "docs",
    store: StoreLocation = None,
    repair: Annotated[
        bool,
        typer.Option(
            "--repair",
            help="Embed what is missing, delete what is obsolete, rebuild unreadable files.",
        ),
    ] = False,
    remove_foreign: Annotated[
        bool,
        typer.Option(
            "--remove-foreign",
            help="With --repair: also delete points of other programs on a Qdrant server.",
        ),
    ] = False,
    offline: Annotated[
        bool,
        typer.Option("--offline", help="Send nothing: embed no sample of the stored texts again."),
    ] = False,
    sources: Annotated[
        bool,
        typer.Option(
            "--sources", help="Compare the content of every file too, not only size and time."
        ),
    ] = False,
    as_json: AsJson = False,
) -> int:
    """Check every point, compare with the sources, and repair.

    Embeds 12 stored texts again, to see whether the model still makes the same vectors.
    Exits with 3 if something is wrong (with --repair: if something still is).
    """
    from ragctl.cli.progress import ProgressBar
    from ragctl.index.verify import inspect_collection
    from ragctl.stores import is_server

    if remove_foreign and not repair:
        raise UsageError("--remove-foreign needs --repair")
    report = pending = None
    if file is None:
        if repair:
            raise UsageError("--repair needs the pipeline file: it reads the sources again")
        if sources:
            raise UsageError("--sources needs the pipeline file, which names the sources")
        with (
            opened(store, collection, read_only=True) as (place, found),
            ProgressBar(shown=not as_json) as bar,
        ):
            bar.begin("verify", "point", found.count())
            damage = inspect_collection(found, progress=bar)
            if not offline:
                remote = is_server(place.location)
                _compare_sample(found, damage, lambda: _own_embedder(found, remote=remote))
    else:
        pipeline = replace(pipeline_in(file), retry_failed=True, checksum=sources)
        collection = pipeline.collection
        report = _repair(pipeline, remove_foreign, shown=not as_json) if repair else None
        with ProgressBar(shown=not as_json) as bar:
            damage, pending = _inspect(pipeline, bar, offline=offline)
    if as_json:
        console.print_json(_json(collection, damage, pending, report))
    else:
        _print(collection, damage, pending, report, file)
    differ = damage.faults or (pending and (pending.changes or pending.failures))
    return DocumentError.exit_code if differ else 0


def _repair(pipeline: "Pipeline", remove_foreign: bool, *, shown: bool) -> "Report":
    """Run the pipeline over what is damaged; first rebuild a collection that cannot be read."""
    from ragctl.cli.progress import ProgressBar
    from ragctl.cli.running import signals
    from ragctl.index.cancellation import Cancellation
    from ragctl.index.run import Run
    from ragctl.transfer.rebuild import rebuild
    from ragctl.transfer.rebuild_settings import PipelineSettings

    cancellation = Cancellation()
    bar = ProgressBar(shown=shown)

    def run(store: "Store") -> "Report":
        return Run(
            pipeline,
            store,
            pipeline.environ,
            cancellation=cancellation,
            progress=bar,
            on_wait=console.print_wait,
            repair=True,
            remove_foreign=remove_foreign,
        ).ingest()

    with (
        closing(open_store(pipeline.store, pipeline.environ)) as store,
        closing(bar),
        signals(cancellation),
    ):
        try:
            return run(store)
        except UnreadableCollection as error:
            console.warn(f"{error}; rebuilding it", level="info", event="rebuilding")
        rebuild(
            store,
            pipeline.collection,
            otherwise=PipelineSettings(pipeline, pipeline.environ, console.print_wait),
            patience=math.inf if pipeline.wait else 0.0,
            waiting=console.print_wait,
            cancellation=cancellation,
            progress=bar,
        )
        return run(store)


def _compare_sample(
    collection: "Collection",
    damage: "Damage",
    connect: "Callable[[], Embedder]",
    threshold: float | None = None,
) -> None:
    """Add to the damage the sampled chunks of which the model makes other vectors now.

    `threshold`: None: as for the canary. Warns if the model cannot be asked. Vectors of late
    chunking depend on more than a text: they are not compared.
    """
    from ragctl.embedding.canary import CANARY_THRESHOLD
    from ragctl.index.sample import compare_sample, sample_threshold

    if collection.settings.identity.late_chunking:
        return
    try:
        with connect() as embedder:
            own = CANARY_THRESHOLD if threshold is None else threshold
            compare_sample(damage, embedder, sample_threshold(collection, embedder, own))
    except (BackendError, DocumentError, UsageError) as error:
        console.warn(f"the stored vectors were not compared with the model: {error}")


def _own_embedder(collection: "Collection", *, remote: bool) -> "Embedder":
    from ragctl.embedding.catalogs import user_catalog
    from ragctl.search.query import embedder_of

    variables = environ()
    return embedder_of(
        collection, environ=variables, catalog=user_catalog(variables), remote=remote
    )


def _embedder_of_pipeline(pipeline: "Pipeline", collection: "Collection") -> "Embedder":
    """Connect the pipeline's backends, with the patience of a search by default."""
    from ragctl.hosts.retry import SEARCH_PATIENCE
    from ragctl.index.embedder import connect_for

    patience = pipeline.embedding.patience or SEARCH_PATIENCE.total
    quick = replace(pipeline, embedding=replace(pipeline.embedding, patience=patience))
    return connect_for(quick, collection, pipeline.environ)


def _inspect(
    pipeline: "Pipeline", progress: "Progress", *, offline: bool
) -> "tuple[Damage, Report]":
    """Return the collection's faults, and the report of what a run would still change."""
    from ragctl.index.run import Run
    from ragctl.index.verify import Damage, inspect_collection

    with closing(open_store(pipeline.store, pipeline.environ)) as store:
        collection = store.open(pipeline.collection)
        damage = Damage()
        if collection is not None:
            with closing(collection):
                progress.begin("verify", "point", collection.count())
                damage = inspect_collection(collection, progress=progress)
                if not offline:
                    connect = partial(_embedder_of_pipeline, pipeline, collection)
                    _compare_sample(collection, damage, connect, pipeline.embedding.canary)
        return damage, Run(pipeline, store, pipeline.environ, progress=progress).dry_run()


def _json(
    collection: str, damage: "Damage", pending: "Report | None", report: "Report | None"
) -> "dict[str, Json]":
    """Return the JSON document; `changes` and `failures` are null without a pipeline."""
    body = pending.to_json() if pending else {}
    return {
        "collection": collection,
        "points": damage.points,
        "faults": [fault.to_json() for fault in damage.faults],
        "changes": body.get("changes"),
        "failures": body.get("failures"),
        "repaired": None if report is None else report.to_json(),
    }


def _print(
    collection: str,
    damage: "Damage",
    pending: "Report | None",
    report: "Report | None",
    file: Path | None,
) -> None:
    if report is not None:
        print_notes(report)
        console.say(summary(report))
    lines = [f"{fault.kind}: {fault.source or '-'}: {fault.what}" for fault in damage.faults]
    result = f"{collection}: {counted(damage.points, 'point')} checked"
    if pending is not None:
        lines += [
            f"differs from its source: {change.source}: {change.why}"
            for change in pending.changes or []
            if change.source not in damage.documents
        ]
        lines += [f"failed: {failure.source}: {failure.error}" for failure in pending.failures]
        result += f"; {counted(pending.documents.unchanged, 'document')} up to date"
    for line in lines[:MAX_SHOWN_DIFFERENCES]:
        console.say(one_line(line))
    if len(lines) > MAX_SHOWN_DIFFERENCES:
        console.say(f"… and {len(lines) - MAX_SHOWN_DIFFERENCES:,} more (--json lists all)")
    if not lines:
        console.say(f"{result}; no problems found")
        return
    advice = ""
    if any(fault.kind == "model" for fault in damage.faults):
        advice = (
            "; another model made a part of the vectors: embed all texts again with: ragctl "
            f"migrate {collection} --embed-again"
        )
    elif pending is not None and not damage.faults and not pending.changes:
        advice = (
            f"; correct the files that failed, or exclude them: ragctl failures -c {collection}"
        )
    elif report is None:
        name = "PIPELINE.toml" if file is None else shlex.quote(str(file))
        advice = f"; repair with: ragctl verify {name} --repair"
    elif any(fault.kind == "stray" for fault in damage.faults):
        advice = "; --repair --remove-foreign deletes the points of other programs"
    console.say(f"{result}; {counted(len(lines), 'problem')} found{advice}")
