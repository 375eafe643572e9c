"""TREC: topics as `<top>` blocks or as `id<TAB>text` lines, and qrels of four columns."""

import re
from pathlib import Path

from ragctl.errors import UsageError
from ragctl.evaluate.beir import joined, judge
from ragctl.evaluate.questions import Judgement, Questions, asked, lines

_NUMBER = re.compile(r"<num>\s*(?:Number\s*:)?\s*([^\s<]+)", re.IGNORECASE)
_TITLE = re.compile(r"<title>\s*(?:Topic\s*:)?\s*([^<]*)", re.IGNORECASE)


def read(topics: Path, qrels: Path) -> Questions:
    """Topics (their titles are the questions) with their judgements. Raises UsageError."""
    if not qrels.is_file():
        raise UsageError(f"no judgements at {qrels}: there is no such file")
    return joined(_topics(topics), _qrels(qrels), qrels)


def _topics(path: Path) -> dict[str, str]:
    rows = list(lines(path))
    if not rows:
        raise UsageError(f"{path}: no topics in it")
    tagged = any(text.strip().lower().startswith("<top>") for _, text in rows[:100])
    found: dict[str, str] = {}
    for place, name, title in _blocks(rows) if tagged else map(_pair, rows):
        if name in found:
            raise UsageError(f"{place}: two topics have the number {name!r}")
        found[name] = asked(place, title)
    return found


def _pair(row: tuple[str, str]) -> tuple[str, str, str]:
    place, text = row
    name, tab, title = text.rstrip("\r\n").partition("\t")
    if not tab or not name.strip():
        raise UsageError(f"{place}: write <top> blocks, or a number, a tab and the question")
    return place, name.strip(), title


def _blocks(rows: list[tuple[str, str]]) -> list[tuple[str, str, str]]:
    blocks: list[tuple[str, list[str]]] = []
    for place, text in rows:
        if text.strip().lower().startswith("<top>"):
            blocks.append((place, []))
        if blocks:
            blocks[-1][1].append(text)
    return [_block(place, "".join(texts)) for place, texts in blocks]


def _block(place: str, text: str) -> tuple[str, str, str]:
    number, title = _NUMBER.search(text), _TITLE.search(text)
    if number is None or title is None:
        raise UsageError(f"{place}: the topic has no <num> or no <title>")
    return place, number[1], title[1]


def _qrels(path: Path) -> dict[str, list[Judgement]]:
    qrels: dict[str, list[Judgement]] = {}
    for place, text in lines(path):
        cells = text.split()
        if len(cells) != 4:
            raise UsageError(
                f"{place}: write topic, iteration, document and grade; a document's "
                "name has no spaces here (JSON Lines allow them)"
            )
        query, _, source, grade = cells
        judge(qrels, place, query, source, grade)
    return qrels
