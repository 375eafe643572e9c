"""Publish the outcome of a run: a report file, a metrics file, a webhook.

A failure to publish is a warning and does not change the exit code.
"""

from collections.abc import Callable

from ragctl.files import replace_file
from ragctl.pipeline import Reporting
from ragctl.reporting.outcome import RunOutcome

__all__ = ["RunOutcome", "publish"]


def publish(outcome: RunOutcome, reporting: Reporting, warn: Callable[[str], None]) -> None:
    """Write the files and call the webhook that `reporting` sets; `warn` of each failure."""
    if reporting.report_file is not None:
        try:
            replace_file(reporting.report_file, outcome.report_json())
        except OSError as error:
            warn(f"the report was not written: {reporting.report_file}: {error.strerror or error}")
    if reporting.metrics_file is not None:
        from ragctl.reporting.metrics import write_metrics

        try:
            write_metrics(reporting.metrics_file, outcome)
        except OSError as error:
            path = reporting.metrics_file
            warn(f"the metrics were not written: {path}: {error.strerror or error}")
    url = reporting.on_success if outcome.succeeded else reporting.on_failure
    if url is not None:
        from ragctl.notify import send

        reason = send(url, outcome.webhook_json())
        if reason is not None:
            name = "on_success" if outcome.succeeded else "on_failure"
            warn(f"the call to {name} failed: {reason}")
