"""A store that may only be read: reading commands work on a copy, writing ones say so."""

import ctypes
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from ragctl.stores.base import Batch
from ragctl.stores.edge import EdgeStore
from tests.command import call
from tests.store_contract import SETTINGS, point
from tests.test_salvage import contents
from tests.waiting import PROCESS_SECONDS, until
from tests.world import paragraphs

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not sys.platform.startswith("linux"), reason="capabilities are Linux's"),
]

READ = """
import sys
from pathlib import Path
from ragctl.errors import StoreError
from ragctl.stores.edge import EdgeStore
collection = EdgeStore(Path(sys.argv[1])).open("docs")
print(collection.count(), flush=True)
for line in sys.stdin:
    try:
        print(collection.count(), flush=True)
    except StoreError as error:
        print(type(error).__name__, flush=True)
collection.close()
"""
"""Count the points once at the beginning, and again for each line."""


def _obey_permissions() -> None:
    """As root: do without the capabilities to pass over file permissions."""
    libc = ctypes.CDLL(None)
    for capability in (1, 2, 3):  # CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH, CAP_FOWNER
        libc.prctl(24, capability, 0, 0, 0)  # PR_CAPBSET_DROP


def permit(store: Path, *, writing: bool) -> None:
    for folder, _, files in os.walk(store):
        Path(folder).chmod(0o755 if writing else 0o555)
        for name in files:
            Path(folder, name).chmod(0o644 if writing else 0o444)


@pytest.fixture
def temporary(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "temporary"
    folder.mkdir()
    yield folder
    assert list(folder.iterdir()) == [], "copies are removed"


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Path]:
    store = tmp_path / "store"
    with closing(EdgeStore(store).create("docs", SETTINGS)) as made:
        made.apply(Batch(upserts=[point(1), point(2)]))
    permit(store, writing=False)
    yield store
    permit(store, writing=True)


def reader(store: Path, temporary: Path) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-c", READ, str(store)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "TMPDIR": str(temporary)},
        preexec_fn=_obey_permissions,
    )


def ask(process: "subprocess.Popen[str]") -> str:
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write("again\n")
    process.stdin.flush()
    return process.stdout.readline().strip()


def test_commands_that_read_work_and_others_say_that_they_cannot(
    tmp_path: Path, temporary: Path
) -> None:
    docs, store = tmp_path / "docs", tmp_path / "store"
    docs.mkdir()
    (docs / "a.md").write_text(paragraphs("pump"))
    environ = {"RAGCTL_HOME": str(store), "TMPDIR": str(temporary)}
    assert call("ingest", "docs", environ=environ, cwd=tmp_path).returncode == 0
    before = contents(store)
    permit(store, writing=False)

    def run(*words: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [sys.executable, "-m", "ragctl", *words],
            env={**os.environ, **environ},
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=PROCESS_SECONDS,
            preexec_fn=_obey_permissions,
        )

    try:
        for words in (
            ("search", "pump"),
            ("status",),
            ("show", "a.md"),
            ("verify",),
            ("collections",),
        ):
            done = run(*words)
            assert (done.returncode, done.stderr) == (0, ""), words
        for refused in (
            ("delete", "a.md", "--yes"),
            ("delete", "--all", "--yes"),
            ("ingest", "docs"),
            ("ingest", "docs", "-c", "other"),
        ):
            done = run(*refused)
            assert done.returncode == 5, refused
            assert done.stderr.count("\n") == 1
            assert "may only be read" in done.stderr
    finally:
        permit(store, writing=True)
    assert contents(store) == before


def test_a_reader_sees_what_the_owner_writes(store: Path, temporary: Path) -> None:
    with reader(store, temporary) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "2\n"
        assert len(list(temporary.iterdir())) == 1
        assert ask(process) == "2"
        permit(store, writing=True)
        found = EdgeStore(store).open("docs")
        assert found is not None
        with closing(found):
            found.apply(Batch(upserts=[point(3)]))
        permit(store, writing=False)
        until(lambda: ask(process) == "3")
        permit(store, writing=True)
        EdgeStore(store).drop("docs")
        permit(store, writing=False)
        until(lambda: ask(process) == "GenerationDropped")
        process.communicate()
        assert process.returncode == 0


def test_a_snapshot_without_locks_is_read(store: Path, temporary: Path) -> None:
    permit(store, writing=True)
    for path in (store / "locks").iterdir():
        path.unlink()
    (store / "locks").rmdir()
    permit(store, writing=False)
    with reader(store, temporary) as process:
        assert process.communicate()[0] == "2\n"
    assert not (store / "locks").exists()


def test_the_copy_of_a_killed_reader_is_removed_by_the_next(store: Path, temporary: Path) -> None:
    with reader(store, temporary) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "2\n"
        (copy,) = temporary.iterdir()
        os.kill(int(copy.name.split("-")[2]), signal.SIGKILL)
        process.kill()
    assert copy.exists()
    # Without an init process that waits for it, the killed process stays a zombie here.
    dead = subprocess.run(
        [sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, check=True
    )
    left = copy.rename(temporary / f"ragctl-copy-{int(dead.stdout)}-left")
    with reader(store, temporary) as process:
        assert process.communicate()[0] == "2\n"
    assert not left.exists()


@pytest.mark.parametrize("part", ["", "shard", "collection.json", "notes.json", "current"])
def test_a_collection_that_its_owner_may_not_read_is_listed_and_deleted(
    part: str, tmp_path: Path
) -> None:
    store = tmp_path / "store"
    EdgeStore(store).create("docs", SETTINGS).close()
    EdgeStore(store).create("other", SETTINGS).close()
    path = store / "collections" / "docs" / part
    if part == "notes.json":
        path.write_text("{}")
    path.chmod(0)

    def run(*words: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [sys.executable, "-m", "ragctl", *words, "--store", str(store)],
            capture_output=True,
            text=True,
            timeout=PROCESS_SECONDS,
            preexec_fn=_obey_permissions,
        )

    listed = run("collections")
    assert listed.returncode == 0, listed.stderr
    assert [line.split()[0] for line in listed.stdout.splitlines()] == ["docs", "other"]
    deleted = run("delete", "--all", "--yes")
    assert (deleted.returncode, deleted.stderr) == (0, "")
    assert EdgeStore(store).names() == ["other"]
    assert not list((store / "collections").glob(".docs*"))
