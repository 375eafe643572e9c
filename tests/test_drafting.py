"""Questions drafted from a collection."""

import json
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, cast

import pytest

from ragctl.errors import UsageError
from ragctl.evaluate import phrases
from ragctl.evaluate.drafting import draft_questions, write_questions
from ragctl.evaluate.judgements import resolve_judgements
from ragctl.evaluate.question_files import read_questions
from ragctl.index.run import Run
from ragctl.pipeline import Pipeline, Source
from ragctl.stores import open_store
from ragctl.stores.base import Collection
from tests.world import World

pytestmark = pytest.mark.slow

SAMPLES = Path(__file__).parents[1] / "sample_docs"


@pytest.fixture(scope="module")
def collection(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Collection]:
    """The sample documents, and a copy of one of them under another name."""
    home = tmp_path_factory.mktemp("made")
    (home / "more").mkdir()
    copied = (SAMPLES / "en" / "office-handbook.txt").read_bytes()
    (home / "more" / "copy.txt").write_bytes(copied)
    location = str(home / "store")
    sources = (Source(SAMPLES), Source(home / "more"))
    with closing(open_store(location, environ={})) as store:
        Run(Pipeline(sources=sources, store=location), store, {}).ingest()
        with closing(store.open("docs") or pytest.fail("no collection")) as opened:
            yield opened


@pytest.fixture(scope="module")
def rows(collection: Collection) -> list[dict[str, Any]]:
    return draft_questions(collection, 80)


def test_languages_have_equal_shares_and_kinds_are_mixed(rows: list[dict[str, Any]]) -> None:
    assert Counter(row["lang"] for row in rows) == {"de": 20, "en": 20, "ru": 20, "zh": 20}
    for language in ("de", "en", "ru"):
        kinds = Counter(row["kind"] for row in rows if row["lang"] == language)
        assert min(kinds[kind] for kind in ("heading", "words", "phrase")) >= 4, kinds


def test_the_set_is_read_and_every_place_is_found(
    rows: list[dict[str, Any]], collection: Collection, tmp_path: Path
) -> None:
    write_questions(rows, tmp_path / "q.jsonl")
    questions = read_questions(tmp_path / "q.jsonl")
    found = resolve_judgements(collection, questions)
    assert found.unit == "chunk"
    assert len(found.questions) == len(rows) == 80
    assert not found.missing


def test_a_seed_gives_the_same_and_another_another(
    rows: list[dict[str, Any]], collection: Collection
) -> None:
    assert draft_questions(collection, 80) == rows
    assert draft_questions(collection, 80, seed=2) != rows


def test_every_document_with_the_words_is_relevant(
    rows: list[dict[str, Any]], collection: Collection
) -> None:
    texts: dict[str, list[str]] = {}
    for point in collection.scroll():
        texts.setdefault(str(point.payload["source"]), []).append(str(point.payload["text"]))
    asked = [row for row in rows if row["kind"] == "phrase"]
    for row in asked:
        words = tuple(phrases.units(row["query"]))
        holding = {
            source
            for source, chunks in texts.items()
            if any(words in phrases.ngrams(text, [len(words)]) for text in chunks)
        }
        assert {each["source"] for each in row["relevant"]} == holding, row
    both = [r for r in rows if {"more/copy.txt"} < {each["source"] for each in r["relevant"]}]
    assert both, "the copied document answers what its original does"


def test_a_heading_is_the_same_under_another_number(edge_world: World) -> None:
    """The question does not say the number, so both documents answer it."""
    for name, *titles in (
        ("a.md", "# 1 Pump safety", "## 1.2 Valve checks"),
        ("b.md", "# 3. Pump Safety", "## 7 Valve checks"),
    ):
        body = f"The pump of {name} is looked at once a year by two of us. " * 3
        edge_world.write(name, "\n\n".join(f"{title}\n\n{body}" for title in titles))
    edge_world.ingest()
    with closing(edge_world.open()) as collection:
        found = [row for row in draft_questions(collection, 20) if row["kind"] == "heading"]
    (row,) = found
    assert str(row["query"]).casefold() == "pump safety valve checks"
    assert [each["source"] for each in cast(Any, row["relevant"])] == [
        "docs/a.md",
        "docs/b.md",
    ]


def test_no_question_is_a_whole_passage(rows: list[dict[str, Any]], collection: Collection) -> None:
    texts = {phrases.join_units(phrases.units(str(p.payload["text"]))) for p in collection.scroll()}
    assert not texts & {row["query"].casefold() for row in rows}


def test_a_collection_that_has_not_so_many_says_what_it_has(collection: Collection) -> None:
    found = draft_questions(collection, 2000)
    assert 150 < len(found) < 2000
    assert len({row["query"] for row in found}) == len(found)


@pytest.mark.parametrize("count", [0, -1, 2001])
def test_how_many_is_bounded(collection: Collection, count: int) -> None:
    with pytest.raises(UsageError, match="from 1 to 2,000"):
        draft_questions(collection, count)


def test_a_file_that_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot be written"):
        write_questions([], tmp_path / "none" / "q.jsonl")


def test_lines_are_json_in_utf8(tmp_path: Path) -> None:
    write_questions([{"query": "保修期"}], tmp_path / "q.jsonl")
    line = (tmp_path / "q.jsonl").read_text(encoding="utf-8")
    assert "保修期" in line
    assert json.loads(line) == {"query": "保修期"}


def test_phrases_stay_between_marks() -> None:
    assert list(phrases.clauses("One two, three\nfour. 建议清洗，再装")) == [
        ("one", "two"),
        ("three",),
        ("four",),
        ("建", "议", "清", "洗"),
        ("再", "装"),
    ]
    assert phrases.ngrams("a b c, d", [2]) == {("a", "b"), ("b", "c")}
    assert phrases.join_units(["建", "议", "v4", "清"]) == "建议 v4 清"


def test_headings_say_enough_or_nothing() -> None:
    assert phrases.heading_question(["Guide", "3.2 Data retention", "4. Hourly data"]) == (
        "Data retention Hourly data"
    )
    assert phrases.heading_question(["Overview"]) == ""
    assert phrases.heading_question(["A", "B"]) == ""


def test_the_first_sentence_is_prose() -> None:
    above = "# Title of the whole thing here\n| a | b | c | d | e | f |\nToo short.\n"
    text = f"{above}This one has six words in. And more."
    assert phrases.first_sentence(text) == "This one has six words in."
    assert phrases.first_sentence("| only | a | table | of | six | cells |") == ""
