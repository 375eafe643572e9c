"""A set of questions, each with the documents that answer it.

JSON Lines, one question a line (an unknown key is refused):

    {"id": "q1", "query": "…", "lang": "en", "relevant": ["en/guide.md", "en/faq.md"]}
    {"query": "…", "relevant": {"en/guide.md": 2, "en/faq.md": 1}}
    {"query": "…", "relevant": [{"source": "en/guide.md", "start": 120, "end": 180}]}
    {"query": "…", "source": "en/guide.md", "answer": "hourly averages for three years"}

An answer is said by `start` and `end` (characters of the document's text) or by its words;
either places a judgement within its document. `beir.py` and `trec.py` read other shapes.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from ragctl.errors import UsageError
from ragctl.text import collapse_whitespace

_KEYS = {"id", "query", "lang", "cross", "kind", "relevant", "source", "answer", "start", "end"}
_PLACE = {"source", "grade", "answer", "start", "end"}


@dataclass(frozen=True, slots=True)
class Judgement:
    """A document that answers a question, and where in it. `grade`: how well; 0: not at all."""

    source: str
    grade: int = 1
    span: tuple[int, int] | None = None
    answer: str | None = None

    @property
    def placed(self) -> bool:
        return self.span is not None or self.answer is not None


@dataclass(frozen=True, slots=True)
class Question:
    """`group`: what it is counted under beside all: its language, where the set says so."""

    id: str
    text: str
    judgements: tuple[Judgement, ...]
    group: str | None = None


@dataclass(frozen=True, slots=True)
class Questions:
    """`unjudged`: questions of a BEIR or TREC set that its judgements do not speak of."""

    asked: tuple[Question, ...]
    unjudged: int = 0

    @property
    def placed(self) -> bool:
        """Whether every judgement says where in its document the answer is."""
        return all(j.placed for question in self.asked for j in question.judgements)


def read_questions(path: Path, qrels: Path | None = None) -> Questions:
    """The questions in a file or a BEIR folder, `qrels` their judgements where apart.

    Raises UsageError, with file and line, for what is not right.
    """
    from ragctl.evaluate import beir, trec

    if path.is_dir():
        return beir.read(path, qrels)
    if not path.is_file():
        raise UsageError(f"no questions at {path}: there is no such file")
    if path.suffix.lower() not in (".jsonl", ".ndjson", ".json"):
        if qrels is None:
            raise UsageError(f"{path}: TREC topics need their judgements: --qrels FILE")
        return trec.read(path, qrels)
    if qrels is not None or beir.is_queries(path):
        return beir.read(path, qrels)
    found = tuple(_question(*line) for line in json_lines(path))
    return Questions(unique(found, path))


def unique(questions: tuple[Question, ...], path: Path) -> tuple[Question, ...]:
    """The questions, at least one, no two with one id. Raises UsageError."""
    if not questions:
        raise UsageError(f"{path}: no questions in it")
    seen: set[str] = set()
    for question in questions:
        if question.id in seen:
            raise UsageError(f"{path}: two questions have the id {question.id!r}; ids must differ")
        seen.add(question.id)
    return questions


def lines(path: Path) -> Iterator[tuple[str, str]]:
    """("file:line", text) of every line that is not blank. Raises UsageError."""
    try:
        with path.open("rb") as file:
            for number, raw in enumerate(file, 1):
                place = f"{path}:{number}"
                try:
                    text = raw.decode("utf-8-sig" if number == 1 else "utf-8")
                except UnicodeDecodeError:
                    raise UsageError(f"{place}: not UTF-8; save the file as UTF-8") from None
                if text.strip():
                    yield place, text
    except OSError as error:
        raise UsageError(f"{path}: cannot be read ({error.strerror})") from error


def json_lines(path: Path) -> Iterator[tuple[str, Mapping[str, object]]]:
    """("file:line", object) of every line. Raises UsageError."""
    for place, text in lines(path):
        try:
            row = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise UsageError(f"{place}: not JSON ({error})") from None
        if not isinstance(row, dict):
            raise UsageError(f"{place}: not a JSON object; write one question a line")
        yield place, row


def asked(place: str, text: object) -> str:
    """A question's text. Raises UsageError for one that nobody could search for."""
    if not isinstance(text, str) or not any(character.isalnum() for character in text):
        raise UsageError(f"{place}: the question has no letters or digits")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise UsageError(f"{place}: the question is not valid Unicode (a lone surrogate)") from None
    return collapse_whitespace(text)


def _question(place: str, row: Mapping[str, object]) -> Question:
    unknown = sorted(row.keys() - _KEYS)
    if unknown:
        _fail(place, f"unknown key {unknown[0]!r}; known: {', '.join(sorted(_KEYS))}")
    text = asked(place, row.get("query"))
    name = row.get("id", place.rpartition(":")[2])
    if isinstance(name, bool) or not isinstance(name, str | int) or not str(name).strip():
        _fail(place, '"id" must be a text or a whole number')
    language, cross = row.get("lang"), row.get("cross", False)
    if not isinstance(language, str | None) or not isinstance(cross, bool):
        _fail(place, '"lang" must be a text and "cross" true or false')
    if ("relevant" in row) == ("source" in row):
        _fail(place, 'give "relevant", or "source" with "answer"; one of the two')
    if "relevant" in row:
        if stray := sorted(row.keys() & (_PLACE - {"source"})):
            _fail(place, f'"{stray[0]}" belongs inside "relevant", with its source')
        judgements = _relevant(place, row["relevant"])
    else:
        judgements = (_judgement(place, {key: row[key] for key in row.keys() & _PLACE}),)
    if not any(judgement.grade for judgement in judgements):
        _fail(place, "no document is relevant (has a grade above 0)")
    return Question(str(name), text, judgements, "cross" if cross else language)


def _relevant(place: str, value: object) -> tuple[Judgement, ...]:
    if isinstance(value, dict):
        rows: list[object] = [{"source": key, "grade": grade} for key, grade in value.items()]
    elif isinstance(value, list):
        rows = value
    else:
        _fail(place, '"relevant" must be a list of sources, or an object {source: grade}')
    return tuple(
        _judgement(place, {"source": row} if isinstance(row, str) else row) for row in rows
    )


def _judgement(place: str, row: object) -> Judgement:
    if not isinstance(row, dict) or row.keys() - _PLACE:
        _fail(place, f"a relevant document is a text, or an object of {', '.join(sorted(_PLACE))}")
    source, answer = row.get("source"), row.get("answer")
    if not isinstance(source, str) or not source.strip():
        _fail(place, '"source" must be the name of a document, as search shows it')
    if answer is not None and not (isinstance(answer, str) and answer.strip()):
        _fail(place, '"answer" must be words of the document')
    start, end = row.get("start"), row.get("end")
    span = None
    if start is not None or end is not None:
        if type(start) is not int or type(end) is not int or not 0 <= start < end:
            _fail(place, '"start" and "end" must be whole numbers of characters, start before end')
        span = (start, end)
    grade = whole(place, row.get("grade", 1))
    return Judgement(source, grade, span, answer)


def whole(place: str, grade: object) -> int:
    """A grade: a whole number from 0. Raises UsageError."""
    if type(grade) is not int or not 0 <= grade <= 1000:
        _fail(place, f"grade {grade!r}: a whole number from 0 to 1000")
    return grade


def _fail(place: str, why: str) -> NoReturn:
    raise UsageError(f"{place}: {why}")
