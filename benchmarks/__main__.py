"""Run benchmarks, print their tables, and write them into docs/benchmarks.md.

    python -m benchmarks                     # all of them
    python -m benchmarks ingest --runs 5     # one
    python -m benchmarks --list

A benchmark is a module named in NAMES: its docstring's first line says what it measures, and its
`run(runs)` returns the Section to be written. Further settings, such as sizes, are environment
variables named in its docstring.
"""

import argparse
import importlib
import sys
from types import ModuleType

from benchmarks.measure import WrongResult
from benchmarks.table import PAGE, write

NAMES = (
    *("ingest", "unchanged", "scale", "memory", "chunking", "pdf", "runtime", "startup", "search"),
    *("upserts", "watch"),
)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=_first(__doc__))
    parser.add_argument("names", nargs="*", metavar="NAME", help="benchmarks to run; default: all")
    parser.add_argument(
        "--runs", type=int, default=5, help="measured rounds after the warm-up (default 5)"
    )
    parser.add_argument("--list", action="store_true", help="list the benchmarks and exit")
    parser.add_argument(
        "--dry", action="store_true", help=f"print the tables without writing {PAGE.name}"
    )
    arguments = parser.parse_args()
    if unknown := set(arguments.names) - set(NAMES):
        parser.error(f"no such benchmark: {', '.join(sorted(unknown))}; --list names them")
    if arguments.runs < 1:
        parser.error("--runs must be 1 or more")
    for name in arguments.names or NAMES:
        module = _load(name)
        if arguments.list:
            print(f"{name:12} {_first(module.__doc__)}")
            continue
        try:
            section = module.run(arguments.runs)
        except WrongResult as wrong:
            print(f"{name}: {wrong}; times of a wrong result are not shown", file=sys.stderr)
            return 1
        print(section.text())
        if not arguments.dry:
            write(PAGE, name, section)
    return 0


def _load(name: str) -> ModuleType:
    return importlib.import_module(f"benchmarks.{name}")


def _first(docstring: str | None) -> str:
    return (docstring or "").partition("\n")[0]


if __name__ == "__main__":
    sys.exit(main())
