"""The headings of a Markdown text, in one pass over its lines.

Follows CommonMark 0.31 for what decides headings: fences, HTML blocks, indented code, lists,
quotes and lazy continuation. Only headings of the document itself count, not those inside list
items or quotes: they do not divide it.
"""

import re

from ragctl.records import Heading
from ragctl.text import collapse_whitespace

_ATX = re.compile(r"(#{1,6})(?:[ \t]+|$)")
_SETEXT = re.compile(r"(=+|-+)[ \t]*$")
_FENCE = re.compile(r"`{3,}(?=[^`]*$)|~{3,}")
_RULE = re.compile(r"([-*_])[ \t]*(?:\1[ \t]*){2,}$")
_ITEM = re.compile(r"(?:[-+*]|(\d{1,9})[.)])(?=[ \t]|$)")
_REFERENCE = re.compile(
    r"\[(?:[^\[\]\\]|\\.)+\]:[ \t]*(?:<[^<>]*>|\S+)"
    r"(?:[ \t]+(?:\"[^\"]*\"|'[^']*'|\([^()]*\)))?[ \t]*$"
)
# Section 4.6: how an HTML block begins and what its last line holds (None: a blank line follows).
_HTML_BLOCKS: tuple[tuple[re.Pattern[str], re.Pattern[str] | None], ...] = (
    (
        re.compile(r"<(?:script|pre|style|textarea)(?=[\s>]|$)", re.IGNORECASE),
        re.compile(r"</(?:script|pre|style|textarea)>", re.IGNORECASE),
    ),
    (re.compile(r"<!--"), re.compile(r"-->")),
    (re.compile(r"<\?"), re.compile(r"\?>")),
    (re.compile(r"<!\[CDATA\["), re.compile(r"\]\]>")),
    (re.compile(r"<![A-Za-z]"), re.compile(r">")),
    (
        re.compile(
            r"</?(?:address|article|aside|base|basefont|blockquote|body|caption|center|col|"
            r"colgroup|dd|details|dialog|dir|div|dl|dt|fieldset|figcaption|figure|footer|form|"
            r"frame|frameset|h[1-6]|head|header|hr|html|iframe|legend|li|link|main|menu|menuitem|"
            r"nav|noframes|ol|optgroup|option|p|param|search|section|summary|table|tbody|td|"
            r"tfoot|th|thead|title|tr|track|ul)(?=[\s>]|/>|$)",
            re.IGNORECASE,
        ),
        None,
    ),
)
_HTML_ALONE = re.compile(  # cannot interrupt a paragraph
    r"(?:<[a-zA-Z][a-zA-Z0-9-]*"
    r"(?:\s+[a-zA-Z_:][\w:.-]*(?:\s*=\s*(?:\"[^\"]*\"|'[^']*'|[^\s\"'=<>`]+))?)*\s*/?>"
    r"|</[a-zA-Z][a-zA-Z0-9-]*\s*>)[ \t]*$"
)
_MARKUP = (
    (re.compile(r"!?\[([^\[\]]*)\]\([^()]*(?:\([^()]*\)[^()]*)*\)"), r"\1"),
    (re.compile(r"!?\[([^\[\]]*)\]\[[^\[\]]*\]"), r"\1"),
    (re.compile(r"<(?:/?[a-zA-Z][^<>]*|!--.*?--)>"), ""),
    (re.compile(r"(?<!\\)(\*{1,3}|(?<!\w)_{1,3}|~~)(?=\S)(.+?)(?<=[^\s\\])\1(?!\w)"), r"\2"),
    (re.compile(r"\s*\{[#.:][^{}]*\}$"), ""),
    (re.compile(r"\\([!-/:-@\[-`{-~])"), r"\1"),
)
_LONGEST_TITLE = 1_000  # characters looked at; patterns are slow on hostile lines
_LONGEST_TAG = 2_000
_DEEPEST = 100  # nested lists
_CODE = re.compile(r"(?<!`)(`+)(?!`)(.+?)(?<!`)\1(?!`)")


def find_headings(text: str, start: int = 0) -> list[Heading]:
    """The headings with text, by offset. `start` is where the Markdown begins (front matter)."""
    scan = _Scan(text)
    while start <= len(text):
        end = text.find("\n", start)
        end = len(text) if end < 0 else end
        scan.line(text[start:end], start)
        start = scan.next_line(end + 1)
    return scan.headings


def plain_title(marked: str) -> str:
    """A heading's words without their inline markup."""
    marked = marked[:_LONGEST_TITLE]
    parts: list[str] = []
    end = 0
    for code in _CODE.finditer(marked):
        parts += [_unmark(marked[end : code.start()]), code[2].strip()]
        end = code.end()
    parts.append(_unmark(marked[end:]))
    return collapse_whitespace("".join(parts))


def _without_closing(title: str) -> str:
    """An ATX heading's title without the `#`s that may close it."""
    title = title.rstrip()
    opened = title.rstrip("#")
    return opened.rstrip() if not opened or opened[-1] in " \t" else title


def _unmark(marked: str) -> str:
    for pattern, replacement in _MARKUP:
        marked = pattern.sub(replacement, marked)
    return marked


