"""Words and phrases of a text, for drafting questions.

A unit is a word, or one character of Chinese, Japanese or Korean, where words are not separated.
So these languages have no rare words, only clauses.
"""

import re
from collections.abc import Iterator, Mapping, Sequence

Words = tuple[str, ...]

_IDEOGRAPH = r"\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af"
_UNIT = re.compile(rf"[{_IDEOGRAPH}]|[^\W_{_IDEOGRAPH}]+")
_IDEOGRAPHS = re.compile(rf"[{_IDEOGRAPH}]+")
_CLAUSE = re.compile(r"[^\w\s]+|[\r\n]+|_")
_SENTENCE = re.compile(r"(?<=[.!?])\s+|(?<=[。！？])")
_NUMBERING = re.compile(r"^[\d.)\s§-]+")
_NO_PROSE = ("#", "|", "=", "```", "<")

MAX_RARE_SHARE = 0.05  # share of the passages that may contain a rare word
MIN_RARE_PASSAGES = 3  # a word in at most this many passages is always rare
MAX_WORD_CHARS = 30
PHRASE_WORDS = (3, 4)
CLAUSE_IDEOGRAPHS = (4, 10)  # from, to
RARE_WORDS = (3, 5)  # of a sentence: from, to


def units(text: str) -> list[str]:
    """Return the words and ideographs of a text, in lower case."""
    return _UNIT.findall(text.casefold())


def clauses(text: str) -> Iterator[Words]:
    """Yield the units between punctuation marks and line ends."""
    for clause in _CLAUSE.split(text):
        found = units(clause)
        if found:
            yield tuple(found)


def words(text: str) -> set[str]:
    """Return the words of a text, without ideographs."""
    return {unit for unit in units(text) if not _IDEOGRAPHS.fullmatch(unit)}


def ngrams(text: str, lengths: Sequence[int]) -> set[Words]:
    """Return every run of units of these lengths within a clause."""
    return {
        clause[start : start + length]
        for clause in clauses(text)
        for length in lengths
        for start in range(len(clause) - length + 1)
    }


def join_units(chosen: Sequence[str]) -> str:
    """Return units as text: ideographs without spaces between them."""
    text = " ".join(chosen)
    return re.sub(rf"(?<=[{_IDEOGRAPH}]) (?=[{_IDEOGRAPH}])", "", text)


def heading_question(path: Sequence[str]) -> str:
    """Return a heading with the one above it as a question; "" if they are too short."""
    last = [_NUMBERING.sub("", title).strip() for title in path[-2:]]
    query = " ".join(dict.fromkeys(title for title in last if title))
    return query if len(last) > 1 and len(units(query)) >= PHRASE_WORDS[0] else ""


def first_sentence(text: str) -> str:
    """Return the first sentence of running text; "" if a passage has none."""
    for line in text.splitlines():
        if line.lstrip().startswith(_NO_PROSE):
            continue
        for sentence in _SENTENCE.split(line.strip()):
            if len(units(sentence)) >= 2 * PHRASE_WORDS[0]:
                return sentence
    return ""


class Vocabulary:
    """The words of a collection, with the number of passages that contain each."""

    def __init__(self, frequency: Mapping[str, int], passages: int) -> None:
        self._frequency = frequency
        self._max_passages = max(MIN_RARE_PASSAGES, int(MAX_RARE_SHARE * passages))

    def is_rare(self, word: str) -> bool:
        """Return whether few passages contain a word."""
        passages = self._frequency.get(word, 0)
        return 2 <= len(word) <= MAX_WORD_CHARS and 0 < passages <= self._max_passages

    def rare(self, sentence: str) -> Words:
        """Return the rarest words of a sentence, in order; () if it has too few."""
        ordered = [word for word in dict.fromkeys(units(sentence)) if self.is_rare(word)]
        least, most = RARE_WORDS
        by_rarity = sorted(ordered, key=lambda word: (self._frequency.get(word, 0), word))
        kept = set(by_rarity[:most])
        return tuple(w for w in ordered if w in kept) if len(kept) >= least else ()

    def phrases(self, text: str) -> list[Words]:
        """Return runs of words with a rare one at both ends; of ideographs, whole clauses."""
        runs: dict[Words, None] = {}
        for clause in clauses(text):
            least, most = CLAUSE_IDEOGRAPHS
            if _IDEOGRAPHS.fullmatch("".join(clause)):
                if least <= len(clause) <= most:
                    runs[clause] = None
                continue
            for length in PHRASE_WORDS:
                for start in range(len(clause) - length + 1):
                    run = clause[start : start + length]
                    if self.is_rare(run[0]) and self.is_rare(run[-1]) and _has_letters(run):
                        runs[run] = None
        return list(runs)


def _has_letters(run: Words) -> bool:
    return sum(unit.isalpha() for unit in run) >= 2
