"""Superscripts and subscripts as plain text: m², 10^6, CO2, x_i, note [1]."""

import re

_SQUARE_CUBE = {"2": "²", "3": "³"}
_NUMBER = re.compile(r"[-+−]?\d+")
_NOTE_LIKE = re.compile(r"\d{1,3}(?:\s*,\s*\d{1,3})*")
_LONG_WORD = re.compile(r"[^\W\d_]{4,}$")  # no unit or variable


def superscript(before: str, text: str, note: bool = False) -> str:
    """Return a superscript as it follows `before`. `note`: it is known to be the mark of a note."""
    text = " ".join(text.split())
    if not text:
        return ""
    if note or (_NOTE_LIKE.fullmatch(text) and (_LONG_WORD.search(before) or _ends(before))):
        mark = text.strip("[]()")
        return f"[{mark}]" if mark.replace(",", "").replace(" ", "").isdecimal() else text
    if text in _SQUARE_CUBE and before[-1:].isalpha():
        return _SQUARE_CUBE[text]
    if before[-1:].isalnum() or before[-1:] in (")", "]", "}"):
        if _NUMBER.fullmatch(text):
            return f"^{text}"
        if not text.isalpha() and not text.startswith("["):  # an expression, not "st" or "®"
            return f"^({text})" if any(c.isalnum() for c in text) else text
        if len(text) == 1 and _is_variable(before):
            return f"^{text}"
    return text


def subscript(before: str, text: str) -> str:
    """Return a subscript as it follows `before`: digits as they are, other text after "_"."""
    text = " ".join(text.split())
    if not text or not before[-1:].isalnum():
        return text
    word = re.search(r"[^\W\d_]*$", before)
    if re.fullmatch(r"[\d.]+", text) and word is not None and 0 < len(word[0]) < 3:
        return text
    return f"_{text}" if re.fullmatch(r"\w+", text) else f"_({text})"


def _ends(before: str) -> bool:
    """Return whether a sentence or quotation ends here."""
    return before[-1:] in tuple(".,;:!?\"'”’»")


def _is_variable(before: str) -> bool:
    return re.search(r"(?:^|\W)[^\W\d_]$", before) is not None
