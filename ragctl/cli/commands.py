"""Every command: its module, and its line in the help.

The module of a command, with everything it imports, is imported only when the command is called;
`ragctl --help` imports none of them.
"""

from functools import cache
from importlib import import_module
from typing import Any, NamedTuple

import typer
from typer.core import TyperCommand

from ragctl.cli.values import Command


class CommandEntry(NamedTuple):
    """A command: a function in a module of this package, and the first line of its docstring."""

    module: str
    function: str
    line: str


COMMANDS = {
    "ingest": CommandEntry(
        "ingest",
        "ingest",
        "Sync a collection with folders of documents: embed what changed, remove what is gone.",
    ),
    "run": CommandEntry(
        "ingest",
        "run",
        "Run a pipeline file: the settings of `ingest` in a file.",
    ),
    "plan": CommandEntry(
        "plan",
        "plan",
        "Show what a run would do, document by document, and its cost; write and send nothing.",
    ),
    "failures": CommandEntry(
        "plan",
        "failures",
        "List the documents that recent runs could not index, why, and when they are retried.",
    ),
    "verify": CommandEntry(
        "verify",
        "verify",
        "Check a collection point by point, and compare it with the sources of a pipeline.",
    ),
    "init": CommandEntry(
        "init",
        "init",
        "Write a pipeline file: ask a few questions, or take flags and ask nothing.",
    ),
    "validate": CommandEntry(
        "validate",
        "validate",
        "Check pipeline files without touching anything: no network, no store, nothing written.",
    ),
    "schema": CommandEntry(
        "schema",
        "schema",
        "Print the JSON Schema of pipeline files, with which editors complete and check them.",
    ),
    "search": CommandEntry(
        "query",
        "search",
        "Search a collection with the model that made it; the best passages come first.",
    ),
    "eval": CommandEntry(
        "evaluate",
        "evaluate",
        "Measure retrieval: nDCG@10, recall, MRR, latency; compare variants, sweep dimensions.",
    ),
    "status": CommandEntry(
        "status",
        "status",
        "Show what a collection holds and how it was made.",
    ),
    "collections": CommandEntry(
        "inspect",
        "collections",
        "List the collections of a store, with the model and size of each.",
    ),
    "show": CommandEntry(
        "inspect",
        "show",
        "Show a document as it is indexed: its metadata and its chunks in order.",
    ),
    "export": CommandEntry(
        "export",
        "export",
        "Write every point of a collection, with payload and vectors, to a Parquet or JSONL file.",
    ),
    "delete": CommandEntry(
        "delete",
        "delete",
        "Delete documents from a collection, or the whole collection.",
    ),
    "migrate": CommandEntry(
        "migrate",
        "migrate",
        "Move a collection to another model, dimension, backend, chunk size or quantisation.",
    ),
    "rollback": CommandEntry(
        "migrate",
        "rollback",
        "Switch a collection back to its previous generation.",
    ),
    "prune-generations": CommandEntry(
        "migrate",
        "prune_generations",
        "Delete the generations of a collection that are not current, except the newest.",
    ),
    "copy": CommandEntry(
        "copy",
        "copy",
        "Copy a collection to another store or name, vectors included; nothing is embedded.",
    ),
    "rebuild": CommandEntry(
        "rebuild",
        "rebuild",
        "Rebuild a damaged collection: keep every intact vector, embed only what is missing.",
    ),
    "models": CommandEntry(
        "catalog",
        "models",
        "List embedding models: dimensions, context, licence, price, backends.",
    ),
    "backends": CommandEntry(
        "catalog",
        "backends",
        "List backends: wires, addresses, API keys, limits, prices.",
    ),
    "check": CommandEntry(
        "check",
        "check",
        "Examine this machine; with settings, test the store and each backend with a text or two.",
    ),
    "schedule": CommandEntry(
        "schedule",
        "schedule",
        "Print the crontab line or systemd units that run a pipeline regularly, or install them.",
    ),
}


class LazyCommand(TyperCommand):
    """A command with a name and a line of help, whose module is imported when it is called."""

    def make_context(self, *arguments: Any, **options: Any) -> Any:
        """Import the command and let it parse its arguments."""
        assert self.name is not None
        return load_command(self.name).make_context(*arguments, **options)


@cache
def load_command(name: str) -> TyperCommand:
    """Import a command and return it with its options."""
    module, function, _ = COMMANDS[name]
    app = typer.Typer(add_completion=False)
    app.command(name, cls=Command)(getattr(import_module(f"ragctl.cli.{module}"), function))
    command = typer.main.get_command(app)
    assert isinstance(command, TyperCommand)
    return command


def placeholder() -> None:
    """Stand in for a command that is not imported yet. Never called."""
