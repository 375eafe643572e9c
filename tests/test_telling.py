"""What a run tells those who watch it: report, metrics, calls; each against a real reader."""

import json
import os
import socket
import stat
from dataclasses import replace
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from prometheus_client.parser import text_string_to_metric_families

from ragctl.files import replace_file
from ragctl.index.report import Report
from ragctl.notify import webhook
from ragctl.pipeline import Reporting
from ragctl.reporting import RunOutcome, metrics, tell
from tests.servers.hooks import TRICKLE, Hooks
from tests.world import World, paragraphs

ROOT = Path(__file__).parents[1]
SCHEMA = json.loads((ROOT / "ragctl/reporting/report.schema.json").read_text(encoding="utf-8"))
STARTED = 1_750_000_000.0
GOOD = RunOutcome("docs", STARTED, 2.5, 0, None, Report("docs", {"model": "m", "dimension": 8}))
LOCKED = RunOutcome("docs", STARTED + 60, 0.5, 9, "docs is being written by another run")
SECRET = "s3cret-t0ken"


def check(outcome: RunOutcome) -> dict[str, Any]:
    """The report as a reader gets it, found right by the schema."""
    document = json.loads(outcome.document())
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    jsonschema.validate(
        document, SCHEMA, format_checker=jsonschema.Draft202012Validator.FORMAT_CHECKER
    )
    return dict(document)


