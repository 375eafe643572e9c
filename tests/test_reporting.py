"""Report file, metrics and webhook of a run, each against a real reader."""

import json
import os
import stat
from dataclasses import replace
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from prometheus_client.parser import text_string_to_metric_families

from ragctl.files import replace_file
from ragctl.index.report import Report
from ragctl.notify import send
from ragctl.pipeline import Reporting
from ragctl.records import Identity
from ragctl.reporting import RunOutcome, publish
from ragctl.reporting.metrics import write_metrics
from tests.servers.hooks import Hooks
from tests.world import World, paragraphs

ROOT = Path(__file__).parents[1]
SCHEMA = json.loads((ROOT / "ragctl/reporting/report.schema.json").read_text(encoding="utf-8"))
STARTED = 1_750_000_000.0
IDENTITY = Identity(model="m", dimension=8)
GOOD = RunOutcome("docs", STARTED, 2.5, 0, None, Report("docs", IDENTITY))
LOCKED = RunOutcome("docs", STARTED + 60, 0.5, 9, "docs is being written by another run")
SECRET = "s3cret-t0ken"


def valid_report(outcome: RunOutcome) -> dict[str, Any]:
    """Return the report as a reader gets it; it must be valid by the schema."""
    document = json.loads(outcome.report_json())
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    jsonschema.validate(
        document, SCHEMA, format_checker=jsonschema.Draft202012Validator.FORMAT_CHECKER
    )
    return dict(document)


def undocumented(value: Any, schema: dict[str, Any], path: str = "") -> set[str]:
    """Return the keys of a report that its schema does not have."""
    if isinstance(value, list):
        return {key for item in value for key in undocumented(item, schema["items"], path)}
    known = schema.get("properties")
    if not isinstance(value, dict) or known is None:
        return set()
    found = {f"{path}.{key}" for key in value if key not in known}
    for key in value.keys() & known.keys():
        found |= undocumented(value[key], known[key], f"{path}.{key}")
    return found


