"""The engine's process: what happens when it panics, dies, or outlives its run."""

import os
import signal
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import pytest

from ragctl.errors import StoreError, UnreadableCollection
from ragctl.stores import edge_shard
from ragctl.stores.base import Batch
from ragctl.stores.edge import EdgeCollection, EdgeStore
from ragctl.stores.locks import fair_lock, is_running, try_lock
from tests.store_contract import SETTINGS, ident, point
from tests.waiting import PROCESS_SECONDS, until

pytestmark = pytest.mark.slow

HOLD = """
import sys, time
from pathlib import Path
from ragctl.stores.edge import EdgeStore
collection = EdgeStore(Path(sys.argv[1])).open("docs")
print(collection.count(), collection._process._process.pid, flush=True)
time.sleep(600)
"""
"""A run that has the shard open and does nothing more."""


@pytest.fixture
def collection(tmp_path: Path) -> Iterator[EdgeCollection]:
    with closing(EdgeStore(tmp_path, patience=20.0).create("docs", SETTINGS)) as made:
        made.apply(Batch(upserts=[point(1)]))
        yield made


@pytest.fixture
def other_run(
    collection: EdgeCollection, tmp_path: Path
) -> Iterator[tuple["subprocess.Popen[str]", int]]:
    """Another process with the shard open, and the process id of its engine."""
    collection.close()
    command = [sys.executable, "-c", HOLD, str(tmp_path)]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, start_new_session=True
    ) as process:
        assert process.stdout is not None
        count, engine = process.stdout.readline().split()
        assert count == "1"
        try:
            yield process, int(engine)
        finally:
            process.kill()


def engine(collection: EdgeCollection) -> "subprocess.Popen[bytes]":
    process = collection._process._process
    assert process is not None
    return process


def only(pattern: str, folder: Path) -> Path:
    return next(iter((folder / "collections" / "docs" / "shard").glob(pattern)))


def test_a_panic_is_one_error_that_says_what_to_do(
    collection: EdgeCollection, tmp_path: Path
) -> None:
    collection.close()
    path = only("segments/*/vector_storage-dense/deleted/status.dat", tmp_path)
    content = path.read_bytes()
    path.write_bytes(b"")
    with pytest.raises(UnreadableCollection) as error:
        collection.count()
    assert "\n" not in str(error.value)
    assert "index out of bounds" in str(error.value)
    assert "ragctl rebuild docs" in str(error.value)
    assert "ragctl delete --all -c docs" in str(error.value)
    path.write_bytes(content)
    assert collection.count() == 1, "the next call starts another process"


def test_an_engine_that_is_killed_is_started_again(collection: EdgeCollection) -> None:
    engine(collection).kill()
    engine(collection).wait()
    assert collection.count() == 1, "it was seen to be dead before the call"
    os.kill(engine(collection).pid, signal.SIGSTOP)  # so that it dies with a request under way
    threading.Timer(0.2, engine(collection).kill).start()
    with pytest.raises(StoreError, match=r"killed \(SIGKILL\).*run again") as error:
        collection.count()
    assert not isinstance(error.value, UnreadableCollection)
    assert "delete" not in str(error.value), "nothing is damaged"
    assert [stored.id for stored in collection.scroll()] == [ident(1)]


def test_an_engine_that_takes_too_long_is_ended(collection: EdgeCollection) -> None:
    os.kill(engine(collection).pid, signal.SIGSTOP)
    with pytest.raises(StoreError, match=r"did not answer within 0\.2 s"):
        collection._process.call("count", (), timeout=0.2)
    assert collection.count() == 1


def test_a_crash_of_the_engine_is_reported_as_damage(collection: EdgeCollection) -> None:
    process = engine(collection)
    os.kill(process.pid, signal.SIGSTOP)
    threading.Timer(0.2, process.send_signal, [signal.SIGABRT]).start()
    threading.Timer(0.3, process.send_signal, [signal.SIGCONT]).start()
    with pytest.raises(UnreadableCollection, match=r"crashed \(SIGABRT\)"):
        collection.count()


def test_an_interrupted_call_leaves_no_answer_for_the_next(collection: EdgeCollection) -> None:
    process = engine(collection)
    os.kill(process.pid, signal.SIGSTOP)

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGALRM, interrupt)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.2)
        with pytest.raises(KeyboardInterrupt):
            list(collection.scroll())
    finally:
        signal.signal(signal.SIGALRM, before)
        process.send_signal(signal.SIGCONT)  # does nothing to one that has ended
    assert collection.count() == 1


