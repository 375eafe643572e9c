"""Print the outcome of a run: failures, warnings, a summary line."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, cast

from ragctl.cli import console
from ragctl.text import counted, one_line

if TYPE_CHECKING:
    from ragctl.index.report import Report
    from ragctl.reporting import RunOutcome

MAX_SHOWN_FAILURES = 20
MAX_SHOWN_SKIPPED = 3  # names of each kind
MAX_SHOWN_TYPES = 5
_SKIPPED_TITLES = {
    "link_to_folder": "links to folders",
    "link_out": "links out of the folder",
    "broken_link": "links that lead nowhere",
    "not_regular": "not regular files",
}
SMALLEST_SHOWN_DOLLARS = 1e-6
KEYS_NOT_LOGGED = ("collection", "identity", "failures", "warnings", "skipped_files")
"""Keys left out of the logged summary: they are long, or in other lines."""


def print_outcome(
    outcome: "RunOutcome", *, dry_run: bool, quiet: bool, as_json: bool, indent: int | None = 2
) -> None:
    """Print the outcome of a run.

    Quiet: only what is wrong, and a line if files were skipped, on standard error. `indent`: of the
    JSON document; None: it takes one line.
    """
    report = outcome.report
    failed = outcome.exit_code != 0
    if report is not None and (failed or not quiet):
        print_notes(report, quiet=quiet)
    if as_json:
        console.print_json(outcome.to_json(), indent=indent)
    elif report is not None:
        line = summary(report, dry_run=dry_run, completed=outcome.error is None)
        if quiet and not failed:
            if report.skipped.unasked:
                console.warn(f"{report.collection}: {skipped_text(report)}", event="skipped")
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
    points = counted(size.points, "point")
    yield f"collection afterwards: {points}, about {memory} RAM, {disk} on disk"
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
            f"  {usage['backend']}: {counted(cast(int, usage['texts']), 'text')}, "
            f"{'about ' if usage['tokens_estimated'] else ''}"
            f"{counted(cast(int, usage['tokens']), 'token')}"
        )
        if usage["in_process"]:
            line += ", in this process"
        elif usage["cost"] is not None:
            line += f", {dollars(cast(float, usage['cost']))} at list price"
        if free is not None and so_far is not None:
            line += f"; {so_far:,} so far of {free:,} free with a new account"
        lines.append(one_line(line))
    return lines


def dollars(amount: float) -> str:
    """Return an amount with cents, or with up to six decimals below a dollar."""
    if 0 < amount < SMALLEST_SHOWN_DOLLARS:
        return f"under ${SMALLEST_SHOWN_DOLLARS:f}"
    return f"${amount:,.2f}" if amount >= 1 else f"${amount:.6f}".rstrip("0").rstrip(".")


def summary(report: "Report", *, dry_run: bool = False, completed: bool = True) -> str:
    """Return the summary line of a run, or of a dry run."""
    documents, chunks = report.documents, report.chunks
    counts = ", ".join(
        f"{count:,} {name}"
        for name in ("added", "updated", "renamed", "unchanged", "removed", "failed")
        if (count := getattr(documents, name))
    )
    if not completed and not did_anything(report):
        left = "" if report.left is None else f", {counted(report.left, 'file')} left"
        parts = [f"nothing was done{left}", counts]
        parts.append(_effort(report) if report.tokens or report.requests else "")
    else:
        parts = [
            counts or ("nothing written yet" if report.waiting.documents else "nothing to do"),
            f"{counted(chunks.embedded, 'chunk')} {'to embed' if dry_run else 'embedded'} "
            f"({_effort(report)})",
            f"{counted(chunks.unstored, 'chunk')} embedded but not stored"
            if chunks.unstored
            else "",
            f"{counted(chunks.reused, 'chunk')} reused" if chunks.reused else "",
            f"{counted(chunks.deleted, 'chunk')} deleted" if chunks.deleted else "",
            f"{counted(report.left, 'file')} left for the next run" if report.left else "",
            str(report.waiting),
            skipped_text(report),
            f"{counted(report.elsewhere, 'other document')} kept" if report.elsewhere else "",
        ]
        if not completed:
            parts[0] = f"stopped early: {parts[0]}"
        if dry_run:
            parts[0] = f"planned: {parts[0]}"
    text = "; ".join(part for part in parts if part)
    return f"{report.collection}: {text}; {report.seconds:.1f} s"


def did_anything(report: "Report") -> bool:
    """Return whether a run changed the collection, or sent anything."""
    documents, chunks = report.documents, report.chunks
    changed = documents.added, documents.updated, documents.renamed, documents.removed
    return any((*changed, chunks.embedded, chunks.reused, chunks.deleted, chunks.unstored))


def skipped_text(report: "Report") -> str:
    """Return what was left out: types without a loader, names of the rest; "" if nothing was."""
    from ragctl.sources.skipped import GITIGNORE, NO_LOADER

    skipped = report.skipped
    parts = []
    if skipped.counts[NO_LOADER]:
        types = sorted(skipped.suffixes.items(), key=lambda item: (-item[1], item[0]))
        shown = [f"{count:,} {one_line(suffix)}" for suffix, count in types[:MAX_SHOWN_TYPES]]
        more = f", {len(types) - len(shown)} more types" if len(types) > len(shown) else ""
        parts.append(f"no loader: {', '.join(shown)}{more}")
    for kind, title in _SKIPPED_TITLES.items():
        if skipped.counts[kind]:
            names = [one_line(each.source) for each in skipped.files if each.kind == kind]
            names = names[:MAX_SHOWN_SKIPPED]
            more = " …" if skipped.counts[kind] > len(names) else ""
            parts.append(f"{title}: {', '.join(names)}{more}")
    lines = []
    if skipped.unasked:
        lines.append(f"{counted(skipped.unasked, 'file')} skipped ({'; '.join(parts)})")
    if skipped.counts[GITIGNORE]:
        lines.append(f"{skipped.counts[GITIGNORE]:,} ignored by .gitignore")
    return "; ".join(lines)


def _effort(report: "Report") -> str:
    """Return the tokens, requests and cost of a run."""
    parts = [counted(report.tokens, "token")]
    if report.requests:
        parts.append(counted(report.requests, "request"))
    elif report.tokens and report.backends and all(row["in_process"] for row in report.backends):
        parts.append("in this process")
    if report.cost:
        parts.append(dollars(report.cost))
    return ", ".join(parts)
