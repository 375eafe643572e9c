"""`ragctl check` without arguments: examine this machine."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from ragctl.check.machine import Line, MachineReport, examine_machine
from ragctl.cli import console
from ragctl.cli.options import environ
from ragctl.text import counted, one_line

WORDS = {"ok": "ok", "fail": "FAIL", "note": "note"}
STYLES = {"ok": "green", "fail": "bold red", "note": "yellow"}
WIDTH = max(map(len, WORDS.values()))


def check_machine(seconds: float, *, as_json: bool) -> int:
    """Examine this machine for at most about `seconds`, print the lines, return the exit code."""
    report = examine_machine(environ(), Path.cwd(), seconds=seconds)
    if as_json:
        console.print_json(report.to_json())
    else:
        _print(report)
    return report.exit_code


def _print(report: MachineReport) -> None:
    """Print the lines, each with its advice below, and a summary line."""
    if console.is_terminal():
        _print_table(report.lines)
    else:
        for line in report.lines:
            for status, text in _rows(line):
                console.say(f"{WORDS.get(status, '').ljust(WIDTH)}  {text}")
    failures = counted(report.failures, "failure") if report.failures else "all good"
    notes = counted(sum(line.status == "note" for line in report.lines), "note")
    console.say(f"{failures}, {notes}; {report.seconds:.1f} s")


def _rows(line: Line) -> Iterator[tuple[str, str]]:
    """Yield the status and the text of a line, then "" and its advice."""
    subject = f"{line.subject} {line.name}".rstrip()
    yield line.status, one_line(f"{subject}: {line.text}")
    if line.advice is not None:
        yield "", f"-> {one_line(line.advice)}"


def _print_table(lines: Sequence[Line]) -> None:
    """Print the lines in colour, wrapped beside their status."""
    from rich.table import Table
    from rich.text import Text

    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(width=WIDTH)
    table.add_column(overflow="fold")
    for line in lines:
        for status, text in _rows(line):
            style = STYLES.get(status, "")
            table.add_row(Text(WORDS.get(status, ""), style=style), Text(text))
    console.out().print(table)
