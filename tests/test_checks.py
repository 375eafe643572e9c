"""A run finds damage in what it reads, repairs it, and restores points that others deleted."""

import json
import os
import random
import subprocess
import urllib.request
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import ragctl.index.checks
from ragctl.collection.notes import Notes
from ragctl.collection.payload import Point
from ragctl.errors import UnreadableCollection
from ragctl.index.checks import is_due
from ragctl.index.report import Report
from ragctl.index.verify import inspect_collection
from ragctl.pipeline import Source
from ragctl.stores import is_server
from ragctl.stores.base import Batch
from tests.command import call
from tests.world import DIM, NO_PARSER, World, counts, paragraphs

pytestmark = pytest.mark.slow

DAY = 86_400.0
NOON = 1_760_000_000.0


def write_corpus(world: World) -> None:
    for name in "abcdef":
        world.write(f"{name}.md", paragraphs(*(f"{name} {n}" for n in range(5))))
    world.ingest()
    world.forget()


def faults(world: World) -> int:
    with closing(world.open()) as collection:
        return len(inspect_collection(collection).faults)


def points(world: World) -> dict[tuple[str, int], Point]:
    """Return every point by its document and ordinal."""
    with closing(world.open()) as collection:
        return {
            (point.payload["source"], point.payload["ordinal"]): point
            for point in collection.scroll(vectors=True)
        }


def apply(world: World, batch: Batch) -> None:
    with closing(world.open()) as collection:
        collection.apply(batch)


