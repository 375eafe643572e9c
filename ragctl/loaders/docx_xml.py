"""Walk WordprocessingML: blocks, descendants by tag, and values of properties."""

from collections.abc import Iterator
from typing import Any

W = "{http://schemas.openxmlformats.org/wordprocessingml/2006/main}"
_MC = "{http://schemas.openxmlformats.org/markup-compatibility/2006}"
M = "{http://schemas.openxmlformats.org/officeDocument/2006/math}"
P, TBL, TR, TC = W + "p", W + "tbl", W + "tr", W + "tc"
MATH, MATH_PARAGRAPH = M + "oMath", M + "oMathPara"
BLOCK_TAGS = frozenset({P, TBL, MATH_PARAGRAPH})
# Text that no page shows: moved away, deleted, or repeated for old programs.
HIDDEN_TAGS = frozenset({W + "moveFrom", W + "del", _MC + "Fallback", W + "instrText"})
_OFF = frozenset(("0", "false", "off"))


def find(container: Any, tags: frozenset[str], skipped: frozenset[str]) -> Iterator[Any]:
    """Yield descendants with one of `tags`, in document order; do not look inside `skipped`.

    Elements that are yielded are not searched either.
    """
    stack = [iter(container)]
    while stack:
        child = next(stack[-1], None)
        if child is None:
            stack.pop()
        elif child.tag in tags:
            yield child
        elif child.tag not in HIDDEN_TAGS and child.tag not in skipped:
            stack.append(iter(child))


def blocks(container: Any) -> Iterator[Any]:
    """Yield paragraphs, tables and equations, also those inside content controls."""
    return find(container, BLOCK_TAGS, HIDDEN_TAGS)


def value(element: Any, name: str) -> str | None:
    """Return the w:val attribute of a child element, or None."""
    child = None if element is None else element.find(W + name)
    return None if child is None else child.get(W + "val")


def number(element: Any, name: str, default: int) -> int:
    """Return the w:val attribute of a child element as a number; `default` if it is none."""
    text = (value(element, name) or "").strip()
    return int(text) if text.lstrip("-").isdecimal() and len(text) < 10 else default


def is_on(element: Any, name: str) -> bool:
    """Return whether a property that is on or off, such as w:vanish, is on."""
    child = None if element is None else element.find(W + name)
    return child is not None and child.get(W + "val") not in _OFF
