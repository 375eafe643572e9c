"""The invariants of an ingest, on both stores, over a real embedding host on loopback."""

import json
import re
import threading
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import httpx
import pytest

from ragctl.catalog import BackendConfig
from ragctl.collection.conditions import Match
from ragctl.collection.text import text_hash
from ragctl.errors import BackendError, IdentityMismatch, Locked, PruneRefused, UsageError
from ragctl.hosts.http import HostClient
from ragctl.index.prepare import NO_TEXT
from ragctl.index.report import Report
from ragctl.pipeline import Embedding, Source
from ragctl.stores import is_server, open_store
from ragctl.stores.base import Batch, Collection
from tests.servers import faults
from tests.servers.faults import Fault
from tests.servers.host import CANARIES
from tests.servers.openai import OpenAIServer
from tests.waiting import PROCESS_SECONDS
from tests.world import DIM, NO_PARSER, World, counts, paragraphs

pytestmark = pytest.mark.slow

# I3: an unchanged folder causes no work


def test_an_unchanged_folder_causes_no_request_write_or_read(world: World) -> None:
    paths = [world.write(f"in/{name}.md", paragraphs(name, "two")) for name in "abc"]
    report = world.ingest()
    assert counts(report) == {"added": 3}
    assert report.chunks.embedded == len(world.embedded()) == 4
    assert report.chunks.reused == 2
    before, requests = world.state(), len(world.server.requests)
    (world.root / "in").rename(world.root / ".kept")
    (world.root / "in").mkdir()
    for path in paths:  # unchanged files must not be opened: each is now a link
        path.symlink_to(f"../.kept/{path.name}")
    again = world.ingest(parsing=NO_PARSER)
    assert counts(again) == {"unchanged": 3}
    assert len(world.server.requests) == requests
    assert world.state() == before


