"""Options that several commands share, and functions that open what they name."""

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ragctl.cli import completion
from ragctl.cli import help as panels
from ragctl.cli.flags import flag_option
from ragctl.errors import UsageError

if TYPE_CHECKING:
    from ragctl.catalog import BackendConfig
    from ragctl.pipeline import Pipeline
    from ragctl.stores.base import Collection, Store

CollectionName = Annotated[
    str,
    typer.Option(
        "--collection",
        "-c",
        metavar="NAME",
        help="Name of the collection.",
        rich_help_panel=panels.COMMON,
        autocompletion=completion.collections,
    ),
]
StoreLocation = Annotated[str | None, flag_option("store")]
Dimension = Annotated[int | None, flag_option("embedding.dimension")]
BackendOption = Annotated[list[str], flag_option("embedding.backend", panels.MODEL)]
Weights = Annotated[Path | None, flag_option("embedding.weights")]
BaseUrl = Annotated[str | None, flag_option("embedding.base_url")]
QueryModel = Annotated[
    str | None,
    typer.Option(
        "--query-model",
        metavar="NAME",
        help="Embed questions with another model of its family.",
        rich_help_panel=panels.MODEL,
        show_default=False,
        autocompletion=completion.models,
    ),
]
PipelineFile = Annotated[
    Path | None,
    typer.Option(
        "--pipeline",
        "-p",
        metavar="FILE",
        help="Take store and backends from a pipeline file.",
        rich_help_panel=panels.COMMON,
    ),
]
AsJson = Annotated[
    bool,
    typer.Option(
        "--json",
        help="Print one JSON document and nothing else.",
        rich_help_panel=panels.COMMON,
    ),
]


_from_env_file: dict[str, str] = {}
_env_file: Path | None = None


def environ() -> Mapping[str, str]:
    """Return the environment, with the variables of --env-file added."""
    return {**_from_env_file, **os.environ}


def read_env_file(path: Path | None) -> None:
    """Read the file of --env-file for `environ`. Raises UsageError."""
    global _env_file
    _from_env_file.clear()
    _env_file = path
    if path is not None:
        from ragctl.pipeline import with_env_file

        _from_env_file.update(with_env_file({}, path))


def env_file_named() -> Path | None:
    """Return the path given with --env-file."""
    return _env_file


def pipeline_of(path: Path | None) -> "Pipeline | None":
    """Return the pipeline in a file, None without a file. Raises UsageError."""
    return pipeline_in(path) if path is not None else None


def pipeline_in(path: Path) -> "Pipeline":
    """Return the pipeline in a file, for a command whose collection is an option.

    Raises UsageError; for a name that is no file, it says how to name a collection.
    """
    from ragctl.pipeline import read_pipeline

    if may_be_collection(path):
        raise UsageError(f"{path}: no such pipeline file; did you mean -c {path}?")
    return read_pipeline(path, environ())


def may_be_collection(path: Path) -> bool:
    """Return whether what was given as a file is none, but can be the name of a collection."""
    from ragctl.collection.names import is_name

    return is_name(str(path)) and not path.suffix and not path.is_file()


def backends(
    backends: Sequence[str], base_url: str | None, weights: Path | None = None
) -> tuple["BackendConfig", ...]:
    """Return the backends that flags name, in their order. Raises UsageError."""
    from ragctl.catalog import BackendConfig

    if len(backends) > 1 and (base_url or weights):
        raise UsageError("--base-url and --weights need exactly one --backend; use a pipeline file")
    folder = str(weights.absolute()) if weights else None
    if not backends and not base_url and not folder:
        return ()
    return tuple(BackendConfig(name, base_url, folder) for name in backends) or (
        BackendConfig(None, base_url, folder),
    )


def open_store(
    location: str | None,
    variables: Mapping[str, str] | None = None,
    *,
    read_only: bool = False,
    patience: float | None = None,
    keep_open: bool = False,
) -> "Store":
    """Return the store at `location`, or the default store.

    `variables` replaces the environment. `read_only`: the key for reading is enough. `patience`:
    seconds to wait for an answer; None: the store's default. `keep_open`: see stores.open_store.
    Raises UsageError.
    """
    from ragctl.pipeline import default_store
    from ragctl.stores import open_store as connect

    variables = environ() if variables is None else variables
    place = location or default_store(variables)
    return connect(
        place, environ=variables, patience=patience, read_only=read_only, keep_open=keep_open
    )


@contextmanager
def opened(
    location: str | None,
    name: str,
    variables: Mapping[str, str] | None = None,
    *,
    read_only: bool = False,
) -> Iterator[tuple["Store", "Collection"]]:
    """Open a store and a collection in it.

    Raises UsageError, which lists the collections of the store, if `name` is not among them.
    """
    with closing(open_store(location, variables, read_only=read_only)) as store:
        collection = store.open(name)
        if collection is None:
            from ragctl.search.library import no_collection

            raise no_collection(store, name)
        with closing(collection):
            yield store, collection
