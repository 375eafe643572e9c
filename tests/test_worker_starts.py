"""Children that are killed while they start: their job is retried, then fails, and others go on."""

from pathlib import Path

import pytest

from ragctl.errors import DocumentError, RagctlError
from ragctl.workers import Pool
from ragctl.workers.pool import MAX_FAILED_STARTS, START_ATTEMPTS
from tests.killed_worker_jobs import KILLS

WARM_STARTS = 1  # the child that starts before there is a job


def results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kills: int, jobs: int) -> list[object]:
    """Return the results of a number of jobs, if that many children are killed at their start."""
    path = tmp_path / "kills"
    path.write_text("\n".join(["kill"] * kills))
    monkeypatch.setenv(KILLS, str(path))
    function = "tests.killed_worker_jobs:echo"
    with Pool(function, workers=1, seconds=20, memory=2**29) as pool:
        return [result for _, result in pool.run(range(jobs))]


def test_a_child_killed_at_its_start_is_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert results(tmp_path, monkeypatch, kills=2, jobs=2) == [0, 1]


def test_a_job_whose_children_are_all_killed_fails_and_the_next_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    failed, next_one = results(tmp_path, monkeypatch, WARM_STARTS + START_ATTEMPTS, jobs=2)
    assert isinstance(failed, DocumentError)
    assert str(failed).startswith("a worker process does not start: signal SIGKILL")
    assert next_one == 1


def test_if_no_child_ever_starts_the_run_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(RagctlError, match="does not start") as caught:
        results(tmp_path, monkeypatch, MAX_FAILED_STARTS, jobs=MAX_FAILED_STARTS)
    assert not isinstance(caught.value, DocumentError)
