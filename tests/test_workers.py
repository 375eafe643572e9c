"""The pool with jobs that hang, crash or use up the memory, and with parents that are killed."""

import itertools
import os
import select
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from ragctl.errors import DocumentError, RagctlError, StoreError
from ragctl.workers import Ended, Pool
from tests.waiting import until

pytestmark = pytest.mark.slow

MIB = 2**20
JOBS = "tests.worker_jobs:misbehave"


def pool(function: str = JOBS, workers: int = 2, seconds: float = 20.0, mib: int = 512) -> Pool:
    return Pool(function, workers=workers, seconds=seconds, memory=mib * MIB)


@pytest.fixture(scope="module")
def shared() -> Iterator[Pool]:
    with pool() as made:
        yield made


def one(shared: Pool, what: str, argument: object = None) -> object:
    [(job, result)] = shared.run([(what, argument)])
    assert job == (what, argument)
    return result


def test_results_come_back_with_their_jobs(shared: Pool) -> None:
    jobs = [("echo", n) for n in range(200)]
    replies = list(shared.run(jobs))
    assert sorted(replies) == [(job, job[1]) for job in jobs]


def test_no_jobs_start_no_process() -> None:
    with pool("no_such_module:f") as idle:
        assert list(idle.run([])) == []


def test_children_serve_many_jobs_and_no_more_start_than_there_are_jobs() -> None:
    with pool(workers=8) as eight:
        first = one(eight, "pid")
        pids = {one(eight, "pid") for _ in range(20)}
    assert pids == {first}


def test_children_are_warm_before_there_is_work() -> None:
    with pool() as warmed:
        warmed.warm(1)
        pids = {one(warmed, "pid") for _ in range(3)}
        assert len(pids) == 1, "no second child for one job"
        assert one(warmed, "warmed") == [True]
    with pool() as warmed:
        warmed.warm(5)
        crew = warmed._threads
        assert crew is not None
        until(lambda: len(crew._children) == 2)


def test_a_pool_can_be_used_again_after_it_was_closed() -> None:
    again = pool(workers=1)
    with again:
        assert one(again, "echo", 1) == 1
    with again:
        assert one(again, "echo", 2) == 2


def test_results_of_tens_of_megabytes(shared: Pool) -> None:
    assert one(shared, "big", 40 * MIB) == b"x" * (40 * MIB)


@pytest.mark.parametrize("how", ["spin", "spin in C"])
def test_a_hung_job_is_killed_and_the_others_go_on(how: str) -> None:
    jobs = [("echo", 0), (how, None), *(("echo", n) for n in range(1, 20))]
    with pool(seconds=0.5) as quick:
        replies = dict(quick.run(jobs))
    error = replies.pop((how, None))
    assert isinstance(error, DocumentError)
    assert str(error) == "took longer than 0.5 s to parse; raise --parse-timeout"
    assert replies == {("echo", n): n for n in range(20)}


def test_one_worker_survives_several_hung_and_crashed_jobs() -> None:
    jobs = [("spin", 1), ("segfault", 2), ("echo", 3), ("exit", 4), ("spin", 5), ("echo", 6)]
    with pool(workers=1, seconds=0.3) as quick:
        replies = [result for _, result in quick.run(jobs)]
    assert [type(r) for r in replies] == [DocumentError, DocumentError, int] * 2


@pytest.mark.parametrize(
    ("what", "message"),
    [
        ("segfault", "parsing crashed: signal SIGSEGV"),
        ("killed", "parsing was killed by the system, most likely because memory ran out"),
        ("exit", "parsing crashed: exit code 7"),
        ("sys.exit", "parsing crashed: exit code 1"),
        ("raise", "cannot be parsed: KeyError: 'no such\\nthing as None'"),
        ("recurse", "cannot be parsed: RecursionError: maximum recursion depth exceeded"),
    ],
)
def test_a_failure_names_its_reason(shared: Pool, what: str, message: str) -> None:
    error = one(shared, what)
    assert isinstance(error, DocumentError)
    assert str(error).startswith(message)
    assert "\n" not in str(error)


def test_a_memory_bomb_is_one_failure(shared: Pool) -> None:
    error = one(shared, "allocate", 2**40)
    assert isinstance(error, DocumentError)
    assert str(error) == "needs more than 512 MiB of memory to parse; raise --parse-memory"


def test_memory_kept_by_earlier_jobs_fails_no_later_job() -> None:
    with pool(workers=1, mib=400) as small:
        held = [one(small, "hold", 100 * MIB) for _ in range(8)]
    assert not [h for h in held if isinstance(h, Exception)]
    assert (
        max(h for h in held if isinstance(h, int)) < 5
    )  # the limit was reached and a child replaced


def test_ragctl_errors_are_returned_unchanged(shared: Pool) -> None:
    error = one(shared, "raise ours", "disk full")
    assert type(error) is StoreError
    assert str(error) == "disk full"


def test_a_result_that_cannot_be_pickled_is_a_failure(shared: Pool) -> None:
    assert isinstance(one(shared, "unpicklable"), DocumentError)


def test_children_write_nothing_on_our_output(
    shared: Pool, capfd: pytest.CaptureFixture[str]
) -> None:
    assert one(shared, "print") == ""
    with pool(workers=1) as fresh:
        assert one(fresh, "print") == ""
    assert capfd.readouterr() == ("", "")


def test_children_ignore_the_interrupt(shared: Pool) -> None:
    assert one(shared, "interrupt") == "alive"