def undocumented(value: Any, schema: dict[str, Any], path: str = "") -> set[str]:
    """Keys of a report that its schema does not have."""
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
    """What Prometheus reads: each sample by name, collection, and its other label if any."""
    return {
        (sample.name, sample.labels.pop("collection"), *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(path.read_text(encoding="utf-8"))
        for sample in family.samples
    }


def told(outcome: RunOutcome, reporting: Reporting) -> list[str]:
    """The warnings of telling it."""
    warnings: list[str] = []
    tell(outcome, reporting, warnings.append)
    return warnings


# The report


def test_reports_of_real_runs_are_as_the_schema_says(edge_world: World) -> None:
    edge_world.write("a.md", paragraphs("one", "two"))
    edge_world.write("bad.pdf", b"%PDF-1.7 rubbish")
    run = edge_world.ingest()
    outcome = RunOutcome("docs", STARTED, run.seconds, 3, None, run)
    document = check(outcome)
    assert document["documents"]["added"] == 1
    assert [failure["source"] for failure in document["failures"]] == ["bad.pdf"]
    assert document["backends"][0]["tokens"] == document["tokens"] > 0
    assert document["started"] == "2025-06-15T15:06:40+00:00"
    assert undocumented(document, SCHEMA) == set()


def test_a_run_without_a_report_has_every_key() -> None:
    document = check(LOCKED)
    assert list(document) == list(check(GOOD))
    assert document.keys() == set(SCHEMA["required"])
    assert document["identity"] is None
    assert document["documents"] == check(GOOD)["documents"]
    assert document["error"] == LOCKED.error
    assert document["exit_code"] == 9
    assert document["seconds"] == 0.5


def test_the_page_of_the_report_names_every_key() -> None:
    page = (ROOT / "docs/report.md").read_text(encoding="utf-8")
    items = (SCHEMA["properties"][key]["items"] for key in ("backends", "failures", "warnings"))
    groups = (SCHEMA["properties"][key] for key in ("documents", "chunks"))
    for table in (SCHEMA, *groups, *items):
        for key, row in table["properties"].items():
            assert f"`{key}`" in page, key
            assert row["description"], key


def test_a_report_of_hostile_names_is_valid(tmp_path: Path) -> None:
    report = Report("docs", {"model": "m", "dimension": 8})
    report.add_failure("a\x1b[31m\udcff\n.txt", 'no "quotes"')
    document = check(replace(GOOD, exit_code=3, report=report))
    assert document["failures"][0]["source"] == "a\x1b[31m?\n.txt"


# Files


def test_a_file_is_replaced_in_one_step_and_nothing_is_left(tmp_path: Path) -> None:
    target, link = tmp_path / "real.json", tmp_path / "link.json"
    target.write_bytes(b"old")
    link.symlink_to(target)
    with target.open("rb") as reader:
        replace_file(link, b"new", 0o644)
        assert reader.read() == b"old"  # who reads it already sees it whole
    assert target.read_bytes() == b"new"
    assert link.is_symlink()
    assert stat.S_IMODE(target.stat().st_mode) == 0o644
    assert sorted(p.name for p in tmp_path.iterdir()) == ["link.json", "real.json"]


def test_what_is_no_file_is_not_replaced(tmp_path: Path) -> None:
    pipe, circle = tmp_path / "pipe", tmp_path / "circle"
    os.mkfifo(pipe)
    circle.symlink_to(circle)
    for path in (pipe, tmp_path, circle, tmp_path / "none" / "x", Path("a\0b")):
        with pytest.raises(OSError):
            replace_file(path, b"x")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["circle", "pipe"]


def test_what_cannot_be_written_is_one_warning_each(tmp_path: Path) -> None:
    nowhere = tmp_path / "none"
    warnings = told(GOOD, Reporting(nowhere / "r.json", nowhere / "m.prom"))
    assert len(warnings) == 2
    assert all("No such file or directory" in text for text in warnings)
    assert str(nowhere / "r.json") in warnings[0]
    assert str(nowhere / "m.prom") in warnings[1]


# Metrics


def test_metrics_say_what_the_run_did(edge_world: World, tmp_path: Path) -> None:
    edge_world.write("a.md", paragraphs("one", "two"))
    run = edge_world.ingest()
    file = tmp_path / "ragctl.prom"
    metrics.write(file, RunOutcome("docs", STARTED, 2.5, 0, None, run))
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
    metrics.write(file, LOCKED)
    assert samples(file)["ragctl_run_success_timestamp_seconds", "docs"] == 0
    metrics.write(file, GOOD)
    metrics.write(file, LOCKED)
    metrics.write(file, LOCKED)
    found = samples(file)
    assert found["ragctl_run_success_timestamp_seconds", "docs"] == GOOD.ended
    assert found["ragctl_run_timestamp_seconds", "docs"] == LOCKED.ended
    assert found["ragctl_run_exit_code", "docs"] == 9
    assert found["ragctl_run_success", "docs"] == 0
    metrics.write(file, replace(LOCKED, collection="other"))
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
def test_rubbish_in_the_old_file_is_no_success(tmp_path: Path, old: bytes) -> None:
    file = tmp_path / "ragctl.prom"
    file.write_bytes(old)
    metrics.write(file, LOCKED)
    assert samples(file)["ragctl_run_success_timestamp_seconds", "docs"] == 0


def test_metrics_of_hostile_names_can_be_read(tmp_path: Path) -> None:
    file = tmp_path / "ragctl.prom"
    name = 'x"}\n\\ 1\udcff'
    metrics.write(file, replace(GOOD, collection=name))
    shown = name.replace("\udcff", "?")
    assert samples(file)["ragctl_run_success", shown] == 1
    metrics.write(file, replace(LOCKED, collection=name))
    assert samples(file)["ragctl_run_success_timestamp_seconds", shown] == GOOD.ended


# Calls


def test_success_and_failure_are_called_each_at_its_url(tmp_path: Path) -> None:
    with Hooks() as hooks:
        urls = Reporting(on_success=f"{hooks.url}/well?k={SECRET}", on_failure=f"{hooks.url}/ill")
        assert told(GOOD, urls) == []
        assert told(LOCKED, urls) == []
        assert told(replace(GOOD, exit_code=130), urls) == []
        assert told(GOOD, Reporting(on_failure=urls.on_failure)) == []
    assert hooks.paths == [f"/well?k={SECRET}", "/ill", "/ill"]
    assert json.loads(hooks.bodies[0]) == GOOD.to_json()
    assert json.loads(hooks.bodies[1]) == LOCKED.to_json()


def test_a_call_takes_a_hundred_failures_along() -> None:
    report = Report("docs", {"model": "m", "dimension": 8})
    for n in range(150):
        report.add_failure(f"{n}.txt", "no")
    with Hooks() as hooks:
        assert webhook.call(hooks.url, replace(GOOD, exit_code=3, report=report).message()) is None
    body = json.loads(hooks.bodies[0])
    assert len(body["failures"]) == 100
    assert body["documents"]["failed"] == 150


@pytest.mark.parametrize(
    ("answers", "calls", "reason"),
    [
        ([503, 429], 3, None),
        ([500, 502, 503], 3, "answered 503"),
        ([404], 1, "answered 404"),
        ([302], 1, "answered 302, a redirect, which is not followed"),
        ([307], 1, "answered 307, a redirect, which is not followed"),
    ],
)
def test_what_may_pass_is_tried_again(answers: list[int], calls: int, reason: str | None) -> None:
    with Hooks(answers) as hooks:
        said = webhook.call(f"{hooks.url}/{SECRET}", GOOD.message(), pauses=(0, 0))
    assert hooks.paths == [f"/{SECRET}"] * calls
    assert said == (None if reason is None else f"http://127.0.0.1: {reason}")


def test_an_answer_that_trickles_does_not_hold_the_run_up() -> None:
    with Hooks([TRICKLE, TRICKLE]) as hooks:
        said = webhook.call(hooks.url, GOOD.message(), seconds=0.3, pauses=(0,))
    assert said == "http://127.0.0.1: no answer within 0.3 s"
    assert len(hooks.paths) == 2


def test_no_message_shows_more_than_the_host() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound and not listening: refuses
        port = taken.getsockname()[1]
        for url in (
            f"http://127.0.0.1:{port}/{SECRET}?{SECRET}",
            f"http://{SECRET}:{SECRET}@127.0.0.1:{port}/",
            f"hooks.example.com/{SECRET}",
            f"ftp://127.0.0.1/{SECRET}",
            f"http:///{SECRET}",
            f"http://127.0.0.1:{SECRET}/",
            f"http://[{SECRET}/",
            f"http://127.0.0.1:{port}/\r\n{SECRET}",
            f"http://127.0.0.1:{port}/\udcff{SECRET}",
            f"http://{'a' * 70}.test/{SECRET}",
        ):
            warnings = told_quickly(url)
            assert len(warnings) == 1, url
            assert SECRET not in warnings[0]
            assert repr(Reporting(on_failure=url)).count(SECRET) == 0


def told_quickly(url: str) -> list[str]:
    said = webhook.call(url, GOOD.message(), pauses=(0, 0))
    return [] if said is None else [said]
