"""Models that share one vector space by design may use one collection."""

import os
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ragctl.catalog import BackendConfig
from ragctl.catalog.model_table import load_models
from ragctl.check import check_pipeline
from ragctl.collection.family import writers
from ragctl.embedding import Canary
from ragctl.embedding.base import Vectors
from ragctl.embedding.catalogs import package_catalog
from ragctl.errors import IdentityMismatch, UsageError
from ragctl.index.report import Report
from ragctl.pipeline import Embedding, Pipeline
from ragctl.search.library import open_collection
from ragctl.stores import open_store
from ragctl.stores.edge_layout import NOTES_FILES
from ragctl.transfer.migrate import Migration
from ragctl.transfer.migration_report import MigrationReport
from ragctl.transfer.rebuild import RebuildReport, rebuild
from ragctl.transfer.rebuild_settings import PipelineSettings
from tests.command import call
from tests.servers.host import CANARIES
from tests.servers.voyage import VoyageServer
from tests.world import World, paragraphs

LARGE, LITE, OTHER = "voyage-4-large", "voyage-4-lite", "voyage-code-3"
DIM = 256
KEYS = {"VOYAGE_API_KEY": "k"}
DOCUMENTS = {
    "valve.md": "The valve opens at three bar.",
    "boiler.txt": "Every boiler holds ninety litres.",
    "pump.txt": "A pump runs dry without oil.",
}


@pytest.fixture
def voyage() -> Iterator[VoyageServer]:
    with VoyageServer("k") as server:
        yield server


@pytest.fixture
def world(voyage: VoyageServer, tmp_path: Path) -> World:
    (tmp_path / "docs").mkdir()
    made = World(tmp_path / "docs", str(tmp_path / "store"), voyage)  # type: ignore[arg-type]
    made.environ = KEYS
    for name, text in DOCUMENTS.items():
        made.write(name, text)
    ingest(made, LARGE, BackendConfig("voyage", voyage.url))
    made.forget()
    return made


def embedding(model: str, *backends: BackendConfig, **more: Any) -> Embedding:
    return Embedding(model, more.pop("dim", None), backends, **more)


def ingest(world: World, model: str, *backends: BackendConfig, **more: Any) -> Report:
    dim = more.pop("dim", DIM if backends else None)
    return world.ingest(embedding=embedding(model, *backends, dim=dim, **more))


def migrate(world: World, model: str, **changes: Any) -> MigrationReport:
    again = changes.pop("embed_again", False)
    pipeline: Pipeline = world.pipeline(embedding=embedding(model), **changes)
    with closing(open_store(world.store, environ={})) as store:
        return Migration(pipeline, store, world.environ, has_sources=True, embed_again=again).run()


def stored_writers(world: World) -> list[str]:
    with closing(world.open()) as collection:
        return writers(collection.settings, collection.notes())


def test_another_member_embeds_only_what_is_new(world: World, voyage: VoyageServer) -> None:
    with closing(world.open()) as collection:
        before = collection.settings
    world.write("new.md", paragraphs("ventil"))
    report = ingest(world, LITE)
    assert (report.documents.added, report.documents.unchanged) == (1, 3)
    assert len(world.embedded()) == 1
    assert {request.body["model"] for request in voyage.requests} == {LITE}
    # The canary texts come first: one request, before the first document.
    assert CANARIES.issuperset(voyage.requests[0].body["input"])
    with closing(world.open()) as collection:
        assert collection.settings == before
        assert collection.settings.origin.canary == before.origin.canary
        assert collection.settings.identity.family == "voyage-4"
    assert stored_writers(world) == [LARGE, LITE]
    world.forget()
    assert ingest(world, LARGE).documents.unchanged == 4
    assert not voyage.requests
    assert stored_writers(world) == [LARGE, LITE]


def test_a_run_without_changes_is_no_writer(world: World, voyage: VoyageServer) -> None:
    assert ingest(world, LITE).documents.unchanged == 3
    assert not voyage.requests
    assert stored_writers(world) == [LARGE]


def search(world: World, model: str | None, **more: Any) -> list[str]:
    with open_collection(
        "docs", store=world.store, environ=world.environ, query_model=model, **more
    ) as docs:
        return [hit.text for hit in docs.search("valve opens", mode="dense", limit=1)]


def test_questions_by_another_member(world: World, voyage: VoyageServer) -> None:
    own = search(world, None)
    assert "valve opens" in own[0]
    world.forget()
    assert search(world, LITE) == own
    (request,) = voyage.requests
    assert request.body["model"] == LITE
    assert len(request.body["input"]) == 2  # with the canary's question
    with pytest.raises(UsageError, match="no model is called"):
        search(world, "voyage-4-nonsense")


