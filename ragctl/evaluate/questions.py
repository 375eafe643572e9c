"""Questions, each with the documents that answer it; and their own format.

JSON Lines, one question a line (an unknown key is refused):

    {"id": "q1", "query": "…", "lang": "en", "relevant": ["en/guide.md", "en/faq.md"]}
    {"query": "…", "relevant": {"en/guide.md": 2, "en/faq.md": 1}}
    {"query": "…", "relevant": [{"source": "en/guide.md", "start": 120, "end": 180}]}
    {"query": "…", "source": "en/guide.md", "answer": "hourly averages for three years"}

An answer is located in its document by `start` and `end` (characters of its text) or by its words.
`question_files.py` reads this and other formats.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from ragctl.errors import UsageError
from ragctl.text import collapse_whitespace

QUESTION_KEYS = {
    "id",
    "query",
    "lang",
    "cross",
    "kind",
    "relevant",
    "source",
    "answer",
    "start",
    "end",
}
JUDGEMENT_KEYS = {"source", "grade", "answer", "start", "end"}
MAX_GRADE = 1000


@dataclass(frozen=True, slots=True)
class Judgement:
    """How well a document answers a question, and where.

    `grade`: relevance; 0: not relevant. `span`, `answer`: where the answer is, as characters of the
    text or as its words.
    """

    source: str
    grade: int = 1
    span: tuple[int, int] | None = None
    answer: str | None = None

    @property
    def is_located(self) -> bool:
        """Whether it says where in the document the answer is."""
        return self.span is not None or self.answer is not None


@dataclass(frozen=True, slots=True)
class Question:
    """A question with its judgements. `group`: its language, or "cross"; measured separately."""

    id: str
    text: str
    judgements: tuple[Judgement, ...]
    group: str | None = None


@dataclass(frozen=True, slots=True)
class Questions:
    """A set of questions. `unjudged`: how many more a BEIR or TREC set has without judgements."""

    questions: tuple[Question, ...]
    unjudged: int = 0

    @property
    def are_located(self) -> bool:
        """Whether every judgement says where in its document the answer is."""
        return all(j.is_located for question in self.questions for j in question.judgements)


def read_json_questions(path: Path) -> Questions:
    """Read the questions in a JSON Lines file. Raises UsageError with file and line."""
    questions = tuple(_question(*line) for line in read_json_lines(path))
    return Questions(with_unique_ids(questions, path))


def with_unique_ids(questions: tuple[Question, ...], path: Path) -> tuple[Question, ...]:
    """Return the questions. Raises UsageError if there are none, or two have the same id."""
    if not questions:
        raise UsageError(f"{path}: it has no questions")
    seen: set[str] = set()
    for question in questions:
        if question.id in seen:
            raise UsageError(f"{path}: two questions have the id {question.id!r}; ids must differ")
        seen.add(question.id)
    return questions


def read_lines(path: Path) -> Iterator[tuple[str, str]]:
    """Yield ("file:line", text) for every line that is not blank. Raises UsageError."""
    try:
        with path.open("rb") as file:
            for number, raw in enumerate(file, 1):
                location = f"{path}:{number}"
                try:
                    text = raw.decode("utf-8-sig" if number == 1 else "utf-8")
                except UnicodeDecodeError:
                    raise UsageError(f"{location}: not UTF-8; save the file as UTF-8") from None
                if text.strip():
                    yield location, text
    except OSError as error:
        raise UsageError(f"{path}: cannot be read ({error.strerror})") from error


def read_json_lines(path: Path) -> Iterator[tuple[str, Mapping[str, object]]]:
    """Yield ("file:line", object) for every line. Raises UsageError."""
    for location, text in read_lines(path):
        try:
            row = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise UsageError(f"{location}: not JSON ({error})") from None
        if not isinstance(row, dict):
            raise UsageError(f"{location}: not a JSON object; write one question a line")
        yield location, row


def question_text(location: str, text: object) -> str:
    """Return the text of a question on one line. Raises UsageError if it cannot be searched."""
    if not isinstance(text, str) or not any(character.isalnum() for character in text):
        raise UsageError(f"{location}: the question has no letters or digits")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise UsageError(
            f"{location}: the question is not valid Unicode (a lone surrogate)"
        ) from None
    return collapse_whitespace(text)


def _question(location: str, row: Mapping[str, object]) -> Question:
    unknown = sorted(row.keys() - QUESTION_KEYS)
    if unknown:
        _fail(location, f"unknown key {unknown[0]!r}; known: {', '.join(sorted(QUESTION_KEYS))}")
    text = question_text(location, row.get("query"))
    name = row.get("id", location.rpartition(":")[2])
    if isinstance(name, bool) or not isinstance(name, str | int) or not str(name).strip():
        _fail(location, '"id" must be a text or a whole number')
    language, cross = row.get("lang"), row.get("cross", False)
    if not isinstance(language, str | None) or not isinstance(cross, bool):
        _fail(location, '"lang" must be a text and "cross" true or false')
    if ("relevant" in row) == ("source" in row):
        _fail(location, 'give "relevant", or "source" with "answer"; one of the two')
    if "relevant" in row:
        if stray := sorted(row.keys() & (JUDGEMENT_KEYS - {"source"})):
            _fail(location, f'"{stray[0]}" belongs inside "relevant", with its source')
        judgements = _relevant(location, row["relevant"])
    else:
        judgements = (_judgement(location, {key: row[key] for key in row.keys() & JUDGEMENT_KEYS}),)
    if not any(judgement.grade for judgement in judgements):
        _fail(location, "no document is relevant (has a grade above 0)")
    return Question(str(name), text, judgements, "cross" if cross else language)


def _relevant(location: str, value: object) -> tuple[Judgement, ...]:
    if isinstance(value, dict):
        rows: list[object] = [{"source": key, "grade": grade} for key, grade in value.items()]
    elif isinstance(value, list):
        rows = value
    else:
        _fail(location, '"relevant" must be a list of sources, or an object {source: grade}')
    return tuple(
        _judgement(location, {"source": row} if isinstance(row, str) else row) for row in rows
    )


def _judgement(location: str, row: object) -> Judgement:
    if not isinstance(row, dict) or row.keys() - JUDGEMENT_KEYS:
        _fail(
            location,
            f"a relevant document is a text, or an object of {', '.join(sorted(JUDGEMENT_KEYS))}",
        )
    source, answer = row.get("source"), row.get("answer")
    if not isinstance(source, str) or not source.strip():
        _fail(location, '"source" must be the name of a document, as search shows it')
    if answer is not None and not (isinstance(answer, str) and answer.strip()):
        _fail(location, '"answer" must be words of the document')
    start, end = row.get("start"), row.get("end")
    span = None
    if start is not None or end is not None:
        if type(start) is not int or type(end) is not int or not 0 <= start < end:
            _fail(
                location, '"start" and "end" must be whole numbers of characters, start before end'
            )
        span = (start, end)
    grade = check_grade(location, row.get("grade", 1))
    return Judgement(source, grade, span, answer)


def check_grade(location: str, grade: object) -> int:
    """Return a grade. Raises UsageError if it is not a whole number from 0 to MAX_GRADE."""
    if type(grade) is not int or not 0 <= grade <= MAX_GRADE:
        _fail(location, f"grade {grade!r} is not a whole number from 0 to {MAX_GRADE}")
    return grade


def _fail(location: str, why: str) -> NoReturn:
    raise UsageError(f"{location}: {why}")
