"""Which documents and chunks of a real collection answer a question."""

from collections.abc import Iterator
from contextlib import closing

import pytest

from ragctl.errors import UsageError
from ragctl.evaluate.judgements import resolve_judgements
from ragctl.evaluate.questions import Judgement, Question, Questions
from ragctl.pipeline import Source
from ragctl.stores.base import Collection
from tests.servers.jina import JinaServer
from tests.world import KEY, World, paragraphs


@pytest.fixture(scope="module")
def collection(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Collection]:
    home = tmp_path_factory.mktemp("world")
    (home / "docs").mkdir()
    with JinaServer(KEY) as host:
        world = World(home / "docs", str(home / "store"), host)
        world.write("a.md", paragraphs("one", "two", "three"))
        world.write("b.md", paragraphs("four"))
        world.write("r.jsonl", '{"id": "x", "text": "a record"}\n{"id": "y", "text": "other"}\n')
        world.write("s.jsonl", '{"id": "y", "text": "of another file"}\n')
        world.write("empty.md", "")
        world.write("twice.md", paragraphs("five"))
        (home / "more").mkdir()
        (home / "more/twice.md").write_text(paragraphs("six"))
        world.ingest(sources=(Source(home / "docs"), Source(home / "more")))
        with closing(world.open()) as opened:
            yield opened


def ask(*judgements: Judgement) -> Questions:
    return Questions((Question("q", "anything", judgements),))


def headings(collection: Collection, ids: object) -> set[str]:
    """The last headings of chunks."""
    points = collection.retrieve(list(ids))  # type: ignore[call-overload]
    return {str(point.payload["heading"][-1]) for point in points}


def test_documents_by_source_and_records_by_their_id(collection: Collection) -> None:
    found = resolve_judgements(
        collection, ask(Judgement("a.md", 2), Judgement("x"), Judgement("b.md", 0))
    )
    assert found.unit == "document"
    assert found.qrels == {"q": {"docs/a.md": 2, "docs/r.jsonl#x": 1, "docs/b.md": 0}}
    assert not found.missing


def test_an_id_of_two_records_names_neither(collection: Collection) -> None:
    found = resolve_judgements(collection, ask(Judgement("y"), Judgement("r.jsonl#y")))
    assert found.qrels["q"]["docs/r.jsonl#y"] == 1
    assert [(each.source, each.why) for each in found.missing] == [("y", "no such document")]


def test_a_path_in_two_sources_names_neither(collection: Collection) -> None:
    found = resolve_judgements(collection, ask(Judgement("twice.md"), Judgement("more/twice.md")))
    assert found.qrels["q"]["more/twice.md"] == 1
    assert [(each.source, each.why) for each in found.missing] == [("twice.md", "no such document")]


def test_chunks_by_words_and_by_place(collection: Collection) -> None:
    (point,) = (p for p in collection.scroll() if p.payload.get("heading") == ["two"])
    start = point.payload["start"]
    assert isinstance(start, int)
    for place in (Judgement("a.md", answer="## two"), Judgement("a.md", 1, (start, start + 5))):
        found = resolve_judgements(collection, ask(place))
        assert found.unit == "chunk"
        assert headings(collection, found.qrels["q"]) == {"two"}


def test_words_that_a_cut_parts_are_in_both_chunks(collection: Collection) -> None:
    (first,) = (p for p in collection.scroll() if p.payload.get("heading") == ["one"])
    end = " ".join(str(first.payload["text"]).split()[-3:])
    found = resolve_judgements(
        collection, ask(Judgement("a.md", answer=f"{end}\n## two the valve"))
    )
    assert headings(collection, found.qrels["q"]) == {"one", "two"}


def test_what_the_collection_lacks_is_named_and_counted(collection: Collection) -> None:
    questions = Questions(
        (
            Question("half", "x", (Judgement("a.md", 1), Judgement("gone.md", 3))),
            Question("lost", "x", (Judgement("gone.md"),)),
            Question("fine", "x", (Judgement("b.md"),)),
        )
    )
    found = resolve_judgements(collection, questions)
    assert [question.id for question in found.questions] == ["half", "fine"]
    assert found.unanswerable == ("lost",)
    assert [(each.question, each.source) for each in found.missing] == [
        ("half", "gone.md"),
        ("lost", "gone.md"),
    ]
    assert found.qrels["half"] == {"docs/a.md": 1, "missing gone.md": 3}  # recall is of both


def test_an_answer_that_is_not_in_its_document(collection: Collection) -> None:
    lost = Question("lost", "x", (Judgement("a.md", answer="no such words"),))
    empty = Question("empty", "x", (Judgement("empty.md", answer="anything"),))
    fine = Question("fine", "x", (Judgement("a.md", answer="## two"),))
    found = resolve_judgements(collection, Questions((lost, empty, fine)))
    assert found.unanswerable == ("lost", "empty")
    assert {each.why for each in found.missing} == {"its answer is not in the document"}


def test_no_answer_at_all_is_refused(collection: Collection) -> None:
    with pytest.raises(UsageError, match=r"'gone\.md': no such document"):
        resolve_judgements(collection, ask(Judgement("gone.md")))
    with pytest.raises(UsageError, match="needs the position of every answer"):
        resolve_judgements(collection, ask(Judgement("a.md")), "chunk")
    placed = ask(Judgement("a.md", answer="## two"))
    assert resolve_judgements(collection, placed, "document").qrels == {"q": {"docs/a.md": 1}}