@pytest.mark.parametrize("model", [OTHER, "jina-embeddings-v3", "builtin"])
def test_models_outside_the_family_are_refused(
    world: World, voyage: VoyageServer, model: str
) -> None:
    with pytest.raises(IdentityMismatch, match=r"share its vector space: .*voyage-4-lite"):
        search(world, model)
    with pytest.raises(IdentityMismatch, match="differ in model"):
        ingest(world, model)
    assert not voyage.requests


def test_a_member_that_is_another_model_is_refused(world: World, voyage: VoyageServer) -> None:
    """The host serves another model under the member's name."""
    voyage.impostor = OTHER
    world.write("new.md", paragraphs("ventil"))
    with pytest.raises(IdentityMismatch, match="do not lie in the space"):
        ingest(world, LITE)
    with pytest.raises(IdentityMismatch, match="do not lie in the space"):
        search(world, LITE)
    assert not [text for text in voyage.texts if text.side == "document"]


def test_the_cosine_of_a_family_is_a_setting(world: World, voyage: VoyageServer) -> None:
    world.write("new.md", paragraphs("ventil"))
    catalog = package_catalog()
    strict = replace(catalog.model(LITE), family_cosine=0.99)
    stricter = replace(catalog, models={**catalog.models, LITE: strict})
    with pytest.raises(IdentityMismatch, match=r"0\.99 is the minimum \(family_cosine"):
        world.ingest(embedding=embedding(LITE), catalog=stricter)
    assert world.ingest(embedding=embedding(LITE)).documents.added == 1


def test_what_must_be_equal_in_a_family(world: World, voyage: VoyageServer) -> None:
    world.write("new.md", paragraphs("ventil"))
    with pytest.raises(IdentityMismatch, match="dimension 256 ≠ 512"):
        ingest(world, LITE, dim=512)
    with pytest.raises(UsageError, match="late chunking"):
        ingest(world, LITE, late_chunking=True)
    assert not voyage.requests


def test_task_must_be_equal_in_a_family(edge_world: World) -> None:
    world, small = edge_world, "jina-embeddings-v5-{}-small"
    backend = BackendConfig("jina", world.server.url)
    world.write("one.md", paragraphs("valve"))
    world.ingest(embedding=Embedding(small.format("text"), DIM, (backend,)))
    with pytest.raises(IdentityMismatch, match="task retrieval ≠ clustering"):
        world.ingest(embedding=Embedding(small.format("omni"), task="clustering"))
    world.write("two.md", paragraphs("boiler"))
    assert world.ingest(embedding=Embedding(small.format("omni"))).documents.added == 1
    world.server.impostor = "jina-embeddings-v4"
    world.write("three.md", paragraphs("pump"))
    with pytest.raises(IdentityMismatch, match=r"0\.99 is the minimum"):
        world.ingest(embedding=Embedding(small.format("omni")))


def test_backends_of_the_other_model_are_taken_if_they_serve_the_member(world: World) -> None:
    """Weights and prices are those of the other model."""
    toml = world.root.parent / "pipeline.toml"
    toml.write_text(
        f"""store = "{world.store}"
        [[sources]]
        path = "{world.root}"
        [embedding]
        model = "{LARGE}"
        dimension = {DIM}
        base_url = "{world.server.url}"
        query_model = "{LITE}"
        price = 9.0
        """,
        encoding="utf-8",
    )
    with open_collection(pipeline=toml, environ=world.environ) as docs:
        (hit,) = docs.search("valve opens", mode="dense", limit=1)
        assert "valve opens" in hit.text
        usage = docs._shared.embedder().usage.usages[0]  # type: ignore[union-attr]
        assert (usage.model, usage.price) == (LITE, 0.02)


def test_migrate_keeps_the_vectors_of_members(world: World, voyage: VoyageServer) -> None:
    world.write("new.md", paragraphs("ventil"))
    ingest(world, LITE)
    world.forget()
    with pytest.raises(UsageError, match="--embed-again to embed all texts with voyage-4-lite"):
        migrate(world, LITE, quantization="scalar")
    assert migrate(world, LARGE, quantization="scalar").how == "keep"
    assert not voyage.requests
    assert stored_writers(world) == [LARGE, LITE]
    assert migrate(world, LITE, embed_again=True).how == "embed"
    assert stored_writers(world) == [LITE]


Command = Callable[..., Any]


@pytest.fixture
def ragctl(world: World, tmp_path: Path) -> Command:
    environ = {name: text for name, text in os.environ.items() if not name.endswith("_KEY")}
    environ |= {"RAGCTL_HOME": world.store, **KEYS}
    return lambda *words: call(*words, environ=environ, cwd=tmp_path)


