"""Move a collection to another model, dimension or chunk size while it is in use."""

import itertools
import threading
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import cast

import pytest

from ragctl.catalog import BackendConfig
from ragctl.errors import BudgetReached, Locked, StoreError, UsageError
from ragctl.index.kept import delete_from_kept
from ragctl.pipeline import Budget, Embedding, Pipeline
from ragctl.pipeline.server import Server
from ragctl.stores import open_store
from ragctl.stores.base import Collection, Generation, Store
from ragctl.stores.edge import EdgeStore
from ragctl.stores.server import ServerStore
from ragctl.transfer.generations import prune_generations, rollback
from ragctl.transfer.migrate import Migration
from ragctl.transfer.migration_report import MigrationReport, Verdict
from tests.servers.jina import JinaServer
from tests.servers.qdrant import QdrantFacade
from tests.world import DIM, World, paragraphs

SMALL = 32
OTHER_MODEL = "jina-embeddings-v2-base-de"


def fill(world: World, documents: int = 6) -> None:
    for n in range(documents):
        world.write(f"{n}.md", paragraphs(*(f"part {n} {k}" for k in range(3)), "shared"))
    world.ingest()
    world.forget()


def wanted(world: World, **embedding: object) -> Pipeline:
    settings = Embedding(backends=(BackendConfig(base_url=world.server.url),), **embedding)  # type: ignore[arg-type]
    return replace(world.pipeline(), embedding=settings)


def migrate(world: World, pipeline: Pipeline, **options: object) -> MigrationReport:
    with closing(open_store(world.store, environ={})) as store:
        return Migration(pipeline, store, world.environ, has_sources=True, **options).run()  # type: ignore[arg-type]


def sent(world: World) -> list[str]:
    """Return the document texts sent; canaries and questions have other words."""
    return [text.text for text in world.server.texts if "valve" in text.text]


def opened_store(world: World) -> Store:
    return open_store(world.store, environ={})


def numbers(world: World) -> list[tuple[int, bool]]:
    with closing(opened_store(world)) as store:
        return [(each.number, each.current) for each in store.generations(world.collection)]


def fresh(world: World, tmp_path: Path, pipeline: Pipeline) -> World:
    """Return a world whose collection was ingested with these settings from nothing."""
    other = world.elsewhere(str(tmp_path / "fresh"))
    embedding = replace(pipeline.embedding, model=pipeline.embedding.model or "jina-embeddings-v3")
    other.ingest(embedding=embedding, store=other.store)
    return other


def test_another_model_equals_a_fresh_ingest(world: World, tmp_path: Path) -> None:
    fill(world)
    pipeline = wanted(world, model=OTHER_MODEL)
    result = migrate(world, pipeline)
    assert result.how == "embed"
    assert result.switched
    documents = sent(world)
    assert len(documents) == len(set(documents)) == 6 * 3 + 1  # each distinct text once
    assert world.state() == fresh(world, tmp_path, pipeline).state()
    assert numbers(world) == [(1, False), (2, True)]
    world.forget()
    assert world.ingest(embedding=pipeline.embedding).documents.unchanged == 6
    assert sent(world) == []


def test_a_smaller_dimension_sends_no_document_text(world: World, tmp_path: Path) -> None:
    fill(world)
    pipeline = wanted(world, dim=SMALL)
    result = migrate(world, pipeline)
    assert result.how == "cut"
    assert result.switched
    assert sent(world) == []
    assert world.state() == fresh(world, tmp_path, pipeline).state()


def test_the_same_settings_change_nothing(world: World) -> None:
    fill(world)
    result = migrate(world, wanted(world))
    assert result.is_empty
    assert not result.switched
    assert numbers(world) == [(1, True)]


def test_quantisation_keeps_the_vectors(world: World) -> None:
    fill(world)
    before = world.state()
    result = migrate(world, replace(wanted(world), quantization="scalar"))
    assert result.how == "keep"
    assert sent(world) == []
    assert world.state() == before
    with closing(world.open()) as collection:
        assert collection.settings.quantization == "scalar"


