"""Every command: where it stands, and its line in the help.

A command's module, and all that it imports, is imported when the command is called.
"""

from functools import cache
from importlib import import_module
from typing import Any, NamedTuple

import typer
from typer.core import TyperCommand

from ragctl.cli.values import Command


class CommandEntry(NamedTuple):
    """A function of a module of this package, and the first paragraph of its docstring."""

    module: str
    function: str
    line: str


COMMANDS = {
    "ingest": CommandEntry(
        "ingest",
        "ingest",
        "Make a collection true to folders of documents: embed what changed, drop what is gone.",
    ),
    "run": CommandEntry(
        "ingest", "run", "Carry out a pipeline file: the settings of `ingest`, written down once."
    ),
    "plan": CommandEntry(
        "plan",
        "plan",
        "What a run would do, document by document, and its price; writes and sends nothing.",
    ),
    "failures": CommandEntry(
        "plan",
        "failures",
        "The documents that the last runs could not index, why, and when they are tried again.",
    ),
    "verify": CommandEntry(
        "verify",
        "verify",
        "Compare a collection with its marks, point by point, and with the sources of a pipeline.",
    ),
    "init": CommandEntry(
        "init",
        "init",
        "Write a pipeline file that runs: asks a few questions, or takes flags and asks nothing.",
    ),
    "validate": CommandEntry(
        "validate",
        "validate",
        "Check pipeline files without touching anything: no network, no store, nothing written.",
    ),
    "schema": CommandEntry(
        "schema",
        "schema",
        "Print the JSON Schema of pipeline files, by which editors complete and check them.",
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
        "inspect", "status", "Show what a collection holds and how it was made."
    ),
    "collections": CommandEntry(
        "inspect",
        "collections",
        "List the collections of a store, with the model and size of each.",
    ),
    "show": CommandEntry(
        "inspect", "show", "Show a document as it is indexed: its metadata and its chunks in order."
    ),
    "delete": CommandEntry(
        "inspect",
        "delete",
        "Delete documents from a collection, or the whole collection.",
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
        "check", "check", "Try the store and each backend with a text or two; write nothing."
    ),
    "schedule": CommandEntry(
        "schedule",
        "schedule",
        "Print what runs a pipeline by the clock, or install it: for cron, or for systemd.",
    ),
}


class Later(TyperCommand):
    """A command before it is called: its name and its line."""

    def make_context(self, *given: Any, **extra: Any) -> Any:
        assert self.name is not None
        return command(self.name).make_context(*given, **extra)


@cache
def command(name: str) -> TyperCommand:
    """The command itself, with its options."""
    module, function, _ = COMMANDS[name]
    alone = typer.Typer(add_completion=False)
    alone.command(name, cls=Command)(getattr(import_module(f"ragctl.cli.{module}"), function))
    made = typer.main.get_command(alone)
    assert isinstance(made, TyperCommand)
    return made


def unread() -> None:
    """Stands for a command that is not imported yet; it is never called."""