def test_a_terminated_engine_finishes_with_its_run(collection: EdgeCollection) -> None:
    process = engine(collection)
    process.terminate()
    assert collection.count() == 1
    assert engine(collection) is process


def in_a_fork(action: Callable[[], bool]) -> bool:
    """Return what `action` returns in a fork of this process."""
    with warnings.catch_warnings():
        # From Python 3.12 on; the fork runs nothing but `action`.
        warnings.simplefilter("ignore", DeprecationWarning)
        fork = os.fork()
    if fork == 0:
        code = 2
        try:
            code = 0 if action() else 1
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(fork, 0)[1]) == 0


def test_a_fork_starts_an_engine_of_its_own(collection: EdgeCollection) -> None:
    before = engine(collection).pid
    # The fork waits for the shard, which is released to it.
    assert in_a_fork(lambda: collection.count() == 1 and engine(collection).pid != before)
    assert collection.count() == 1
    assert engine(collection).pid == before


def test_a_fork_does_not_end_the_engine_of_its_parent(collection: EdgeCollection) -> None:
    before = engine(collection).pid
    assert in_a_fork(lambda: collection.close() is None)  # type: ignore[func-returns-value]
    assert collection.count() == 1
    assert engine(collection).pid == before


def test_a_refused_operation_leaves_the_process_running(collection: EdgeCollection) -> None:
    before = collection._process._process
    with pytest.raises(Exception, match="collection 'docs'"):
        collection._process.call("apply", "no batch")
    assert collection.count() == 1
    assert collection._process._process is before


def test_a_suspended_run_does_not_keep_the_shard(
    other_run: tuple["subprocess.Popen[str]", int], tmp_path: Path
) -> None:
    process, _ = other_run
    os.killpg(process.pid, signal.SIGSTOP)  # as Ctrl-Z does
    try:
        reader = EdgeStore(tmp_path, patience=20.0).open("docs")
        assert reader is not None
        with closing(reader):
            assert reader.count() == 1
    finally:
        os.killpg(process.pid, signal.SIGCONT)


def test_the_engine_of_a_killed_run_ends_and_releases_the_shard(
    other_run: tuple["subprocess.Popen[str]", int], tmp_path: Path
) -> None:
    process, engine = other_run
    process.kill()
    process.wait()
    until(lambda: has_ended(engine))
    reader = EdgeStore(tmp_path, patience=20.0).open("docs")
    assert reader is not None
    with closing(reader):
        assert reader.count() == 1


def has_ended(process: int) -> bool:
    return not is_running(process) or _is_zombie(process)


HOLDER = (
    "import os, sys, time; os.fstat(int(sys.argv[1])); print('ready', flush=True); time.sleep(60)"
)
"""Another child of a run, which has inherited the pipe to the engine."""

KILLED = """
import os, signal, subprocess, sys
from pathlib import Path
from ragctl.stores.edge import EdgeStore
collection = EdgeStore(Path(sys.argv[1])).open("docs")
if sys.argv[2] == "idle":
    collection.count()
engine = collection._process._process
pipes = [engine.stdin.fileno(), engine.stdout.fileno()]
other = subprocess.Popen(
    [sys.executable, "-c", sys.argv[3], str(pipes[0])], pass_fds=pipes, stdout=subprocess.PIPE
)
other.stdout.readline()
print(engine.pid, other.pid, flush=True)
if sys.argv[2] == "waiting":  # for the shard, which another process has
    collection._process._running()
    from ragctl.stores.edge_frames import write_frame
    write_frame(engine.stdin, ("count", ((),)))
os.kill(os.getpid(), signal.SIGKILL)
"""
"""A run that is killed while its engine has nothing to do, or waits for the shard."""


@pytest.mark.parametrize("engine_is", ["idle", "waiting"])
def test_no_engine_outlives_its_run_though_another_process_holds_its_pipe(
    collection: EdgeCollection, tmp_path: Path, engine_is: str
) -> None:
    collection.close()
    with ExitStack() as stack:
        if engine_is == "waiting":
            lock = tmp_path / "locks" / "docs.shard.lock"
            stack.enter_context(fair_lock(lock, "the shard", 20.0))
        done = subprocess.run(
            [sys.executable, "-c", KILLED, str(tmp_path), engine_is, HOLDER],
            stdout=subprocess.PIPE,
            text=True,
            timeout=PROCESS_SECONDS,
        )
        killed, other = map(int, done.stdout.split())
        stack.callback(os.kill, other, signal.SIGKILL)
        assert done.returncode == -signal.SIGKILL
        began = time.monotonic()
        until(lambda: has_ended(killed))
        assert time.monotonic() - began < 5
        assert not has_ended(other)