def test_another_chunk_size_reads_the_sources(world: World, tmp_path: Path) -> None:
    fill(world)
    pipeline = replace(wanted(world), chunk_size=128)
    result = migrate(world, pipeline)
    assert result.how == "sources"
    assert result.switched
    other = world.elsewhere(str(tmp_path / "fresh"))
    other.ingest(chunk_size=128, store=other.store)
    assert world.state() == other.state()
    with closing(opened_store(world)) as store:
        migration = Migration(replace(pipeline, chunk_size=64), store, world.environ)
        with pytest.raises(UsageError, match="reads the documents again: give the pipeline"):
            migration.run()


def test_texts_that_stay_equal_are_not_embedded_for_another_chunk_size(world: World) -> None:
    world.write("short.md", "A short text that is one chunk in both sizes.")
    world.write("long.md", paragraphs(*(f"part {k}" for k in range(6))))
    world.ingest()
    world.forget()
    migrate(world, replace(wanted(world), chunk_size=128))
    texts = [text.text for text in world.server.texts]
    assert not [text for text in texts if "short" in text]
    assert [text for text in texts if "part" in text]


def test_a_run_during_the_migration_is_caught_up_with(world: World, tmp_path: Path) -> None:
    fill(world)
    pipeline = wanted(world, model=OTHER_MODEL)
    ran = threading.Event()

    def judge(*_: object) -> Verdict:
        world.write("new.md", paragraphs("part new"))
        (world.root / "0.md").unlink()
        world.write("1.md", paragraphs("part changed"))
        world.ingest()
        ran.set()
        return Verdict(True, "yes")

    result = migrate(world, pipeline, judge=judge)
    assert ran.is_set()
    assert result.switched
    assert world.state() == fresh(world, tmp_path, pipeline).state()


def test_a_verdict_against_it_switches_nothing_and_keeps_the_work(world: World) -> None:
    fill(world)
    pipeline = wanted(world, model=OTHER_MODEL)
    result = migrate(world, pipeline, judge=lambda *_: Verdict(False, "worse"))
    assert not result.switched
    assert numbers(world) == [(1, True), (2, False)]
    world.forget()
    again = migrate(world, pipeline)
    assert again.switched
    assert again.generation == 2
    assert sent(world) == []


def test_rollback_and_the_next_run(world: World) -> None:
    fill(world)
    before = world.state()
    migrate(world, wanted(world, model=OTHER_MODEL))
    (world.root / "0.md").unlink()
    world.write("new.md", paragraphs("part new"))
    world.ingest(embedding=wanted(world, model=OTHER_MODEL).embedding)
    with closing(opened_store(world)) as store:
        assert rollback(store, world.collection) == (2, 1)
    assert world.sources().keys() == {f"docs/{n}.md" for n in range(1, 6)}  # deleted there as well
    world.forget()
    report = world.ingest()
    assert (report.documents.added, report.documents.unchanged) == (1, 5)
    kept = {key: value for key, value in world.state().items() if key in before}
    assert all(before[key] == value for key, value in kept.items())


def test_old_generations_are_pruned(world: World) -> None:
    fill(world, 2)
    for dim, expected in ((48, [1, 2]), (40, [2, 3]), (SMALL, [3, 4])):
        migrate(world, wanted(world, dim=dim))
        assert [number for number, _ in numbers(world)] == expected
    with closing(opened_store(world)) as store:
        assert prune_generations(store, world.collection, keep=0) == [3]
        with pytest.raises(UsageError, match="no earlier generation"):
            rollback(store, world.collection)


def test_a_generation_that_was_never_current_is_no_target_of_a_rollback(world: World) -> None:
    fill(world, 3)
    pipeline = wanted(world, model=OTHER_MODEL)
    with pytest.raises(BudgetReached):
        migrate(world, replace(pipeline, budget=Budget(max_tokens=200)))
    assert numbers(world) == [(1, True), (2, False)]
    with closing(opened_store(world)) as store:
        with pytest.raises(UsageError, match="no earlier generation"):
            rollback(store, world.collection)
        with pytest.raises(UsageError, match=r"generation 2 .*unfinished migration"):
            rollback(store, world.collection, to=2)
    assert numbers(world) == [(1, True), (2, False)]
    assert migrate(world, pipeline).switched
    with closing(opened_store(world)) as store:
        assert rollback(store, world.collection) == (2, 1)
        assert rollback(store, world.collection) == (1, 2)  # forward again


