"""`ragctl schedule --install` with Debian's cron, which starts jobs when a minute begins."""

import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

import ragctl
from tests.command import call
from tests.servers.cron import Cron, unavailable

CRON_REQUIRED = "RAGCTL_TEST_CRON" in os.environ  # set where the tests must run, not be skipped
_REASON = unavailable()

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(_REASON is not None and not CRON_REQUIRED, reason=str(_REASON)),
]

OTHER_LINES = (
    b"# mine\n\nMAILTO=ops\n0 0 1 1 * echo '\xff 100\\%' # ragctl schedule /elsewhere.toml\n"
)
RAGCTL = (sys.executable, "-m", "ragctl")


class Job:
    """A pipeline in a folder with an awkward name."""

    def __init__(self, home: Path, cron: Cron, name: str) -> None:
        self.home = home / f"{name} 100% it's $HOME Ω"
        self.docs = self.home / "docs"
        self.docs.mkdir(parents=True)
        self.file = self.home / "p.toml"
        self.report = self.home / "report.json"
        self.file.write_text(
            '[[sources]]\npath = "docs"\n[bm25]\nlanguages = ["en"]\n'
            '[report]\nreport_file = "report.json"\n'
        )
        self.cron = cron
        self.environ = {
            **{key: value for key, value in os.environ.items() if not key.endswith("_KEY")},
            "RAGCTL_HOME": str(self.home / "store"),
            "PYTHONPATH": str(Path(ragctl.__file__).parents[1]),
        }

    def ragctl(self, *words: str) -> str:
        done = self.cron.run([*RAGCTL, *words], environ=self.environ)
        assert done.returncode == 0, done.stderr
        return done.stdout.decode()

    def documents(self) -> int:
        """Return the number of indexed documents, 0 if there is no collection yet."""
        done = call("collections", "--json", environ=self.environ, cwd=self.home)
        assert done.returncode == 0, done.stderr
        listed = json.loads(done.stdout)["collections"]
        return sum(row["documents"] for row in listed)


def wait_until(seconds: float, condition: Callable[[], bool]) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "the condition was never met"
        time.sleep(0.5)  # cron starts a job once a minute


class Scheduled(NamedTuple):
    """A running daemon, with jobs that it starts at the next minute."""

    cron: Cron
    new: Job  # without a collection
    old: Job  # with a new document
    failing: Job


@pytest.fixture(scope="module")
def scheduled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scheduled]:
    assert _REASON is None
    home = tmp_path_factory.mktemp("daemon")
    with Cron(home / "cron") as cron:
        new, old, failing = (Job(home, cron, name) for name in ("new", "old", "failing"))
        for job in (new, old):
            (job.docs / "a.txt").write_text("The heat pump is in the cellar.")
        failing.docs.rmdir()
        done = call("run", str(old.file), environ=old.environ, cwd=old.home)
        assert done.returncode == 0, done.stderr
        old.report.unlink()
        (old.docs / "b.txt").write_text("The boiler is in the attic.")
        for job in (new, old, failing):
            job.ragctl("schedule", str(job.file), "--install", "--every", "minute")
        yield Scheduled(cron, new, old, failing)


@pytest.mark.usefixtures("scheduled")  # part of the daemon's minute passes meanwhile
def test_installing_changes_only_the_line_of_the_pipeline(tmp_path: Path) -> None:
    assert _REASON is None
    with Cron(tmp_path / "cron", daemon=False) as cron:
        job, other = Job(tmp_path, cron, "a"), Job(tmp_path, cron, "b")
        assert job.ragctl("schedule", str(job.file), "--remove").startswith("nothing was")
        set_up = cron.run(["crontab", "-"], environ=os.environ, given=OTHER_LINES)
        assert set_up.returncode == 0, set_up.stderr
        job.ragctl("schedule", str(job.file), "--install")
        first = cron.table()
        assert first.startswith(OTHER_LINES)
        assert first.count(b"\n") == OTHER_LINES.count(b"\n") + 1
        other.ragctl("schedule", str(other.file), "--install", "--every", "15 minutes")
        job.ragctl("schedule", str(job.file), "--install", "--at", "04:30")
        second = cron.table()
        assert second.startswith(OTHER_LINES)
        assert second.count(b"\n") == OTHER_LINES.count(b"\n") + 2
        assert second.splitlines()[-1].startswith(b"30 4 * * * ")
        assert job.ragctl("schedule", str(job.file), "--remove").startswith("removed")
        job.file.unlink()
        assert job.ragctl("schedule", str(job.file), "--remove").startswith("nothing was")
        other.file.unlink()  # the line of a deleted pipeline can still be removed
        other.ragctl("schedule", str(other.file), "--remove")
        assert cron.table() == OTHER_LINES


@pytest.mark.usefixtures("scheduled")
def test_an_unreadable_crontab_is_not_overwritten(tmp_path: Path) -> None:
    assert _REASON is None
    with Cron(tmp_path / "cron", daemon=False) as cron:
        job = Job(tmp_path, cron, "a")
        cron.run(["crontab", "-"], environ=os.environ, given=OTHER_LINES)
        crontabs = tmp_path / "cron" / "spool" / "crontabs"
        moved = crontabs.rename(tmp_path / "moved")
        crontabs.write_text("no folder")
        done = cron.run([*RAGCTL, "schedule", str(job.file), "--install"], environ=job.environ)
        assert done.returncode == 2
        assert done.stderr.count(b"\n") == 1
        crontabs.unlink()
        moved.rename(crontabs)
        assert cron.table() == OTHER_LINES


def test_cron_runs_the_installed_pipelines(scheduled: Scheduled) -> None:
    """It creates collections and updates them; only failures are mailed."""
    cron, new, old, failing = scheduled
    wait_until(75, lambda: new.report.exists() and old.report.exists() and cron.mails() != [])
    assert (new.documents(), old.documents()) == (1, 2)
    for mail in cron.mails():
        assert mail.startswith("ragctl: "), mail
        assert str(failing.docs) in mail
        assert mail.count("\n") == 1
    assert not new.home.joinpath("docs/store").exists()
