"""`ragctl` without a command: the commands needed most, and the next step."""

import shlex
from collections.abc import Iterator, Mapping
from pathlib import Path

from ragctl.cli import console
from ragctl.cli.help import heading
from ragctl.cli.others import listed
from ragctl.text import one_line

NEEDED_MOST = {
    "ragctl ingest FOLDER": "sync a collection with a folder of documents",
    'ragctl search "QUESTION"': "search a collection",
    "ragctl status": "show what a collection holds",
    "ragctl init": "write a pipeline file: the settings of a regular run",
    "ragctl run PIPELINE.toml": "sync a collection as a pipeline file says",
}
MAX_TOML_FILES = 50  # looked at in the current folder


def print_start(environ: Mapping[str, str]) -> None:
    """Print the commands needed most and what to do next. Opens no collection, sends nothing."""
    import typer

    width = max(map(len, NEEDED_MOST))
    lines = [
        "Index documents into Qdrant, keep the index in sync, and search it.",
        "",
        heading("The commands you need most"),
        *(f"  {command:{width}}  {text}" for command, text in NEEDED_MOST.items()),
        "",
        *_state_and_next_step(environ),
        "",
        "ragctl --help lists all commands, ragctl COMMAND --help explains one.",
    ]
    for line in lines:
        typer.echo(console.fitted(line))


def _state_and_next_step(environ: Mapping[str, str]) -> Iterator[str]:
    """Yield what there is, in the store and in this folder, and the commands to go on with."""
    from ragctl.pipeline.variables import default_store
    from ragctl.stores import is_server

    store = default_store(environ)
    pipelines = find_pipelines(Path())
    if pipelines:
        yield f"Pipeline files in this folder: {listed(pipelines)}."
    names: list[str] | None = None
    if is_server(store):
        yield f"The store is the Qdrant server {one_line(_without_user(store))}."
    else:
        names = _collections(store)
        where = one_line(store)
        if names is None:
            yield f"The store {where} cannot be read."
        elif not names:
            yield f"The store {where} has no collection yet."
        elif len(names) == 1:
            yield f"The store {where} has one collection: {names[0]}."
        else:
            yield f"The store {where} has {len(names)} collections: {listed(names)}."
    yield heading("Next")
    for command in _next_commands(pipelines, names):
        yield f"  {command}"


def _next_commands(pipelines: list[str], names: list[str] | None) -> Iterator[str]:
    """Yield the next commands. `names`: the collections; None if they are not known."""
    if pipelines:
        file = shlex.quote(pipelines[0]) if len(pipelines) == 1 else "FILE"
        yield f"ragctl plan {file}"
        yield f"ragctl run {file}"
    elif names == []:
        yield "ragctl ingest FOLDER"
    if names is None:
        yield "ragctl check"
        yield "ragctl collections"
    elif len(names) == 1:
        yield 'ragctl search "QUESTION"' + ("" if names == ["docs"] else f" -c {names[0]}")
    elif names:
        yield 'ragctl search "QUESTION" -c NAME'
        yield "ragctl collections"


def find_pipelines(folder: Path) -> list[str]:
    """Return the names of the pipeline files in a folder, sorted."""
    from ragctl.pipeline.recognise import is_pipeline

    try:
        files = sorted(each for each in folder.iterdir() if each.suffix == ".toml")
    except OSError:
        return []
    return [file.name for file in files[:MAX_TOML_FILES] if is_pipeline(file)]


def _collections(store: str) -> list[str] | None:
    """Return the names of the collections in a folder; None if it cannot be read."""
    from ragctl.errors import StoreError
    from ragctl.stores.edge_layout import Layout

    try:
        return Layout(Path(store).expanduser()).names()
    except (StoreError, OSError, RuntimeError):  # RuntimeError: ~ of an unknown user
        return None


def _without_user(url: str) -> str:
    """Return an address without the user and password that it may hold by mistake."""
    scheme, mark, rest = url.partition("://")
    host, slash, path = rest.partition("/")
    return f"{scheme}{mark}{host.rpartition('@')[2]}{slash}{path}"
