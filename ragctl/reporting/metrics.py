"""A run in Prometheus' text format, for the textfile collector of node_exporter."""

import math
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from ragctl.files import replace_file
from ragctl.reporting.outcome import RunOutcome

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry

_SUCCEEDED = "ragctl_run_success_timestamp_seconds"
_READABLE = 0o644  # node_exporter is another user
_LARGEST = 1 << 20  # bytes of an old file that are looked at


def write(path: Path, outcome: RunOutcome) -> None:
    """Replace the file by this run's metrics, in one step. Raises OSError.

    When the run before this one succeeded and this one failed, the time of that
    success is kept: it is read from the file that is replaced.
    """
    from prometheus_client import generate_latest

    collection = _label(outcome.collection)
    succeeded = outcome.ended if outcome.succeeded else _last_success(path, collection)
    replace_file(path, generate_latest(_registry(outcome, collection, succeeded)), _READABLE)


def _registry(outcome: RunOutcome, collection: str, succeeded: float) -> "CollectorRegistry":
    from prometheus_client import CollectorRegistry, Gauge

    registry = CollectorRegistry()

    def gauge(name: str, text: str, values: Iterable[tuple[str, float]], label: str) -> None:
        made = Gauge(name, text, ("collection", label), registry=registry)
        for value, number in values:
            made.labels(collection, _label(value)).set(number)

    def single(name: str, text: str, number: float) -> None:
        Gauge(name, text, ("collection",), registry=registry).labels(collection).set(number)

    body = cast("dict[str, Any]", outcome.to_json())
    backends = body["backends"]
    single("ragctl_run_timestamp_seconds", "When the last run ended.", outcome.ended)
    single(_SUCCEEDED, "When the last run that exited with 0 ended; 0: none yet.", succeeded)
    single("ragctl_run_success", "1 if the last run exited with 0.", float(outcome.succeeded))
    single("ragctl_run_exit_code", "Exit code of the last run.", outcome.exit_code)
    single("ragctl_run_duration_seconds", "How long the last run took.", outcome.seconds)
    gauge("ragctl_run_stage_seconds", "The same by stage.", body["stages"].items(), "stage")
    gauge("ragctl_run_documents", "Documents by state.", body["documents"].items(), "state")
    gauge("ragctl_run_chunks", "Chunks by state.", body["chunks"].items(), "state")
    gauge(
        "ragctl_run_tokens",
        "Tokens billed by each backend.",
        _sums(backends, "tokens"),
        "backend",
    )
    gauge(
        "ragctl_run_cost_dollars",
        "Cost at list price of each backend whose price is known.",
        _sums(backends, "cost"),
        "backend",
    )
    single("ragctl_run_requests", "Requests to backends.", body["requests"])
    single("ragctl_run_failures", "Documents that failed.", len(body["failures"]))
    single("ragctl_run_warnings", "Warnings.", len(body["warnings"]))
    return registry


def _sums(accounts: list[dict[str, Any]], key: str) -> Iterable[tuple[str, float]]:
    """A figure by backend; one that serves a model at two addresses has two accounts."""
    sums: dict[str, float] = {}
    for account in accounts:
        if account[key] is not None:
            sums[account["backend"]] = sums.get(account["backend"], 0) + account[key]
    return sums.items()


def _label(text: str) -> str:
    return text.encode("utf-8", "replace").decode("utf-8")


def _last_success(path: Path, collection: str) -> float:
    """When a run last succeeded, as the old file says; 0 where it does not."""
    from prometheus_client.parser import text_string_to_metric_families

    try:
        with path.open("rb") as file:
            old = file.read(_LARGEST).decode("utf-8", "replace")
    except OSError:
        return 0.0
    # Only the line that counts: whatever else is in the file cannot spoil it.
    for line in old.split("\n"):
        if not line.startswith(_SUCCEEDED):
            continue
        try:
            samples = [s for f in text_string_to_metric_families(line + "\n") for s in f.samples]
        except ValueError:
            continue
        for sample in samples:
            if sample.labels == {"collection": collection} and math.isfinite(sample.value):
                return max(0.0, sample.value)
    return 0.0
