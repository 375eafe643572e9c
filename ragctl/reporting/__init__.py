"""Publish the outcome of a run: a report file, a metrics file, a webhook.

A failure to publish is a warning and does not change the exit code.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from ragctl.files import replace_file
from ragctl.pipeline import Reporting
from ragctl.reporting.outcome import RunOutcome

__all__ = ["RunOutcome", "publish"]


def publish(outcome: RunOutcome, reporting: Reporting, warn: Callable[[str], None]) -> None:
    """Write the files and call the webhook that `reporting` sets; `warn` of each failure."""
    report_file, metrics_file = reporting.report_file, reporting.metrics_file
    if report_file is not None:
        with _warning(f"the report was not written: {report_file}", warn):
            replace_file(report_file, outcome.report_json())
    if metrics_file is not None:
        with _warning(f"the metrics were not written: {metrics_file}", warn):
            from ragctl.reporting.metrics import write_metrics

            write_metrics(metrics_file, outcome)
    url = reporting.on_success if outcome.succeeded else reporting.on_failure
    if url is not None:
        failed = f"the call to {'on_success' if outcome.succeeded else 'on_failure'} failed"
        with _warning(failed, warn):
            from ragctl.notify import send

            reason = send(url, outcome.webhook_json())
            if reason is not None:
                warn(f"{failed}: {reason}")


@contextmanager
def _warning(text: str, warn: Callable[[str], None]) -> Iterator[None]:
    """Turn any error of the enclosed step into a warning, so that the next step follows."""
    try:
        yield
    except OSError as error:
        warn(f"{text}: {error.strerror or type(error).__name__}")
    except Exception as error:  # noqa: BLE001 - whatever fails, the run is over
        warn(f"{text}: {type(error).__name__}")
