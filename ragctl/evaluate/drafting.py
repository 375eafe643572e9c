"""Draft questions from a collection, without a language model.

There are three kinds, all known-item questions: a heading with the one above it; the rare words of
a passage's first sentence, in order; a phrase that few documents contain. Each question names all
documents that contain it. `DO_NOT_SHOW` says what such questions cannot measure.
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
from ragctl.collection.ownership import wrong_keys
from ragctl.collection.payload import PayloadKey
from ragctl.errors import OptionError, UsageError
from ragctl.evaluate import phrases
from ragctl.evaluate.phrases import Words
from ragctl.records import Json
from ragctl.stores.base import Collection

KINDS = ("heading", "words", "phrase")
SHOW = (
    "These questions consist of the documents' own words. They show whether documents are found by "
    "their words at all, whether a change lost some, and what a smaller dimension or a "
    "quantisation costs compared with the whole vectors."
)
DO_NOT_SHOW = (
    "They do not show how well questions in other words are answered: they favour BM25 and lexical "
    "models, so they cannot compare hybrid with dense search, or one model with another. For that, "
    "write questions as people ask them."
)

SAMPLE_PASSAGES = 4_000  # from which questions are drafted
MAX_QUESTIONS = 2_000
MAX_ANSWERING_DOCUMENTS = 5  # of one question; with more it is too vague
PAYLOAD_FIELDS: tuple[PayloadKey, ...] = (
    "source",
    "lang",
    "text",
    "heading",
    "start",
    "end",
    "ordinal",
)


@dataclass(frozen=True, slots=True)
class Passage:
    """The parts of a chunk that questions are drafted from."""

    source: str
    lang: str
    text: str
    heading: tuple[str, ...]
    start: int
    end: int
    ordinal: int


@dataclass(slots=True)
class Draft:
    """A drafted question. `found`: spans of the passages that contain its answer, by source.

    `key`: what a passage must contain: a heading, a set of words or a phrase.
    """

    kind: str
    lang: str
    query: str
    source: str
    key: object
    found: dict[str, list[tuple[int, int]]] = field(default_factory=dict)


def draft_questions(collection: Collection, count: int, seed: int = 1) -> list[dict[str, Json]]:
    """Return at most `count` rows for JSON Lines; fewer if the collection has no more.

    The same collection and seed give the same questions. Languages, kinds and documents alternate.
    Reads the collection twice and keeps a sample of it in memory. Raises UsageError.
    """
    if not 1 <= count <= MAX_QUESTIONS:
        raise OptionError("make", f"{count} is not a whole number from 1 to {MAX_QUESTIONS:,}")
    dice = random.Random(seed)  # noqa: S311 - a sample, not a secret
    frequency, total, sample = _survey(collection, dice)
    if not sample:
        raise UsageError("the collection has no text to draft questions from")
    drafts = list(_drafts(sample, frequency, total, dice))
    chosen = _alternate(drafts, 2 * count)  # some will be in too many documents
    _locate(collection, chosen)
    usable = [draft for draft in chosen if 0 < len(draft.found) <= MAX_ANSWERING_DOCUMENTS]
    return _rows(_alternate(usable, count))


def _read_passages(collection: Collection) -> Iterator[Passage]:
    for point in collection.scroll(fields=PAYLOAD_FIELDS):
        row = point.payload
        if row.get("text") and not wrong_keys(row, PAYLOAD_FIELDS):
            heading = tuple(row["heading"])
            position = row["start"], row["end"], row["ordinal"]
            yield Passage(row["source"], row["lang"], row["text"], heading, *position)


def _survey(collection: Collection, dice: random.Random) -> tuple[Counter[str], int, list[Passage]]:
    """Return the number of passages with each word, the number of passages, and a sample.

    The sample and its order do not depend on the order in which the store returns points.
    """
    frequency: Counter[str] = Counter()
    total = 0
    salt = dice.random()
    drawn: list[tuple[float, str, int, Passage]] = []
    for passage in _read_passages(collection):
        total += 1
        frequency.update(phrases.words(passage.text))
        lot = random.Random(f"{salt} {passage.source} {passage.ordinal}").random()  # noqa: S311
        drawn.append((lot, passage.source, passage.ordinal, passage))
        if len(drawn) >= 2 * SAMPLE_PASSAGES:
            drawn = sorted(drawn, key=lambda each: each[:3])[:SAMPLE_PASSAGES]
    drawn = sorted(drawn, key=lambda each: each[:3])[:SAMPLE_PASSAGES]
    return frequency, total, [passage for *_, passage in drawn]


def _drafts(
    sample: Sequence[Passage], frequency: Mapping[str, int], total: int, dice: random.Random
) -> Iterator[Draft]:
    vocabulary = phrases.Vocabulary(frequency, total)
    used = set()
    for passage in sample:
        for kind, query, key in (
            _heading_draft(passage),
            _words_draft(passage, vocabulary),
            _phrase_draft(passage, vocabulary, dice),
        ):
            if query and query.casefold() not in used:
                used.add(query.casefold())
                yield Draft(kind, passage.lang, query, passage.source, key)


def _heading_draft(passage: Passage) -> tuple[str, str, object]:
    """Return kind, question and key: the last two headings; one ("Overview") is too vague."""
    query = phrases.heading_question(passage.heading)
    return "heading", query, query.casefold()


def _words_draft(passage: Passage, vocabulary: phrases.Vocabulary) -> tuple[str, str, object]:
    """Return kind, question and key: the rare words of the first sentence, without the others."""
    chosen = vocabulary.rare(phrases.first_sentence(passage.text))
    return "words", " ".join(chosen), frozenset(chosen)


def _phrase_draft(
    passage: Passage, vocabulary: phrases.Vocabulary, dice: random.Random
) -> tuple[str, str, object]:
    """Return kind, question and key: one of the rare phrases."""
    candidates = vocabulary.phrases(passage.text)
    chosen = dice.choice(candidates) if candidates else ()
    return "phrase", phrases.join_units(chosen), chosen


def _alternate(drafts: Iterable[Draft], count: int) -> list[Draft]:
    """Return `count` drafts, alternating between languages, and between kinds in each.

    Of the candidates for a turn, a draft of the least used document is taken.
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
    """Find every passage that answers a draft, in one pass over the collection."""
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
    for passage in _read_passages(collection):
        inside = phrases.words(passage.text)
        keys: set[object] = {
            ("heading", phrases.heading_question(pair).casefold())
            for pair in pairwise(passage.heading)
        }
        keys |= {("phrase", gram) for gram in phrases.ngrams(passage.text, sorted(lengths))}
        hits = [draft for key in keys for draft in by_key.get(key, ())]
        hits += (d for word in inside for words, d in by_words.get(word, ()) if words <= inside)
        for draft in hits:
            draft.found.setdefault(passage.source, []).append((passage.start, passage.end))


def _rows(drafts: Sequence[Draft]) -> list[dict[str, Json]]:
    """Return the rows of JSON Lines, ordered by language and kind."""
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


def write_questions(rows: Iterable[Mapping[str, Json]], path: Path) -> None:
    """Write one question a line. Raises UsageError."""
    text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    try:
        files.replace_file(path, text.encode("utf-8", "replace"))
    except OSError as error:
        raise OptionError("out", f"{path} cannot be written ({error})") from error
