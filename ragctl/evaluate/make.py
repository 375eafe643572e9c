"""Questions drafted from a collection, without a language model.

Three kinds, all known-item: a heading with the one above it; the rare words of a
passage's first sentence, in their order; a phrase that few documents have. Each names
all documents that hold the same. What such questions cannot tell is in `CANNOT`.
"""

import json
import random
from collections import Counter, deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import cast

from ragctl import files
from ragctl.collection.payload import PayloadKey
from ragctl.errors import UsageError
from ragctl.evaluate import phrases
from ragctl.evaluate.phrases import Words
from ragctl.records import Json
from ragctl.stores.base import Collection

KINDS = ("heading", "words", "phrase")
CAN = (
    "These questions are made of the documents' own words. They tell whether documents are found "
    "by their words at all, whether a change lost some, and what a dimension or a quantisation "
    "costs beside the same vectors whole."
)
CANNOT = (
    "They do not tell how well questions in other words are answered: they favour BM25 and any "
    "lexical side, and so say nothing of hybrid against dense, or of one model against another. "
    "For that, write questions as people ask them."
)

_SAMPLE = 4_000  # passages that questions may be drafted from
_MOST = 2_000  # questions
_DOCUMENTS = 5  # that may answer one question; more say too little
_FIELDS: tuple[PayloadKey, ...] = ("source", "lang", "text", "heading", "start", "end", "ordinal")


@dataclass(frozen=True, slots=True)
class Passage:
    source: str
    lang: str
    text: str
    heading: tuple[str, ...]
    start: int
    end: int
    ordinal: int


@dataclass(slots=True)
class Draft:
    """A question, and where its answer was found so far: source → spans."""

    kind: str
    lang: str
    query: str
    source: str
    key: object
    found: dict[str, list[tuple[int, int]]] = field(default_factory=dict)


def make(collection: Collection, count: int, seed: int = 1) -> list[dict[str, Json]]:
    """Rows for JSON Lines, at most `count`: fewer where the collection has no more to ask.

    The same collection and seed give the same questions. Languages, kinds and documents
    have their turns. Reads the collection twice; keeps a sample of it in memory.
    """
    if not 1 <= count <= _MOST:
        raise UsageError(f"--make {count}: from 1 to {_MOST:,} questions")
    dice = random.Random(seed)  # noqa: S311 - a sample, no secret
    frequency, total, sample = _survey(collection, dice)
    if not sample:
        raise UsageError("the collection has no text to draft questions from")
    drafts = list(_drafts(sample, frequency, total, dice))
    chosen = _in_turns(drafts, 2 * count)  # some will turn out to be everywhere
    _locate(collection, chosen)
    usable = [draft for draft in chosen if 0 < len(draft.found) <= _DOCUMENTS]
    return _rows(_in_turns(usable, count))


def _passages(collection: Collection) -> Iterator[Passage]:
    for point in collection.scroll(fields=_FIELDS):
        row = point.payload
        if row.get("text"):
            heading = tuple(row.get("heading") or ())
            place = row["start"], row["end"], row["ordinal"]
            yield Passage(row["source"], row["lang"], row["text"], heading, *place)


def _survey(collection: Collection, dice: random.Random) -> tuple[Counter[str], int, list[Passage]]:
    """In how many passages each word is, how many there are, and a sample in a fixed order.

    What the sample is does not depend on the order in which the store gives its points.
    """
    frequency: Counter[str] = Counter()
    total = 0
    salt = dice.random()
    drawn: list[tuple[float, str, int, Passage]] = []
    for passage in _passages(collection):
        total += 1
        frequency.update(phrases.words(passage.text))
        lot = random.Random(f"{salt} {passage.source} {passage.ordinal}").random()  # noqa: S311
        drawn.append((lot, passage.source, passage.ordinal, passage))
        if len(drawn) >= 2 * _SAMPLE:
            drawn = sorted(drawn, key=lambda each: each[:3])[:_SAMPLE]
    drawn = sorted(drawn, key=lambda each: each[:3])[:_SAMPLE]
    return frequency, total, [passage for *_, passage in drawn]


