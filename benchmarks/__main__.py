"""Run benchmarks, print their tables, and write them into docs/benchmarks.md.

    python -m benchmarks                     # all of them
    python -m benchmarks ingest --runs 5     # one
    python -m benchmarks --list

A benchmark is a module named in NAMES: its docstring's first line says what it measures, and its
`run(runs)` returns the Section to be written. Further settings of one, such as its sizes, are
variables of the environment that its docstring names.
"""

import argparse
import importlib
import sys
from types import ModuleType

from benchmarks.measure import WrongResult
from benchmarks.table import PAGE, write

NAMES = (
    *("ingest", "unchanged", "scale", "memory", "chunking", "pdf", "runtime", "startup", "search"),
)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=_first(__doc__))
    parser.add_argument("names", nargs="*", metavar="NAME", help="which; all of them if none")
    parser.add_argument("--runs", type=int, default=5, help="rounds that count (default 5)")
    parser.add_argument("--list", action="store_true", help="name them and stop")
    parser.add_argument("--dry", action="store_true", help=f"print, and leave {PAGE.name} alone")
    wanted = parser.parse_args()
    if unknown := set(wanted.names) - set(NAMES):
        parser.error(f"no such benchmark: {', '.join(sorted(unknown))}; --list names them")
    if wanted.runs < 1:
        parser.error("--runs must be 1 or more")
    for name in wanted.names or NAMES:
        module = _load(name)
        if wanted.list:
            print(f"{name:12} {_first(module.__doc__)}")
            continue
        try:
            section = module.run(wanted.runs)
        except WrongResult as wrong:
            print(f"{name}: {wrong}; no time of a wrong result is shown", file=sys.stderr)
            return 1
        print(section.text())
        if not wanted.dry:
            write(PAGE, name, section)
    return 0


def _load(name: str) -> ModuleType:
    return importlib.import_module(f"benchmarks.{name}")


def _first(docstring: str | None) -> str:
    return (docstring or "").partition("\n")[0]


if __name__ == "__main__":
    sys.exit(main())