def samples(path: Path) -> dict[tuple[str, ...], float]:
    """Return what Prometheus reads: each sample by name, collection, and other label if any."""
    return {
        (sample.name, sample.labels.pop("collection"), *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(path.read_text(encoding="utf-8"))
        for sample in family.samples
    }


def warnings_of(outcome: RunOutcome, reporting: Reporting) -> list[str]:
    """Publish an outcome and return the warnings."""
    warnings: list[str] = []
    publish(outcome, reporting, warnings.append)
    return warnings


# The report


def test_reports_of_real_runs_match_the_schema(edge_world: World) -> None:
    edge_world.write("a.md", paragraphs("one", "two"))
    edge_world.write("bad.pdf", b"%PDF-1.7 rubbish")
    run = edge_world.ingest()
    outcome = RunOutcome("docs", STARTED, run.seconds, 3, None, run)
    document = valid_report(outcome)
    assert document["documents"]["added"] == 1
    assert [failure["source"] for failure in document["failures"]] == ["docs/bad.pdf"]
    assert document["backends"][0]["tokens"] == document["tokens"] > 0
    assert document["started"] == "2025-06-15T15:06:40+00:00"
    assert undocumented(document, SCHEMA) == set()


def test_a_run_without_a_report_has_every_key() -> None:
    document = valid_report(LOCKED)
    assert list(document) == list(valid_report(GOOD))
    assert document.keys() == set(SCHEMA["required"])
    assert document["identity"] is None
    assert document["documents"] == valid_report(GOOD)["documents"]
    assert document["error"] == LOCKED.error
    assert document["exit_code"] == 9
    assert document["seconds"] == 0.5


def test_the_docs_name_every_key_of_the_report() -> None:
    page = (ROOT / "docs/report.md").read_text(encoding="utf-8")
    items = (SCHEMA["properties"][key]["items"] for key in ("backends", "failures", "warnings"))
    groups = (SCHEMA["properties"][key] for key in ("documents", "chunks"))
    for table in (SCHEMA, *groups, *items):
        for key, row in table["properties"].items():
            assert f"`{key}`" in page, key
            assert row["description"], key


def test_a_report_with_hostile_names_is_valid(tmp_path: Path) -> None:
    report = Report("docs", IDENTITY)
    report.add_failure("a\x1b[31m\udcff\n.txt", 'no "quotes"')
    document = valid_report(replace(GOOD, exit_code=3, report=report))
    assert document["failures"][0]["source"] == "a\x1b[31m?\n.txt"


# Files


def test_a_file_is_replaced_atomically_and_no_other_is_left(tmp_path: Path) -> None:
    target, link = tmp_path / "real.json", tmp_path / "link.json"
    target.write_bytes(b"old")
    link.symlink_to(target)
    with target.open("rb") as reader:
        replace_file(link, b"new", 0o644)
        assert reader.read() == b"old"  # an open reader keeps the whole old file
    assert target.read_bytes() == b"new"
    assert link.is_symlink()
    assert stat.S_IMODE(target.stat().st_mode) == 0o644
    assert sorted(p.name for p in tmp_path.iterdir()) == ["link.json", "real.json"]


def test_only_regular_files_are_replaced(tmp_path: Path) -> None:
    pipe, circle = tmp_path / "pipe", tmp_path / "circle"
    os.mkfifo(pipe)
    circle.symlink_to(circle)
    for path in (pipe, tmp_path, circle, tmp_path / "none" / "x", Path("a\0b")):
        with pytest.raises(OSError):
            replace_file(path, b"x")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["circle", "pipe"]


def test_each_file_that_cannot_be_written_is_one_warning(tmp_path: Path) -> None:
    nowhere = tmp_path / "none"
    warnings = warnings_of(GOOD, Reporting(nowhere / "r.json", nowhere / "m.prom"))
    assert len(warnings) == 2
    assert all("No such file or directory" in text for text in warnings)
    assert str(nowhere / "r.json") in warnings[0]
    assert str(nowhere / "m.prom") in warnings[1]


# Metrics


def test_metrics_describe_the_run(edge_world: World, tmp_path: Path) -> None:
    edge_world.write("a.md", paragraphs("one", "two"))
    run = edge_world.ingest()
    file = tmp_path / "ragctl.prom"
    write_metrics(file, RunOutcome("docs", STARTED, 2.5, 0, None, run))
    found = samples(file)
    assert found["ragctl_run_timestamp_seconds", "docs"] == STARTED + 2.5
    assert found["ragctl_run_success_timestamp_seconds", "docs"] == STARTED + 2.5
    assert found["ragctl_run_success", "docs"] == 1
    assert found["ragctl_run_exit_code", "docs"] == 0
    assert found["ragctl_run_duration_seconds", "docs"] == 2.5
    assert found["ragctl_run_documents", "docs", "added"] == 1
    assert found["ragctl_run_documents", "docs", "failed"] == 0
    assert found["ragctl_run_chunks", "docs", "embedded"] == run.chunks.embedded == 2
    backend = str(run.backends[0]["backend"])
    assert found["ragctl_run_tokens", "docs", backend] == run.tokens > 0
    assert found["ragctl_run_cost_dollars", "docs", backend] == pytest.approx(run.cost, abs=1e-8)
    assert found["ragctl_run_failures", "docs"] == 0
    assert stat.S_IMODE(file.stat().st_mode) == 0o644


def test_the_time_of_the_last_success_outlives_failures(tmp_path: Path) -> None:
    file = tmp_path / "ragctl.prom"
    write_metrics(file, LOCKED)
    assert samples(file)["ragctl_run_success_timestamp_seconds", "docs"] == 0
    write_metrics(file, GOOD)
    write_metrics(file, LOCKED)
    write_metrics(file, LOCKED)
    found = samples(file)
    assert found["ragctl_run_success_timestamp_seconds", "docs"] == GOOD.ended
    assert found["ragctl_run_timestamp_seconds", "docs"] == LOCKED.ended
    assert found["ragctl_run_exit_code", "docs"] == 9
    assert found["ragctl_run_success", "docs"] == 0
    write_metrics(file, replace(LOCKED, collection="other"))
    assert samples(file)["ragctl_run_success_timestamp_seconds", "other"] == 0


@pytest.mark.parametrize(
    "old",
    [
        b"\xff\xfe\x00 rubbish",
        b'ragctl_run_success_timestamp_seconds{collection="docs"} soon\n',
        b'ragctl_run_success_timestamp_seconds{collection="docs"} NaN\n',
        b'ragctl_run_success_timestamp_seconds{collection="docs"} -Inf\n',
        b'ragctl_run_success_timestamp_seconds{collection="docs\n',
        b"ragctl_run_success_timestamp_seconds\n" * 1000,
    ],
)
def test_rubbish_in_the_old_file_does_not_count_as_a_success(tmp_path: Path, old: bytes) -> None:
    file = tmp_path / "ragctl.prom"
    file.write_bytes(old)
    write_metrics(file, LOCKED)
    assert samples(file)["ragctl_run_success_timestamp_seconds", "docs"] == 0


def test_metrics_with_hostile_names_can_be_read(tmp_path: Path) -> None:
    file = tmp_path / "ragctl.prom"
    name = 'x"}\n\\ 1\udcff'
    write_metrics(file, replace(GOOD, collection=name))
    shown = name.replace("\udcff", "?")
    assert samples(file)["ragctl_run_success", shown] == 1
    write_metrics(file, replace(LOCKED, collection=name))
    assert samples(file)["ragctl_run_success_timestamp_seconds", shown] == GOOD.ended


# Notifications


def test_success_and_failure_notify_each_its_own_url(tmp_path: Path) -> None:
    with Hooks() as hooks:
        urls = Reporting(on_success=f"{hooks.url}/well?k={SECRET}", on_failure=f"{hooks.url}/ill")
        assert warnings_of(GOOD, urls) == []
        assert warnings_of(LOCKED, urls) == []
        assert warnings_of(replace(GOOD, exit_code=130), urls) == []
        assert warnings_of(GOOD, Reporting(on_failure=urls.on_failure)) == []
    assert hooks.paths == [f"/well?k={SECRET}", "/ill", "/ill"]
    assert json.loads(hooks.bodies[0]) == GOOD.to_json()
    assert json.loads(hooks.bodies[1]) == LOCKED.to_json()


def test_a_webhook_gets_at_most_a_hundred_failures() -> None:
    report = Report("docs", IDENTITY)
    for n in range(150):
        report.add_failure(f"{n}.txt", "no")
    with Hooks() as hooks:
        assert send(hooks.url, replace(GOOD, exit_code=3, report=report).webhook_json()) is None
    body = json.loads(hooks.bodies[0])
    assert len(body["failures"]) == 100
    assert body["documents"]["failed"] == 150
