"""Runs work with any clock: far in the past or future, and set back or forward meanwhile."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from ragctl.pipeline import Parsing
from tests.servers.qdrant import QdrantFacade
from tests.world import World, counts, paragraphs

pytestmark = pytest.mark.slow

YEAR_SECONDS = 365 * 86_400
RUN_SECONDS = 60.0  # a run takes about 3 s

SITE = """\
import os, time

def shift(name, unit):
    real, by = getattr(time, name), int(os.environ["CLOCK_" + name.removesuffix("_ns")]) * unit
    # With CLOCK_JUMPS the clock is set forward or back by hours between any two readings.
    hours = [0]

    def read():
        hours[0] += 1
        jump = (hours[0] * 7 % 5 - 2) * 3600 * unit if "CLOCK_JUMPS" in os.environ else 0
        return real() + by + jump

    setattr(time, name, read)

shift("time", 1), shift("time_ns", 10**9)
if "CLOCK_JUMPS" not in os.environ:
    shift("monotonic", 1), shift("monotonic_ns", 10**9)
"""
"""A sitecustomize module, which Python imports when a process starts: it moves the clocks."""


def run(folder: Path, *before: str, **clock: str) -> "subprocess.CompletedProcess[str]":
    """Run the pipeline in `folder` in a process, with the clocks moved as `clock` says."""
    site = folder / "site"
    site.mkdir(exist_ok=True)
    (site / "sitecustomize.py").write_text(SITE)
    environ = {**os.environ, **clock}
    if clock:
        environ["PYTHONPATH"] = os.pathsep.join([str(site), *sys.path])
    return subprocess.run(
        [*before, sys.executable, "-m", "ragctl", "run", str(folder / "p.toml")],
        env=environ,
        capture_output=True,
        text=True,
        timeout=RUN_SECONDS,
        check=False,
    )


def write_pipeline(folder: Path, store: str | None = None) -> None:
    (folder / "docs").mkdir()
    (folder / "p.toml").write_text(
        f"store = '{store or folder / 'store'}'\ncollection = 'docs'\n"
        "budget.max_tokens_per_day = 1000000\n"
        f"[[sources]]\npath = '{folder}/docs'\n[report]\nreport_file = '{folder}/report.json'\n"
        f"metrics_file = '{folder}/run.prom'\n"
    )
    for name in "ab":
        (folder / "docs" / f"{name}.md").write_text(paragraphs(name))


@pytest.mark.parametrize(
    ("time", "monotonic", "jumps"),
    [
        (-50 * YEAR_SECONDS, -60 * YEAR_SECONDS, False),
        (200 * YEAR_SECONDS, 200 * YEAR_SECONDS, False),
        (0, 0, True),
    ],
)
def test_a_run_with_a_wrong_clock_ends_and_the_next_one_finds_nothing_to_do(
    tmp_path: Path, time: int, monotonic: int, jumps: bool
) -> None:
    write_pipeline(tmp_path)
    clock = {"CLOCK_time": str(time), "CLOCK_monotonic": str(monotonic)}
    if jumps:
        clock["CLOCK_JUMPS"] = "1"
    first = run(tmp_path, **clock)
    assert first.returncode == 0, first.stderr
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["documents"]["added"] == 2
    assert 0 <= report["seconds"] < RUN_SECONDS
    assert (tmp_path / "run.prom").exists()
    second = run(tmp_path)
    assert second.returncode == 0, second.stderr
    assert "2 unchanged" in second.stdout


# 60 years ago is before 1970. `faketime -f -60y` moves both clocks.
@pytest.mark.parametrize("monotonic", [0, -60 * YEAR_SECONDS])
def test_before_1970_a_run_on_a_server_works_and_the_embedded_store_refuses_in_a_line(
    tmp_path: Path, monotonic: int
) -> None:
    clock = {"CLOCK_time": str(-60 * YEAR_SECONDS), "CLOCK_monotonic": str(monotonic)}
    (tmp_path / "edge").mkdir()
    write_pipeline(tmp_path / "edge")
    refused = run(tmp_path / "edge", **clock)
    assert refused.returncode == 2
    (line,) = refused.stderr.splitlines()
    assert "clock shows a time before 1970" in line
    report = json.loads((tmp_path / "edge" / "report.json").read_text())
    assert report["exit_code"] == 2
    assert report["started"] < "1970"
    assert "2 added" in run(tmp_path / "edge").stdout
    (tmp_path / "server").mkdir()
    with QdrantFacade() as facade:
        write_pipeline(tmp_path / "server", facade.url)
        first = run(tmp_path / "server", **clock)
        assert first.returncode == 0, first.stderr
        assert "2 unchanged" in run(tmp_path / "server").stdout


@pytest.mark.skipif(not shutil.which("faketime"), reason="faketime is not installed")
@pytest.mark.parametrize(("by", "code"), [("-60y", 2), ("-40y", 0), ("+60y", 0)])
def test_a_run_under_faketime_ends(tmp_path: Path, by: str, code: int) -> None:
    write_pipeline(tmp_path)
    first = run(tmp_path, "faketime", "-f", by)
    assert first.returncode == code, first.stderr
    assert ("2 unchanged" if code == 0 else "2 added") in run(tmp_path).stdout


@pytest.mark.parametrize(
    "ns",
    [
        -1,
        -60 * YEAR_SECONDS * 10**9,
        1_030 * YEAR_SECONDS * 10**9,  # the year 3000: more than a signed 64-bit integer holds
        -500 * YEAR_SECONDS * 10**9,
    ],
)
def test_any_modification_time_of_a_file_is_stored_and_recognised(world: World, ns: int) -> None:
    path = world.write("a.md", paragraphs("a"))
    os.utime(path, ns=(ns, ns))
    stored = path.stat().st_mtime_ns  # a file system may not keep such a time
    assert counts(world.ingest(parsing=Parsing(workers=1))) == {"added": 1}
    world.forget()
    assert counts(world.ingest()) == {"unchanged": 1}
    path.write_text(paragraphs("b"))  # of the same size
    os.utime(path, ns=(stored + 10**9, stored + 10**9))
    assert counts(world.ingest()) == {"updated": 1}