def test_an_unfinished_generation_is_not_kept_in_place_of_the_replaced_one(world: World) -> None:
    fill(world, 2)
    migrate(world, wanted(world, model=OTHER_MODEL), judge=lambda *_: Verdict(False, "worse"))
    assert migrate(world, wanted(world, dim=SMALL)).removed == [2]
    assert numbers(world) == [(1, False), (3, True)]


def test_a_migration_after_a_rollback_keeps_the_generation_that_it_replaced(world: World) -> None:
    fill(world, 2)
    migrate(world, wanted(world, dim=48))
    with closing(opened_store(world)) as store:
        assert rollback(store, world.collection) == (2, 1)
    assert migrate(world, wanted(world, dim=SMALL)).removed == [2]
    assert numbers(world) == [(1, False), (3, True)]
    with closing(opened_store(world)) as store:
        assert rollback(store, world.collection) == (3, 1)


def test_a_deleted_document_leaves_kept_generations(world: World) -> None:
    fill(world)
    migrate(world, wanted(world, dim=SMALL))
    (world.root / "3.md").unlink()
    world.ingest(embedding=wanted(world, dim=SMALL).embedding)
    with closing(opened_store(world)) as store:
        kept = store.open(world.collection, generation=1)
        assert kept is not None
        with closing(kept):
            assert set(kept.facet("source")) == {f"docs/{n}.md" for n in (0, 1, 2, 4, 5)}


def test_vectors_are_kept_in_four_bits(host: JinaServer, tmp_path: Path) -> None:
    with QdrantFacade(version="1.19.0") as facade:
        served = World(tmp_path / "docs", facade.url, host)
        fill(served, 2)
        pipeline = replace(wanted(served), server=Server(datatype="turbo4"))
        result = migrate(served, pipeline)
        assert result.how == "keep"
        assert result.switched
        assert sent(served) == []


def test_a_file_that_is_gone_leaves_the_old_generation_too(world: World) -> None:
    fill(world)
    (world.root / "3.md").unlink()
    result = migrate(world, replace(wanted(world), chunk_size=32))
    assert result.how == "sources"
    with closing(opened_store(world)) as store:
        assert rollback(store, world.collection) == (2, 1)
    assert world.sources().keys() == {f"docs/{n}.md" for n in (0, 1, 2, 4, 5)}


@dataclass
class Pruning:
    """A store from which another process deletes the kept generation when it is listed or opened.

    `moment`: the method after which it does so.
    """

    store: Store
    moment: str

    def generations(self, name: str) -> list[Generation]:
        found = self.store.generations(name)
        self._prune("generations", name)
        return found

    def open(self, name: str, *, generation: int | None = None) -> Collection | None:
        found = self.store.open(name, generation=generation)
        self._prune("open", name)
        return found

    def _prune(self, method: str, name: str) -> None:
        if method == self.moment:
            prune_generations(self.store, name, keep=0)


@pytest.mark.parametrize("moment", ["generations", "open"])
def test_a_kept_generation_may_be_deleted_during_a_run(world: World, moment: str) -> None:
    fill(world, 2)
    migrate(world, wanted(world, dim=SMALL))
    with closing(opened_store(world)) as store:
        pruning = cast(Store, Pruning(store, moment))
        assert delete_from_kept(pruning, world.collection, ["docs/0.md"]) == 0
        assert [each.number for each in store.generations(world.collection)] == [2]


