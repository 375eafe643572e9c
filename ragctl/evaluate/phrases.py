"""Words and phrases of a text, for questions drafted from it.

A unit is a word, or one character of Chinese, Japanese or Korean, where nothing says
where a word ends: so those have no rare words, only clauses.
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

_COMMON = 0.05  # of passages that have a word: too many for it to tell anything
_LONGEST = 30  # characters of what is a word
_PHRASE = (3, 4)  # words
_CLAUSE_LENGTH = (4, 10)  # ideographs
_KEPT = (3, 5)  # rare words of a sentence


def units(text: str) -> list[str]:
    return _UNIT.findall(text.casefold())


def clauses(text: str) -> Iterator[Words]:
    """The units between punctuation marks and line ends."""
    for clause in _CLAUSE.split(text):
        found = units(clause)
        if found:
            yield tuple(found)


def words(text: str) -> set[str]:
    """What is counted: units but ideographs."""
    return {unit for unit in units(text) if not _IDEOGRAPHS.fullmatch(unit)}


def grams(text: str, lengths: Sequence[int]) -> set[Words]:
    """Every run of as many units that no mark parts."""
    return {
        clause[start : start + length]
        for clause in clauses(text)
        for length in lengths
        for start in range(len(clause) - length + 1)
    }


def joined(chosen: Sequence[str]) -> str:
    """Units as they are written: ideographs without spaces between."""
    text = " ".join(chosen)
    return re.sub(rf"(?<=[{_IDEOGRAPH}]) (?=[{_IDEOGRAPH}])", "", text)


def heading(path: Sequence[str]) -> str:
    """A heading with the one above it as a question; "" where they say too little."""
    last = [_NUMBERING.sub("", title).strip() for title in path[-2:]]
    query = " ".join(dict.fromkeys(title for title in last if title))
    return query if len(last) > 1 and len(units(query)) >= _PHRASE[0] else ""


def first_sentence(text: str) -> str:
    """The first sentence of running text; "" where a passage has none."""
    for line in text.splitlines():
        if line.lstrip().startswith(_NO_PROSE):
            continue
        for sentence in _SENTENCE.split(line.strip()):
            if len(units(sentence)) >= 2 * _PHRASE[0]:
                return sentence
    return ""


class Vocabulary:
    """How many of a collection's passages have each word."""

    def __init__(self, frequency: Mapping[str, int], passages: int) -> None:
        self._frequency = frequency
        self._common = max(3, int(_COMMON * passages))

    def is_rare(self, word: str) -> bool:
        return 2 <= len(word) <= _LONGEST and 0 < self._frequency.get(word, 0) <= self._common

    def rare(self, sentence: str) -> Words:
        """The rarest words of a sentence in their order; () where it has too few."""
        ordered = [word for word in dict.fromkeys(units(sentence)) if self.is_rare(word)]
        least, most = _KEPT
        by_rarity = sorted(ordered, key=lambda word: (self._frequency.get(word, 0), word))
        kept = set(by_rarity[:most])
        return tuple(w for w in ordered if w in kept) if len(kept) >= least else ()

    def phrases(self, text: str) -> list[Words]:
        """Runs of words that begin and end with a rare one; of ideographs, whole clauses."""
        found: dict[Words, None] = {}
        for clause in clauses(text):
            least, most = _CLAUSE_LENGTH
            if _IDEOGRAPHS.fullmatch("".join(clause)):
                if least <= len(clause) <= most:
                    found[clause] = None
                continue
            for length in _PHRASE:
                for start in range(len(clause) - length + 1):
                    run = clause[start : start + length]
                    if self.is_rare(run[0]) and self.is_rare(run[-1]) and _has_letters(run):
                        found[run] = None
        return list(found)


def _has_letters(run: Words) -> bool:
    return sum(unit.isalpha() for unit in run) >= 2
