"""Every command: its module, its group and line in the help, and examples.

The module of a command, with everything it imports, is imported only when the command is called;
`ragctl --help` imports none of them.
"""

from functools import cache
from importlib import import_module
from typing import Any, NamedTuple

import typer
from typer.core import TyperCommand

from ragctl.cli.values import Command

INDEX = "Index"
SEARCH = "Search"
COLLECTIONS = "Collections"
AUTOMATION = "Automation"
MODELS = "Models"


class CommandEntry(NamedTuple):
    """A command: a function in a module of this package, and its help.

    `line`: the first line of the function's docstring. `group`: the title under which
    `ragctl --help` lists it. `examples`: command lines for its help.
    """

    module: str
    function: str
    line: str
    group: str
    examples: tuple[str, ...]


COMMANDS = {
    "ingest": CommandEntry(
        "ingest",
        "ingest",
        "Sync a collection with folders of documents.",
        INDEX,
        (
            "ragctl ingest handbook -c handbook --exclude 'drafts/'",
            "ragctl ingest handbook -c small --model jina-embeddings-v3 --dim 512",
        ),
    ),
    "plan": CommandEntry(
        "plan",
        "plan",
        "Show what a run would do and cost; write and send nothing.",
        INDEX,
        (
            "ragctl plan nightly.toml",
            "ragctl plan nightly.toml --out plan.json --exit-code",
        ),
    ),
    "failures": CommandEntry(
        "plan",
        "failures",
        "List documents that failed, why, and when they are retried.",
        INDEX,
        ("ragctl failures -c handbook",),
    ),
    "verify": CommandEntry(
        "verify",
        "verify",
        "Check every point, compare with the sources, and repair.",
        INDEX,
        (
            "ragctl verify -c handbook",
            "ragctl verify nightly.toml --repair",
        ),
    ),
    "search": CommandEntry(
        "query",
        "search",
        "Search a collection with the model that made it.",
        SEARCH,
        (
            'ragctl search "how long is hourly data kept?"',
            'ragctl search "noise limit" --where "lang=en and year>=2024" --context 1',
        ),
    ),
    "eval": CommandEntry(
        "evaluate",
        "evaluate",
        "Measure retrieval quality and latency; compare settings.",
        SEARCH,
        (
            "ragctl eval --make 100 --out questions.jsonl",
            "ragctl eval questions.jsonl --sweep dim=128,256,512",
        ),
    ),
    "status": CommandEntry(
        "status",
        "status",
        "Show what a collection holds and how it was made.",
        COLLECTIONS,
        ("ragctl status -c handbook",),
    ),
    "collections": CommandEntry(
        "inspect",
        "collections",
        "List collections, with the model and size of each.",
        COLLECTIONS,
        ("ragctl collections --store http://localhost:6333",),
    ),
    "show": CommandEntry(
        "inspect",
        "show",
        "Show a document as it is indexed: metadata and chunks.",
        COLLECTIONS,
        ("ragctl show en/office-handbook.txt",),
    ),
    "export": CommandEntry(
        "export",
        "export",
        "Write every point, with its vectors, to a file.",
        COLLECTIONS,
        ("ragctl export handbook handbook.parquet",),
    ),
    "delete": CommandEntry(
        "delete",
        "delete",
        "Delete documents, or a whole collection.",
        COLLECTIONS,
        (
            "ragctl delete old/ 'drafts/*.md' -c handbook",
            "ragctl delete --all -c handbook --yes",
        ),
    ),
    "migrate": CommandEntry(
        "migrate",
        "migrate",
        "Change model, dimension, chunk size or quantisation.",
        COLLECTIONS,
        (
            "ragctl migrate handbook --dim 512 --dry-run",
            "ragctl migrate nightly.toml --only-if-better questions.jsonl",
        ),
    ),
    "rollback": CommandEntry(
        "migrate",
        "rollback",
        "Switch a collection back to its previous generation.",
        COLLECTIONS,
        ("ragctl rollback handbook",),
    ),
    "prune-generations": CommandEntry(
        "migrate",
        "prune_generations",
        "Delete the generations that are not current.",
        COLLECTIONS,
        ("ragctl prune-generations handbook --keep 0",),
    ),
    "copy": CommandEntry(
        "copy",
        "copy",
        "Copy a collection, vectors included; nothing is embedded.",
        COLLECTIONS,
        (
            "ragctl copy handbook /mnt/backup",
            "ragctl copy http://localhost:6333#theirs mine --model bge-m3",
        ),
    ),
    "rebuild": CommandEntry(
        "rebuild",
        "rebuild",
        "Rebuild a damaged collection; keep every intact vector.",
        COLLECTIONS,
        ("ragctl rebuild handbook",),
    ),
    "init": CommandEntry(
        "init",
        "init",
        "Write a pipeline file: asks questions, or takes flags.",
        AUTOMATION,
        (
            "ragctl init",
            "ragctl init nightly.toml --source handbook -c handbook --model bge-m3 --yes",
        ),
    ),
    "run": CommandEntry(
        "ingest",
        "run",
        "Run a pipeline file.",
        AUTOMATION,
        (
            "ragctl run nightly.toml --quiet",
            "ragctl run nightly.toml --plan plan.json",
        ),
    ),
    "watch": CommandEntry(
        "watch",
        "watch",
        "Run a pipeline whenever its documents change.",
        AUTOMATION,
        (
            "ragctl watch nightly.toml",
            "ragctl watch nightly.toml --every 60 --quiet",
        ),
    ),
    "validate": CommandEntry(
        "validate",
        "validate",
        "Check pipeline files offline; nothing is written.",
        AUTOMATION,
        ("ragctl validate pipelines/*.toml",),
    ),
    "schedule": CommandEntry(
        "schedule",
        "schedule",
        "Print or install the cron or systemd job of a pipeline.",
        AUTOMATION,
        ("ragctl schedule nightly.toml --every day --at 02:30 --install",),
    ),
    "schema": CommandEntry(
        "schema",
        "schema",
        "Print the JSON Schema of pipeline files, for editors.",
        AUTOMATION,
        ("ragctl schema > pipeline.schema.json",),
    ),
    "models": CommandEntry(
        "catalog",
        "models",
        "List embedding models: dimensions, prices, backends.",
        MODELS,
        (
            "ragctl models jina-embeddings-v3",
            "ragctl models --backend ollama",
        ),
    ),
    "backends": CommandEntry(
        "catalog",
        "backends",
        "List backends: addresses, API keys, limits, prices.",
        MODELS,
        (
            "ragctl backends jina",
            "ragctl backends --model bge-m3",
        ),
    ),
    "check": CommandEntry(
        "check",
        "check",
        "Examine this machine, or test a store and its backends.",
        MODELS,
        (
            "ragctl check",
            "ragctl check nightly.toml",
            "ragctl check --model jina-embeddings-v3 --dim 512",
        ),
    ),
}


class LazyCommand(TyperCommand):
    """A command with a name and a line of help, whose module is imported when it is called."""

    def make_context(self, *arguments: Any, **options: Any) -> Any:
        """Import the command and let it parse its arguments."""
        assert self.name is not None
        return load_command(self.name).make_context(*arguments, **options)


@cache
def load_command(name: str) -> Command:
    """Import a command and return it with its options."""
    entry = COMMANDS[name]
    app = typer.Typer(add_completion=False, rich_markup_mode=None)
    function = getattr(import_module(f"ragctl.cli.{entry.module}"), entry.function)
    app.command(name, cls=Command)(function)
    command = typer.main.get_command(app)
    assert isinstance(command, Command)
    command.examples = entry.examples
    return command


def placeholder() -> None:
    """Stand in for a command that is not imported yet. Never called."""
