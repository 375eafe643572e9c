"""Read TREC questions: topics (`<top>` blocks, or `id<TAB>text` lines) and four-column qrels."""

import re
from pathlib import Path

from ragctl.errors import UsageError
from ragctl.evaluate.beir import add_judgement, join_judgements
from ragctl.evaluate.questions import Judgement, Questions, question_text, read_lines

_NUMBER = re.compile(r"<num>\s*(?:Number\s*:)?\s*([^\s<]+)", re.IGNORECASE)
_TITLE = re.compile(r"<title>\s*(?:Topic\s*:)?\s*([^<]*)", re.IGNORECASE)


def read_trec(topics: Path, qrels: Path) -> Questions:
    """Read topics, whose titles are the questions, with their judgements. Raises UsageError."""
    if not qrels.is_file():
        raise UsageError(f"no judgements at {qrels}: no such file")
    return join_judgements(_read_topics(topics), _read_qrels(qrels), qrels)


def _read_topics(path: Path) -> dict[str, str]:
    """Return the question of each topic, by its number."""
    rows = list(read_lines(path))
    if not rows:
        raise UsageError(f"{path}: it has no topics")
    tagged = any(text.strip().lower().startswith("<top>") for _, text in rows[:100])
    questions: dict[str, str] = {}
    for location, name, title in _blocks(rows) if tagged else map(_pair, rows):
        if name in questions:
            raise UsageError(f"{location}: two topics have the number {name!r}")
        questions[name] = question_text(location, title)
    return questions


def _pair(row: tuple[str, str]) -> tuple[str, str, str]:
    location, text = row
    name, tab, title = text.rstrip("\r\n").partition("\t")
    if not tab or not name.strip():
        raise UsageError(f"{location}: write <top> blocks, or a number, a tab and the question")
    return location, name.strip(), title


def _blocks(rows: list[tuple[str, str]]) -> list[tuple[str, str, str]]:
    blocks: list[tuple[str, list[str]]] = []
    for location, text in rows:
        if text.strip().lower().startswith("<top>"):
            blocks.append((location, []))
        if blocks:
            blocks[-1][1].append(text)
    return [_block(location, "".join(texts)) for location, texts in blocks]


def _block(location: str, text: str) -> tuple[str, str, str]:
    number, title = _NUMBER.search(text), _TITLE.search(text)
    if number is None or title is None:
        raise UsageError(f"{location}: the topic has no <num> or no <title>")
    return location, number[1], title[1]


def _read_qrels(path: Path) -> dict[str, list[Judgement]]:
    qrels: dict[str, list[Judgement]] = {}
    for location, text in read_lines(path):
        cells = text.split()
        if len(cells) != 4:
            raise UsageError(
                f"{location}: write topic, iteration, document and grade; a document's "
                "name has no spaces here (JSON Lines allow them)"
            )
        query, _, source, grade = cells
        add_judgement(qrels, location, query, source, grade)
    return qrels