def delete_as_another_program(world: World, ids: list[str]) -> None:
    """Delete points past ragctl: over HTTP, or with the embedded engine."""
    if not is_server(world.store):
        apply(world, Batch(deletes=ids))
        return
    request = urllib.request.Request(
        f"{world.store}/collections/docs/points/batch?wait=true",
        json.dumps({"operations": [{"delete": {"points": ids}}]}).encode(),
        {"Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request) as answer:
        assert answer.status == 200


# Points that another program deleted


def _whole_documents(stored: dict[tuple[str, int], Point]) -> list[str]:
    return [
        point.id for (source, _), point in stored.items() if source in ("docs/a.md", "docs/c.md")
    ]


def _marks(stored: dict[tuple[str, int], Point]) -> list[str]:
    return [point.id for (_, ordinal), point in stored.items() if ordinal == 0]


def _all_but_marks(stored: dict[tuple[str, int], Point]) -> list[str]:
    return [point.id for (_, ordinal), point in stored.items() if ordinal > 0]


def _random_points(stored: dict[tuple[str, int], Point]) -> list[str]:
    return random.Random(7).sample(sorted(point.id for point in stored.values()), 11)


def _everything(stored: dict[tuple[str, int], Point]) -> list[str]:
    return [point.id for point in stored.values()]


@pytest.mark.parametrize(
    "choose", [_whole_documents, _marks, _all_but_marks, _random_points, _everything]
)
def test_points_deleted_by_another_program_are_restored_by_the_next_run(
    world: World, choose: Callable[[dict[tuple[str, int], Point]], list[str]]
) -> None:
    write_corpus(world)
    before = world.state()
    gone = choose(points(world))
    delete_as_another_program(world, gone)
    assert len(world.state()) == len(before) - len(gone)
    report = world.ingest()
    assert world.state() == before
    assert len(world.embedded()) == report.chunks.embedded == len(gone)  # only what is gone
    assert counts(world.ingest(parsing=NO_PARSER)) == {"unchanged": 6}


# Damage that a run finds


def test_a_run_repairs_a_damaged_payload_and_reports_it(world: World) -> None:
    write_corpus(world)
    before = world.state()
    point = points(world)["docs/b.md", 2]
    apply(world, Batch(overwrites=[(point.id, {**point.payload, "text": "something else"})]))
    report = world.ingest()
    assert (report.damaged, report.verified) == (1, 30)
    assert "its text is not the text that was embedded" in report.warnings[0].error
    assert report.warnings[0].source == "docs/b.md"
    assert counts(report) == {"updated": 1, "unchanged": 5}
    assert len(world.embedded()) == 1
    assert world.state() == before
    assert world.ingest().damaged == 0


def test_a_run_finds_a_damaged_vector_in_the_embedded_store(edge_world: World) -> None:
    write_corpus(edge_world)
    point = points(edge_world)["docs/b.md", 2]
    apply(edge_world, Batch(upserts=[replace(point, dense=np.zeros(DIM, np.float32))]))
    report = edge_world.ingest()
    assert (report.damaged, report.chunks.embedded) == (1, 1)
    assert faults(edge_world) == 0


def test_damage_that_a_run_cannot_repair_is_a_failure(world: World, tmp_path: Path) -> None:
    write_corpus(world)
    point = points(world)["docs/b.md", 2]
    apply(world, Batch(overwrites=[(point.id, {**point.payload, "text": "something else"})]))
    other = tmp_path / "other"
    other.mkdir()
    (other / "z.md").write_text("nothing else")
    report = world.ingest(sources=(Source(other),))
    assert [failure.source for failure in report.failures] == ["docs/b.md"]
    assert "not among the files of this run" in report.failures[0].error
    assert report.failed_more_than(0)
    assert counts(world.ingest())["updated"] == 1
    assert faults(world) == 0


def test_a_run_reads_at_most_a_sample(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    write_corpus(world)
    monkeypatch.setattr(ragctl.index.checks, "SAMPLE_POINTS", 12)
    report = world.ingest()
    assert report.verified == 15  # whole documents of 5 chunks


# Verification of all points, when it is due


def test_a_verification_is_due_after_so_many_days_and_when_the_clock_was_set_back() -> None:
    assert not is_due({}, None, NOON)
    assert is_due({}, 7, NOON)
    notes: Notes = {"verified": round(NOON)}
    assert not is_due(notes, 7, NOON)
    assert not is_due(notes, 7, NOON + 6.9 * DAY)
    assert is_due(notes, 7, NOON + 7 * DAY)
    assert is_due(notes, 7, NOON - 60)
    assert is_due(notes, 0, NOON)


def run_at(world: World, now: float) -> Report:
    job = world.run(verify_days=7.0)
    job.clock = lambda: now
    with closing(job.store):
        return job.ingest()


def test_a_pipeline_can_ask_for_the_verification_of_all_points(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_corpus(world)
    monkeypatch.setattr(ragctl.index.checks, "SAMPLE_POINTS", 0)
    assert run_at(world, NOON).verified == 30
    point = points(world)["docs/d.md", 3]
    apply(world, Batch(upserts=[replace(point, dense=np.zeros(DIM, np.float32))]))
    assert run_at(world, NOON + 6 * DAY).verified == 0
    assert faults(world) == 1
    report = run_at(world, NOON + 7 * DAY)
    assert (report.verified, report.damaged, report.chunks.embedded) == (30, 1, 1)
    assert faults(world) == 0
    assert run_at(world, NOON + 8 * DAY).verified == 0


# Points that the engine cannot read


def zero_stored_payloads(store: str) -> None:
    """Overwrite parts of the stored payloads with zeros."""
    for page in Path(store).glob("collections/docs/shard/segments/*/payload_storage/page_0.dat"):
        with page.open("r+b") as file:
            for offset in range(1000, 12000, 97):
                file.seek(offset)
                file.write(bytes(4))


def test_a_run_over_points_that_cannot_be_read_fails_and_names_the_command(
    edge_world: World,
) -> None:
    write_corpus(edge_world)
    zero_stored_payloads(edge_world.store)
    with pytest.raises(UnreadableCollection, match="ragctl rebuild docs"):
        edge_world.ingest()


def test_verify_repair_rebuilds_a_collection_that_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "docs").mkdir()
    for name in "abcdef":
        text = paragraphs(*(f"{name} {n}" for n in range(5)))
        (tmp_path / "docs" / f"{name}.md").write_text(text)
    (tmp_path / "p.toml").write_text(
        f"store = '{tmp_path}/store'\ncollection = 'docs'\nchunking.size = 64\n"
        f"bm25.languages = ['en']\n[[sources]]\npath = '{tmp_path}/docs'\n"
    )

    def command(*words: str) -> "subprocess.CompletedProcess[str]":
        return call(*words, environ={"PATH": os.environ["PATH"]}, cwd=tmp_path)

    assert command("run", "p.toml").returncode == 0
    zero_stored_payloads(f"{tmp_path}/store")
    assert command("verify", "p.toml").returncode == 5
    assert command("run", "p.toml").returncode == 5
    repaired = command("verify", "p.toml", "--repair")
    assert repaired.returncode == 0, repaired.stderr
    assert "rebuilding it" in repaired.stderr
    assert command("verify", "p.toml").returncode == 0
    assert "6 unchanged" in command("run", "p.toml").stdout
