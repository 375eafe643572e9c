"""Whatever ends a run, it ends with one message, its exit code, its report and its metrics."""

import json
import os
from pathlib import Path

import pytest

from ragctl.index.run import Run
from tests.command import call


class Panic(BaseException):
    """An error outside the Exception classes, as native extensions raise it."""


def run(folder: Path, report_file: Path) -> "tuple[int, str]":
    (folder / "docs").mkdir()
    (folder / "docs" / "a.md").write_text("a valve")
    (folder / "p.toml").write_text(
        f"store = '{folder}/store'\n[[sources]]\npath = '{folder}/docs'\n[report]\n"
        f"report_file = '{report_file}'\nmetrics_file = '{folder}/run.prom'\n"
    )
    ended = call("run", "--quiet", "p.toml", environ={"PATH": os.environ["PATH"]}, cwd=folder)
    return ended.returncode, ended.stderr


@pytest.mark.parametrize("error", [MemoryError("no memory"), Panic("engine"), SystemExit("3")])
def test_any_error_ends_a_run_with_its_report(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    def fail(self: Run) -> None:
        raise error

    monkeypatch.setattr(Run, "ingest", fail)
    code, errors = run(tmp_path, tmp_path / "report.json")
    assert code == 1
    (line,) = errors.splitlines()
    assert f"unexpected failure: {type(error).__name__}" in line
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["exit_code"] == 1
    assert type(error).__name__ in report["error"]
    assert "ragctl_run_exit_code" in (tmp_path / "run.prom").read_text()


def test_a_report_that_cannot_be_written_keeps_the_exit_code_and_the_metrics(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ragctl.reporting import RunOutcome

    def fail(self: RunOutcome) -> bytes:
        raise MemoryError

    monkeypatch.setattr(RunOutcome, "report_json", fail)
    code, errors = run(tmp_path, tmp_path / "report.json")
    assert code == 0
    assert "the report was not written" in errors
    assert "MemoryError" in errors
    assert (tmp_path / "run.prom").exists()