def _is_zombie(process: int) -> bool:
    stat = Path(f"/proc/{process}/stat")
    return stat.exists() and stat.read_text().rpartition(")")[2].split()[0] == "Z"


def test_an_operation_of_a_dead_run_is_not_done(collection: EdgeCollection, tmp_path: Path) -> None:
    """A write that waited for the shard must not come after another run has begun to read."""
    collection.close()
    folder = tmp_path / "collections" / "docs"
    lock = tmp_path / "locks" / "docs.shard.lock"
    made = collection.settings.creation_id
    code = (
        "from pathlib import Path; from ragctl.stores import edge_shard\n"
        f"shard = edge_shard.SharedShard(Path({str(folder)!r}), {made!r}, Path({str(lock)!r}), 'x',"
        f" patience=5.0, space=edge_shard.DiskSpace(Path({str(tmp_path)!r})))\n"
        "shard.run('count', ((),), 1)\n"
        "print('done')"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=PROCESS_SECONDS
    )
    assert (done.returncode, done.stdout, done.stderr) == (1, "", "")


def test_an_idle_shard_is_released(collection: EdgeCollection, tmp_path: Path) -> None:
    assert collection.count() == 1
    time.sleep(edge_shard.IDLE_SECONDS)
    began = time.monotonic()
    reader = EdgeStore(tmp_path, patience=20.0).open("docs")
    assert reader is not None
    with closing(reader):
        assert reader.count() == 1
    assert time.monotonic() - began < 15


def test_a_shard_that_is_kept_open_is_released_when_another_process_waits(
    collection: EdgeCollection, tmp_path: Path
) -> None:
    collection.close()
    lock = tmp_path / "locks" / "docs.shard.lock"
    kept = EdgeStore(tmp_path, patience=20.0, keep_open=True).open("docs")
    assert kept is not None
    with closing(kept):
        assert kept.count() == 1
        time.sleep(1.5 * edge_shard.IDLE_SECONDS)
        with lock.open("rb") as file:  # without the queue, so that nobody seems to wait
            assert not try_lock(file, shared=True), "it was released while it was idle"
        reader = EdgeStore(tmp_path, patience=20.0).open("docs")
        assert reader is not None
        with closing(reader):
            assert reader.count() == 1
            kept.apply(Batch(upserts=[point(2)]))
            assert reader.count() == 2


def test_creating_a_collection_removes_only_its_own_leftovers(tmp_path: Path) -> None:
    folder = tmp_path / "collections"
    dead = subprocess.run(
        [sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True
    )
    process = int(dead.stdout)
    names = {
        f".docs.{process}.new": False,
        f".docs.{process}.dropped": False,
        f".docs.{os.getppid()}.new": True,  # of a live process
        f".docs.v2.{process}.new": True,  # of another collection
        f".docs.5.{process}.new": True,
        ".docs.notes": True,
    }
    for name in names:
        (folder / name).mkdir(parents=True)
    EdgeStore(tmp_path).create("docs", SETTINGS).close()
    assert {name: (folder / name).exists() for name in names} == names


def test_an_engine_of_another_version_is_refused(
    collection: EdgeCollection, tmp_path: Path
) -> None:
    collection.close()
    other = tmp_path / "other" / "qdrant_edge_py-0.8.0.dist-info"
    other.mkdir(parents=True)
    (other / "METADATA").write_text("Metadata-Version: 2.1\nName: qdrant-edge-py\nVersion: 0.8.0\n")
    done = subprocess.run(
        [sys.executable, "-m", "ragctl", "status", "--store", str(tmp_path)],
        env={**os.environ, "PYTHONPATH": str(other.parent)},
        capture_output=True,
        text=True,
        timeout=PROCESS_SECONDS,
    )
    assert done.returncode == 5
    assert done.stderr == (
        "ragctl: collection 'docs': 0.8.0 of qdrant-edge-py is installed, and ragctl works with "
        "0.9.x; install it with: pip install 'qdrant-edge-py>=0.9.0,<0.10'\n"
    )
