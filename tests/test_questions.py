"""Sets of questions in three shapes, and what is said of rubbish in them."""

from pathlib import Path

import pytest

from ragctl.errors import UsageError
from ragctl.evaluate.question_files import read_questions
from ragctl.evaluate.questions import Judgement, Question, Questions


def put(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def test_json_lines_in_every_shape(tmp_path: Path) -> None:
    file = put(
        tmp_path / "q.jsonl",
        "\ufeff"
        '{"id": "a", "query": "how  much?", "lang": "en", "relevant": ["one.md", "two.md"]}\n'
        "\n"
        '{"query": "wie viel", "relevant": {"one.md": 2, "two.md": 0}}\n'
        '{"id": 7, "query": "x", "relevant": [{"source": "s", "start": 3, "end": 9, "grade": 3}]}\n'
        '{"id": "c", "lang": "ru", "cross": true, "query": "y", "source": "s", "answer": "z z"}\n',
    )
    assert read_questions(file).questions == (
        Question("a", "how much?", (Judgement("one.md"), Judgement("two.md")), "en"),
        Question("3", "wie viel", (Judgement("one.md", 2), Judgement("two.md", 0))),
        Question("7", "x", (Judgement("s", 3, (3, 9)),)),
        Question("c", "y", (Judgement("s", answer="z z"),), "cross"),
    )
    assert not read_questions(file).are_located


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("{", "not JSON"),
        ("[" * 100_000, "not JSON"),
        ("[]", "not a JSON object"),
        ('{"query": "x", "relevent": ["a"]}', "unknown key 'relevent'"),
        ('{"query": "?!", "relevant": ["a"]}', "no letters or digits"),
        ('{"query": "\\ud800x", "relevant": ["a"]}', "lone surrogate"),
        ('{"query": 5, "relevant": ["a"]}', "no letters or digits"),
        ('{"query": "x"}', 'give "relevant", or "source"'),
        ('{"query": "x", "relevant": []}', "no document is relevant"),
        ('{"query": "x", "relevant": {"a": 0}}', "no document is relevant"),
        ('{"query": "x", "relevant": {"a": -1}}', "grade -1"),
        ('{"query": "x", "relevant": {"a": true}}', "grade True"),
        ('{"query": "x", "relevant": "a"}', "must be a list of sources"),
        ('{"query": "x", "relevant": [3]}', "a relevant document is a text"),
        ('{"query": "x", "relevant": [{"source": ""}]}', '"source" must be the name'),
        ('{"query": "x", "relevant": ["a"], "answer": "b"}', 'belongs inside "relevant"'),
        ('{"query": "x", "source": "a", "start": 3}', '"start" and "end"'),
        ('{"query": "x", "source": "a", "start": 3, "end": 3}', '"start" and "end"'),
        ('{"query": "x", "source": "a", "answer": " "}', '"answer" must be words'),
        ('{"id": [], "query": "x", "source": "a"}', '"id" must be'),
        ('{"query": "x", "source": "a", "lang": 3}', '"lang" must be'),
    ],
)
def test_rubbish_is_one_line_with_its_place(tmp_path: Path, line: str, why: str) -> None:
    file = put(tmp_path / "q.jsonl", f'{{"query": "fine", "relevant": ["a"]}}\n{line}\n')
    with pytest.raises(UsageError) as caught:
        read_questions(file)
    assert str(caught.value).startswith(f"{file}:2: ")
    assert why in str(caught.value)
    assert "\n" not in str(caught.value)


