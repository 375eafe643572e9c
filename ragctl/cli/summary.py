"""Print the outcome of a run: failures, warnings, a summary line."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, cast

from ragctl.cli import console
from ragctl.text import one_line

if TYPE_CHECKING:
    from ragctl.index.report import Report
    from ragctl.reporting import RunOutcome

MAX_SHOWN_FAILURES = 20
KEYS_NOT_LOGGED = ("collection", "identity", "failures", "warnings")
"""Keys left out of the logged summary: they are long, or in other lines."""


def print_outcome(outcome: "RunOutcome", *, dry_run: bool, quiet: bool, as_json: bool) -> None:
    """Print the outcome of a run. Quiet: only if something is wrong, on standard error."""
    report = outcome.report
    failed = outcome.exit_code != 0
    if report is not None and (failed or not quiet):
        print_notes(report, quiet=quiet)
    if as_json:
        console.print_json(outcome.to_json())
    elif report is not None:
        line = summary(report, dry_run=dry_run, completed=outcome.error is None)
        if quiet and not failed:
            return
        if console.logs_json():
            body = outcome.to_json()
            logged: Any = {key: body[key] for key in body if key not in KEYS_NOT_LOGGED}
            console.warn(line, level="error" if failed else "info", event="summary", **logged)
        elif quiet:
            console.warn(line)
        else:
            console.say(line)
            for usage in usage_lines(report):
                console.say(usage)
            for size in size_lines(report):
                console.say(size)


def size_lines(report: "Report") -> Iterator[str]:
    """Yield the size of the collection after a planned run, and a new one's server options."""
    size = report.size
    if size is None:
        return
    memory, disk = (f"{count / 1e6:,.0f} MB" for count in (size.memory_bytes, size.disk_bytes))
    yield f"collection afterwards: {size.points:,} points, about {memory} RAM, {disk} on disk"
    if report.server:
        options = (f"{name} {str(value).lower()}" for name, value in report.server.items())
        yield one_line(f"on the server: {', '.join(options)}")


def print_notes(report: "Report", *, quiet: bool = False) -> None:
    """Print failures and, unless quiet, warnings on standard error."""
    shown = len(report.failures) if console.logs_json() else MAX_SHOWN_FAILURES
    for failure in report.failures[:shown]:
        console.warn(
            f"failed: {failure.source}: {failure.error}",
            level="error",
            event="failed",
            message=failure.error,
            source=failure.source,
        )
    if len(report.failures) > shown:
        console.warn(f"failed: {len(report.failures) - shown} more (--json lists all)")
    for warning in report.warnings if not quiet else ():
        console.warn(
            f"warning: {warning.source}: {warning.error}",
            message=warning.error,
            source=warning.source,
        )


def usage_lines(report: "Report") -> list[str]:
    """Return a line on each backend's usage, if there are several or one has a free quota."""
    lines = []
    for usage in report.backends:
        free, so_far = usage["free_tokens"], usage.get("tokens_so_far")
        if len(report.backends) < 2 and free is None:
            continue
        line = (
            f"  {usage['backend']}: {usage['texts']:,} texts, "
            f"{'about ' if usage['tokens_estimated'] else ''}{usage['tokens']:,} tokens"
        )
        if usage["cost"] is not None:
            line += f", {dollars(cast(float, usage['cost']))} at list price"
        if free is not None and so_far is not None:
            line += f"; {so_far:,} so far of {free:,} free with a new account"
        lines.append(one_line(line))
    return lines


def dollars(amount: float) -> str:
    """Return an amount with cents, or with up to six decimals below a dollar."""
    return f"${amount:,.2f}" if amount >= 1 else f"${amount:.6f}".rstrip("0").rstrip(".")


def summary(report: "Report", *, dry_run: bool = False, completed: bool = True) -> str:
    """Return the summary line of a run, or of a dry run."""
    documents, chunks = report.documents, report.chunks
    counts = ", ".join(
        f"{count:,} {name}"
        for name in ("added", "updated", "renamed", "unchanged", "removed", "failed")
        if (count := getattr(documents, name))
    )
    if not completed and not counts:
        left = f": {report.left:,} files left" if report.left else ""
        return (
            f"{report.collection}: stopped before anything was done{left}; {report.seconds:.1f} s"
        )
    parts = [
        counts or "nothing to do",
        f"{chunks.embedded:,} chunks {'to embed' if dry_run else 'embedded'} "
        f"({report.tokens:,} tokens"
        + (f", {report.requests:,} requests" if report.requests else "")
        + (f", {dollars(report.cost)})" if report.cost else ")"),
    ]
    if chunks.unstored:
        parts.append(f"{chunks.unstored:,} embedded but not stored")
    if chunks.reused:
        parts.append(f"{chunks.reused:,} reused")
    if chunks.deleted:
        parts.append(f"{chunks.deleted:,} deleted")
    if report.left:
        parts.append(f"{report.left:,} files left for the next run")
    if report.skipped:
        parts.append(f"{report.skipped:,} files of unknown type skipped")
    if report.elsewhere:
        parts.append(f"{report.elsewhere:,} documents of other folders kept")
    head = f"{report.collection}: " + ("" if completed else "stopped early: ")
    if dry_run:
        head += "planned: "
    return f"{head}{'; '.join(parts)}; {report.seconds:.1f} s"
