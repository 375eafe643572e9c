"""How a run tells what happened, to what watches it: a report file, metrics, a call.

None of them changes how the run ended: what cannot be told is one warning.
"""

from collections.abc import Callable

from ragctl.files import replace_file
from ragctl.pipeline import Reporting
from ragctl.reporting.outcome import RunOutcome

__all__ = ["RunOutcome", "tell"]


def tell(outcome: RunOutcome, reporting: Reporting, warn: Callable[[str], None]) -> None:
    """Write the files and make the call that are asked for; `warn` of each that fails."""
    if reporting.report_file is not None:
        try:
            replace_file(reporting.report_file, outcome.document())
        except OSError as error:
            warn(f"the report was not written: {reporting.report_file}: {error.strerror or error}")
    if reporting.metrics_file is not None:
        from ragctl.reporting import metrics

        try:
            metrics.write(reporting.metrics_file, outcome)
        except OSError as error:
            path = reporting.metrics_file
            warn(f"the metrics were not written: {path}: {error.strerror or error}")
    url = reporting.on_success if outcome.succeeded else reporting.on_failure
    if url is not None:
        from ragctl.notify import webhook

        reason = webhook.call(url, outcome.message())
        if reason is not None:
            name = "on_success" if outcome.succeeded else "on_failure"
            warn(f"the call to {name} failed: {reason}")