def test_a_client_is_created_early_if_there_are_files_to_read(
    edge_world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = edge_world.write("a.md", "# One\n\nFirst words.\n")
    edge_world.ingest()
    created = threading.Event()
    opened = HostClient._new_client

    def opening(client: HostClient) -> httpx.Client:
        created.set()
        return opened(client)

    monkeypatch.setattr(HostClient, "_new_client", opening)
    edge_world.ingest()
    assert not created.is_set()
    path.touch()  # it must be read, though no text of it is sent
    edge_world.ingest()
    assert created.wait(PROCESS_SECONDS)


def test_a_touched_file_is_read_but_not_embedded_or_rewritten(world: World) -> None:
    text = paragraphs("one", "two")
    world.write("a.md", text)
    world.ingest()
    world.forget()
    world.write("a.md", text)
    assert counts(world.ingest()) == {"unchanged": 1}
    assert world.server.requests == []
    assert counts(world.ingest(parsing=NO_PARSER)) == {"unchanged": 1}


# I4, I5, I6: only new texts are embedded


def test_an_edit_embeds_only_the_chunks_it_touches(world: World) -> None:
    names = [f"section{n}" for n in range(30)]
    world.write("a.md", paragraphs(*names))
    first = world.ingest()
    assert first.chunks.embedded >= 30
    world.forget()
    edited = [*names[:15], "inserted", *names[15:]]
    edited[3] = "changed"
    world.write("a.md", paragraphs(*edited))
    report = world.ingest()
    assert counts(report) == {"updated": 1}
    assert {text.split()[1] for text in world.embedded()} >= {"inserted", "changed"}
    assert len(world.embedded()) == report.chunks.embedded <= 4
    assert report.chunks.reused >= 27
    fresh = world.elsewhere(world.store + "2") if not is_server(world.store) else None
    if fresh is not None:
        fresh.ingest()
        assert fresh.state() == world.state()


def test_rename_and_copy_embed_nothing(world: World) -> None:
    text = paragraphs("one", "two", "three")
    path = world.write("a.md", text)
    world.write("b.md", paragraphs("other"))
    world.ingest()
    world.forget()
    path.rename(world.root / "renamed.md")
    world.write("sub/copy.md", text)
    report = world.ingest()
    assert counts(report) == {"added": 1, "renamed": 1, "unchanged": 1}
    assert report.chunks.embedded == 0
    assert world.server.requests == []
    assert world.sources() == {"docs/renamed.md": 3, "docs/sub/copy.md": 3, "docs/b.md": 1}


def test_equal_files_are_embedded_once_and_both_found(world: World) -> None:
    text = paragraphs("one", "two")
    for name in ("a.md", "b.md", "c/d.md"):
        world.write(name, text)
    report = world.ingest()
    assert len(world.embedded()) == report.chunks.embedded == 2
    assert report.chunks.reused == 4
    assert world.sources() == {"docs/a.md": 2, "docs/b.md": 2, "docs/c/d.md": 2}
    (world.root / "a.md").unlink()
    assert counts(world.ingest()) == {"unchanged": 2, "removed": 1}
    assert world.sources() == {"docs/b.md": 2, "docs/c/d.md": 2}


def test_repeated_paragraphs_within_a_document_are_separate_points(world: World) -> None:
    world.write("a.md", paragraphs("same", "other", "same", "same"))
    report = world.ingest()
    assert report.chunks.embedded == 2
    assert world.sources() == {"docs/a.md": 4}
    world.write("a.md", paragraphs("same", "same"))
    world.ingest()
    assert world.sources() == {"docs/a.md": 2}
    assert len(world.embedded()) == 2


def test_a_deleted_file_is_removed_and_embedded_again_when_it_returns(world: World) -> None:
    text = paragraphs("one")
    path = world.write("a.md", text)
    world.write("b.md", paragraphs("two"))
    world.ingest()
    path.unlink()
    report = world.ingest()
    assert counts(report) == {"unchanged": 1, "removed": 1}
    assert report.chunks.deleted == 1
    assert world.sources() == {"docs/b.md": 1}
    world.write("a.md", text)
    assert counts(world.ingest()) == {"added": 1, "unchanged": 1}


def test_no_prune_keeps_documents_whose_files_are_gone(world: World) -> None:
    path = world.write("a.md", paragraphs("one"))
    world.write("b.md", paragraphs("two"))
    world.ingest()
    path.unlink()
    assert counts(world.ingest(prune=False)) == {"unchanged": 1}
    assert set(world.sources()) == {"docs/a.md", "docs/b.md"}


# I7: a suspicious mass removal is refused before anything is written


def test_missing_and_empty_roots_are_refused(edge_world: World) -> None:
    world = edge_world
    path = world.write("a.md", paragraphs("one"))
    world.ingest()
    before = world.state()
    with pytest.raises(PruneRefused, match="missing"):
        world.ingest(sources=(Source(world.root / "missing"),))
    path.unlink()
    with pytest.raises(PruneRefused, match="--prune-limit 100"):
        world.ingest()
    assert world.state() == before
    assert counts(world.ingest(prune_limit=100.0)) == {"removed": 1}
    assert world.state() == {}


def test_one_of_two_roots_missing_refuses_the_run(edge_world: World) -> None:
    world = edge_world
    world.write("a.md", paragraphs("one"))
    both = (Source(world.root), Source(world.root / "unmounted"))
    with pytest.raises(PruneRefused, match="unmounted"):
        world.ingest(sources=both)
    assert world.server.requests == []


def test_a_large_prune_is_refused_before_anything_is_written(world: World) -> None:
    paths = [world.write(f"{n}.md", paragraphs(f"n{n}")) for n in range(30)]
    world.ingest()
    before = world.state()
    world.forget()
    for path in paths[:11]:
        path.unlink()
    world.write("new.md", paragraphs("new"))
    with pytest.raises(PruneRefused, match="11 of 30"):
        world.ingest()
    assert world.state() == before
    assert world.server.requests == []
    assert counts(world.ingest(prune_limit=40.0)) == {"added": 1, "unchanged": 19, "removed": 11}


def test_the_prune_limit_counts_records_missing_from_a_file(edge_world: World) -> None:
    world = edge_world
    lines = [json.dumps({"id": str(n), "text": f"record number {n}"}) for n in range(40)]
    world.write("a.jsonl", "\n".join(lines))
    assert counts(world.ingest()) == {"added": 40}
    world.write("a.jsonl", "\n".join(lines[:20]))
    with pytest.raises(PruneRefused, match="20 of 40"):
        world.ingest()
    assert len(world.sources()) == 40


def test_a_folder_that_cannot_be_read_refuses_a_prune(edge_world: World) -> None:
    world = edge_world
    world.write("a.md", paragraphs("one"))
    hidden = world.write("sub/b.md", paragraphs("two"))
    world.ingest()
    hidden.parent.rename(world.root / "gone")
    # Rules that cannot be read make the folder unreadable, also for root.
    (world.root / ".ragctlignore").mkdir()
    with pytest.raises(PruneRefused, match=r"ragctlignore.*--no-prune"):
        world.ingest()
    assert set(world.sources()) == {"docs/a.md", "docs/sub/b.md"}


# I8: a failing document keeps its old chunks


def test_a_file_that_fails_keeps_its_old_chunks(world: World) -> None:
    world.write("a.md", paragraphs("one"))
    world.write("b.md", paragraphs("two"))
    world.ingest()
    before = world.state()
    world.write("a.md", b"\x00\x01\x02\xff\xfe" * 50)
    report = world.ingest()
    assert counts(report) == {"unchanged": 1, "failed": 1}
    assert [failure.source for failure in report.failures] == ["docs/a.md"]
    assert "binary" in report.failures[0].error
    assert world.state() == before
    assert counts(world.ingest()) == {"unchanged": 1, "failed": 1}  # not forgotten
    world.write("a.md", paragraphs("three"))
    assert counts(world.ingest()) == {"updated": 1, "unchanged": 1}


def test_a_text_refused_by_the_backend_fails_only_its_document(world: World) -> None:
    world.chunk_size, world.server.context = 32, 30
    world.write("good.md", paragraphs("one", "two", words=16))
    world.write("bad.md", paragraphs("fine", words=16) + "\n\n" + "x " * 45)
    world.write("also.md", paragraphs("three", words=16))
    report = world.ingest()
    assert counts(report) == {"added": 2, "failed": 1}
    assert report.failures[0].source == "docs/bad.md"
    assert "docs/bad.md" not in world.sources()
    again = world.ingest()
    assert counts(again) == {"unchanged": 2, "failed": 1}
    world.server.context = None
    assert counts(world.ingest(retry_failed=True)) == {"added": 1, "unchanged": 2}


def test_an_edit_refused_by_the_backend_keeps_all_old_chunks(edge_world: World) -> None:
    world = edge_world
    world.chunk_size = 32
    world.write("a.md", paragraphs("one", "two", words=16))
    world.ingest()
    before = world.state()
    world.server.context = 30
    world.write("a.md", paragraphs("one", "new", words=16) + "\n\n" + "x " * 45)
    assert counts(world.ingest()) == {"failed": 1}
    assert {k: v[0]["text"] for k, v in world.state().items()} == {
        k: v[0]["text"] for k, v in before.items()
    }


def test_an_empty_file_is_indexed_and_not_read_again(edge_world: World) -> None:
    world = edge_world
    world.write("empty.md", "")
    world.write("a.md", paragraphs("one"))
    world.write("bare.html", "<title>Bare</title><p> </p>")
    report = world.ingest()
    assert counts(report) == {"added": 3}
    warned = {(warning.source, warning.error) for warning in report.warnings}
    assert warned == {("docs/bare.html", NO_TEXT), ("docs/empty.md", NO_TEXT)}
    assert counts(world.ingest(parsing=NO_PARSER)) == {"unchanged": 3}
    assert world.sources() == {"docs/a.md": 1, "docs/bare.html": 1, "docs/empty.md": 1}


# JSONL: many documents per file


def records(*numbers: int) -> str:
    return "\n".join(
        json.dumps({"id": f"r{n}", "text": f"record {n} says {n * n}", "n": n}) for n in numbers
    )


def test_each_record_is_a_document(world: World) -> None:
    world.write("a.jsonl", records(*range(5)))
    assert counts(world.ingest()) == {"added": 5}
    assert set(world.sources()) == {f"docs/a.jsonl#r{n}" for n in range(5)}
    assert counts(world.ingest(parsing=NO_PARSER)) == {"unchanged": 5}
    world.forget()
    world.write("a.jsonl", records(9, 0, 1, 3, 4))
    report = world.ingest()
    assert counts(report) == {"added": 1, "unchanged": 4, "removed": 1}
    assert len(world.embedded()) == 1
    assert counts(world.ingest(parsing=NO_PARSER)) == {"unchanged": 5}


def test_a_bad_line_is_the_only_failure_and_prevents_removals_from_its_file(world: World) -> None:
    world.write("a.jsonl", records(*range(4)))
    world.ingest()
    world.write("a.jsonl", records(0, 1) + "\n{broken\n" + records(7))
    report = world.ingest()
    assert counts(report) == {"added": 1, "unchanged": 2, "failed": 1}
    assert "line 3" in report.failures[0].error
    assert set(world.sources()) == {f"docs/a.jsonl#r{n}" for n in (0, 1, 2, 3, 7)}
    assert counts(world.ingest()) == {"unchanged": 3, "failed": 1}
    world.write("a.jsonl", records(0, 1, 7))
    assert counts(world.ingest()) == {"unchanged": 3, "removed": 2}


def test_an_empty_jsonl_file_is_not_read_again(edge_world: World) -> None:
    world = edge_world
    world.write("a.jsonl", "")
    assert [warning.error for warning in world.ingest().warnings] == [NO_TEXT]
    assert counts(world.ingest(parsing=NO_PARSER)) == {"unchanged": 1}
    world.write("a.jsonl", records(1))
    assert counts(world.ingest()) == {"added": 1}
    assert set(world.sources()) == {"docs/a.jsonl#r1"}


# Recipe, metadata, roots


def test_a_new_recipe_embeds_only_texts_that_changed(world: World) -> None:
    world.write("a.md", paragraphs("one", "two", "three", "four"))
    world.ingest()
    world.forget()
    report = world.ingest(chunk_size=128)
    assert counts(report) == {"updated": 1}
    assert 0 < report.chunks.embedded <= 2
    assert counts(world.ingest(chunk_size=128, parsing=NO_PARSER)) == {"unchanged": 1}


def test_new_metadata_is_written_without_embedding(world: World) -> None:
    world.write("a.md", paragraphs("one", "two"))
    world.ingest(meta={"team": "ops"})
    world.forget()
    assert counts(world.ingest(meta={"team": "sales"})) == {"updated": 1}
    assert world.server.requests == []
    assert {state[0]["meta"]["team"] for state in world.state().values()} == {"sales"}


def test_folders_ingested_in_turn_share_a_collection(edge_world: World, tmp_path: Path) -> None:
    world = edge_world
    world.write("a.md", paragraphs("one"))
    other = tmp_path / "other"
    other.mkdir()
    (other / "b.md").write_text(paragraphs("two"))
    world.ingest()
    report = world.ingest(sources=(Source(other),))
    assert counts(report) == {"added": 1}
    assert report.elsewhere == 1
    (other / "a.md").write_text(paragraphs("three"))
    report = world.ingest(sources=(Source(other),))
    assert counts(report) == {"added": 1, "unchanged": 1}
    assert report.elsewhere == 1
    assert set(world.sources()) == {"docs/a.md", "other/a.md", "other/b.md"}
    both = (Source(other), Source(world.root))
    assert counts(world.ingest(sources=both)) == {"unchanged": 3}
    clash = (Source(other, name="docs"), Source(world.root))
    with pytest.raises(UsageError, match=r"two sources are named docs"):
        world.ingest(sources=clash)


def test_a_moved_folder_is_recognised(edge_world: World, tmp_path: Path) -> None:
    world = edge_world
    world.write("a.md", paragraphs("one"))
    world.ingest()
    world.forget()
    (tmp_path / "elsewhere").mkdir()
    moved = world.root.rename(tmp_path / "elsewhere/docs")
    assert counts(world.ingest(sources=(Source(moved),))) == {"unchanged": 1}
    assert world.server.requests == []
    (moved / "a.md").rename(moved / "b.md")
    assert counts(world.ingest(sources=(Source(moved),))) == {"renamed": 1}


def test_a_single_file_removes_nothing(edge_world: World) -> None:
    world = edge_world
    path = world.write("a.md", paragraphs("one"))
    world.write("b.md", paragraphs("two"))
    world.ingest()
    world.write("a.md", paragraphs("three"))
    assert counts(world.ingest(sources=(Source(path),))) == {"updated": 1}
    assert set(world.sources()) == {"docs/a.md", "docs/b.md"}


# I9: invalid vectors from a backend never reach the store


@pytest.mark.parametrize("make_fault", [faults.wrong_dim, faults.one_item_missing])
def test_invalid_vectors_are_never_stored(
    edge_world: World, make_fault: Callable[[], Fault]
) -> None:
    world = edge_world
    world.write("a.md", paragraphs("one", "two"))
    world.server.faults.extend([make_fault()] * 9)
    with pytest.raises(BackendError):
        world.ingest()  # invalid canary vectors: no collection is created
    world.server.faults.clear()
    world.server.faults.extend([Fault(), Fault(), *[make_fault()] * 9])
    with pytest.raises(BackendError):
        world.ingest()
    with closing(world.open()) as collection:
        assert collection.count() == 0
    world.server.faults.clear()
    assert counts(world.ingest()) == {"added": 1}


@pytest.mark.parametrize("make_fault", [faults.nan, faults.zero])
def test_unusable_vectors_fail_their_document_alone(
    edge_world: World, make_fault: Callable[[], Fault]
) -> None:
    world = edge_world
    world.write("a.md", paragraphs("one", "two"))
    world.server.faults.extend([make_fault()] * 20)
    with pytest.raises(BackendError):
        world.ingest()  # no usable canary vectors: no collection is created
    world.server.faults.clear()
    world.server.faults.extend([Fault(), Fault(), make_fault()])
    report = world.ingest()
    assert [failure.source for failure in report.failures] == ["docs/a.md"]
    with closing(world.open()) as collection:
        assert collection.count() == 0  # no part of a document is stored
    assert counts(world.ingest()) == {"added": 1}


# Identity (exit 6), lock (I11), I1


def test_another_model_or_dimension_is_refused_naming_both_values(world: World) -> None:
    world.write("a.md", paragraphs("one"))
    world.ingest()
    before = world.state()
    other = Embedding("jina-embeddings-v3", 128, (BackendConfig(base_url=world.server.url),))
    with pytest.raises(IdentityMismatch, match="dimension 64 ≠ 128"):
        world.ingest(embedding=other)
    builtin = Embedding("builtin", 64)
    only_the_model = r"differ in model jina-embeddings-v3 ≠ builtin\. Their"
    with pytest.raises(IdentityMismatch, match=only_the_model):
        world.ingest(embedding=builtin)
    task = replace(other, dim=64, task="classification")
    task_or_prompt = (
        "differ in task or prompt of documents retrieval.passage ≠ classification; task"
    )
    with pytest.raises(IdentityMismatch, match=task_or_prompt):
        world.ingest(embedding=task)
    assert world.state() == before
    unspecified = Embedding()  # the collection knows its own model
    assert counts(world.ingest(embedding=unspecified)) == {"unchanged": 1}


def test_a_second_run_is_locked_out(world: World) -> None:
    world.write("a.md", paragraphs("one"))
    with (
        closing(open_store(world.store, environ={})) as store,
        store.lock("docs"),
        pytest.raises(Locked, match="docs"),
    ):
        world.ingest()
    assert counts(world.ingest()) == {"added": 1}


def test_a_second_run_may_wait(world: World) -> None:
    world.write("a.md", paragraphs("one"))
    reports: list[Report] = []
    second = threading.Thread(target=lambda: reports.append(world.ingest(wait=True)))
    with closing(open_store(world.store, environ={})) as store, store.lock("docs"):
        second.start()
        second.join(0.3)  # time enough to fail
        assert second.is_alive()
        assert not reports
    second.join(60)
    assert counts(reports[0]) == {"added": 1}


class CheckedCollection:
    """A collection that checks after each write that every document can be found."""

    def __init__(self, inner: Collection, sources: set[str]) -> None:
        self._inner = inner
        self._sources = sources
        self.checks = 0

    def __getattr__(self, name: str) -> object:
        return getattr(self._inner, name)

    def apply(self, batch: Batch) -> None:
        """Apply a batch one write at a time: a search may come between any two."""
        parts = {name: getattr(batch, name) for name in Batch.__dataclass_fields__}
        for name, part in parts.items():
            for piece in part:
                self._inner.apply(Batch(**{name: [piece]}))
                self._check()

    def _check(self) -> None:
        self.checks += 1
        assert self._sources <= set(self._inner.facet("source"))
        for source in self._sources:
            where = (Match("source", (source,)),)
            found = self._inner.scroll(where, fields=("ordinal", "chunks", "version"))
            versions: dict[object, set[object]] = {}
            expected: dict[object, object] = {}
            for point in found:
                version = point.payload["version"]
                versions.setdefault(version, set()).add(point.payload["ordinal"])
                expected[version] = point.payload["chunks"]
            complete = [v for v, ordinals in versions.items() if len(ordinals) == expected[v]]
            assert complete or len(versions) > 1, f"{source} has neither its old nor its new chunks"


def test_at_every_write_each_document_has_its_old_or_its_new_chunks(edge_world: World) -> None:
    """I1, checked between any two writes of a run that edits, shrinks, grows and renames."""
    world = edge_world
    world.write("edited.md", paragraphs("one", "two", "three"))
    world.write("shrunk.md", paragraphs("four", "five", "six", "seven"))
    world.write("replaced.md", paragraphs("eight"))
    world.ingest()
    texts = {point[0]["text"] for point in world.state().values()}
    assert len(texts) == 8
    world.write("edited.md", paragraphs("one", "new", "three", "more"))
    world.write("shrunk.md", paragraphs("five"))
    world.write("replaced.md", paragraphs("nine"))
    run = world.run()
    sources = {"docs/edited.md", "docs/shrunk.md", "docs/replaced.md"}
    checked: list[CheckedCollection] = []

    class Store:
        def __getattr__(self, name: str) -> object:
            return getattr(run_store, name)

        def open(self, name: str) -> object:
            inner = run_store.open(name)
            assert inner is not None
            checked.append(CheckedCollection(inner, sources))
            return checked[0]

    run_store = run.store
    run.store = Store()  # type: ignore[assignment]
    assert counts(run.ingest()) == {"updated": 3}
    assert checked[0].checks > 10
    fresh = world.elsewhere(world.store + "-fresh")
    fresh.ingest()
    assert fresh.state() == world.state()


# Report and dry run


def test_a_dry_run_reports_what_the_run_then_does(world: World) -> None:
    world.write("a.md", paragraphs("one", "two"))
    world.write("b.md", paragraphs("two", "three"))
    with closing((run := world.run()).store):
        predicted = run.dry_run()
    assert world.server.requests == []
    with closing(open_store(world.store, environ={})) as store:
        assert store.names() == []
    report = world.ingest()
    assert predicted.to_json()["documents"] == report.to_json()["documents"]
    assert predicted.chunks == report.chunks
    world.write("a.md", paragraphs("one", "four"))
    (world.root / "b.md").rename(world.root / "c.md")
    with closing((run := world.run()).store):
        predicted = run.dry_run()
    before = world.state()
    assert world.state() == before
    report = world.ingest()
    assert predicted.to_json()["documents"] == report.to_json()["documents"]
    assert predicted.chunks.embedded == report.chunks.embedded == 1


def test_batches_are_full(edge_world: World) -> None:
    """Texts of many documents share requests: n texts need ceil(n / batch) requests."""
    world = edge_world
    for n in range(150):
        world.write(f"{n}.md", paragraphs(f"unique{n}"))
    report = world.ingest()
    inputs = [request.body["input"] for request in world.server.requests]
    sizes = Counter(len(texts) for texts in inputs if not CANARIES & set(texts))
    assert sum(size * count for size, count in sizes.items()) == 150
    limit = max(sizes)
    assert report.requests == -(-150 // limit) + 2  # plus the canaries of both sides


def test_stored_hashes_are_those_of_the_texts_sent(edge_world: World) -> None:
    world = edge_world
    world.write("a.md", "# Guide\n\n" + paragraphs("one", "two", "three"))
    world.ingest()
    sent = {text_hash(text) for text in world.embedded()}
    stored = {point[0]["text_hash"] for point in world.state().values()}
    assert sent == stored


def test_ingested_documents_are_found(world: World) -> None:
    world = replace(world, languages=())
    world.write("ru.md", "# Отпуск\n\nСотрудники получают двадцать восемь дней отпуска.")
    world.write("zh.md", "# 假期\n\n员工每年有二十八天的带薪假期。")
    world.ingest()
    from ragctl.search.find import search
    from ragctl.search.query import embedder_of

    with closing(world.open()) as collection:
        embedder = embedder_of(collection, environ=world.environ)
        with embedder:
            for question, source in (
                ("сколько дней отпуска", "docs/ru.md"),
                ("带薪假期", "docs/zh.md"),
            ):
                hits = search(collection, question, embedder=embedder)
                assert hits[0].source == source
    assert collection.settings.dim == DIM
    assert {text.side for text in world.server.texts} == {"document", "query"}


def test_warnings_about_a_model_are_given_when_its_collection_is_created(
    edge_world: World,
) -> None:
    world = edge_world
    world.write("a.md", paragraphs("one"))
    config = (BackendConfig("vllm", "http://127.0.0.1:9"),)
    run = world.run(embedding=Embedding("jina-embeddings-v5-text-small", 200, config))
    with closing(run.store):
        messages = [warning.error for warning in run.dry_run().warnings]
    assert [bool(re.search("commercial|trained", text)) for text in messages] == [True, True]
    assert "CC-BY-NC-4.0" in messages[0]
    assert "not trained at 200 dimensions; the nearest trained size is 256" in messages[1]
    assert world.ingest().warnings == []  # v3 at 64, over its licensor's API
    assert world.ingest().warnings == []


def test_chunks_fit_a_short_context_and_longer_texts_fail_or_are_truncated(
    edge_world: World,
) -> None:
    """infinity truncates silently; e5 takes 512 tokens."""
    world = edge_world
    world.write("long.md", paragraphs("long", words=2000))
    world.write("short.md", paragraphs("short"))
    with OpenAIServer(like="infinity") as server:
        e5 = Embedding("multilingual-e5-small", None, (BackendConfig("infinity", server.url),))
        with pytest.raises(UsageError, match="chunks of 600 tokens do not fit the 512"):
            world.ingest(embedding=e5, chunk_size=600)
        report = world.ingest(embedding=e5, chunk_size=None)
        assert counts(report) == {"added": 2}
        sizes = [int(str(point[0]["tokens"])) for point in world.state().values()]
        assert 256 < max(sizes) < 327
        tight = world.ingest(embedding=e5, chunk_size=500, collection="tight")
        assert counts(tight) == {"added": 1, "failed": 1}
        assert tight.failures[0].source == "docs/long.md"
        assert "would truncate the text without a message" in tight.failures[0].error
        cutting = replace(e5, truncate=True)
        cut = world.ingest(embedding=cutting, chunk_size=500, collection="tight")
        assert counts(cut) == {"added": 1, "unchanged": 1}
        (warning,) = cut.warnings
        assert re.fullmatch(r"\d+ texts? (was|were) cut to the model's context", warning.error)


def test_a_dry_run_predicts_the_tokens(edge_world: World) -> None:
    world = edge_world
    world.write("a.md", "# Guide\n\n" + paragraphs("one", "two", words=150))
    world.write("b.md", paragraphs("three"))
    builtin = Embedding("builtin", DIM)  # it bills nothing, so our own count is reported
    run = world.run(embedding=builtin)
    with closing(run.store):
        predicted = run.dry_run()
    done = world.ingest(embedding=builtin)
    assert (predicted.tokens, predicted.chunks.embedded) == (done.tokens, done.chunks.embedded)
    # The texts sent also contain the heading paths.
    own = sum(int(str(point[0]["tokens"])) for point in world.state().values())
    assert done.tokens > own


def test_the_usage_of_a_failed_run_is_reported(edge_world: World) -> None:
    world = edge_world
    world.write("a.md", paragraphs("one"))
    # Only one side of the canaries succeeds.
    world.server.faults.extend([Fault(), faults.wrong_dim()])
    run = world.run()
    with closing(run.store), pytest.raises(BackendError):
        run.ingest()
    assert run.report is not None
    assert (run.report.requests, run.report.tokens > 0) == (2, True)
    assert run.report.to_json()["cost"]
