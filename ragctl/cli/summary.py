"""What people see of a run: what failed, what to know of, and one line that sums it up."""

from typing import TYPE_CHECKING, Any, cast

from ragctl.cli import console
from ragctl.text import one_line

if TYPE_CHECKING:
    from ragctl.index.report import Report
    from ragctl.reporting import RunOutcome

_FAILURES_SHOWN = 20
_LONG = ("collection", "identity", "failures", "warnings")  # not in the log's summary


def print_outcome(outcome: "RunOutcome", *, dry_run: bool, quiet: bool, as_json: bool) -> None:
    """What people see of a run. Quiet: only what is wrong, and then on standard error."""
    report = outcome.report
    wrong = outcome.exit_code != 0
    if report is not None and (wrong or not quiet):
        print_notes(report, quiet=quiet)
    if as_json:
        console.print_json(outcome.to_json())
    elif report is not None:
        ended = outcome.error is None
        line = summary(report, dry_run=dry_run, ended=ended)
        if quiet and not wrong:
            return
        if console.logs_json():
            body = outcome.to_json()
            told: Any = {key: value for key, value in body.items() if key not in _LONG}
            console.warn(line, level="error" if wrong else "info", event="summary", **told)
        elif quiet:
            console.warn(line)
        else:
            console.say(line)
            for account in accounts(report):
                console.say(account)


def print_notes(report: "Report", *, quiet: bool = False) -> None:
    """Its failures and, unless quiet, its warnings, on standard error."""
    shown = len(report.failures) if console.logs_json() else _FAILURES_SHOWN
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


def accounts(report: "Report") -> list[str]:
    """Who embedded how much: told where there is a choice of backends, or a free quota."""
    lines = []
    for account in report.backends:
        free, so_far = account["free_tokens"], account.get("tokens_so_far")
        if len(report.backends) < 2 and free is None:
            continue
        line = (
            f"  {account['backend']}: {account['texts']:,} texts, "
            f"{'about ' if account['tokens_estimated'] else ''}{account['tokens']:,} tokens"
        )
        if account["cost"] is not None:
            line += f", {dollars(cast(float, account['cost']))} at list price"
        if free is not None and so_far is not None:
            line += f"; {so_far:,} so far of {free:,} free with a new account"
        lines.append(one_line(line))
    return lines


def dollars(amount: float) -> str:
    """An amount as people read it, small ones too."""
    return f"${amount:,.2f}" if amount >= 1 else f"${amount:.6f}".rstrip("0").rstrip(".")


def summary(report: "Report", *, dry_run: bool = False, ended: bool = True) -> str:
    """The one line."""
    documents, chunks = report.documents, report.chunks
    counts = [
        f"{count:,} {name}"
        for name in ("added", "updated", "renamed", "unchanged", "removed", "failed")
        if (count := getattr(documents, name))
    ]
    parts = [
        f"{', '.join(counts) or 'nothing to do'}",
        f"{chunks.embedded:,} chunks {'to embed' if dry_run else 'embedded'} "
        f"({report.tokens:,} tokens"
        + (f", {report.requests:,} requests" if report.requests else "")
        + (f", {dollars(report.cost)})" if report.cost else ")"),
    ]
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
    head = f"{report.collection}: " + ("" if ended else "ended early: ")
    if dry_run:
        head += "would be: "
    return f"{head}{'; '.join(parts)}; {report.seconds:.1f} s"