def test_a_generation_that_cannot_be_deleted_is_a_warning(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(world, 2)

    def refuse(*_: object) -> None:
        raise StoreError("the disk is gone")

    monkeypatch.setattr(EdgeStore, "drop_generation", refuse)
    monkeypatch.setattr(ServerStore, "drop_generation", refuse)
    result = migrate(world, wanted(world, dim=SMALL), keep=0)
    assert result.switched
    (warning,) = result.report.warnings
    assert "prune-generations docs --keep 0" in warning.error
    assert numbers(world) == [(1, False), (2, True)]


def test_the_budget_covers_the_migration_and_continues_the_spending(world: World) -> None:
    fill(world)
    with closing(world.open()) as collection:
        spent_before = sum(day["tokens"] for day in collection.notes()["spent"].values())
    pipeline = wanted(world, model=OTHER_MODEL)
    with pytest.raises(BudgetReached):
        migrate(world, replace(pipeline, budget=Budget(max_tokens=400)))
    assert numbers(world)[0] == (1, True)
    result = migrate(world, pipeline)
    assert result.switched
    with closing(world.open()) as collection:
        spent = sum(day["tokens"] for day in collection.notes()["spent"].values())
    assert spent > spent_before


def test_a_refused_text_keeps_the_old_generation(world: World, host: JinaServer) -> None:
    fill(world)
    world.write("2.md", "## part long\n\n" + "the valve and " * 17 + "end.")
    world.ingest()
    host.context = 50
    result = migrate(world, wanted(world, model=OTHER_MODEL))
    assert not result.switched
    assert [failure.source for failure in result.report.failures] == ["docs/2.md"]
    assert numbers(world) == [(1, True), (2, False)]


def test_incomplete_documents_are_finished_by_a_run_first(world: World) -> None:
    fill(world)
    with closing(world.open()) as collection:
        point = next(p for p in collection.scroll() if p.payload["ordinal"] == 1)
        from ragctl.stores.base import Batch

        collection.apply(Batch(deletes=[point.id]))
    with pytest.raises(StoreError, match="run it again, then this command"):
        migrate(world, wanted(world, model=OTHER_MODEL))
    world.ingest()
    assert migrate(world, wanted(world, model=OTHER_MODEL)).switched


def test_two_migrations_at_once_are_refused(world: World) -> None:
    fill(world)
    pipeline = wanted(world, model=OTHER_MODEL)

    def judge(*_: object) -> Verdict:
        with pytest.raises(Locked):
            migrate(world, pipeline)
        return Verdict(True, "")

    assert migrate(world, pipeline, judge=judge).switched


def test_a_dry_run_sends_and_writes_nothing(world: World) -> None:
    fill(world)
    with closing(opened_store(world)) as store:
        migration = Migration(wanted(world, model=OTHER_MODEL), store, world.environ)
        result = migration.dry_run()
    assert result.report.chunks.embedded == 6 * 3 + 1
    assert result.report.tokens > 0
    assert result.report.size is not None
    assert world.server.requests == []
    assert numbers(world) == [(1, True)]


def test_a_dry_run_counts_what_an_unfinished_generation_has(world: World) -> None:
    fill(world)
    pipeline = wanted(world, model=OTHER_MODEL)
    with pytest.raises(BudgetReached):
        migrate(world, replace(pipeline, budget=Budget(max_tokens=700)))
    with closing(opened_store(world)) as store:
        planned = Migration(pipeline, store, world.environ).dry_run().report
    world.forget()
    done = migrate(world, pipeline).report
    assert 0 < planned.chunks.embedded == done.chunks.embedded == len(sent(world)) < 6 * 3 + 1


def test_searches_never_fail_or_mix_during_migrations(world: World) -> None:
    from ragctl import open_collection

    fill(world)
    pipelines = itertools.cycle([wanted(world, dim=SMALL), wanted(world, dim=DIM)])
    stop, failures, answers = threading.Event(), [], 0

    def search() -> None:
        nonlocal answers
        try:
            with open_collection(
                world.collection, store=world.store, environ=world.environ
            ) as found:
                while not stop.is_set():
                    hits = found.search("part 4 2", limit=3)
                    assert len(hits) == 3
                    assert hits[0].source == "docs/4.md"
                    answers += 1
        except BaseException as error:  # noqa: BLE001
            failures.append(error)

    threads = [threading.Thread(target=search) for _ in range(3)]
    for thread in threads:
        thread.start()
    try:
        for pipeline in itertools.islice(pipelines, 2):
            assert migrate(world, pipeline, keep=0).switched
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert not failures
    assert answers > 10
