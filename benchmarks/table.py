"""Results as a section of docs/benchmarks.md: a table, what it ran on, and when."""

import os
import platform
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

PAGE = Path(__file__).parent.parent / "docs" / "benchmarks.md"


@dataclass(frozen=True)
class Section:
    """The result of a benchmark: a table, sentences before and after it, versions used."""

    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    before: Sequence[str] = ()
    after: Sequence[str] = ()
    versions: Mapping[str, str] = field(default_factory=dict)

    def text(self) -> str:
        """Return the section as Markdown."""
        parts = [*self.before, _table(self.header, self.rows), *self.after, self._ran_on()]
        return "\n\n".join(parts)

    def _ran_on(self) -> str:
        used = ", ".join(f"{name} {number}" for name, number in self.versions.items())
        load = f"load {os.getloadavg()[2]:.1f}"  # over 15 minutes; 1 to 2 is the benchmark
        return f"{datetime.now(UTC):%Y-%m-%d}; {machine()}, {load}" + (
            f"; {used}." if used else "."
        )


def write(page: Path, name: str, section: Section) -> None:
    """Replace the text between `<!-- NAME -->` and `<!-- end -->`, or add it at the end."""
    old = page.read_text("utf-8") if page.exists() else "# Benchmarks\n"
    body = f"<!-- {name} -->\n{section.text()}\n<!-- end -->"
    marked = re.compile(rf"<!-- {re.escape(name)} -->\n.*?<!-- end -->", re.DOTALL)
    new, found = marked.subn(lambda _: body, old)
    page.write_text(new if found else f"{old.rstrip()}\n\n## {name}\n\n{body}\n", "utf-8")


def versions(*packages: str) -> dict[str, str]:
    """Return the versions of installed packages."""
    return {name: version(name) for name in packages}


def machine() -> str:
    """Describe processor, cores, memory, kernel and Python version."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    system = f"{platform.system()} {platform.release()}"
    return (
        f"{_processor()}, {cores} cores, {memory:.0f} GiB, {system}, "
        f"Python {platform.python_version()}"
    )


def _processor() -> str:
    known = Path("/proc/cpuinfo")
    if known.exists() and (named := re.search(r"model name\s*: (.+)", known.read_text("utf-8"))):
        return named[1].strip()
    return platform.processor() or platform.machine()


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    rule = ["---" if column == 0 else "---:" for column in range(len(header))]
    return "\n".join("| " + " | ".join(row) + " |" for row in [header, rule, *rows])
