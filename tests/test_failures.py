"""Failed files: recorded, reported, and retried at growing intervals."""

from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from ragctl.errors import BackendError, Interrupted
from ragctl.index import failures
from ragctl.index.failures import DAY_SECONDS, FailedFile
from ragctl.index.report import Report
from ragctl.pipeline import Parsing, Source
from ragctl.records import Identity
from tests.world import World, counts, paragraphs

pytestmark = pytest.mark.slow

NOON = 1_800_000_000.0


def run(world: World, at: float, **changes: Any) -> Report:
    job = world.run(**changes)
    job.clock = lambda: at
    with closing(job.store):
        return job.ingest()


def stored_failures(world: World) -> dict[str, FailedFile]:
    with closing(world.open()) as collection:
        return failures.read_failures(collection.notes())


def test_a_failed_file_is_retried_at_growing_intervals(world: World) -> None:
    """Nightly runs try on the first two nights, then skip 1, 2, 4 and 8 nights."""
    world.write("good.md", paragraphs("one"))
    world.write("bad.pdf", b"%PDF-1.7 rubbish")
    nights_tried = []
    for night in range(24):
        report = run(world, NOON + night * DAY_SECONDS)
        assert report.documents.failed == 1  # reported every night, retried or not
        (failure,) = report.failures
        assert failure.source == "docs/bad.pdf"
        if not failure.postponed:
            nights_tried.append(night)
        else:
            assert "next try after" in failure.error
            assert "--retry-failed" in failure.error
    assert nights_tried == [0, 1, 3, 6, 11, 20]
    (failed,) = stored_failures(world).values()
    assert (failed.tries, failed.first, failed.last) == (6, NOON, NOON + 20 * DAY_SECONDS)


def test_nothing_is_written_while_a_retry_is_postponed(world: World) -> None:
    world.write("bad.pdf", b"%PDF-1.7 rubbish")
    for _ in range(2):
        run(world, NOON)
    before = stored_failures(world)
    assert run(world, NOON + 60).failures[0].postponed
    assert stored_failures(world) == before
    # A changed parser limit causes a retry at once.
    parsing = Parsing(workers=1, timeout=59)
    assert not run(world, NOON + 60, parsing=parsing).failures[0].postponed


def test_unchanged_failures_do_not_rewrite_the_notes(edge_world: World) -> None:
    world = edge_world
    world.write("bad.pdf", b"%PDF-1.7 rubbish")
    for _ in range(2):
        run(world, NOON)
    notes = Path(world.store) / "collections" / "docs" / "notes.json"
    before = notes.stat().st_mtime_ns
    assert run(world, NOON + 60).failures[0].postponed
    assert notes.stat().st_mtime_ns == before


def test_a_changed_file_is_retried_at_once_and_forgotten_when_it_succeeds(world: World) -> None:
    world.write("bad.pdf", b"%PDF-1.7 rubbish")
    for _ in range(2):
        run(world, NOON)
    assert run(world, NOON).failures[0].postponed
    world.write("bad.pdf", b"%PDF-1.7 other rubbish")
    assert not run(world, NOON).failures[0].postponed
    assert stored_failures(world)["docs/bad.pdf"].tries == 1
    (world.root / "bad.pdf").unlink()
    world.write("good.md", paragraphs("one"))
    assert counts(run(world, NOON)) == {"added": 1}
    assert stored_failures(world) == {}


def test_retry_failed_retries_now(world: World) -> None:
    world.write("bad.pdf", b"%PDF-1.7 rubbish")
    for _ in range(3):
        run(world, NOON)
    assert stored_failures(world)["docs/bad.pdf"].tries == 2
    assert not run(world, NOON, retry_failed=True).failures[0].postponed
    assert stored_failures(world)["docs/bad.pdf"].tries == 3


def test_a_clock_that_was_set_back_causes_a_retry(edge_world: World) -> None:
    world = edge_world
    world.write("bad.pdf", b"%PDF-1.7 rubbish")
    for _ in range(2):
        run(world, NOON)
    assert not run(world, NOON - 100 * DAY_SECONDS).failures[0].postponed


