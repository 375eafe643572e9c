"""Is a pipeline file right? Found out without touching anything: no network, no store, no write."""

import shutil
from collections.abc import Iterator, Mapping
from contextlib import closing
from pathlib import Path

from ragctl.catalog import Backend, BackendConfig
from ragctl.check.findings import Finding, good, note
from ragctl.environment import PATH
from ragctl.errors import PruneRefused, RagctlError, UsageError
from ragctl.index.embedder import connect_for
from ragctl.index.planning import plan_run
from ragctl.index.scan import Scan, refuse_collisions, scan_source
from ragctl.pipeline import MODEL, Pipeline, Source, read_pipeline

_COSTS = ("max_cost", "max_cost_per_day", "max_cost_per_month")


def validate(path: Path, environ: Mapping[str, str]) -> list[Finding]:
    """Everything that can be said of a file without its collection and its backends.

    A folder of documents is only listed, no key command is run. What is wrong is a
    Finding that fails with the code of a UsageError.
    """
    try:
        pipeline = read_pipeline(path, environ)
    except UsageError as error:
        return [_wrong("file", error)]
    found = Scan()
    findings = [good("file", f"{path} is a pipeline file")]
    findings += _sources(pipeline, found)
    return findings + list(_model(pipeline, found)) + list(_places(pipeline))


def _wrong(what: str, error: RagctlError | str) -> Finding:
    return Finding("fail", what, str(error), UsageError.exit_code)


def _sources(pipeline: Pipeline, found: Scan) -> Iterator[Finding]:
    for number, source in enumerate(pipeline.sources):
        spot = pipeline.config_source.location(("sources", number, "path"))
        try:
            files = scan_source(source, number, found)
        except (PruneRefused, UsageError) as error:
            said = str(error).removesuffix("; nothing was changed")
            yield _wrong("sources", f"{spot}: {said}")
            continue
        found.files += files
        yield _counted(source, len(files), spot)
    for name, reason in dict.fromkeys(found.failures):
        yield note("sources", f"{name}: {reason}")
    try:
        refuse_collisions(found.files)
    except UsageError as error:
        yield _wrong("sources", error)


def _counted(source: Source, count: int, spot: str) -> Finding:
    if not count:
        return _wrong("sources", f"{spot}: {source.place}: no documents found there")
    return good("sources", f"{source.place}: {count:,} file{'' if count == 1 else 's'}")


def _model(pipeline: Pipeline, found: Scan) -> Iterator[Finding]:
    """The model, its size and its chunks; who runs it, with which key and at which price."""
    wanted = pipeline.embedding
    if wanted.model is None:
        yield note("model", f"none is named: that of the collection, or {MODEL} for a new one")
        if wanted.backends:
            return  # whether they serve it shows only then
    try:
        with connect_for(pipeline, None, pipeline.environ, dry=True) as embedder:
            advice = plan_run(pipeline, Scan(found.files), None, embedder, now=0.0).warnings
            yield good("model", f"{embedder.model.name} at {embedder.dim} dimensions")
    except RagctlError as error:
        yield _wrong("model", error)
        return
    for said in advice:
        yield note("model", said)
    backends = wanted.backends or (BackendConfig(),)
    name = wanted.model or MODEL
    rows = [config.resolve(pipeline.catalog, name, wanted.task) for config in backends]
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
    limit = next((name for name in _COSTS if getattr(pipeline.budget, name) is not None), None)
    unknown = [row.name for row in rows if row.models[model].price is None]
    if limit is not None and unknown:
        error = pipeline.wrong(
            f"budget.{limit}",
            f"{limit} cannot be kept: no price of {model} at {', '.join(unknown)} is known; "
            "give it as price in [embedding]",
        )
        yield _wrong("budget", error)


def _places(pipeline: Pipeline) -> Iterator[Finding]:
    """The store's location, which is not opened, and the folders of files to be written."""
    from ragctl.stores import open_store

    try:
        with closing(open_store(pipeline.store, environ=pipeline.environ)) as store:
            yield good("store", f"{pipeline.collection} in {store.location}")
    except UsageError as error:
        yield _wrong("store", pipeline.wrong("store", str(error)))
    for name in ("report_file", "metrics_file"):
        file: Path | None = getattr(pipeline.reporting, name)
        if file is not None and not file.parent.is_dir():
            yield _wrong(
                "report", pipeline.wrong(f"report.{name}", f"{file.parent}: no such folder")
            )