def test_commands_know_the_family(ragctl: Command, world: World, voyage: VoyageServer) -> None:
    world.write("new.md", paragraphs("ventil"))
    ingest(world, LITE)
    shown = ragctl("status").stdout
    assert "voyage-4; vectors written by voyage-4-large, voyage-4-lite" in shown
    done = ragctl("search", "--query-model", LITE, "valve opens")
    assert (done.returncode, "valve opens" in done.stdout) == (0, True), done.stderr
    done = ragctl("search", "--query-model", OTHER, "valve opens")
    assert done.returncode == IdentityMismatch.exit_code
    # The vectors of the other member are not taken for those of a wrong model.
    done = ragctl("verify")
    assert done.returncode == 0, done.stdout
    voyage.impostor = OTHER
    done = ragctl("verify")
    assert "do not lie in the space" in done.stderr or "makes other vectors" in done.stderr


def test_check_compares_a_member_with_the_collection(world: World, voyage: VoyageServer) -> None:
    def failures(model: str) -> list[str]:
        pipeline = replace(world.pipeline(embedding=embedding(model)), environ=KEYS)
        report = check_pipeline(pipeline)
        backends = [finding for backend in report.backends for finding in backend.findings]
        return [
            finding.text
            for finding in (*report.store.findings, *backends)
            if finding.status == "fail"
        ]

    assert failures(LITE) == []
    voyage.impostor = OTHER
    assert any("does not share the collection's vector space" in text for text in failures(LITE))


def test_lost_settings_of_a_family(ragctl: Command, world: World, voyage: VoyageServer) -> None:
    """Another member made a part of the vectors, and nothing says which one."""
    world.write("new.md", paragraphs("ventil"))
    ingest(world, LITE)
    folder = Path(world.store) / "collections" / "docs"
    for name in ("collection.json", "collection.copy.json", *NOTES_FILES):
        (folder / name).unlink(missing_ok=True)

    def rebuilt(model: str) -> RebuildReport:
        backend = BackendConfig("voyage", voyage.url)
        pipeline = world.pipeline(embedding=embedding(model, backend, dim=DIM))
        with closing(open_store(world.store, environ={})) as store:
            settings = PipelineSettings(pipeline, world.environ)
            return rebuild(store, "docs", patience=0, otherwise=settings)

    voyage.impostor = OTHER
    with pytest.raises(IdentityMismatch, match="does not reproduce its vectors"):
        rebuilt(LITE)
    voyage.impostor = None
    assert rebuilt(LITE).incomplete == 0
    assert stored_writers(world)[0] == LITE
    assert LARGE in stored_writers(world)
    done = ragctl("verify")
    assert done.returncode == 0, done.stdout


def unit(*rows: tuple[float, ...]) -> Vectors:
    vectors = np.array(rows, np.float32)
    found: Vectors = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return found


def test_each_text_must_be_nearest_to_its_own_vector() -> None:
    stored = unit((1, 0, 0, 9), (0, 1, 0, 9), (0, 0, 1, 9))  # cosines of 0.99 to each other
    canary = Canary(stored, unit((-1, -1, -1, 9)))
    assert canary.is_distinct("document", stored)
    assert canary.is_distinct("query", canary.query)
    near = unit((1, 0.2, 0.2, 9), (0.2, 1, 0.2, 9), (0.2, 0.2, 1, 9))
    assert canary.is_distinct("document", near)
    swapped = stored[[1, 0, 2]]
    assert canary.agreement("document", swapped) > 0.98
    assert not canary.is_distinct("document", swapped)
    alike = unit(*[(1, 1, 1, 9)] * 3)
    assert not canary.is_distinct("document", alike)
    assert not canary.is_distinct("query", stored[:1])
    assert not canary.is_distinct("document", stored[:, :3])


def test_families_of_the_catalogue() -> None:
    families: dict[str, list[Any]] = {}
    for model in package_catalog().models.values():
        if model.family is not None:
            families.setdefault(model.family, []).append(model)
    assert set(families) == {"voyage-4", "cohere-embed-5", "jina-v5-small", "jina-v5-nano"}
    for members in families.values():
        assert len(members) > 1
        first = members[0]
        for other in members[1:]:
            assert (other.distance, other.normalized) == (first.distance, first.normalized)
            assert set(other.dims) & set(first.dims)
            assert set(other.tasks) == set(first.tasks)


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ("family_cosine = 0.9", "needs the name of the family"),
        ('family = "f"\nfamily_cosine = 1.5', "must be above 0 and at most 1"),
        ("family = 3", "family"),
    ],
)
def test_wrong_families_are_refused(keys: str, message: str) -> None:
    row = (
        '[m]\ndim = 2\nnormalized = true\ndistance = "cosine"\nlicence = ""\nlanguages = ""\n'
        'document = { prompt = "" }\nquery = { prompt = "" }\nbackend = "openai"\n'
    )
    assert load_models(row + 'family = "f"', "m.toml")["m"].family == "f"
    with pytest.raises(UsageError, match=message):
        load_models(row + keys, "m.toml")