def test_a_postponed_file_keeps_its_old_chunks(world: World) -> None:
    world.write("a.pdf.md", paragraphs("one", "two"))
    run(world, NOON)
    before = world.sources()
    world.write("a.pdf.md", b"\x00\xff\x00rubbish\x00")
    for at in (NOON, NOON, NOON + 60):
        assert counts(run(world, at)) == {"failed": 1}
        assert world.sources() == before


def test_a_document_refused_by_the_backend_is_postponed_too(edge_world: World) -> None:
    world = edge_world
    world.chunk_size, world.server.context = 32, 30
    world.write("bad.md", "x " * 45)
    world.write("good.md", paragraphs("one", words=16))
    for _ in range(2):
        run(world, NOON)
    world.forget()
    assert run(world, NOON).failures[0].postponed
    assert world.server.requests == []
    assert "characters 0-" in stored_failures(world)["docs/bad.md"].errors[0][1]


def test_a_bad_record_fails_its_file_but_the_others_stay_indexed(world: World) -> None:
    world.write("rows.jsonl", '{"id": "a", "text": "one"}\nrubbish\n{"id": "b", "text": "two"}\n')
    for _ in range(2):
        report = run(world, NOON)
    assert report.documents.failed == 1
    assert run(world, NOON).failures[0].postponed
    assert world.sources() == {"docs/rows.jsonl#a": 1, "docs/rows.jsonl#b": 1}
    assert stored_failures(world)["docs/rows.jsonl"].errors[0][0].startswith("docs/rows.jsonl")


def test_runs_of_another_folder_or_with_only_keep_other_failures(
    edge_world: World, tmp_path: Path
) -> None:
    world = edge_world
    world.write("bad.pdf", b"%PDF-1.7 rubbish")
    world.write("sub/bad.pdf", b"%PDF-1.7 rubbish")
    world.write("good.md", paragraphs("one"))
    run(world, NOON)
    other = tmp_path / "other"
    other.mkdir()
    (other / "b.md").write_text(paragraphs("two"))
    run(world, NOON, sources=(Source(other),))
    run(world, NOON, only=("good.md",))
    assert stored_failures(world).keys() == {"docs/bad.pdf", "docs/sub/bad.pdf"}
    (world.root / "sub/bad.pdf").unlink()
    run(world, NOON, only=("sub/",))
    assert stored_failures(world).keys() == {"docs/bad.pdf"}


def test_an_interrupted_run_keeps_earlier_failures(edge_world: World) -> None:
    world = edge_world
    world.write("a.pdf", b"%PDF-1.7 rubbish")
    run(world, NOON)
    for n in range(40):
        world.write(f"b{n}.md", paragraphs(*(f"text {n} {k}" for k in range(10))))
    world.server.credit = 0
    with pytest.raises(BackendError):
        run(world, NOON)
    # The outage may come before the second try.
    assert stored_failures(world)["docs/a.pdf"].tries in (1, 2)
    world.server.credit = None
    job = world.run()
    job.clock = lambda: NOON + 10 * DAY_SECONDS  # the retry is due
    job.on_plan = lambda plan, found: job.cancellation.cancel()
    with closing(job.store), pytest.raises(Interrupted):
        job.ingest()
    assert "docs/a.pdf" in stored_failures(world)


@pytest.mark.parametrize(
    ("failed", "succeeded", "percent", "exceeded"),
    [
        (0, 5, 0, False),
        (1, 999, 0, True),
        (1, 19, 5, False),
        (1, 18, 5, True),
        (5, 0, 100, False),
    ],
)
def test_fail_on_compares_the_share_of_failed_documents(
    failed: int, succeeded: int, percent: float, exceeded: bool
) -> None:
    report = Report("docs", Identity(model="m", dimension=8))
    for n in range(failed):
        report.add_failure(f"{n}", "is bad")
    report.documents.unchanged = succeeded
    assert report.failed_more_than(percent) is exceeded
