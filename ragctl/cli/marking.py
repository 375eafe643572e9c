"""Find the words of a question in a passage: to highlight them, and to choose an excerpt."""

import re
from bisect import bisect_left
from collections import Counter
from collections.abc import Sequence

from ragctl.cli.wrap import Span

_WORD = re.compile(r"[^\W_]+")
_UNSPACED = re.compile("[\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff\U00020000-\U0003fffd]")
MIN_STEM_CHARS = 4  # leading characters that two words must share to match


def matching_spans(text: str, question: str) -> list[Span]:
    """Return where words of `question` occur in `text`: ascending, not touching.

    Longer words match without their last two letters, to cover inflection in Russian, German and
    English; Chinese and Japanese match by pairs of characters.
    """
    patterns: set[str] = set()
    for word in _WORD.findall(question.casefold()):
        if _UNSPACED.search(word):
            pairs = [word[i : i + 2] for i in range(len(word) - 1)] or [word]
            patterns.update(re.escape(pair) for pair in pairs)
        elif len(word) > MIN_STEM_CHARS:
            stem = word[: max(MIN_STEM_CHARS, len(word) - 2)]
            patterns.add(rf"\b{re.escape(stem)}\w*")
        elif len(word) > 2 or word.isdigit():
            patterns.add(rf"\b{re.escape(word)}\b")
    if not patterns:
        return []
    any_word = re.compile("|".join(sorted(patterns, key=len, reverse=True)), re.IGNORECASE)
    spans: list[Span] = []
    for match in any_word.finditer(text):
        start, end = match.span()
        if spans and start <= spans[-1][1]:
            spans[-1] = (spans[-1][0], end)
        else:
            spans.append((start, end))
    return spans


def best_lines(text: str, lines: Sequence[Span], question: str, count: int) -> range:
    """Return which `count` successive lines of a text match the question best.

    Different words count more than repeated ones, long words more than short ones, and rare words
    more than those all over the text. The matching lines are in the middle.
    """
    rest = len(lines) - count
    spans = matching_spans(text, question) if rest > 0 else []
    if not spans:
        return range(min(count, len(lines)))
    stems = [max(MIN_STEM_CHARS, end - start - 2) for start, end in spans]
    words = [text[at : at + stem].casefold() for (at, _), stem in zip(spans, stems, strict=True)]
    weights = {word: len(word) / number for word, number in Counter(words).items()}
    rows = list(zip(_rows_of(spans, lines), words, strict=True))
    best, best_weight = range(0), 0.0
    for row in sorted({first for (first, _), _ in rows}):
        near = rows[bisect_left(rows, ((row, 0), "")) : bisect_left(rows, ((row + count, 0), ""))]
        within = [(last, word) for (_, last), word in near if last < row + count]
        weight = sum(weights[word] for word in {word for _, word in within})
        if weight > best_weight:
            best, best_weight = range(row, max(last for last, _ in within) + 1), weight
    start = min(rest, max(0, best.start - (count - len(best)) // 2))
    return range(start, start + count)


def _rows_of(spans: Sequence[Span], lines: Sequence[Span]) -> list[Span]:
    """Return the first and last line of each span. Both are ascending."""
    rows, row = [], 0
    for start, end in spans:
        while lines[row][1] <= start:
            row += 1
        last = row
        while lines[last][1] < end:
            last += 1
        rows.append((row, last))
    return rows
