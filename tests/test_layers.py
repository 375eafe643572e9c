"""The import order of the design: a module imports only packages above its own, and no cycles."""

import ast
from collections.abc import Iterator, Mapping
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

import ragctl

ROOT = Path(ragctl.__file__).parent
ORDER = (
    "errors",
    "installation",
    "records",
    "progress",
    "environment",
    "text",
    "files",
    "workers",
    "catalog",
    "hosts",
    "loaders",
    "chunking",
    "sources",
    "lexical",
    "embedding",
    "collection",
    "rerank",
    "stores",
    "batch",
    "notify",
    "pipeline",
    "index",
    "reporting",
    "schedule",
    "search",
    "check",
    "evaluate",
    "transfer",
    "cli",
)
"""From the bottom up: a package imports itself and those before it."""
INDEPENDENT = {"catalog", "loaders", "chunking", "stores"}
"""Packages that do not import each other."""
ONLY_CLI = {"typer", "tqdm", "rich"}
"""Libraries for the terminal, which only the command imports."""


def module_name(path: Path, root: Path = ROOT) -> str:
    return ".".join(path.relative_to(root.parent).with_suffix("").parts).removesuffix(".__init__")


def package(name: str) -> str:
    return name.split(".")[1] if "." in name else ""


MODULES = {module_name(path): path for path in sorted(ROOT.rglob("*.py"))}
LAYERED = {name: path for name, path in MODULES.items() if package(name) not in ("", "__main__")}


def imports(path: Path) -> Iterator[str]:
    """Yield every module or name that a file imports, anywhere in it."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            for alias in node.names:
                yield f"{node.module}.{alias.name}"


def imported_modules(path: Path, modules: Mapping[str, Path]) -> set[str]:
    """Return the modules of this project that a file imports, packages by their `__init__`."""
    found = set()
    for name in imports(path):
        while name and name not in modules:
            name = name.rpartition(".")[0]
        if name:
            found.add(name)
    return found


def import_cycle(modules: Mapping[str, Path]) -> list[str]:
    """Return one import cycle, [] if there is none.

    A package's `__init__` re-exports names, so a module that imports its own package is part
    of a cycle only if the package imports that module.
    """
    graph = {name: imported_modules(path, modules) - {name} for name, path in modules.items()}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return list(error.args[1])
    return []


@pytest.mark.parametrize("name", LAYERED)
def test_a_module_imports_only_packages_above_its_own(name: str) -> None:
    own = package(name)
    for imported in imports(LAYERED[name]):
        top, _, rest = imported.partition(".")
        if top in ONLY_CLI:
            assert own == "cli", f"{name} imports {imported}"
        if top != "ragctl" or not rest:
            continue
        other = package(imported)
        if other not in ORDER:
            continue  # a name that `ragctl` itself exports
        assert ORDER.index(other) <= ORDER.index(own), f"{name} imports {imported}"
        if own in INDEPENDENT and other != own:
            assert other not in INDEPENDENT, f"{name} imports {imported}"


def test_every_package_is_in_the_order() -> None:
    assert {package(name) for name in LAYERED} <= set(ORDER)


def test_no_import_cycles() -> None:
    assert import_cycle(MODULES) == []


def test_a_cycle_inside_a_package_is_found(tmp_path: Path) -> None:
    folder = tmp_path / "ragctl" / "part"
    folder.mkdir(parents=True)
    texts = {
        "__init__": "",
        "one": "from ragctl.part.two import f",
        "two": "def f():\n    from ragctl.part import one",
    }
    for name, text in texts.items():
        (folder / f"{name}.py").write_text(text)
    modules = {module_name(p, tmp_path / "ragctl"): p for p in folder.glob("*.py")}
    assert set(import_cycle(modules)) == {"ragctl.part.one", "ragctl.part.two"}
    (folder / "two.py").write_text("")
    assert import_cycle(modules) == []
