"""Variants on real collections: no document is embedded again, and no leftovers stay."""

import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from ragctl.embedding import answers
from ragctl.embedding.catalogs import package_catalog
from ragctl.errors import StoreError, UsageError
from ragctl.evaluate import temporary
from ragctl.evaluate.questions import Judgement, Question, Questions
from ragctl.evaluate.sweep import Evaluation, evaluate
from ragctl.evaluate.truncation import check_dimension, truncate
from ragctl.evaluate.variant import Variant
from ragctl.lexical.builtin import embed
from ragctl.pipeline import Embedding
from ragctl.search.query import embedder_of
from ragctl.stores import open_store
from ragctl.stores.base import Collection, Store
from tests.servers.jina import JinaServer
from tests.servers.qdrant import QdrantFacade
from tests.world import KEY, World

pytestmark = pytest.mark.slow

SUBJECTS = (
    *("otter", "walnut", "lantern", "glacier", "saffron", "tractor", "violin", "harbour"),
    *("pepper", "marble", "falcon", "velvet"),
)
QUESTIONS = Questions(
    tuple(
        Question(f"q{n}", f"where: {word}, {other}", (Judgement(f"{word}.md"),), "ab"[n % 2])
        for n, (word, other) in enumerate(zip(SUBJECTS, SUBJECTS[5:] + SUBJECTS[:5], strict=True))
    )
)


DENSE, SPARSE = Variant.of(mode="dense"), Variant.of(mode="sparse")
DENSE_32 = Variant.of(mode="dense", dim=32)

ON_EDGE = pytest.mark.parametrize("ingested", ["edge"], indirect=True)
ON_SERVER = pytest.mark.parametrize("ingested", ["server"], indirect=True)


@pytest.fixture(scope="module", params=["edge", "server"])
def ingested(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[World]:
    """Ingest one collection per kind of store."""
    home = tmp_path_factory.mktemp("world")
    (home / "docs").mkdir()
    with JinaServer(KEY) as host, QdrantFacade() as facade:
        store = str(home / "store") if request.param == "edge" else facade.url
        world = World(home / "docs", store, host)
        for number, word in enumerate(SUBJECTS):
            filler = " ".join(f"room{n}" for n in range(number))
            text = f"# {word}\n\nThe {word} is behind the second door. {filler}\n"
            world.write(f"{word}.md", text)
        world.write("empty.md", "")
        world.ingest()
        yield world


@pytest.fixture
def indexed(ingested: World) -> Iterator[World]:
    """Return the ingested world; remove other collections after the test."""
    ingested.forget()
    yield ingested
    with closing(open_store(ingested.store, environ={})) as store:
        for name in store.names():
            if name != ingested.collection:
                store.drop(name)


@contextmanager
def open_collection(world: World) -> Iterator[tuple[Store, Collection]]:
    with closing(open_store(world.store, environ={})) as store:
        collection = store.open(world.collection)
        assert collection is not None
        with closing(collection):
            yield store, collection


def measure(world: World, *variants: Variant) -> Evaluation:
    with (
        open_collection(world) as (store, collection),
        embedder_of(collection, environ=world.environ) as embedder,
    ):
        return evaluate(store, collection, QUESTIONS, variants, embedder=embedder)


def leftovers(world: World) -> list[str]:
    """Return the names of all collections and of ragctl's temporary files."""
    with closing(open_store(world.store, environ={})) as store:
        return [
            *store.names(),
            *(path.name for path in Path(tempfile.gettempdir()).glob("ragctl*")),
        ]


@pytest.fixture(autouse=True)
def temporary_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))


def test_a_sweep_embeds_the_questions_once_and_no_document(indexed: World) -> None:
    variants = (
        Variant(),
        DENSE_32,
        SPARSE,
        Variant.of(mode="dense", dim=64),
    )
    found = measure(indexed, *variants)
    assert indexed.embedded() == []
    sent = [text.text for text in indexed.server.texts if text.side == "query"]
    assert sorted(sent) == sorted(question.text for question in QUESTIONS.questions)
    assert [result.vector_bytes for result in found.results] == [256, 128, None, 256]
    assert leftovers(indexed) == ["docs"]
    assert {group: len(ids) for group, ids in found.groups.items()} == {"a": 6, "b": 6, "all": 12}
    assert min(found.results[0].scores["recall@5"].values()) == 1.0


def test_truncated_vectors_rank_like_vectors_embedded_at_that_dimension(indexed: World) -> None:
    (full, cut) = measure(indexed, DENSE, DENSE_32).results
    small = replace(indexed, collection="small")
    model = indexed.pipeline().embedding
    small.ingest(embedding=Embedding(model.model, 32, model.backends))
    (direct,) = measure(small, DENSE).results
    assert cut.ranking.units == direct.ranking.units
    assert cut.ranking.units != full.ranking.units