class _Scan:
    """What block the scan is in, as the lines go by."""

    def __init__(self, text: str) -> None:
        self.headings: list[Heading] = []
        self._text = text
        self._items: list[int] = []  # content columns of the open list items, outermost first
        self._fence = ""
        self._html = False
        self._html_end: re.Pattern[str] | None = None
        self._paragraph = -1  # where the open paragraph began
        self._lazy = False  # the open paragraph is inside a quote
        self._quote_fence = False

    def next_line(self, start: int) -> int:
        """Where the next line begins, from that at `start` on, that can change anything."""
        if self._items or start > len(self._text):
            return start
        if self._fence:
            closing = self._text.find(self._fence, start)
            return len(self._text) + 1 if closing < 0 else self._text.rfind("\n", 0, closing) + 1
        if self._paragraph >= 0:  # a line that begins with a letter carries it on
            while self._text[start : start + 1].isalpha():
                start = self._text.find("\n", start) + 1 or len(self._text) + 1
        return start

    def line(self, line: str, start: int) -> None:
        rest = line.lstrip(" \t")
        if not rest:
            self._paragraph = -1
            self._quote_fence = False
            if self._html and self._html_end is None:
                self._html = False
            return
        lead = line[: len(line) - len(rest)]
        column = len(lead.expandtabs(4)) if "\t" in lead else len(lead)
        depth = len(self._items)
        while depth and column < self._items[depth - 1]:
            depth -= 1
        if depth < len(self._items) and not self._leave(rest, column, depth):
            return
        if rest[0] != ">":
            self._quote_fence = False
        if self._fence:
            if self._closes_fence(rest):
                self._fence = ""
        elif self._html:
            self._html = self._html_end is None or not self._html_end.search(rest)
        else:
            self._block(rest, column, start)

    def _leave(self, rest: str, column: int, depth: int) -> bool:
        """A line left of the open items: they end, unless it carries their paragraph on."""
        indent = column - (self._items[depth - 1] if depth else 0)
        if self._paragraph >= 0 and (indent >= 4 or not self._starts_block(rest)):
            return False
        del self._items[depth:]
        self._fence = ""
        self._html = False
        self._paragraph = -1
        return True

    def _starts_block(self, rest: str) -> bool:
        """Whether a line may interrupt a paragraph."""
        first = rest[0]
        if first == "#":
            return _ATX.match(rest) is not None
        if first == ">":
            return True
        if first in "`~" and _FENCE.match(rest):
            return True
        if first in "-*_" and _RULE.match(rest):
            return True
        if first == "<":
            return any(begin.match(rest) for begin, _ in _HTML_BLOCKS)
        return self._starts_item(rest) is not None

    def _starts_item(self, rest: str) -> re.Match[str] | None:
        item = _ITEM.match(rest)
        if item is None or len(self._items) >= _DEEPEST:
            return None
        if self._paragraph >= 0 and not self._items:
            empty = not rest[item.end() :].strip()
            if empty or (item[1] is not None and int(item[1]) != 1):
                return None
        return item

    def _closes_fence(self, rest: str) -> bool:
        bare = rest.rstrip()
        return len(bare) >= len(self._fence) and not bare.strip(self._fence[0])

    def _block(self, rest: str, column: int, start: int) -> None:
        """One line outside fences and HTML blocks; `column` is that of its first character."""
        while True:
            inner = self._items[-1] if self._items else 0
            if column - inner >= 4:
                return  # indented code, or a paragraph going on
            if self._paragraph >= 0 and not self._lazy and (under := _SETEXT.match(rest)):
                level = 1 if under[1][0] == "=" else 2
                self._heading(self._paragraph, level, self._text[self._paragraph : start])
                self._paragraph = -1
                return
            if not rest[0].isalnum() and self._special(rest, start):
                return
            item = self._starts_item(rest)
            if item is None:
                self._text_line(rest, start)
                return
            rest, column = self._enter(rest, column, item)
            if not rest:
                return

    def _enter(self, rest: str, column: int, item: re.Match[str]) -> tuple[str, int]:
        """Opens a list item; returns what its first line holds, and where."""
        self._paragraph = -1
        after = rest[item.end() :].expandtabs(4)
        content = after.lstrip(" ")
        spaces = len(after) - len(content)
        marker_end = column + item.end()
        self._items.append(marker_end + (spaces if 1 <= spaces <= 4 and content else 1))
        return content, marker_end + spaces

    def _special(self, rest: str, start: int) -> bool:
        """Blocks of one line, and the first lines of fences, HTML blocks and quotes."""
        first = rest[0]
        if first == "#" and (atx := _ATX.match(rest)):
            self._paragraph = -1
            self._heading(start, len(atx[1]), _without_closing(rest[atx.end() :]))
            return True
        if first in "-*_" and _RULE.match(rest):
            self._paragraph = -1
            return True
        if first in "`~" and (fence := _FENCE.match(rest)):
            self._paragraph = -1
            self._fence = fence[0]
            return True
        if first == ">":
            self._quote(rest, start)
            return True
        if first == "<":
            return self._starts_html(rest)
        return first == "[" and self._paragraph < 0 and _REFERENCE.match(rest) is not None

    def _quote(self, rest: str, start: int) -> None:
        inner = rest.lstrip("> \t")
        if _FENCE.match(inner):
            self._quote_fence = not self._quote_fence
            self._paragraph = -1
        elif not inner or self._quote_fence or inner[0] == "#" or _RULE.match(inner):
            self._paragraph = -1
        else:
            self._paragraph, self._lazy = start, True

    def _starts_html(self, rest: str) -> bool:
        for begin, end in _HTML_BLOCKS:
            if begin.match(rest):
                self._paragraph = -1
                self._html = end is None or not end.search(rest)
                self._html_end = end
                return True
        if self._paragraph < 0 and len(rest) <= _LONGEST_TAG and _HTML_ALONE.match(rest):
            self._html, self._html_end = True, None
            return True
        return False

    def _text_line(self, rest: str, start: int) -> None:
        if self._paragraph < 0:
            self._paragraph, self._lazy = start, False

    def _heading(self, start: int, level: int, marked: str) -> None:
        if not self._items and (title := plain_title(marked)):
            self.headings.append(Heading(start, level, title))
