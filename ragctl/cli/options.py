"""Options that several commands share."""

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ragctl.cli.settings import setting
from ragctl.errors import UsageError

if TYPE_CHECKING:
    from ragctl.catalog import BackendConfig
    from ragctl.pipeline import Pipeline
    from ragctl.stores.base import Collection, Store

CollectionName = Annotated[
    str, typer.Option("--collection", "-c", metavar="NAME", help="The collection.")
]
StoreLocation = Annotated[str | None, setting("store", "PATH|URL")]
ModelName = Annotated[str | None, setting("embedding.model", "NAME")]
Dimension = Annotated[int | None, setting("embedding.dimension", "N")]
Task = Annotated[str | None, setting("embedding.task", "NAME")]
BackendOption = Annotated[
    list[str],
    typer.Option(
        "--backend",
        metavar="NAME",
        help="Who runs the embedding model; more than one: tried in this order.",
    ),
]
Weights = Annotated[Path | None, setting("embedding.weights", "FOLDER")]
PipelineFile = Annotated[
    Path | None,
    typer.Option("--pipeline", "-p", metavar="FILE", help="Take store and backends from a file."),
]
BaseUrl = Annotated[str | None, setting("embedding.base_url", "URL")]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document and nothing else.")]


_environ: dict[str, str] = {}
_env_file: Path | None = None


def environ() -> Mapping[str, str]:
    """The environment, with what the file of --env-file has beside it."""
    return {**_environ, **os.environ}


def read_env_file(path: Path | None) -> None:
    """Take an environment file in. Raises UsageError."""
    global _env_file
    _environ.clear()
    _env_file = path
    if path is not None:
        from ragctl.pipeline import with_env_file

        _environ.update(with_env_file({}, path))


def env_file_named() -> Path | None:
    """The file of --env-file."""
    return _env_file


def told_by(path: Path | None) -> "Pipeline | None":
    """The pipeline in a file, where one was named. Raises UsageError."""
    from ragctl.pipeline import read_pipeline

    return read_pipeline(path, environ()) if path is not None else None


def backends(
    backends: Sequence[str], base_url: str | None, weights: Path | None = None
) -> tuple["BackendConfig", ...]:
    """The backends that flags name, in order. Raises UsageError."""
    from ragctl.catalog import BackendConfig

    if len(backends) > 1 and (base_url or weights):
        raise UsageError("--base-url and --weights go with one --backend; use a pipeline file")
    folder = str(weights.absolute()) if weights else None
    if not backends and not base_url and not folder:
        return ()
    return tuple(BackendConfig(name, base_url, folder) for name in backends) or (
        BackendConfig(None, base_url, folder),
    )


def open_store(location: str | None, variables: Mapping[str, str] | None = None) -> "Store":
    """The store at a location, or the default one; `variables` instead of the environment."""
    from ragctl.pipeline import default_store
    from ragctl.stores import open_store as connect

    variables = environ() if variables is None else variables
    return connect(location or default_store(variables), environ=variables)


@contextmanager
def opened(
    location: str | None, name: str, variables: Mapping[str, str] | None = None
) -> Iterator[tuple["Store", "Collection"]]:
    """A store and a collection in it; UsageError names those that there are."""
    with closing(open_store(location, variables)) as store:
        collection = store.open(name)
        if collection is None:
            names = store.names()
            there = f"there are: {', '.join(names)}" if names else "it is empty"
            raise UsageError(
                f"no collection {name!r} in {store.location} ({there}); "
                "make one with: ragctl ingest FOLDER"
            )
        with closing(collection):
            yield store, collection
