"""The headings of a Markdown text, found in one pass over its lines.

This follows CommonMark 0.31 in everything that decides headings: fences, HTML blocks, indented
code, lists, quotes and lazy continuation. Headings inside list items and quotes are left out, since
they do not divide the document.
"""

import html
import re

from ragctl.records import Heading
from ragctl.text import collapse_whitespace

_ATX = re.compile(r"(#{1,6})(?:[ \t]+|$)")
_SETEXT = re.compile(r"(=+|-+)[ \t]*$")
_FENCE = re.compile(r"`{3,}(?=[^`]*$)|~{3,}")
_THEMATIC_BREAK = re.compile(r"([-*_])[ \t]*(?:\1[ \t]*){2,}$")
_ITEM = re.compile(r"(?:[-+*]|(\d{1,9})[.)])(?=[ \t]|$)")
_REFERENCE = re.compile(
    r"\[(?:[^\[\]\\]|\\.)+\]:[ \t]*(?:<[^<>]*>|\S+)"
    r"(?:[ \t]+(?:\"[^\"]*\"|'[^']*'|\([^()]*\)))?[ \t]*$"
)
# CommonMark, section 4.6: begin and end of HTML blocks (end None: at a blank line).
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
_HTML_HEADING = re.compile(r"<h([1-6])(?:\s[^<>]{0,1000})?>(.*?)(?:</h\1\s*>|$)", re.IGNORECASE)
_HTML_TAG_ALONE = (
    re.compile(  # start condition 7 of section 4.6, which cannot interrupt a paragraph
        r"(?:<[a-zA-Z][a-zA-Z0-9-]*"
        r"(?:\s+[a-zA-Z_:][\w:.-]*(?:\s*=\s*(?:\"[^\"]*\"|'[^']*'|[^\s\"'=<>`]+))?)*\s*/?>"
        r"|</[a-zA-Z][a-zA-Z0-9-]*\s*>)[ \t]*$"
    )
)
_INLINE_MARKUP = (
    (re.compile(r"!?\[([^\[\]]*)\]\([^()]*(?:\([^()]*\)[^()]*)*\)"), r"\1"),
    (re.compile(r"!?\[([^\[\]]*)\]\[[^\[\]]*\]"), r"\1"),
    (re.compile(r"<(?:/?[a-zA-Z][^<>]*|!--.*?--)>"), ""),
    (re.compile(r"(?<!\\)(\*{1,3}|(?<!\w)_{1,3}|~~)(?=\S)(.+?)(?<=[^\s\\])\1(?!\w)"), r"\2"),
    (re.compile(r"\s*\{[#.:][^{}]*\}$"), ""),
    (re.compile(r"\\([!-/:-@\[-`{-~])"), r"\1"),
)
MAX_TITLE_CHARACTERS = 1_000  # the patterns are slow on hostile lines
MAX_TAG_CHARACTERS = 2_000
MAX_LIST_DEPTH = 100
_CODE_SPAN = re.compile(r"(?<!`)(`+)(?!`)(.+?)(?<!`)\1(?!`)")


def find_headings(text: str, start: int = 0) -> list[Heading]:
    """Return the headings that have text, in order of offset.

    `start` is the offset at which the Markdown begins: the end of the front matter.
    """
    scanner = HeadingScanner(text)
    while start <= len(text):
        end = text.find("\n", start)
        end = len(text) if end < 0 else end
        scanner.scan_line(text[start:end], start)
        start = scanner.next_line(end + 1)
    return scanner.headings


def plain_title(marked: str) -> str:
    """Return a heading's text without its inline markup."""
    marked = marked[:MAX_TITLE_CHARACTERS]
    parts: list[str] = []
    end = 0
    for code in _CODE_SPAN.finditer(marked):
        parts += [_without_markup(marked[end : code.start()]), code[2].strip()]
        end = code.end()
    parts.append(_without_markup(marked[end:]))
    return collapse_whitespace("".join(parts))