def _drafts(
    sample: Sequence[Passage], frequency: Mapping[str, int], total: int, dice: random.Random
) -> Iterator[Draft]:
    known = phrases.Vocabulary(frequency, total)
    asked = set()
    for passage in sample:
        for kind, query, key in (
            _of_heading(passage),
            _of_words(passage, known),
            _of_phrase(passage, known, dice),
        ):
            if query and query.casefold() not in asked:
                asked.add(query.casefold())
                yield Draft(kind, passage.lang, query, passage.source, key)


def _of_heading(passage: Passage) -> tuple[str, str, object]:
    """The last two headings; one alone says too little ("Overview")."""
    query = phrases.heading(passage.heading)
    return "heading", query, query.casefold()


def _of_words(passage: Passage, known: phrases.Vocabulary) -> tuple[str, str, object]:
    """The rare words of the first sentence, common ones between them left out."""
    chosen = known.rare(phrases.first_sentence(passage.text))
    return "words", " ".join(chosen), frozenset(chosen)


def _of_phrase(
    passage: Passage, known: phrases.Vocabulary, dice: random.Random
) -> tuple[str, str, object]:
    found = known.phrases(passage.text)
    chosen = dice.choice(found) if found else ()
    return "phrase", phrases.joined(chosen), chosen


def _in_turns(drafts: Iterable[Draft], count: int) -> list[Draft]:
    """Drafts of one language after another, in each of one kind after another.

    Of those in turn, one of the document that was asked about least.
    """
    queues: dict[str, dict[str, list[Draft]]] = {}
    for draft in drafts:
        queues.setdefault(draft.lang, {}).setdefault(draft.kind, []).append(draft)
    turns = {lang: deque(sorted(kinds, key=KINDS.index)) for lang, kinds in sorted(queues.items())}
    used: Counter[str] = Counter()
    chosen: list[Draft] = []
    while turns and len(chosen) < count:
        for lang, kinds in list(turns.items()):
            queue = queues[lang][kinds[0]]
            best = min(range(len(queue)), key=lambda index: (used[queue[index].source], index))
            chosen.append(queue.pop(best))
            used[chosen[-1].source] += 1
            kinds.rotate(-1)
            if not queue:
                kinds.pop()
            if not kinds:
                del turns[lang]
    return chosen[:count]


def _locate(collection: Collection, drafts: Sequence[Draft]) -> None:
    """Find every passage that answers a draft: one pass over the collection."""
    by_key: dict[object, list[Draft]] = {}  # of headings and phrases
    by_words: dict[str, list[tuple[frozenset[str], Draft]]] = {}
    lengths = set()
    for draft in drafts:
        if draft.kind == "words":
            words = cast(frozenset[str], draft.key)
            by_words.setdefault(min(words), []).append((words, draft))
            continue
        by_key.setdefault((draft.kind, draft.key), []).append(draft)
        if draft.kind == "phrase":
            lengths.add(len(cast(Words, draft.key)))
    for passage in _passages(collection):
        inside = phrases.words(passage.text)
        keys: set[object] = {
            ("heading", phrases.heading(pair).casefold()) for pair in pairwise(passage.heading)
        }
        keys |= {("phrase", gram) for gram in phrases.grams(passage.text, sorted(lengths))}
        hits = [draft for key in keys for draft in by_key.get(key, ())]
        hits += (d for word in inside for words, d in by_words.get(word, ()) if words <= inside)
        for draft in hits:
            draft.found.setdefault(passage.source, []).append((passage.start, passage.end))


def _rows(drafts: Sequence[Draft]) -> list[dict[str, Json]]:
    numbers: Counter[tuple[str, str]] = Counter()
    rows: list[dict[str, Json]] = []
    for draft in sorted(drafts, key=lambda each: (each.lang, KINDS.index(each.kind))):
        numbers[draft.lang, draft.kind] += 1
        relevant: list[Json] = [
            {"source": source, "start": start, "end": end}
            for source, spans in sorted(draft.found.items())
            for start, end in sorted(spans)
        ]
        rows.append(
            {
                "id": f"{draft.kind}-{draft.lang}-{numbers[draft.lang, draft.kind]:03}",
                "lang": draft.lang,
                "kind": draft.kind,
                "query": draft.query,
                "relevant": relevant,
            }
        )
    return rows


def write(rows: Iterable[Mapping[str, Json]], path: Path) -> None:
    """One question a line. Raises UsageError."""
    text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    try:
        files.replace_file(path, text.encode("utf-8", "replace"))
    except OSError as error:
        raise UsageError(f"--out {path}: cannot be written ({error})") from error
