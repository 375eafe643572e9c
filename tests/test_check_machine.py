"""`ragctl check` without arguments: this machine, with all that can be wrong with it at once."""

import json
import os
import re
import shutil
import socket
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

import httpx
import pytest

from ragctl.check.machine import Line, MachineReport, examine_machine, host, parts, stores
from ragctl.collection import settings
from ragctl.reporting import RunOutcome
from ragctl.reporting.last_run import last_run, record_installation, record_run
from ragctl.schedule import ScheduledJob, crontab, every, from_cron, units
from ragctl.stores import open_store
from ragctl.stores.base import Batch, ServerState, Shard
from tests import terminal
from tests.command import call
from tests.servers.jina import JinaServer
from tests.servers.qdrant import QdrantFacade
from tests.world import KEY, World, paragraphs

DOWN = "http://127.0.0.1:9"  # the discard port: no server listens there
YESTERDAY = datetime.now().timestamp() - 86_400
PIPELINE = """
collection = "{collection}"
store = "{store}"
[[sources]]
path = "{source}"
[report]
{report}
"""


@dataclass
class Machine:
    """A machine of the test's own: its home, its crontab, its environment."""

    home: Path
    environ: dict[str, str] = field(default_factory=dict)

    @property
    def store(self) -> Path:
        return self.home / "store"

    def pipeline(self, name: str, store: object = "", report: str = "") -> Path:
        file = self.home / f"{name}.toml"
        values = {"collection": name, "store": store or self.store, "source": self.home / "docs"}
        file.write_text(PIPELINE.format(**values, report=report))
        return file

    def cron(self, *lines: str) -> None:
        (self.home / "crontab").write_text("".join(f"{line}\n" for line in lines))

    def schedule(self, file: Path, times: str = "15 3 * * *", **variables: str) -> str:
        job = ScheduledJob(("/usr/bin/ragctl",), file, "docs", variables=variables)
        return crontab.line(job, from_cron(times))

    def examine(self, seconds: float = 8.0) -> MachineReport:
        folder = self.home / "work"
        folder.mkdir(exist_ok=True)
        return examine_machine(self.environ, folder, seconds=seconds)

    def command(self, *words: str, code: int = 0) -> str:
        environ = {**os.environ, **self.environ}
        done = call("check", *words, environ=environ, cwd=self.home / "docs")
        assert done.returncode == code, done.stdout + done.stderr
        return done.stdout


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    programs = tmp_path / "bin"
    programs.mkdir()
    (tmp_path / "docs").mkdir()
    fake = programs / "crontab"
    # The real program reads a spool that belongs to root; `cat` is all that `-l` does.
    fake.write_text(f'#!/bin/sh\n[ "$1" = -l ] && exec cat {tmp_path}/crontab\nexit 2\n')
    fake.chmod(0o755)
    (tmp_path / "crontab").touch()
    environ = {
        "PATH": f"{programs}:{os.environ['PATH']}",
        "RAGCTL_HOME": str(tmp_path / "store"),
        "RAGCTL_CONFIG": str(tmp_path / "none"),
        "XDG_STATE_HOME": str(tmp_path / "state"),
        "XDG_CONFIG_HOME": str(tmp_path / "config"),
        "XDG_DATA_HOME": str(tmp_path / "data"),
    }
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    return Machine(tmp_path, environ)


@pytest.fixture
def world(machine: Machine, host: JinaServer) -> World:
    world = World(machine.home / "docs", str(machine.store), host)
    world.write("a.md", paragraphs("one", "two"))
    world.ingest()
    return world


@pytest.fixture
def facade() -> Iterator[QdrantFacade]:
    with QdrantFacade() as facade:
        yield facade


def lines(report: MachineReport, subject: str, name: object = None) -> list[Line]:
    return [
        line
        for line in report.lines
        if line.subject == subject and (name is None or line.name == str(name))
    ]


def problems(report: MachineReport) -> list[Line]:
    return [line for line in report.lines if line.status != "ok"]


# A machine in order


