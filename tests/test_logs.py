"""Standard error as JSON lines, and quiet runs: what each command line prints and where."""

import json
import os
import signal
import subprocess
import sys
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from tests.command import call
from tests.servers.hooks import Hooks
from tests.servers.jina import JinaServer
from tests.waiting import until
from tests.world import KEY, paragraphs

pytestmark = pytest.mark.slow

RAGCTL = (sys.executable, "-m", "ragctl")
REPORT = """
[report]
report_file = "{report}"
metrics_file = "{metrics}"
on_success = "{url}/well"
on_failure = "{url}/ill"
"""


class Shell:
    """Runs the command in a temporary folder with `docs` and a pipeline file."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.docs = home / "docs"
        self.docs.mkdir()
        (self.docs / "a.txt").write_text("The heat pump is in the cellar.")
        (home / "p.toml").write_text('[[sources]]\npath = "docs"\n')
        self.environ = {
            **{k: v for k, v in os.environ.items() if not k.endswith("_KEY")},
            "RAGCTL_HOME": str(home / "store"),
        }

    def __call__(self, *words: str, **environ: str) -> subprocess.CompletedProcess[str]:
        return call(*words, environ={**self.environ, **environ}, cwd=self.home)

    def run_with_reports(self, url: str, *words: str) -> subprocess.CompletedProcess[str]:
        """Run p.toml with notifications to the URL, a report r.json and metrics m.prom."""
        self.write_report_section(url, "r.json", "m.prom")
        return self(*words)

    def write_report_section(self, url: str, report: str, metrics: str) -> None:
        file = self.home / "p.toml"
        text = file.read_text(encoding="utf-8").partition("\n[report]")[0]
        section = REPORT.format(url=url, report=report, metrics=metrics)
        file.write_text(text + section, encoding="utf-8")


@pytest.fixture
def shell(tmp_path: Path) -> Shell:
    return Shell(tmp_path)


def lines(text: str) -> list[dict[str, Any]]:
    """Parse each line as a JSON object and check its common keys; `time` has a time zone."""
    found: list[dict[str, Any]] = [json.loads(line) for line in text.splitlines()]
    for line in found:
        assert {"time", "level", "event", "message"} <= line.keys()
        assert datetime.fromisoformat(line["time"]).tzinfo is not None
    return found


def by_event(text: str) -> dict[str, dict[str, Any]]:
    return {line["event"]: line for line in lines(text)}


def test_run_logs_failures_and_a_summary(shell: Shell) -> None:
    (shell.docs / "b\x1b[31mad.pdf").write_bytes(b"%PDF-1.7 rubbish")
    done = shell("run", "p.toml", "--log-format", "json")
    assert done.returncode == 3
    assert done.stdout == ""
    failed, summary = lines(done.stderr)
    assert (failed["event"], failed["level"]) == ("failed", "error")
    assert failed["source"] == "docs/bad.pdf"
    assert failed["collection"] == "docs"
    assert "bad.pdf" not in failed["message"]
    assert (summary["event"], summary["level"]) == ("summary", "error")
    assert summary["message"].startswith("docs: 1 added, 1 failed; ")
    assert summary["documents"]["added"] == 1
    assert summary["exit_code"] == 3
    assert summary["error"] is None


def test_json_report_is_the_whole_standard_output(shell: Shell) -> None:
    done = shell("run", "p.toml", "--json", RAGCTL_LOG_FORMAT="json")
    assert json.loads(done.stdout)["exit_code"] == 0
    assert done.stderr == ""
    again = shell("--log-format=json", "run", "p.toml")
    (summary,) = lines(again.stderr)
    assert summary["level"] == "info"
    assert summary["documents"]["unchanged"] == 1


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["run", "none.toml"], 2),
        (["ingest", "docs", "--no-such-option"], 2),
        (["status", "-c", "none"], 2),
        (["ingest", "docs", "--store", "http://127.0.0.1:9"], 5),
        (["ingest", "nowhere"], 7),
    ],
)
def test_error_is_one_json_object(shell: Shell, words: list[str], code: int) -> None:
    done = shell("--log-format", "json", *words)
    assert done.returncode == code
    (error,) = lines(done.stderr)
    assert (error["event"], error["level"], error["exit_code"]) == ("error", "error", code)
    assert error["message"]
    assert not error["message"].startswith("ragctl:")


def test_log_format_option_is_accepted_anywhere_before_the_double_dash(shell: Shell) -> None:
    assert shell("status", "--log-format", "xml").stderr.startswith("ragctl: --log-format 'xml'")
    assert shell("status", RAGCTL_LOG_FORMAT="xml").returncode == 2
    empty = shell("status", "--log-format")
    assert empty.stderr == "ragctl: --log-format '': must be text or json\n"
    searched = shell("search", "--", "--log-format")
    assert searched.stderr.startswith("ragctl: no collection 'docs'")
    (error,) = lines(shell("search", "x y", "--log-format=json", "--debug").stderr)[-1:]
    assert error["event"] == "error"


def test_traceback_and_warning_are_json_objects(shell: Shell) -> None:
    done = shell("--debug", "search", "x y", "--log-format", "json")
    found = by_event(done.stderr)
    assert found["traceback"]["lines"][0].startswith("Traceback")
    with JinaServer(KEY) as server:
        url = server.url.replace("127.0.0.1", "127.1")  # not recognised as loopback: warns
        words = ("ingest", "docs", "--model", "jina-embeddings-v3", "--base-url", url)
        environ = {"JINA_API_KEY": KEY, "NO_PROXY": "*"}
        loud = shell(*words, "--log-format", "json", **environ)
        quiet = shell(*words, "--quiet", **environ)
    found = by_event(loud.stderr)
    assert found.keys() == {"warning", "summary"}, loud.stderr
    assert "http" in found["warning"]["message"]
    assert (quiet.returncode, quiet.stdout, quiet.stderr) == (0, "", "")


def test_log_records_of_libraries_are_json_objects() -> None:
    code = (
        "import logging\n"
        "from ragctl.cli import console\n"
        "console.log_as('json')\n"
        "logging.getLogger('some.library').warning('slow:\\n%s', 3)\n"
        "logging.getLogger('some.library').info('never shown')\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    (line,) = lines(done.stderr)
    assert (line["event"], line["level"], line["message"]) == ("library", "warning", "slow: 3")
    assert line["library"] == "some.library"


# Quiet


def test_quiet_prints_nothing_on_success(shell: Shell) -> None:
    for words in (["run", "p.toml", "--quiet"], ["ingest", "docs", "-q"]):
        done = shell(*words)
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    done = shell("run", "p.toml", "-q", "--log-format", "json")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert json.loads(shell("run", "p.toml", "-q", "--json").stdout)["documents"]["unchanged"] == 1


def test_quiet_prints_failures_on_standard_error(shell: Shell) -> None:
    (shell.docs / "bad.docx").write_bytes(b"PK\x03\x04 not a zip")
    done = shell("run", "p.toml", "--quiet")
    assert done.returncode == 3
    assert done.stdout == ""
    failed, summary = done.stderr.splitlines()
    assert failed.startswith("failed: docs/bad.docx: ")
    assert summary.startswith("docs: 1 added, 1 failed; ")
    locked = shell("ingest", "nowhere", "--quiet")
    assert locked.returncode == 7
    assert locked.stderr.startswith("ragctl: ")
    assert locked.stderr.count("\n") == 1


# Notifications of the command


def test_run_writes_report_and_metrics_and_calls_the_webhook(shell: Shell) -> None:
    with Hooks() as hooks:
        done = shell.run_with_reports(hooks.url, "run", "p.toml", "--json")
        assert (done.returncode, done.stderr) == (0, "")
        report = json.loads(done.stdout)
        assert json.loads((shell.home / "r.json").read_text()) == report
        assert json.loads(hooks.bodies[0]) == report
        assert 'ragctl_run_success{collection="docs"} 1.0' in (shell.home / "m.prom").read_text()
        (shell.docs / "a.txt").unlink()
        (shell.docs).rmdir()
        failed = shell.run_with_reports(hooks.url, "run", "p.toml")
        assert failed.returncode == 7
        assert failed.stderr.count("\n") == 1
    assert hooks.paths == ["/well", "/ill"]
    report = json.loads((shell.home / "r.json").read_text())
    assert report["exit_code"] == 7
    assert f"ragctl: {report['error']}\n" == failed.stderr
    metrics = (shell.home / "m.prom").read_text()
    assert 'ragctl_run_exit_code{collection="docs"} 7.0' in metrics
    assert 'ragctl_run_success_timestamp_seconds{collection="docs"} 0.0' not in metrics


def test_unreachable_store_is_reported(shell: Shell) -> None:
    (shell.home / "p.toml").write_text('store = "http://127.0.0.1:9"\n[[sources]]\npath = "docs"\n')
    with Hooks() as hooks:
        done = shell.run_with_reports(hooks.url, "run", "p.toml", "--json")
    assert done.returncode == 5
    report = json.loads(done.stdout)
    assert (report["exit_code"], report["identity"]) == (5, None)
    assert hooks.paths == ["/ill"]


def test_failed_notification_does_not_change_the_exit_code(shell: Shell) -> None:
    with Hooks([404, 404]) as hooks:
        shell.write_report_section(f"{hooks.url}/s3cret", "no/r.json", "no/m.prom")
        done = shell("run", "p.toml", "--quiet")
        (shell.docs / "bad.docx").write_bytes(b"PK\x03\x04 not a zip")
        failed = shell("run", "p.toml")
    assert done.returncode == 0
    assert done.stderr.splitlines() == [
        f"warning: the report was not written: {shell.home}/no/r.json: No such file or directory",
        f"warning: the metrics were not written: {shell.home}/no/m.prom: No such file or directory",
        "warning: the call to on_success failed: http://127.0.0.1: answered 404",
    ]
    assert failed.returncode == 3
    assert "s3cret" not in failed.stderr + failed.stdout


def test_dry_run_sends_no_notification(shell: Shell) -> None:
    with Hooks() as hooks:
        assert shell.run_with_reports(hooks.url, "run", "p.toml", "--dry-run").returncode == 0
    assert hooks.paths == []
    assert not (shell.home / "r.json").exists()


def test_interrupted_run_is_reported(shell: Shell) -> None:
    (shell.docs / "b.md").write_text(paragraphs("b"))
    with JinaServer(KEY) as server, Hooks() as hooks:
        (shell.home / "p.toml").write_text(
            f'[[sources]]\npath = "docs"\n[embedding]\nmodel = "jina-embeddings-v3"\n'
            f'base_url = "{server.url}"\n'
        )
        server.gate.clear()
        shell.write_report_section(hooks.url, "r.json", "m.prom")
        process = subprocess.Popen(
            [*RAGCTL, "run", "p.toml", "-q"],
            env={**shell.environ, "JINA_API_KEY": KEY},
            cwd=shell.home,
            stderr=subprocess.PIPE,
            text=True,
        )
        until(lambda: server.in_flight > 0)
        process.send_signal(signal.SIGTERM)
        _, stderr = process.communicate()
        server.gate.set()
    assert process.returncode == 130
    assert hooks.paths == ["/ill"]
    assert json.loads((shell.home / "r.json").read_text())["exit_code"] == 130
    assert stderr.splitlines()[-1] == "ragctl: interrupted; run again to continue from here"


def test_closed_standard_output_keeps_the_exit_code(shell: Shell) -> None:
    (shell.docs / "bad.docx").write_bytes(b"PK\x03\x04 not a zip")
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(
        [*RAGCTL, "run", "p.toml"],
        env=shell.environ,
        cwd=shell.home,
        stdout=writer,
        stderr=subprocess.PIPE,
        check=False,
    )
    os.close(writer)
    assert done.returncode == 3
