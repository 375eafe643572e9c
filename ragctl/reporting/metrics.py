"""Metrics of a run in Prometheus' text format, for node_exporter's textfile collector."""

import math
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from ragctl.files import replace_file
from ragctl.reporting.outcome import RunOutcome

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry

LAST_SUCCESS = "ragctl_run_success_timestamp_seconds"
FILE_MODE = 0o644  # node_exporter runs as another user
MAX_OLD_FILE_BYTES = 1 << 20  # bytes of the old file searched for the last success


def write_metrics(path: Path, outcome: RunOutcome) -> None:
    """Replace the file with this run's metrics atomically. Raises OSError.

    If this run failed, the time of the last success is copied from the file that is replaced.
    """
    from prometheus_client import generate_latest

    collection = _label(outcome.collection)
    last_success = outcome.ended if outcome.succeeded else _last_success(path, collection)
    replace_file(path, generate_latest(_registry(outcome, collection, last_success)), FILE_MODE)


def _registry(outcome: RunOutcome, collection: str, last_success: float) -> "CollectorRegistry":
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
    single(LAST_SUCCESS, "When the last run that exited with 0 ended; 0: none yet.", last_success)
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
    single("ragctl_run_skipped_files", "Files skipped though no rule says so.", body["skipped"])
    single("ragctl_run_ignored_files", "Files and folders ignored by rules.", body["ignored"])
    waiting = body["waiting"]
    single(
        "ragctl_run_waiting_documents", "Documents that wait for batch jobs.", waiting["documents"]
    )
    single("ragctl_run_waiting_texts", "Texts in open batch jobs.", waiting["texts"])
    single("ragctl_run_verified_points", "Points that the run checked.", body["verified"])
    single("ragctl_run_damaged_documents", "Documents found damaged.", body["damaged"])
    return registry


def _sums(backends: list[dict[str, Any]], key: str) -> Iterable[tuple[str, float]]:
    """Sum a figure by backend name: one used at two addresses has two entries."""
    sums: dict[str, float] = {}
    for backend in backends:
        if backend[key] is not None:
            sums[backend["backend"]] = sums.get(backend["backend"], 0) + backend[key]
    return sums.items()


def _label(text: str) -> str:
    return text.encode("utf-8", "replace").decode("utf-8")


def _last_success(path: Path, collection: str) -> float:
    """Return when a run last succeeded according to the old file, in seconds since 1970; else 0."""
    from prometheus_client.parser import text_string_to_metric_families

    try:
        with path.open("rb") as file:
            old = file.read(MAX_OLD_FILE_BYTES).decode("utf-8", "replace")
    except OSError:
        return 0.0
    # Parse only this line: errors elsewhere in the file do not matter.
    for line in old.split("\n"):
        if not line.startswith(LAST_SUCCESS):
            continue
        try:
            samples = [s for f in text_string_to_metric_families(line + "\n") for s in f.samples]
        except ValueError:
            continue
        for sample in samples:
            if sample.labels == {"collection": collection} and math.isfinite(sample.value):
                return max(0.0, sample.value)
    return 0.0
