"""Finding the query's words in a passage, for marking and for choosing what to show."""

import re

_WORD = re.compile(r"[^\W_]+")
_UNSPACED = re.compile(r"[\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff]")
_STEM = 4  # letters that a longer word must share, less its ending


def spans(text: str, query: str) -> list[tuple[int, int]]:
    """Where words of `query` stand in `text`, other endings included; rising, not touching.

    A longer word matches by its beginning, which serves inflection in Russian,
    German and English; Chinese and Japanese match by pairs of characters.
    """
    patterns: set[str] = set()
    for word in _WORD.findall(query.casefold()):
        if _UNSPACED.search(word):
            pairs = [word[i : i + 2] for i in range(len(word) - 1)] or [word]
            patterns.update(re.escape(pair) for pair in pairs)
        elif len(word) > _STEM:
            patterns.add(rf"\b{re.escape(word[: max(_STEM, len(word) - 2)])}\w*")
        elif len(word) > 2 or word.isdigit():
            patterns.add(rf"\b{re.escape(word)}\b")
    if not patterns:
        return []
    found = re.compile("|".join(sorted(patterns, key=len, reverse=True)), re.IGNORECASE)
    merged: list[tuple[int, int]] = []
    for match in found.finditer(text):
        start, end = match.span()
        if merged and start <= merged[-1][1]:
            merged[-1] = (merged[-1][0], end)
        else:
            merged.append((start, end))
    return merged


def excerpt(text: str, query: str, width: int) -> str:
    """About `width` characters of `text`, where most of the query's words stand."""
    if len(text) <= width:
        return text
    marks = [start for start, _ in spans(text, query)]
    best = max(marks, key=lambda at: sum(at <= m < at + width for m in marks), default=0)
    start = max(0, min(best - width // 6, len(text) - width))
    if start:
        space = text.find(" ", start, start + 30)
        start = space + 1 if space >= 0 else start
    end = min(len(text), start + width)
    if end < len(text):
        space = text.rfind(" ", end - 30, end)
        end = space if space >= 0 else end
    return ("… " if start else "") + text[start:end].strip() + (" …" if end < len(text) else "")
