"""`ragctl schedule --install`, and what Debian's cron then does. Takes up to two minutes."""

import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

import ragctl
from tests.command import call
from tests.servers.cron import Cron, unavailable

REQUIRED = "RAGCTL_TEST_CRON" in os.environ  # set where a skip must not pass for a success
_REASON = unavailable()

pytestmark = pytest.mark.skipif(_REASON is not None and not REQUIRED, reason=str(_REASON))

OTHERS = b"# mine\n\nMAILTO=ops\n0 0 1 1 * echo '\xff 100\\%' # ragctl schedule /elsewhere.toml\n"
RAGCTL = (sys.executable, "-m", "ragctl")


class Job:
    """A pipeline in a folder with an awkward name."""

    def __init__(self, home: Path, cron: Cron, name: str) -> None:
        self.home = home / f"{name} 100% it's $HOME Ω"
        self.docs = self.home / "docs"
        self.docs.mkdir(parents=True)
        self.file = self.home / "p.toml"
        self.file.write_text('[[sources]]\npath = "docs"\n[bm25]\nlanguages = ["en"]\n')
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
        """How many the collection has; 0 where there is none yet."""
        done = call("collections", "--json", environ=self.environ, cwd=self.home)
        assert done.returncode == 0, done.stderr
        listed = json.loads(done.stdout)["collections"]
        return sum(row["documents"] for row in listed)


def within(seconds: float, condition: Callable[[], bool]) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it never came true"
        time.sleep(0.5)  # a minute is waited for


def test_installing_changes_the_own_line_only(tmp_path: Path) -> None:
    assert _REASON is None
    with Cron(tmp_path / "cron", daemon=False) as cron:
        job, other = Job(tmp_path, cron, "a"), Job(tmp_path, cron, "b")
        assert job.ragctl("schedule", str(job.file), "--remove").startswith("nothing was")
        set_up = cron.run(["crontab", "-"], environ=os.environ, given=OTHERS)
        assert set_up.returncode == 0, set_up.stderr
        job.ragctl("schedule", str(job.file), "--install")
        first = cron.table()
        assert first.startswith(OTHERS)
        assert first.count(b"\n") == OTHERS.count(b"\n") + 1
        other.ragctl("schedule", str(other.file), "--install", "--every", "15 minutes")
        job.ragctl("schedule", str(job.file), "--install", "--at", "04:30")
        second = cron.table()
        assert second.startswith(OTHERS)
        assert second.count(b"\n") == OTHERS.count(b"\n") + 2
        assert second.splitlines()[-1].startswith(b"30 4 * * * ")
        assert job.ragctl("schedule", str(job.file), "--remove").startswith("removed")
        job.file.unlink()
        assert job.ragctl("schedule", str(job.file), "--remove").startswith("nothing was")
        other.file.unlink()  # what is gone can still be taken out
        other.ragctl("schedule", str(other.file), "--remove")
        assert cron.table() == OTHERS


def test_a_crontab_that_cannot_be_read_is_not_written_over(tmp_path: Path) -> None:
    assert _REASON is None
    with Cron(tmp_path / "cron", daemon=False) as cron:
        job = Job(tmp_path, cron, "a")
        cron.run(["crontab", "-"], environ=os.environ, given=OTHERS)
        tabs = tmp_path / "cron" / "spool" / "crontabs"
        moved = tabs.rename(tmp_path / "moved")
        tabs.write_text("no folder")
        done = cron.run([*RAGCTL, "schedule", str(job.file), "--install"], environ=job.environ)
        assert done.returncode == 2
        assert done.stderr.count(b"\n") == 1
        tabs.unlink()
        moved.rename(tabs)
        assert cron.table() == OTHERS


def test_cron_runs_what_was_installed(tmp_path: Path) -> None:
    """Two ticks: one makes the collection, one brings it up to date. Only trouble is mailed."""
    assert _REASON is None
    with Cron(tmp_path / "cron") as cron:
        well, ill = Job(tmp_path, cron, "well"), Job(tmp_path, cron, "ill")
        (well.docs / "a.txt").write_text("The heat pump is in the cellar.")
        ill.docs.rmdir()
        for job in (well, ill):
            job.ragctl("schedule", str(job.file), "--install", "--every", "minute")
        within(75, lambda: well.documents() == 1)
        (well.docs / "b.txt").write_text("The boiler is in the attic.")
        within(75, lambda: well.documents() == 2)
        within(10, lambda: len(cron.mails()) >= 2)
        for mail in cron.mails():
            assert mail.startswith("ragctl: "), mail
            assert str(ill.docs) in mail
            assert mail.count("\n") == 1
        assert not well.home.joinpath("docs/store").exists()
