"""Whatever ends a run, it ends with one message, its exit code, its report and its metrics."""

import array
import fcntl
import json
import os
import signal
import subprocess
import sys
import termios
import threading
from pathlib import Path

import pytest

from ragctl.index.run import Run
from ragctl.notify import send
from tests.command import call
from tests.mounting import can_mount
from tests.servers.hooks import TRICKLE, Hooks
from tests.waiting import PROCESS_SECONDS, until


class Panic(BaseException):
    """An error outside the Exception classes, as native extensions raise it."""


def run(folder: Path, report_file: Path, *, on_failure: str = "") -> "tuple[int, str]":
    (folder / "docs").mkdir(exist_ok=True)
    (folder / "docs" / "a.md").write_text("a valve")
    (folder / "p.toml").write_text(
        f"store = '{folder}/store'\n[[sources]]\npath = '{folder}/docs'\n[report]\n"
        f"report_file = '{report_file}'\nmetrics_file = '{folder}/run.prom'\n"
        + (f"on_failure = '{on_failure}'\n" if on_failure else "")
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


def _engines() -> list[int]:
    """Return the ids of the engine's processes that this process has started."""
    found = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                parent = (folder / "stat").read_text().rpartition(")")[2].split()[1]
                if (
                    int(parent) == os.getpid()
                    and b"edge_child" in (folder / "cmdline").read_bytes()
                ):
                    found.append(int(folder.name))
            except (FileNotFoundError, ProcessLookupError):
                continue
    return found


def _kill_the_engine_during_a_call() -> None:
    """Wait for the next engine, stop it, and kill it once a request waits for it."""
    until(lambda: bool(_engines()))
    (engine,) = _engines()
    os.kill(engine, signal.SIGSTOP)
    with open(f"/proc/{engine}/fd/0", "rb", buffering=0) as requests:  # noqa: PTH123 - a pipe
        waiting = array.array("i", [0])

        def request_waits() -> bool:
            fcntl.ioctl(requests, termios.FIONREAD, waiting)
            return waiting[0] > 0

        until(request_waits)
    os.kill(engine, signal.SIGKILL)


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="needs Linux's /proc")
@pytest.mark.parametrize("hangs", [False, True])
def test_a_killed_engine_ends_a_run_with_report_metrics_and_notification(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, hangs: bool
) -> None:
    settings = send.__kwdefaults__
    assert settings is not None
    monkeypatch.setitem(settings, "seconds", 0.5)
    monkeypatch.setitem(settings, "pauses", (0,))
    assert run(tmp_path, tmp_path / "report.json")[0] == 0
    for name in ("report.json", "run.prom"):
        (tmp_path / name).unlink()
    killer = threading.Thread(target=_kill_the_engine_during_a_call)
    killer.start()
    with Hooks([TRICKLE, TRICKLE] if hangs else []) as hooks:
        code, errors = run(tmp_path, tmp_path / "report.json", on_failure=f"{hooks.url}/failed")
    killer.join()
    assert code == 5
    assert hooks.paths == ["/failed"] * (2 if hangs else 1)
    assert json.loads(hooks.bodies[0])["exit_code"] == 5
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["exit_code"] == 5
    assert "killed (SIGKILL)" in report["error"]
    assert "ragctl_run_exit_code" in (tmp_path / "run.prom").read_text()
    assert ("the call to on_failure failed: http://127.0.0.1: no answer" in errors) == hangs
    assert len(errors.splitlines()) == 2 + hangs, "the summary, the error, the warning"
    assert run(tmp_path, tmp_path / "report.json")[0] == 0, "nothing is lost"


FULL = """
mount -t tmpfs -o size=64k tmpfs {reports}
{ragctl} run p.toml --quiet; echo $?
cp {reports}/report.json {reports}/run.prom .
dd if=/dev/zero of={reports}/fill bs=4K
{ragctl} run p.toml --quiet; echo $?
ls -A {reports}
cmp {reports}/report.json report.json; cmp {reports}/run.prom run.prom
"""


@pytest.mark.skipif(not can_mount(), reason="no file system can be mounted here")
def test_a_full_disk_keeps_the_last_report_and_metrics(tmp_path: Path) -> None:
    for name in ("docs", "reports"):
        (tmp_path / name).mkdir()
    (tmp_path / "docs" / "a.md").write_text("a valve")
    (tmp_path / "p.toml").write_text(
        "store = 'store'\n[[sources]]\npath = 'docs'\n[report]\n"
        "report_file = 'reports/report.json'\nmetrics_file = 'reports/run.prom'\n"
    )
    script = FULL.format(reports=tmp_path / "reports", ragctl=f"{sys.executable} -m ragctl")
    done = subprocess.run(
        ["unshare", "-m", "sh", "-c", script],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=PROCESS_SECONDS,
    )
    assert done.stdout.split() == ["0", "0", "fill", "report.json", "run.prom"]
    warnings = [line for line in done.stderr.splitlines() if line.startswith("warning: ")]
    assert len(warnings) == 2, done.stderr
    for what, line in zip(("report was", "metrics were"), warnings, strict=True):
        assert f"the {what} not written" in line
        assert "No space left on device" in line