def _without_closing(title: str) -> str:
    """Return an ATX heading's title without a closing sequence of `#`."""
    title = title.rstrip()
    opened = title.rstrip("#")
    return opened.rstrip() if not opened or opened[-1] in " \t" else title


def _without_markup(marked: str) -> str:
    for pattern, replacement in _INLINE_MARKUP:
        marked = pattern.sub(replacement, marked)
    return marked


class HeadingScanner:
    """A scan of a text line by line, and the block that the scan is in."""

    def __init__(self, text: str) -> None:
        self.headings: list[Heading] = []
        self._text = text
        self._items: list[int] = []  # content columns of the open list items, outermost first
        self._fence = ""
        self._html = False
        self._html_end: re.Pattern[str] | None = None
        self._paragraph = -1  # offset of the open paragraph, -1: none
        self._lazy = False  # the open paragraph is within a quote
        self._fence_in_quote = False

    def next_line(self, start: int) -> int:
        """Return the offset of the next line, from `start` on, that can change the state.

        Lines of a fence or of a paragraph are skipped without being scanned.
        """
        if self._items or start > len(self._text):
            return start
        if self._fence:
            closing = self._text.find(self._fence, start)
            return len(self._text) + 1 if closing < 0 else self._text.rfind("\n", 0, closing) + 1
        if self._paragraph >= 0:  # a line that begins with a letter continues it
            while self._text[start : start + 1].isalpha():
                start = self._text.find("\n", start) + 1 or len(self._text) + 1
        return start

    def scan_line(self, line: str, start: int) -> None:
        """Scan one line, which begins at offset `start`."""
        rest = line.lstrip(" \t")
        if not rest:
            self._paragraph = -1
            self._fence_in_quote = False
            if self._html and self._html_end is None:
                self._html = False
            return
        lead = line[: len(line) - len(rest)]
        column = len(lead.expandtabs(4)) if "\t" in lead else len(lead)
        depth = len(self._items)
        while depth and column < self._items[depth - 1]:
            depth -= 1
        if depth < len(self._items) and not self._leave_items(rest, column, depth):
            return
        if rest[0] != ">":
            self._fence_in_quote = False
        if self._fence:
            if self._closes_fence(rest):
                self._fence = ""
        elif self._html:
            self._html = self._html_end is None or not self._html_end.search(rest)
            self._scan_html_headings(rest, start)
        else:
            self._scan_block(rest, column, start)

    def _leave_items(self, rest: str, column: int, depth: int) -> bool:
        """Close the items that a line ends by its indent; return False if it goes on as text."""
        indent = column - (self._items[depth - 1] if depth else 0)
        if self._paragraph >= 0 and (indent >= 4 or not self._starts_block(rest)):
            return False
        del self._items[depth:]
        self._fence = ""
        self._html = False
        self._paragraph = -1
        return True

    def _starts_block(self, rest: str) -> bool:
        """Return whether a line interrupts a paragraph."""
        first = rest[0]
        if first == "#":
            return _ATX.match(rest) is not None
        if first == ">":
            return True
        if first in "`~" and _FENCE.match(rest):
            return True
        if first in "-*_" and _THEMATIC_BREAK.match(rest):
            return True
        if first == "<":
            return any(begin.match(rest) for begin, _ in _HTML_BLOCKS)
        return self._starts_item(rest) is not None

    def _starts_item(self, rest: str) -> re.Match[str] | None:
        item = _ITEM.match(rest)
        if item is None or len(self._items) >= MAX_LIST_DEPTH:
            return None
        if self._paragraph >= 0 and not self._items:
            empty = not rest[item.end() :].strip()
            if empty or (item[1] is not None and int(item[1]) != 1):
                return None
        return item

    def _closes_fence(self, rest: str) -> bool:
        bare = rest.rstrip()
        return len(bare) >= len(self._fence) and not bare.strip(self._fence[0])

    def _scan_block(self, rest: str, column: int, start: int) -> None:
        """Scan a line outside fences and HTML blocks; its first character is in column `column`."""
        while True:
            inner = self._items[-1] if self._items else 0
            if column - inner >= 4:
                return  # indented code, or a paragraph continued
            if self._paragraph >= 0 and not self._lazy and (under := _SETEXT.match(rest)):
                level = 1 if under[1][0] == "=" else 2
                self._add_heading(self._paragraph, level, self._text[self._paragraph : start])
                self._paragraph = -1
                return
            if not rest[0].isalnum() and self._scan_marked_block(rest, start):
                return
            item = self._starts_item(rest)
            if item is None:
                self._scan_text(rest, start)
                return
            rest, column = self._enter_item(rest, column, item)
            if not rest:
                return

    def _enter_item(self, rest: str, column: int, item: re.Match[str]) -> tuple[str, int]:
        """Open a list item; return the content of its first line, and its column."""
        self._paragraph = -1
        after = rest[item.end() :].expandtabs(4)
        content = after.lstrip(" ")
        spaces = len(after) - len(content)
        marker_end = column + item.end()
        self._items.append(marker_end + (spaces if 1 <= spaces <= 4 and content else 1))
        return content, marker_end + spaces

    def _scan_marked_block(self, rest: str, start: int) -> bool:
        """Scan a block of one line, or the first line of a fence, an HTML block or a quote."""
        first = rest[0]
        if first == "#" and (atx := _ATX.match(rest)):
            self._paragraph = -1
            self._add_heading(start, len(atx[1]), _without_closing(rest[atx.end() :]))
            return True
        if first in "-*_" and _THEMATIC_BREAK.match(rest):
            self._paragraph = -1
            return True
        if first in "`~" and (fence := _FENCE.match(rest)):
            self._paragraph = -1
            self._fence = fence[0]
            return True
        if first == ">":
            self._scan_quote(rest, start)
            return True
        if first == "<":
            return self._starts_html(rest, start)
        return first == "[" and self._paragraph < 0 and _REFERENCE.match(rest) is not None

    def _scan_quote(self, rest: str, start: int) -> None:
        inner = rest.lstrip("> \t")
        if _FENCE.match(inner):
            self._fence_in_quote = not self._fence_in_quote
            self._paragraph = -1
        elif not inner or self._fence_in_quote or inner[0] == "#" or _THEMATIC_BREAK.match(inner):
            self._paragraph = -1
        else:
            self._paragraph, self._lazy = start, True

    def _starts_html(self, rest: str, start: int) -> bool:
        for begin, end in _HTML_BLOCKS:
            if begin.match(rest):
                self._paragraph = -1
                self._html = end is None or not end.search(rest)
                self._html_end = end
                self._scan_html_headings(rest, start)
                return True
        if self._paragraph < 0 and len(rest) <= MAX_TAG_CHARACTERS and _HTML_TAG_ALONE.match(rest):
            self._html, self._html_end = True, None
            return True
        return False

    def _scan_html_headings(self, rest: str, start: int) -> None:
        """Add the heading that a line of an HTML block begins with: `<h1 align="center">Pump</h1>`.

        A title on lines of its own is joined to the tag that opens before it.
        """
        if self._html_end is not None:  # a script, comment or the like
            return
        found = _HTML_HEADING.match(rest[:MAX_TAG_CHARACTERS])
        if found is None:
            return
        title = found[2]
        if not title.strip():
            at = self._text.find("\n", start) + 1
            block = self._text[at : at + MAX_TITLE_CHARACTERS] if at else ""
            end = re.search(rf"</h{found[1]}\s*>", block, re.IGNORECASE)
            title = block[: end.start()] if end else ""
        self._add_heading(start, int(found[1]), html.unescape(title))

    def _scan_text(self, rest: str, start: int) -> None:
        if self._paragraph < 0:
            self._paragraph, self._lazy = start, False

    def _add_heading(self, start: int, level: int, marked: str) -> None:
        if not self._items and (title := plain_title(marked)):
            self.headings.append(Heading(start, level, title))
