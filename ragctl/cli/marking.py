"""Find the words of a question in a passage, to highlight them and to choose an excerpt."""

import re

_WORD = re.compile(r"[^\W_]+")
_UNSPACED = re.compile(r"[\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff]")  # kana and ideographs
MIN_STEM_CHARS = 4  # leading characters that two words must share to match


def matching_spans(text: str, question: str) -> list[tuple[int, int]]:
    """Return where words of `question` occur in `text`: ascending (start, end), not touching.

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
    spans: list[tuple[int, int]] = []
    for match in any_word.finditer(text):
        start, end = match.span()
        if spans and start <= spans[-1][1]:
            spans[-1] = (spans[-1][0], end)
        else:
            spans.append((start, end))
    return spans


def excerpt(text: str, question: str, width: int) -> str:
    """Return about `width` characters of `text`, from where most words of the question occur."""
    if len(text) <= width:
        return text
    starts = [start for start, _ in matching_spans(text, question)]
    best = max(starts, key=lambda at: sum(at <= s < at + width for s in starts), default=0)
    start = max(0, min(best - width // 6, len(text) - width))
    if start:
        space = text.find(" ", start, start + 30)
        start = space + 1 if space >= 0 else start
    end = min(len(text), start + width)
    if end < len(text):
        space = text.rfind(" ", end - 30, end)
        end = space if space >= 0 else end
    return ("… " if start else "") + text[start:end].strip() + (" …" if end < len(text) else "")
