"""Late chunking end to end: the chunks of a document in one request, and its cost."""

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

pytestmark = pytest.mark.slow


@pytest.fixture
def late_world(edge_world: World) -> World:
    return replace(edge_world, late=True)


def inputs(world: World) -> list[list[str]]:
    """Return the texts of each document request, canaries excluded."""
    return [
        request.body["input"]
        for request in world.server.requests
        if request.body["task"] == "retrieval.passage" and not CANARIES & set(request.body["input"])
    ]


def test_document_is_embedded_in_one_request_with_its_context(late_world: World) -> None:
    late_world.write("a.md", paragraphs("one", "two", "three"))
    late_world.write("b.md", paragraphs("four", "five"))
    report = late_world.ingest()
    assert report.identity.late_chunking is True
    sent = inputs(late_world)
    assert sorted(len(texts) for texts in sent) == [2, 3]
    flags = [r.body.get("late_chunking") for r in late_world.server.requests]
    assert flags.count(True) == 2
    chunks = next(texts for texts in sent if len(texts) == 3)
    with closing(late_world.open()) as collection:
        stored = {p.payload["text"]: p.dense for p in collection.scroll(vectors=True)}
    model = "jina-embeddings-v3"
    for text in chunks:
        expected = vector(text, "document", model, 1024, DIM, "\n".join(chunks))
        found = stored[text]
        assert found is not None
        np.testing.assert_allclose(found, expected, atol=1e-3)


def test_unchanged_renamed_and_copied_documents_are_not_embedded(late_world: World) -> None:
    path = late_world.write("a.md", paragraphs("one", "two", "three"))
    late_world.ingest()
    late_world.forget()
    assert counts(late_world.ingest()) == {"unchanged": 1}
    path.rename(path.with_name("b.md"))
    late_world.write("copy.md", path.with_name("b.md").read_bytes())
    report = late_world.ingest()
    assert counts(report) == {"added": 1, "renamed": 1}
    assert (report.chunks.embedded, late_world.server.requests) == (0, [])


def test_changed_document_is_embedded_whole_and_others_are_not(late_world: World) -> None:
    late_world.write("a.md", paragraphs("one", "two", "three"))
    late_world.write("b.md", paragraphs("four", "five"))
    late_world.ingest()
    late_world.forget()
    late_world.write("a.md", paragraphs("one", "two changed", "three"))
    report = late_world.ingest()
    assert [len(texts) for texts in inputs(late_world)] == [3]
    assert (report.chunks.embedded, report.chunks.deleted) == (3, 3)
    assert late_world.sources() == {"docs/a.md": 3, "docs/b.md": 2}


def test_document_over_the_context_is_split_at_sections(late_world: World) -> None:
    """By our count the context of 8,192 tokens is about 6,300: one section fits, two do not."""
    late_world.chunk_size = 512
    sections = [
        "\n\n".join([f"# Part {n}", *(paragraphs(f"s{n}-{m}", words=400) for m in range(9))])
        for n in range(3)
    ]
    late_world.write("long.md", "\n\n".join(sections))
    late_world.ingest()
    sent = inputs(late_world)
    assert len(sent) == 3
    assert all(texts[0].startswith("# Part") for texts in sent)
    assert sum(map(len, sent)) == late_world.sources()["docs/long.md"]


def test_request_over_the_host_limit_is_split(late_world: World) -> None:
    """Our token count is not the model's; what the host refuses is sent in smaller parts."""
    late_world.server.context = 100
    late_world.write("a.md", paragraphs("one", "two", "three", "four"))
    report = late_world.ingest()
    assert not report.failures
    assert [len(texts) for texts in inputs(late_world)] == [4, 2, 2]
    assert late_world.sources() == {"docs/a.md": 4}


def test_incomplete_document_is_completed(late_world: World) -> None:
    late_world.write("a.md", paragraphs("one", "two", "three"))
    late_world.ingest()
    before = late_world.state()
    with closing(late_world.open()) as collection:
        last = next(p.id for p in collection.scroll() if p.payload["ordinal"] == 2)
        from ragctl.stores.base import Batch

        collection.apply(Batch(deletes=[last]))
    late_world.forget()
    report = late_world.ingest()
    # The missing chunk needs the context of the others, so all are sent again.
    assert [len(texts) for texts in inputs(late_world)] == [3]
    assert (report.chunks.embedded, report.chunks.reused) == (1, 2)
    assert late_world.state() == before


def test_query_finds_its_chunk(late_world: World) -> None:
    late_world.write("a.md", paragraphs("apples", "pears", "plums"))
    late_world.ingest()
    with (
        closing(late_world.open()) as collection,
        embedder_of(collection, environ=late_world.environ) as embedder,
    ):
        options = SearchOptions(limit=1, mode="dense")
        hits = search(collection, "pears", embedder=embedder, options=options)
    assert "## pears" in hits[0].text
    assert "late_chunking" not in late_world.server.requests[-1].body


def test_late_chunking_is_part_of_the_identity_and_restricts_settings(late_world: World) -> None:
    late_world.write("a.md", paragraphs("one"))
    late_world.ingest()
    url = late_world.server.url
    plain = Embedding(
        "jina-embeddings-v3", DIM, (BackendConfig(base_url=url),), late_chunking=False
    )
    with pytest.raises(IdentityMismatch, match="late chunking on ≠ off"):
        late_world.ingest(embedding=plain)
    unspecified = Embedding("jina-embeddings-v3", DIM, (BackendConfig(base_url=url),))
    assert counts(late_world.ingest(embedding=unspecified)) == {"unchanged": 1}
    with pytest.raises(UsageError, match="takes no overlap"):
        late_world.ingest(overlap=10)
    other = Embedding("bge-m3", late_chunking=True)
    with pytest.raises(UsageError, match="late chunking of bge-m3 is not offered"):
        late_world.ingest(embedding=other, collection="other")


def test_dry_run_counts_whole_windows(late_world: World, tmp_path: Path) -> None:
    late_world.write("a.md", paragraphs("one", "two", "three"))
    first = late_world.ingest()
    late_world.write("a.md", paragraphs("one", "two", "three!"))
    run = late_world.run()
    with closing(run.store):
        report = run.dry_run()
    assert report.chunks.embedded == 3
    assert 0.5 < report.tokens / first.tokens < 2