def test_a_machine_in_order(machine: Machine, world: World) -> None:
    machine.environ["JINA_API_KEY"] = KEY
    report = machine.examine()
    assert problems(report) == []
    assert report.exit_code == 0
    (versions, extras) = lines(report, "versions")
    assert re.match(r"ragctl \S+, Python 3\S+, qdrant-edge-py 0\.9\.0, \S+ \S+$", versions.text)
    assert {*extras.details["installed"], *extras.details["not_installed"]} >= {"eval"}  # type: ignore[misc]
    (disk,) = lines(report, "disk")
    assert disk.details["free_bytes"]
    (keys,) = lines(report, "keys")
    assert keys.text == "set: JINA_API_KEY"
    (store,) = lines(report, "store")
    assert store.name == str(machine.store)
    assert "1 collection, " in store.text
    (collection,) = lines(report, "collection")
    assert collection.text == "1 document, 2 points; jina-embeddings-v3, 64 dimensions"
    (lock,) = lines(report, "lock")
    assert lock.text == "no run is writing"
    assert "no pipeline is scheduled" in lines(report, "schedule")[0].text


def test_json_says_the_same_and_no_value_of_a_key(machine: Machine, world: World) -> None:
    machine.environ["JINA_API_KEY"] = KEY
    machine.environ["COHERE_API_KEY"] = " "
    found = json.loads(machine.command("--json"))
    text = machine.command()
    assert KEY not in text + json.dumps(found)
    assert (found["failures"], found["exit_code"]) == (0, 0)
    printed = [line for line in text.splitlines() if not line.startswith("   ")][:-1]
    assert len(printed) == len(found["checks"])
    for line, row in zip(printed, found["checks"], strict=True):
        assert line.startswith(f"{row['status']:4}  {row['subject']}".rstrip())
        assert row["advice"] is None or f"-> {row['advice']}" in text
    assert "note  keys: set, but empty: COHERE_API_KEY" in text
    assert text.splitlines()[-1].startswith("all good, 1 note; ")


def test_a_terminal_shows_lines_wrapped_beside_their_status(machine: Machine) -> None:
    machine.cron(machine.schedule(machine.home / "档案" / "gone.toml"))
    environ = {**os.environ, **machine.environ}
    shown = terminal.render("check", environ=environ, cwd=machine.home, columns=60, rows=40)
    assert shown.code == 2
    rows = shown.lines
    assert all(row[:6].strip() in ("", "ok", "FAIL", "note", "$") for row in rows[:-2])
    start = next(i for i, row in enumerate(rows) if row.startswith("FAIL  schedule"))
    assert "档案" in shown.text.replace(" ", "").replace("\n", "")
    assert rows[start + 1].startswith("      ")


def test_a_machine_without_anything(machine: Machine) -> None:
    report = machine.examine()
    assert report.exit_code == 0
    (store,) = lines(report, "store")
    assert store.status == "note"
    assert "does not exist yet" in store.text
    assert "ragctl ingest" in (store.advice or "")
    assert not machine.store.exists()
    assert lines(report, "keys")[0].text == "none is set; the built-in model needs none"


# Broken parts


