"""Late chunking from end to end: the chunks of a document in one request, and what that costs."""

from contextlib import closing
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from ragctl.catalog import BackendConfig
from ragctl.errors import IdentityMismatch, UsageError
from ragctl.pipeline import Embedding
from ragctl.search.find import search
from ragctl.search.options import SearchOptions
from ragctl.search.query import embedder_of
from tests.servers.host import CANARIES
from tests.servers.vectors import vector
from tests.world import DIM, World, counts, paragraphs


@pytest.fixture
def late(edge_world: World) -> World:
    return replace(edge_world, late=True)


def inputs(world: World) -> list[list[str]]:
    """The texts of each request for documents, canaries apart."""
    return [
        request.body["input"]
        for request in world.server.requests
        if request.body["task"] == "retrieval.passage" and not CANARIES & set(request.body["input"])
    ]


def test_a_document_goes_in_one_request_and_its_vectors_know_it(late: World) -> None:
    late.write("a.md", paragraphs("one", "two", "three"))
    late.write("b.md", paragraphs("four", "five"))
    report = late.ingest()
    assert report.identity.late_chunking is True
    sent = inputs(late)
    assert sorted(len(texts) for texts in sent) == [2, 3]
    flags = [r.body.get("late_chunking") for r in late.server.requests]
    assert flags.count(True) == 2
    whole = next(texts for texts in sent if len(texts) == 3)
    with closing(late.open()) as collection:
        stored = {p.payload["text"]: p.dense for p in collection.scroll(vectors=True)}
    model = "jina-embeddings-v3"
    for text in whole:
        expected = vector(text, "document", model, 1024, DIM, "\n".join(whole))
        found = stored[text]
        assert found is not None
        np.testing.assert_allclose(found, expected, atol=1e-3)


def test_nothing_changed_sends_nothing_and_a_rename_or_copy_neither(late: World) -> None:
    path = late.write("a.md", paragraphs("one", "two", "three"))
    late.ingest()
    late.forget()
    assert counts(late.ingest()) == {"unchanged": 1}
    path.rename(path.with_name("b.md"))
    late.write("copy.md", path.with_name("b.md").read_bytes())
    report = late.ingest()
    assert counts(report) == {"added": 1, "renamed": 1}
    assert (report.chunks.embedded, late.server.requests) == (0, [])


def test_a_changed_document_is_embedded_whole_and_others_are_not(late: World) -> None:
    late.write("a.md", paragraphs("one", "two", "three"))
    late.write("b.md", paragraphs("four", "five"))
    late.ingest()
    late.forget()
    late.write("a.md", paragraphs("one", "two changed", "three"))
    report = late.ingest()
    assert [len(texts) for texts in inputs(late)] == [3]
    assert (report.chunks.embedded, report.chunks.deleted) == (3, 3)
    assert late.sources() == {"a.md": 3, "b.md": 2}


def test_a_document_beyond_the_context_is_cut_where_sections_begin(late: World) -> None:
    """8,192 tokens of context are some 6,300 of ours; a section here has 64 or less."""
    late.chunk_size = 512
    sections = [
        "\n\n".join([f"# Part {n}", *(paragraphs(f"s{n}-{m}", words=400) for m in range(9))])
        for n in range(3)
    ]
    late.write("long.md", "\n\n".join(sections))
    late.ingest()
    sent = inputs(late)
    assert len(sent) == 3
    assert all(texts[0].startswith("# Part") for texts in sent)
    assert sum(map(len, sent)) == late.sources()["long.md"]


def test_a_request_too_long_for_the_host_is_halved(late: World) -> None:
    """Our count of tokens is not the model's own: what it refuses goes in smaller parts."""
    late.server.context = 100
    late.write("a.md", paragraphs("one", "two", "three", "four"))
    report = late.ingest()
    assert not report.failures
    assert [len(texts) for texts in inputs(late)] == [4, 2, 2]
    assert late.sources() == {"a.md": 4}


def test_what_a_killed_run_left_is_completed(late: World) -> None:
    late.write("a.md", paragraphs("one", "two", "three"))
    late.ingest()
    before = late.state()
    with closing(late.open()) as collection:
        last = next(p.id for p in collection.scroll() if p.payload["ordinal"] == 2)
        from ragctl.stores.base import Batch

        collection.apply(Batch(deletes=[last]))
    late.forget()
    report = late.ingest()
    # The one that is missing needs the others around it, so all are sent again.
    assert [len(texts) for texts in inputs(late)] == [3]
    assert (report.chunks.embedded, report.chunks.reused) == (1, 2)
    assert late.state() == before


def test_a_question_finds_its_chunk(late: World) -> None:
    late.write("a.md", paragraphs("apples", "pears", "plums"))
    late.ingest()
    with (
        closing(late.open()) as collection,
        embedder_of(collection, environ=late.environ) as embedder,
    ):
        options = SearchOptions(limit=1, mode="dense")
        hits = search(collection, "pears", embedder=embedder, options=options)
    assert "## pears" in hits[0].text
    assert "late_chunking" not in late.server.requests[-1].body


def test_it_is_part_of_the_identity_and_has_its_conditions(late: World) -> None:
    late.write("a.md", paragraphs("one"))
    late.ingest()
    url = late.server.url
    plain = Embedding(
        "jina-embeddings-v3", DIM, (BackendConfig(base_url=url),), late_chunking=False
    )
    with pytest.raises(IdentityMismatch, match="late_chunking true ≠ false"):
        late.ingest(embedding=plain)
    unsaid = Embedding("jina-embeddings-v3", DIM, (BackendConfig(base_url=url),))
    assert counts(late.ingest(embedding=unsaid)) == {"unchanged": 1}
    with pytest.raises(UsageError, match="takes no overlap"):
        late.ingest(overlap=10)
    other = Embedding("bge-m3", late_chunking=True)
    with pytest.raises(UsageError, match="late chunking of bge-m3 is not offered"):
        late.ingest(embedding=other, collection="other")


def test_a_dry_run_counts_whole_windows(late: World, tmp_path: Path) -> None:
    late.write("a.md", paragraphs("one", "two", "three"))
    first = late.ingest()
    late.write("a.md", paragraphs("one", "two", "three!"))
    run = late.run()
    with closing(run.store):
        report = run.dry_run()
    assert report.chunks.embedded == 3
    assert 0.5 < report.tokens / first.tokens < 2