def test_jobs_are_taken_lazily() -> None:
    taken = 0

    def endless() -> Iterator[tuple[str, object]]:
        nonlocal taken
        for taken in itertools.count(1):
            yield ("echo", taken)

    with pool() as two:
        replies = two.run(endless())
        for done in range(1, 50):
            next(replies)
            assert taken <= done + 2 * 2
        replies.close()  # type: ignore[attr-defined]
        assert one(two, "echo", "after") == "after"


def test_an_error_of_the_iterator_of_jobs_reaches_the_caller() -> None:
    def broken() -> Iterator[tuple[str, object]]:
        yield ("echo", 1)
        raise OSError("the walk failed")

    with pool() as two, pytest.raises(OSError, match="the walk failed"):
        list(two.run(broken()))


@pytest.mark.parametrize(
    ("function", "message"),
    [
        ("no_such_module:f", "ModuleNotFoundError: No module named 'no_such_module'"),
        (
            "tests.worker_jobs:nothing",
            "AttributeError: module 'tests.worker_jobs' has no attribute",
        ),
    ],
)
def test_a_child_that_cannot_start_is_an_error_not_a_hang(function: str, message: str) -> None:
    with pool(function) as broken, pytest.raises(RagctlError, match=message) as caught:
        list(broken.run([("echo", 1), ("echo", 2)]))
    assert not isinstance(caught.value, DocumentError)


def test_streamed_items_come_in_order_and_end_with_ended() -> None:
    with pool("tests.worker_jobs:count", seconds=1.0) as counting:
        jobs = [(3, ""), (0, ""), (4, "raise"), (2, "exit"), (500, ""), (1, "spin")]
        items: dict[tuple[int, str], list[object]] = {job: [] for job in jobs}
        for job, item in counting.stream(jobs):
            items[job].append(item)
    assert items[(500, "")] == [*range(500), Ended()]
    assert items[(3, "")] == [0, 1, 2, Ended()]
    assert items[(0, "")] == [Ended()]
    assert [*map(str, items[(2, "exit")])][:2] == ["0", "1"]
    for job, message in [
        ((4, "raise"), "cannot be parsed: ValueError: at the end"),
        ((2, "exit"), "parsing crashed: exit code 3"),
        ((1, "spin"), "took longer than 1 s to parse; raise --parse-timeout"),
    ]:
        *before, ended = items[job]
        assert before == list(range(job[0]))
        assert isinstance(ended, Ended)
        assert str(ended.error) == message


def test_waiting_for_the_caller_does_not_count_towards_the_time() -> None:
    with pool("tests.worker_jobs:count", workers=1, seconds=0.3) as counting, pool() as other:
        replies = counting.stream([(20_000, "")])
        next(replies)
        pause_until = time.monotonic() + 1.0
        while time.monotonic() < pause_until:
            one(other, "echo")
        items = [item for _, item in replies]
    assert items == [*range(1, 20_000), Ended()]


LEAVER = """
import sys
from ragctl.workers import Pool
with Pool("tests.worker_jobs:count", workers=2, seconds=20.0, memory=2**29) as counting:
    for number in range(int(sys.argv[1])):
        for _ in counting.stream([(5000, ""), (5000, "")]):
            if (number := number - 1) < 0:
                break
"""


def test_a_caller_may_stop_a_stream_while_items_arrive() -> None:
    """In a process of its own, since the failure was a close() that never returned."""
    root = Path(__file__).parents[1]
    subprocess.run([sys.executable, "-c", LEAVER, "30"], cwd=root, timeout=60, check=True)


PARENT = """
import sys
from ragctl.workers import Pool
if __name__ != "__main__":
    raise SystemExit("the parent's own program was run again")
with Pool({function!r}, workers=1, seconds=100, memory=2**29) as pool:
    for job, result in pool.run([{path!r}]):
        {then}
"""


def start_parent(function: str, path: Path, how: str, then: str = "pass") -> subprocess.Popen[str]:
    """Start a parent process whose child writes its process id to `path`."""
    code = textwrap.dedent(PARENT).format(function=function, path=str(path), then=then)
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
    arguments = {"-c": ["-c", code], "stdin": ["-"], "script": [str(path.with_suffix(".py"))]}
    if how == "script":
        path.with_suffix(".py").write_text(code)
    parent = subprocess.Popen(
        [sys.executable, *arguments[how]],
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert parent.stdin is not None
    if how == "stdin":
        parent.stdin.write(code)
        parent.stdin.close()
    return parent


@pytest.mark.parametrize("how", ["-c", "stdin", "script"])
def test_it_works_however_the_parent_was_started(how: str, tmp_path: Path) -> None:
    with start_parent("tests.worker_jobs:report_and_return", tmp_path / "pid", how) as parent:
        output = parent.stdout.read() if parent.stdout else ""
        assert (parent.wait(), output) == (0, "")
    assert int((tmp_path / "pid").read_text()) > 0


@pytest.mark.skipif(sys.platform != "linux", reason="needs pidfd")
@pytest.mark.parametrize("function", ["report_and_return", "report_and_spin"])
def test_children_are_killed_with_the_parent(function: str, tmp_path: Path) -> None:
    path = tmp_path / "pid"
    stay = "sys.stdin.read()"  # an idle child, its parent busy elsewhere
    with start_parent(f"tests.worker_jobs:{function}", path, "-c", then=stay) as parent:
        try:
            with pool("tests.worker_jobs:wait_for", workers=1) as waiting:
                [(_, pid)] = waiting.run([str(path)])
            child = os.pidfd_open(pid)
        finally:
            parent.kill()
    gone, _, _ = select.select([child], [], [], 5.0)  # readable once the process has ended
    os.close(child)
    assert gone