def test_broken_parts_do_not_hide_the_others(
    machine: Machine, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A damaged collection, one of another format, a server that is down, and bad pipelines."""
    machine.environ["JINA_API_KEY"] = KEY
    with monkeypatch.context() as older:
        older.setattr(settings, "FORMAT", 1)
        world.ingest(collection="older")
    world.ingest(collection="broken")
    for file in (machine.store / "collections" / "broken").glob("collection*.json"):
        file.write_bytes(b"{")
    (machine.store / "collections" / "afile").write_text("not a collection")
    wrong = machine.home / "wrong.toml"
    wrong.write_text("collection = 7")
    machine.cron(
        machine.schedule(machine.pipeline("remote", DOWN)),
        machine.schedule(wrong),
        machine.schedule(machine.home / "gone.toml"),
    )
    began = time.monotonic()
    report = machine.examine()
    assert time.monotonic() - began < 10
    assert report.exit_code == 5
    failed = {(line.subject, line.name): line for line in problems(report)}
    assert ("collection", "docs") not in failed
    assert lines(report, "collection", "docs")[0].status == "ok"
    broken = failed["collection", "broken"]
    assert "settings of collection 'broken' cannot be read" in broken.text
    assert broken.advice is not None
    assert "ragctl rebuild broken" in broken.advice
    assert broken.advice not in broken.text
    older_one = failed["collection", "older"]
    assert "format 1" in older_one.text
    assert "ragctl delete --all -c older" in older_one.text
    assert older_one.advice is None  # it cannot be rebuilt
    assert failed["collection", "afile"].status == "fail"
    down = failed["store", DOWN]
    assert "no Qdrant at" in down.text
    assert str(machine.home / "remote.toml") in (down.advice or "")
    assert failed["schedule", str(wrong)].code == 2
    gone = failed["schedule", str(machine.home / "gone.toml")]
    assert "--remove" in (gone.advice or "")


def test_a_silent_server_is_one_line_within_the_limit(machine: Machine, world: World) -> None:
    machine.environ["JINA_API_KEY"] = KEY
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        machine.environ["RAGCTL_HOME"] = url
        began = time.monotonic()
        # The user's own folder is examined beside the server.
        (machine.home / "data").mkdir()
        machine.store.rename(machine.home / "data" / "ragctl")
        report = machine.examine(1.5)
        assert time.monotonic() - began < 3
    (server, own) = lines(report, "store")
    assert (server.name, server.status, server.text) == (url, "fail", "no answer within 1.5 s")
    assert own.status == "ok"
    assert lines(report, "versions")[0].status == "ok"
    assert report.exit_code == 5


def test_a_part_that_never_ends_or_crashes_is_one_line() -> None:
    def crash() -> Iterator[Line]:
        yield Line("ok", "one", "", "before")
        raise ZeroDivisionError("oops")

    def refused() -> Iterator[Line]:
        raise PermissionError(13, "Permission denied")
        yield

    def nested() -> Iterator[Line | parts.Part]:
        yield parts.Part("sleeper", "deep", lambda: iter(lambda: time.sleep(60), None))
        yield Line("ok", "nested", "", "after")

    began = time.monotonic()
    found = parts.Examination(0.3).run(
        [
            parts.Part("one", "", crash),
            parts.Part("two", "folder", refused, "look at it"),
            parts.Part("three", "", nested),
        ]
    )
    assert time.monotonic() - began < 2
    assert [(line.subject, line.text) for line in found] == [
        ("one", "before"),
        ("one", "ZeroDivisionError: oops"),
        ("two", "cannot be read: Permission denied"),
        ("sleeper", "no answer within 0.3 s"),
        ("nested", "after"),
    ]
    assert found[2].advice == "look at it"


def test_a_store_that_is_a_file_and_a_working_folder_with_other_toml_files(
    machine: Machine,
) -> None:
    machine.store.write_text("a file")
    work = machine.home / "work"
    work.mkdir()
    (work / "pyproject.toml").write_text("[project]\nname = 'x'\n")
    (work / "rubbish.toml").write_bytes(b"\xff\x00")
    (work / "loop.toml").symlink_to("loop.toml")
    (work / "p.toml").write_text(f"store = '{machine.home}/other'\n[[sources]]\npath = '.'\n")
    report = machine.examine()
    first, other = lines(report, "store")
    assert (first.status, "is not a folder" in first.text) == ("fail", True)
    assert (other.name, other.status) == (f"{machine.home}/other", "note")
    assert report.exit_code == 5


def test_a_nearly_full_disk(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = shutil.disk_usage(machine.home)
    for limit, status in (("LOW_DISK_BYTES", "note"), ("MIN_FREE_BYTES", "fail")):
        monkeypatch.setattr(host, limit, usage.total + 1)
        (disk,) = host.disk([machine.home])
        assert disk.status == status
        assert "make space" in (disk.advice or "")


# Locks and collections


def test_the_run_that_writes_is_named(machine: Machine, world: World) -> None:
    with closing(open_store(world.store, environ={})) as store, store.lock("docs"):
        (lock,) = lines(machine.examine(), "lock")
    assert (lock.status, lock.name) == ("note", "docs")
    now = datetime.now().strftime("%H:")
    assert lock.text.startswith(f"being written by process {os.getpid()} since {now}")
    assert lock.details["holder"] == f"process {os.getpid()}"
    assert lock.advice


def test_generations_that_are_not_current(machine: Machine, world: World) -> None:
    machine.environ["JINA_API_KEY"] = KEY
    with closing(open_store(world.store, environ={})) as store, closing(world.open()) as docs:
        store.create_generation("docs", docs.settings).close()
        _, unfinished = lines(machine.examine(), "collection")
        with store.lock("docs", generation=2):
            _, filling = lines(machine.examine(), "collection")
        store.switch("docs", 2)
        _, kept = lines(machine.examine(), "collection")
    form = "(jina-embeddings-v3, 64d)"
    assert unfinished.text == f"generation 2 {form} is an unfinished migration: 0 of 1 document"
    assert "ragctl migrate" in (unfinished.advice or "")
    assert filling.text.startswith(f"generation 2 {form} is being filled by process {os.getpid()}")
    assert kept.text == f"generation 1 {form} is kept"
    assert "ragctl rollback docs" in (kept.advice or "")
    assert {unfinished.status, filling.status, kept.status} == {"note"}


def test_a_collection_on_a_server(machine: Machine, world: World, facade: QdrantFacade) -> None:
    machine.environ["RAGCTL_HOME"] = facade.url
    there = world.elsewhere(facade.url)
    there.ingest()
    point = {"id": 1, "vector": {}, "payload": {"text": "theirs"}}
    address = f"{facade.url}/collections/docs/points?wait=true"
    httpx.put(address, json={"points": [point]}).raise_for_status()
    report = machine.examine()
    (store,) = lines(report, "store", facade.url)
    assert "Qdrant 1.17, 1 collection" in store.text
    collection, *others = lines(report, "collection")
    assert collection.text == "1 document, 3 points; jina-embeddings-v3, 64 dimensions"
    foreign, key = others
    assert foreign.text.startswith("1 point of other programs")
    assert foreign.advice == "ragctl verify -c docs names them"
    assert key.text == "its backend jina needs an API key, and JINA_API_KEY is not set"
    assert report.exit_code == 0
    with closing(open_store(facade.url, environ={})) as opened, opened.lock("docs"):
        (lock,) = lines(machine.examine(), "lock")
    assert f"process {os.getpid()} on " in lock.text


def test_files_that_failed_and_documents_left_incomplete(machine: Machine, world: World) -> None:
    world.write("bad.pdf", b"%PDF-1.4 broken")
    world.ingest()
    with closing(world.open()) as docs:
        last = next(point for point in docs.scroll() if "mark" not in point.payload)
        docs.apply(Batch(deletes=[last.id]))
    texts = [line.text for line in lines(machine.examine(), "collection")]
    assert "1 file could not be indexed by recent runs" in texts
    assert "1 document incomplete: a run was ended before its time" in texts


def test_what_a_server_says_of_a_collection() -> None:
    state = ServerState("red", "no space left", 0, True, (Shard(0, 7, "Dead"),))
    red, deferred, dead = stores._server("docs", state)
    assert (red.status, deferred.status, dead.status) == ("fail", "note", "fail")
    assert "no space left" in red.text
    assert "HNSW" in deferred.text
    assert dead.text == "shard 0 on node 7 is Dead"
    assert list(stores._server("d", ServerState("green", None, 9, False, None))) == []
    assert all(line.advice for line in (red, deferred, dead))


# Scheduled pipelines


def outcome(started: float, code: int = 0, error: str | None = None) -> RunOutcome:
    return RunOutcome("docs", started, 1.5, code, error)


def due_yesterday() -> str:
    """A daily schedule whose last time was an hour ago."""
    then = datetime.fromtimestamp(time.time() - 3600)
    return f"{then.minute} {then.hour} * * *"


def test_late_failed_and_missing_runs(machine: Machine) -> None:
    (machine.home / "docs" / "a.md").write_text("text")
    names = ("good", "failed", "some", "late", "never", "new", "reported")
    report_file = machine.home / "report.json"
    files = {
        name: machine.pipeline(
            name, report=f'report_file = "{report_file}"' if name == "reported" else ""
        )
        for name in names
    }
    hour = time.time() - 3600
    record_run(files["good"], outcome(hour + 30), machine.environ)
    record_run(files["failed"], outcome(hour + 30, 4, "the host is down"), machine.environ)
    record_run(files["some"], outcome(hour + 30, 3), machine.environ)
    record_run(files["late"], outcome(hour - 86_400), machine.environ)
    record_installation(files["new"], machine.environ)
    report_file.write_bytes(outcome(hour + 30).report_json())
    machine.cron(*(machine.schedule(file, due_yesterday()) for file in files.values()))
    report = machine.examine()
    found = {Path(line.name).stem: line for line in lines(report, "schedule")}
    assert {name: found[name].status for name in names} == {
        "good": "ok",
        "failed": "fail",
        "some": "fail",
        "late": "fail",
        "never": "fail",
        "new": "ok",
        "reported": "ok",
    }
    assert re.match(r"last run .+, 1\.5 s, exit code 0; next at ", found["good"].text)
    assert "exit code 4: the host is down" in found["failed"].text
    assert found["late"].text.startswith("late: due at ")
    assert found["never"].text.startswith("never ran; it was due at ")
    assert found["new"].text.startswith("has not run yet; next at ")
    assert all(found[name].advice for name in ("failed", "late", "never"))
    advice = found["some"].advice or ""
    assert f"ragctl failures -p {files['some']}" in advice
    assert "exclude" in advice
    assert "fail_on" in advice
    assert report.exit_code == 1


def test_a_run_that_is_going_on_is_not_late(machine: Machine, world: World) -> None:
    file = machine.pipeline("docs")
    record_run(file, outcome(YESTERDAY - 86_400), machine.environ)
    machine.cron(machine.schedule(file))
    with closing(open_store(world.store, environ={})) as store, store.lock("docs"):
        (line,) = lines(machine.examine(), "schedule")
    assert (line.status, line.text[:25]) == ("ok", "a run is writing since " + line.text[23:25])


def test_a_run_of_a_pipeline_file_is_recorded(machine: Machine) -> None:
    (machine.home / "docs" / "a.md").write_text("some text")
    file = machine.pipeline("docs")
    environ = {**os.environ, **machine.environ}
    before = time.time()
    done = call("run", "-q", str(file), environ=environ, cwd=machine.home)
    assert done.returncode == 0, done.stderr
    recorded = last_run(file, machine.environ)
    assert recorded is not None
    assert recorded.exit_code == 0
    assert before - 1 <= recorded.started <= time.time()
    (machine.home / "docs" / "a.md").unlink()
    failed = call("run", "-q", str(file), environ=environ, cwd=machine.home)
    assert failed.returncode == 7
    recorded = last_run(file, machine.environ)
    assert recorded is not None
    assert (recorded.exit_code, "no documents found" in (recorded.error or "")) == (7, True)
    # Where the state folder cannot be made, a run is as good and says nothing.
    blocked = {**environ, "XDG_STATE_HOME": str(file)}
    (machine.home / "docs" / "a.md").write_text("some text")
    done = call("run", "-q", str(file), environ=blocked, cwd=machine.home)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_a_timer_that_is_not_enabled(machine: Machine) -> None:
    file = machine.pipeline("docs")
    job = ScheduledJob(("/usr/bin/ragctl",), file, "docs")
    folder = units.user_folder(machine.environ)
    folder.mkdir(parents=True)
    for name, text in units.units(job, every("hour")).items():
        (folder / name).write_text(text)
    record_run(file, outcome(time.time()), machine.environ)
    disabled, run = lines(machine.examine(), "schedule")
    assert "is not enabled" in disabled.text
    assert disabled.advice == f"systemctl --user enable --now {units.name(job)}.timer"
    assert run.status == "ok"


def test_a_secret_that_only_this_shell_has(machine: Machine) -> None:
    file = machine.home / "p.toml"
    file.write_text("[[sources]]\npath = 'docs'\n[embedding]\nmodel = 'jina-embeddings-v3'\n")
    machine.cron(machine.schedule(file, RAGCTL_HOME=str(machine.store)))
    machine.environ["JINA_API_KEY"] = KEY
    (secret,) = [line for line in lines(machine.examine(), "schedule") if "JINA" in line.text]
    assert (secret.status, KEY in secret.text) == ("note", False)
    assert "--env-file" in (secret.advice or "")


def test_a_crontab_that_cannot_be_read(machine: Machine) -> None:
    (machine.home / "bin" / "crontab").write_text("#!/bin/sh\necho 'not allowed' >&2; exit 1\n")
    (cron, *_) = lines(machine.examine(), "schedule", "cron")
    assert (cron.status, "not allowed" in cron.text) == ("fail", True)


def test_rubbish_in_the_records_is_no_run(machine: Machine) -> None:
    file = machine.pipeline("docs")
    record_run(file, outcome(1.0), machine.environ)
    (record,) = (machine.home / "state" / "ragctl" / "runs").iterdir()
    for content in (b"", b"[]", b'{"run": 7}', b'{"run": {"started": "x"}}', b"\xff", b"[" * 9999):
        record.write_bytes(content)
        assert last_run(file, machine.environ) is None
