"""Variants on real collections: nothing is embedded again, nothing is left behind."""

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
    """One collection for all tests of a kind of store."""
    home = tmp_path_factory.mktemp("world")
    (home / "docs").mkdir()
    with JinaServer(KEY) as host, QdrantFacade() as facade:
        store = str(home / "store") if request.param == "edge" else facade.url
        world = World(home / "docs", store, host)
        for number, word in enumerate(SUBJECTS):
            rooms = " ".join(f"room{n}" for n in range(number))
            text = f"# {word}\n\nThe {word} is behind the second door. {rooms}\n"
            world.write(f"{word}.md", text)
        world.write("empty.md", "")
        world.ingest()
        yield world


@pytest.fixture
def filled(ingested: World) -> Iterator[World]:
    """What a test makes beside the collection is removed after it."""
    ingested.forget()
    yield ingested
    with closing(open_store(ingested.store, environ={})) as store:
        for name in store.names():
            if name != ingested.collection:
                store.drop(name)


@contextmanager
def opened(world: World) -> Iterator[tuple[Store, Collection]]:
    with closing(open_store(world.store, environ={})) as store:
        collection = store.open(world.collection)
        assert collection is not None
        with closing(collection):
            yield store, collection


def measure(world: World, *variants: Variant) -> Evaluation:
    with (
        opened(world) as (store, collection),
        embedder_of(collection, environ=world.environ) as embedder,
    ):
        return evaluate(store, collection, QUESTIONS, variants, embedder=embedder)


def left_in(world: World) -> list[str]:
    """Collections, and what stands in the folder for temporary files."""
    with closing(open_store(world.store, environ={})) as store:
        return [
            *store.names(),
            *(path.name for path in Path(tempfile.gettempdir()).glob("ragctl*")),
        ]


@pytest.fixture(autouse=True)
def own_temporary_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))


def test_a_sweep_embeds_the_questions_once_and_no_document(filled: World) -> None:
    variants = (
        Variant(),
        DENSE_32,
        SPARSE,
        Variant.of(mode="dense", dim=64),
    )
    found = measure(filled, *variants)
    assert filled.embedded() == []
    sent = [text.text for text in filled.server.texts if text.side == "query"]
    assert sorted(sent) == sorted(question.text for question in QUESTIONS.questions)
    assert [result.vector_bytes for result in found.results] == [256, 128, None, 256]
    assert left_in(filled) == ["docs"]
    assert {group: len(ids) for group, ids in found.groups.items()} == {"a": 6, "b": 6, "all": 12}
    assert min(found.results[0].scores["recall@5"].values()) == 1.0


def test_a_cut_collection_ranks_as_one_that_was_embedded_so(filled: World) -> None:
    (whole, cut) = measure(filled, DENSE, DENSE_32).results
    small = replace(filled, collection="small")
    model = filled.pipeline().embedding
    small.ingest(embedding=Embedding(model.model, 32, model.backends))
    (direct,) = measure(small, DENSE).results
    assert cut.ranking.units == direct.ranking.units
    assert cut.ranking.units != whole.ranking.units


@ON_EDGE
def test_the_builtin_model_is_hashed_anew(filled: World) -> None:
    """A part of its vectors is no vector of its own."""
    own = replace(filled, collection="own")
    own.ingest(embedding=Embedding("builtin", 512))
    found = measure(own, DENSE, Variant.of(mode="dense", dim=64))
    assert "cannot be cut" in found.notes[0]
    small = replace(own, collection="small")
    small.ingest(embedding=Embedding("builtin", 64))
    (direct,) = measure(small, DENSE).results
    assert found.results[1].ranking.units == direct.ranking.units
    whole = embed(["the second door"], 512)
    with pytest.raises(AssertionError):
        np.testing.assert_allclose(
            truncate(whole, 64, package_catalog().model("jina-embeddings-v3")),
            embed(["the second door"], 64),
            atol=0.01,
        )


@ON_EDGE
def test_quantised_vectors_are_kept_beside_the_whole(filled: World) -> None:
    kinds = [
        Variant.of(mode="dense", quantization=name, rescore=False) for name in ("turbo1", "scalar")
    ]
    found = measure(filled, DENSE, *kinds)
    assert [result.vector_bytes for result in found.results] == [256, 8, 64]
    whole, turbo, scalar = (result.ranking.units for result in found.results)
    assert turbo != whole
    assert scalar == whole  # in a segment this small there are no small copies
    assert left_in(filled) == ["docs"]
    assert ["scalar" in note for note in found.notes] == [True]


def test_the_fusion_of_a_variant_is_used(filled: World) -> None:
    heavy, light = Variant.of(dense_weight=50.0, k=1), Variant.of(dense_weight=0.02, k=1)
    found = measure(
        filled,
        heavy,
        light,
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
def test_sizes_that_cannot_be_had_are_refused_before_anything_is_sent(filled: World) -> None:
    for dim, why in ((128, "which cannot be extended"), (2000, "has no vectors of 2000")):
        with pytest.raises(UsageError, match=why):
            measure(filled, Variant.of(dim=dim))
    assert not filled.server.requests


def test_a_size_that_was_not_trained_is_warned_of() -> None:
    model = package_catalog().model("jina-embeddings-v3")
    with pytest.warns(UserWarning, match=r"was trained at .*, not at 100"):
        check_dimension(model, 1024, 100)
    check_dimension(model, 1024, 256)  # without a warning, which would be an error here


def test_a_layer_norm_goes_before_the_cut_of_a_whole_vector_alone() -> None:
    model = package_catalog().model("nomic-embed-text-v1.5")
    assert model.layer_norm
    raw = np.random.default_rng(0).normal(0.3, 1, (4, model.dim)).astype(np.float32)

    def direct(dim: int) -> "np.ndarray[tuple[int, int], np.dtype[np.float32]]":
        return answers.to_unit_vectors(
            raw, dim, native=model.dim, cut=True, layer_norm=True, host="h"
        )

    for stored in (model.dim, 512):
        np.testing.assert_allclose(truncate(direct(stored), 256, model), direct(256), atol=1e-5)


def test_an_error_leaves_nothing_behind(filled: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: object) -> None:
        raise StoreError("the disk is full")

    monkeypatch.setattr(temporary, "_fill", fails)
    with pytest.raises(StoreError, match="disk is full"):
        measure(filled, Variant(), DENSE_32)
    assert left_in(filled) == ["docs"]


@ON_SERVER
def test_what_a_killed_run_left_on_a_server_is_removed_and_nothing_else(filled: World) -> None:
    with opened(filled) as (store, collection):
        settings = collection.settings
        marked = replace(settings, notes={"evaluation": True})
        store.create("docs.eval-0123abcd-0", marked).close()
        store.create("docs.eval-0123abcd-1", settings).close()  # a user's own
        store.create("docs.eval-mine", marked).close()
    measure(filled, DENSE_32)
    assert left_in(filled) == ["docs", "docs.eval-0123abcd-1", "docs.eval-mine"]


def test_a_terminated_command_removes_its_collections(filled: World, tmp_path: Path) -> None:
    """SIGTERM while temporary collections stand: a search of the sweep is being waited for."""
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
        *(sys.executable, "-c", code, "eval", str(tmp_path / "q.jsonl"), "--store", filled.store),
        *("--sweep", "dim=32", "--mode", "dense"),
    ]
    environ = {**os.environ, **filled.environ, "TMPDIR": tempfile.gettempdir()}
    done = subprocess.run(command, env=environ, capture_output=True, text=True, check=False)
    assert done.returncode == 130, done.stderr
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
    assert left_in(filled) == ["docs"]