@ON_EDGE
def test_texts_of_the_builtin_model_are_embedded_again(indexed: World) -> None:
    """Its vectors cannot be truncated."""
    own = replace(indexed, collection="own")
    own.ingest(embedding=Embedding("builtin", 512))
    found = measure(own, DENSE, Variant.of(mode="dense", dim=64))
    assert "cannot be cut" in found.notes[0]
    small = replace(own, collection="small")
    small.ingest(embedding=Embedding("builtin", 64))
    (direct,) = measure(small, DENSE).results
    assert found.results[1].ranking.units == direct.ranking.units
    full = embed(["the second door"], 512)
    with pytest.raises(AssertionError):
        np.testing.assert_allclose(
            truncate(full, 64, package_catalog().model("jina-embeddings-v3")),
            embed(["the second door"], 64),
            atol=0.01,
        )


@ON_EDGE
def test_quantised_variants_report_their_vector_size(indexed: World) -> None:
    quantised = [
        Variant.of(mode="dense", quantization=name, rescore=False) for name in ("turbo1", "scalar")
    ]
    found = measure(indexed, DENSE, *quantised)
    assert [result.vector_bytes for result in found.results] == [256, 8, 64]
    full, turbo, scalar = (result.ranking.units for result in found.results)
    assert turbo != full
    assert scalar == full  # segments this small are not quantised
    assert leftovers(indexed) == ["docs"]
    assert ["scalar" in note for note in found.notes] == [True]


def test_the_fusion_of_a_variant_is_used(indexed: World) -> None:
    dense_heavy, sparse_heavy = (
        Variant.of(dense_weight=50.0, k=1),
        Variant.of(dense_weight=0.02, k=1),
    )
    found = measure(
        indexed,
        dense_heavy,
        sparse_heavy,
        DENSE,
        SPARSE,
        Variant.of(fusion="dbsf"),
    )
    ranked = [result.ranking.units for result in found.results]
    assert ranked[0] != ranked[1]
    assert {q: list(r)[:1] for q, r in ranked[1].items()} == {
        q: list(r)[:1] for q, r in ranked[3].items()
    }
    assert ranked[4] not in ranked[:2]


@ON_EDGE
def test_impossible_dimensions_are_refused_before_any_request(indexed: World) -> None:
    for dim, why in ((128, "which cannot be extended"), (2000, "has no vectors of 2000")):
        with pytest.raises(UsageError, match=why):
            measure(indexed, Variant.of(dim=dim))
    assert not indexed.server.requests


def test_an_untrained_dimension_causes_a_warning() -> None:
    model = package_catalog().model("jina-embeddings-v3")
    with pytest.warns(UserWarning, match=r"was trained at .*, not at 100"):
        check_dimension(model, 1024, 100)
    check_dimension(model, 1024, 256)  # no warning, which would be an error here


def test_layer_norm_is_applied_only_before_truncating_a_full_vector() -> None:
    model = package_catalog().model("nomic-embed-text-v1.5")
    assert model.layer_norm
    raw = np.random.default_rng(0).normal(0.3, 1, (4, model.dim)).astype(np.float32)

    def direct(dim: int) -> "np.ndarray[tuple[int, int], np.dtype[np.float32]]":
        return answers.to_unit_vectors(
            raw, dim, native=model.dim, cut=True, layer_norm=True, host="h"
        )

    for stored in (model.dim, 512):
        np.testing.assert_allclose(truncate(direct(stored), 256, model), direct(256), atol=1e-5)


def test_an_error_leaves_no_temporary_collection(
    indexed: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise StoreError("the disk is full")

    monkeypatch.setattr(temporary, "_fill", fail)
    with pytest.raises(StoreError, match="disk is full"):
        measure(indexed, Variant(), DENSE_32)
    assert leftovers(indexed) == ["docs"]


@ON_SERVER
def test_only_leftovers_of_killed_runs_are_removed_from_a_server(indexed: World) -> None:
    with open_collection(indexed) as (store, collection):
        settings = collection.settings
        marked = replace(settings, temporary=True)
        store.create("docs.eval-0123abcd-0", marked).close()
        store.create("docs.eval-0123abcd-1", settings).close()  # a collection of the user
        store.create("docs.eval-mine", marked).close()
    measure(indexed, DENSE_32)
    assert leftovers(indexed) == ["docs", "docs.eval-0123abcd-1", "docs.eval-mine"]


def test_a_terminated_command_removes_its_collections(indexed: World, tmp_path: Path) -> None:
    """SIGTERM arrives during a search of the sweep, while temporary collections exist."""
    lines = [
        f'{{"query": "{question.text}", "relevant": ["{question.judgements[0].source}"]}}'
        for question in QUESTIONS.questions
    ]
    (tmp_path / "q.jsonl").write_text("\n".join(lines), encoding="utf-8")
    code = (
        "import os, signal, ragctl.evaluate.sweep as s\n"
        "from ragctl.cli.main import main\n"
        "def stop(*a, **k): os.kill(os.getpid(), signal.SIGTERM); signal.pause()\n"
        "s.rank = stop\n"
        "main()\n"
    )
    command = [
        *(sys.executable, "-c", code, "eval", str(tmp_path / "q.jsonl"), "--store", indexed.store),
        *("--sweep", "dim=32", "--mode", "dense"),
    ]
    environ = {**os.environ, **indexed.environ, "TMPDIR": tempfile.gettempdir()}
    done = subprocess.run(command, env=environ, capture_output=True, text=True, check=False)
    assert done.returncode == 130, done.stderr
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
    assert leftovers(indexed) == ["docs"]
