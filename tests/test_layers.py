"""A file imports only rooms that stand before its own in the order of the design."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import ragctl

ROOT = Path(ragctl.__file__).parent
ORDER = [
    *(
        "errors",
        "records",
        "environment",
        "text",
        "files",
        "workers",
        "catalog",
        "hosts",
        "loaders",
        "chunking",
        "lexical",
        "embedding",
        "collection",
        "rerank",
        "stores",
        "notify",
    ),
    *("pipeline", "index", "reporting", "schedule", "search", "check", "evaluate", "cli"),
]
STRANGERS = {"catalog", "loaders", "chunking", "stores"}  # they do not know each other
ONLY_CLI = {"typer", "tqdm", "rich"}


def imports(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            yield node.module or ""
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def room(path: Path) -> str:
    return path.relative_to(ROOT).with_suffix("").parts[0]


FILES = [path for path in sorted(ROOT.rglob("*.py")) if room(path) not in ("__init__", "__main__")]


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_point_upwards(path: Path) -> None:
    own = room(path)
    for name in imports(path):
        package, _, rest = name.partition(".")
        if package in ONLY_CLI:
            assert own == "cli", f"{path} imports {name}"
        if package != "ragctl" or not rest:
            continue
        other = rest.split(".")[0]
        if other not in ORDER:
            continue
        assert ORDER.index(other) <= ORDER.index(own), f"{path} ({own}) imports {name}"
        if own in STRANGERS and other != own:
            assert other not in STRANGERS, f"{path} ({own}) imports {name}"


def test_every_room_is_in_the_order() -> None:
    assert {room(path) for path in FILES} <= set(ORDER)
