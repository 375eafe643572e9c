"""Validation of a pipeline file, offline: no network, no store, nothing written."""

import shutil
from collections.abc import Iterator, Mapping
from contextlib import closing
from pathlib import Path

from ragctl.catalog import Backend, BackendConfig
from ragctl.check.findings import Finding, good, note
from ragctl.collection.state import State
from ragctl.environment import PATH
from ragctl.errors import PruneRefused, RagctlError, UsageError
from ragctl.index.batches import batch_backend
from ragctl.index.embedder import connect_for
from ragctl.index.naming import name_sources
from ragctl.index.planning import plan_run
from ragctl.index.scan import Scan, scan_source
from ragctl.pipeline import DEFAULT_MODEL, Pipeline, Source, read_pipeline
from ragctl.text import counted

_COST_LIMITS = ("max_cost", "max_cost_per_day", "max_cost_per_month")


def validate_file(path: Path, environ: Mapping[str, str]) -> list[Finding]:
    """Return the findings about a file that need neither its collection nor its backends.

    Folders of documents are only listed, and no key command is run. Each error is a failed
    Finding with the exit code of UsageError.
    """
    try:
        pipeline = read_pipeline(path, environ)
    except UsageError as error:
        return [_failed("file", error)]
    findings = [good("file", f"{path} is a pipeline file"), *_sources(pipeline)]
    return findings + list(_model(pipeline)) + list(_outputs(pipeline))


def _failed(what: str, error: RagctlError | str) -> Finding:
    return Finding("fail", what, str(error), UsageError.exit_code)


def _sources(pipeline: Pipeline) -> Iterator[Finding]:
    scan = Scan()
    for number, source in enumerate(pipeline.sources):
        location = pipeline.config_source.location(("sources", number, "path"))
        if source.path is None:
            yield note("sources", f"{source.location}: not on this machine, so it was not listed")
            continue
        try:
            listing = scan_source(source, number, scan, pipeline)
        except (PruneRefused, UsageError) as error:
            problem = str(error).removesuffix("; nothing was changed")
            yield _failed("sources", f"{location}: {problem}")
            continue
        yield _counted(source, len(listing.files), location)
    try:
        naming = name_sources(scan, {}, State())
        for name, reason in naming.failures:
            yield note("sources", f"{name}: {reason}")
    except UsageError as error:
        yield _failed("sources", error)


def _counted(source: Source, count: int, location: str) -> Finding:
    if not count:
        return _failed("sources", f"{location}: {source.location}: no documents found there")
    return good("sources", f"{source.location}: {counted(count, 'file')}")


def _model(pipeline: Pipeline) -> Iterator[Finding]:
    """Yield findings on the model, its dimension, chunks, backends, keys and prices."""
    embedding = pipeline.embedding
    if embedding.model is None:
        yield note(
            "model", f"none is named: the collection's is used, or {DEFAULT_MODEL} for a new one"
        )
        if embedding.backends:
            return  # whether they serve the model is known only then
    try:
        with connect_for(pipeline, None, pipeline.environ, dry=True) as embedder:
            advice = plan_run(pipeline, Scan(), None, embedder, now=0.0).warnings
            batch = batch_backend(pipeline, None, embedder)
            yield good("model", f"{embedder.model.name} at {embedder.dim} dimensions")
    except RagctlError as error:
        yield _failed("model", error)
        return
    for warning in advice:
        yield note("model", warning)
    if batch is not None and batch.usage.price is None:
        yield note("batch", f"the price of a batch at {batch.label} is not known")
    backends = embedding.backends or (BackendConfig(),)
    name = embedding.model or DEFAULT_MODEL
    rows = [config.resolve(pipeline.catalog, name, embedding.task) for config in backends]
    for row in rows:
        yield from _key(row, pipeline.environ)
    yield from _budget(pipeline, rows, name)


def _key(row: Backend, environ: Mapping[str, str]) -> Iterator[Finding]:
    if row.key_command:
        if shutil.which(row.key_command[0], path=PATH.value(environ) or None) is None:
            program = row.key_command[0]
            yield note("key", f"{row.name}: its key command {program!r} is not found here")
    elif row.key_required and not any(environ.get(name, "").strip() for name in row.keys):
        yield note("key", f"{row.name} needs a key: {row.keys[0]} is not set here")


def _budget(pipeline: Pipeline, rows: list[Backend], model: str) -> Iterator[Finding]:
    limit = next(
        (name for name in _COST_LIMITS if getattr(pipeline.budget, name) is not None), None
    )
    unknown = [row.name for row in rows if row.models[model].price is None]
    if limit is not None and unknown:
        error = pipeline.error(
            f"budget.{limit}",
            f"{limit} cannot be kept: no price of {model} at {', '.join(unknown)} is known; "
            "give it as price in [embedding]",
        )
        yield _failed("budget", error)


def _outputs(pipeline: Pipeline) -> Iterator[Finding]:
    """Yield findings on the store's location, which is not opened, and on output folders."""
    from ragctl.stores import open_store

    try:
        with closing(open_store(pipeline.store, environ=pipeline.environ)) as store:
            yield good("store", f"{pipeline.collection} in {store.location}")
    except UsageError as error:
        yield _failed("store", pipeline.error("store", str(error)))
    for name in ("report_file", "metrics_file"):
        file: Path | None = getattr(pipeline.reporting, name)
        if file is not None and not file.parent.is_dir():
            yield _failed(
                "report", pipeline.error(f"report.{name}", f"{file.parent}: no such folder")
            )