def test_what_is_no_set_at_all(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no such file"):
        read_questions(tmp_path / "none.jsonl")
    with pytest.raises(UsageError, match="it has no questions"):
        read_questions(put(tmp_path / "empty.jsonl", "\n"))
    twice = '{"id": "a", "query": "x", "relevant": ["s"]}\n'
    with pytest.raises(UsageError, match="the id 'a'"):
        read_questions(put(tmp_path / "twice.jsonl", twice + twice))
    latin = tmp_path / "latin.jsonl"
    latin.write_bytes(b'{"query": "\xe4", "relevant": ["s"]}\n')
    with pytest.raises(UsageError, match="1: not UTF-8"):
        read_questions(latin)
    with pytest.raises(UsageError, match="TREC topics need"):
        read_questions(put(tmp_path / "topics.txt", "1\tx\n"))
    with pytest.raises(UsageError, match="no such file"):
        read_questions(tmp_path)


def beir(folder: Path) -> Path:
    put(
        folder / "queries.jsonl",
        '{"_id": "q1", "text": "first", "metadata": {}}\n{"_id": "q2", "text": "second"}\n'
        '{"_id": "q3", "text": "of another split"}\n',
    )
    put(
        folder / "qrels" / "test.tsv",
        "query-id\tcorpus-id\tscore\nq1\td 1\t2\nq1\td2\t0\nq2\td3\t1\n",
    )
    return folder


def test_beir(tmp_path: Path) -> None:
    folder = beir(tmp_path)
    expected = Questions(
        (
            Question("q1", "first", (Judgement("d 1", 2), Judgement("d2", 0))),
            Question("q2", "second", (Judgement("d3"),)),
        ),
        unjudged=1,
    )
    assert read_questions(folder) == expected
    assert read_questions(folder / "queries.jsonl") == expected
    other = put(folder / "qrels" / "dev.tsv", "q3\td9\t1\n")
    assert [q.id for q in read_questions(folder, other).questions] == ["q3"]


@pytest.mark.parametrize(
    ("row", "why"),
    [
        ("q1 d1 1", "with tabs between"),
        ("q1\td1", "with tabs between"),
        ("q1\td1\tgood", "grade 'good'"),
        ("q1\td1\t5000", "grade 5000"),
    ],
)
def test_rubbish_in_beir(tmp_path: Path, row: str, why: str) -> None:
    folder = beir(tmp_path)
    put(folder / "qrels" / "test.tsv", f"query-id\tcorpus-id\tscore\n{row}\n")
    with pytest.raises(UsageError, match=rf"test\.tsv:2: .*{why}"):
        read_questions(folder)
    put(folder / "qrels" / "test.tsv", "q9\td1\t1\n")
    with pytest.raises(UsageError, match="judges 'q9'"):
        read_questions(folder)


TOPICS = """<top>
<num> Number: 301
<title> International Organized
Crime

<desc> Description:
Identify them.
</top>
<top><num>302</num><title>Poliomyelitis</title></top>
"""


@pytest.mark.parametrize(
    "topics", [TOPICS, "301\tInternational Organized Crime\n302\tPoliomyelitis\n"]
)
def test_trec(tmp_path: Path, topics: str) -> None:
    qrels = put(tmp_path / "qrels.txt", "301 0 a.md 1\n301 0 spam.md -2\n302 0 b.md 0\n")
    found = read_questions(put(tmp_path / "topics.trec", topics), qrels)
    wanted = (Judgement("a.md", 1), Judgement("spam.md", 0))
    assert found == Questions((Question("301", "International Organized Crime", wanted),), 1)


@pytest.mark.parametrize(
    ("topics", "qrels", "why"),
    [
        ("301 no tab\n", "301 0 a 1\n", "write <top> blocks"),
        ("<top><num>1</num></top>\n", "1 0 a 1\n", "no <num> or no <title>"),
        ("1\tx\n1\ty\n", "1 0 a 1\n", "two topics have the number"),
        ("1\tx\n", "1 0 my file.md 1\n", "has no spaces here"),
        ("1\tx\n", "1 0 a b\n", "grade 'b'"),
        ("", "1 0 a 1\n", "it has no topics"),
    ],
)
def test_rubbish_in_trec(tmp_path: Path, topics: str, qrels: str, why: str) -> None:
    judged = put(tmp_path / "qrels.txt", qrels)
    with pytest.raises(UsageError, match=why):
        read_questions(put(tmp_path / "topics.trec", topics), judged)
