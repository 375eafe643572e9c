"""HTML tags as Markdown blocks, tag by tag, in any nesting, well-formed or not."""

import re
from collections.abc import Mapping

from ragctl.loaders.decode import clean
from ragctl.loaders.html_table import HtmlTable
from ragctl.loaders.metadata import MAX_PROPERTY_CHARACTERS
from ragctl.loaders.numerals import letters, roman
from ragctl.loaders.writer import MarkdownWriter
from ragctl.records import Json
from ragctl.text import collapse_whitespace

_DROPPED_TAGS = frozenset(
    (
        *("script", "style", "template", "noscript", "svg", "iframe", "object", "embed"),
        *("canvas", "audio", "video"),
    )
)
_BLOCK_TAGS = frozenset(
    (
        *("address", "article", "aside", "blockquote", "body", "caption", "center"),
        *("details", "dialog", "div", "dl", "dt", "fieldset", "figcaption", "figure"),
        *("footer", "form", "header", "hgroup", "hr", "legend", "main", "nav", "option"),
        *("p", "section", "summary", "table", "tbody", "td", "tfoot", "th", "thead", "tr"),
    )
)
_HEADINGS = {f"h{level}": level for level in range(1, 7)}
_LANGUAGE = re.compile(r"(?:^|\s)(?:language|lang|highlight)-([\w+#-]+)")
_META_NAMES = ("author", "description", "keywords")
_BLANKS = re.compile(r"[ \t\n\f]+")
_AROUND_BREAK = re.compile(r" *\n *")

_INTEGER = re.compile(r"\s*([-+]?\d{1,9})")
_LIST_STYLE = re.compile(r"list-style(?:-type)?\s*:[^;]*?\b((?:lower|upper)-[a-z]+)")
_STYLE_TYPES = {
    "lower-alpha": "a",
    "lower-latin": "a",
    "upper-alpha": "A",
    "upper-latin": "A",
    "lower-roman": "i",
    "upper-roman": "I",
}
_LIST_TYPES = {"a": letters, "i": roman}


class HtmlPage:
    """A page being read: text goes to `writer`, `title` and `meta` come from the head."""

    def __init__(self, has_main: bool) -> None:
        self.writer = MarkdownWriter()
        self.title: str | None = None
        self.meta: dict[str, Json] = {}
        self._has_main = has_main
        self._dropping = ""  # the tag whose content is being dropped
        self._dropped_depth = 0
        self._inline: list[str] = []
        self._heading = 0
        self._title: list[str] | None = None
        self._lists: list[_List | None] = []  # the open lists; None: unordered
        self._in_item = False
        self._marker = ""  # of the open item; "" after its first text
        self._pre: list[str] | None = None
        self._language = ""
        self._table: HtmlTable | None = None

    def start(self, tag: str, attributes: Mapping[str, str], data_table: bool) -> None:
        """Open an element. `data_table`: it is a table of data, to be written as a table."""
        if self._dropping:
            self._dropped_depth += tag == self._dropping
        elif tag in _DROPPED_TAGS or (self._has_main and self._is_navigation(tag, attributes)):
            self._break()
            self._dropping, self._dropped_depth = tag, 1
        elif tag == "title" and self.title is None:
            self._title = []
        elif tag == "meta":
            self._read_meta(attributes)
        elif tag == "img":
            self.data(f" {attributes.get('alt', '')} ")
        elif self._table is not None:
            self._table.start(tag, attributes, tag in _BLOCK_TAGS)
        elif tag == "table" and data_table:
            self._flush()
            self._table = HtmlTable()
        elif self._pre is None:
            self._start_block(tag, attributes)
        elif tag == "br":
            self._pre.append("\n")
        elif tag == "code" and not self._language:
            self._language = self._find_language(attributes)

    def end(self, tag: str) -> None:
        """Close an element, also one that was never opened."""
        if self._dropping:
            if tag == self._dropping:
                self._dropped_depth -= 1
                if not self._dropped_depth:
                    self._dropping = ""
        elif tag == "title" and self._title is not None:
            self.title = collapse_whitespace("".join(self._title)) or None
            self._title = None
        elif self._table is not None:
            if self._table.end(tag):
                self._end_table()
        elif tag == "pre" and self._pre is not None:
            self.writer.code("".join(self._pre), self._language)
            self._pre = None
        elif self._pre is None:
            self._end_block(tag)

    def data(self, text: str) -> None:
        """Add text to the open element."""
        if not text or self._dropping:
            return
        text = clean(text)  # entities can stand for any character
        if self._title is not None:
            self._title.append(text)
        elif self._table is not None:
            self._table.data(text)
        elif self._pre is not None:
            self._pre.append(text)
        else:
            self._inline.append(_BLANKS.sub(" ", text))

    def close(self) -> None:
        """End the page: write what is still open."""
        self._end_table()
        if self._pre is not None:
            self.end("pre")
        self._flush()

    def _end_table(self) -> None:
        if self._table is not None:
            self._table.write(self.writer)
        self._table = None

    def _is_navigation(self, tag: str, attributes: Mapping[str, str]) -> bool:
        return tag == "nav" or attributes.get("role") == "navigation"

    def _find_language(self, attributes: Mapping[str, str]) -> str:
        found = _LANGUAGE.search(attributes.get("class", ""))
        return found[1] if found else ""

    def _read_meta(self, attributes: Mapping[str, str]) -> None:
        name = attributes.get("name", "").lower()
        content = collapse_whitespace(clean(attributes.get("content", "")))
        if name in _META_NAMES and content:
            self.meta.setdefault(name, content[:MAX_PROPERTY_CHARACTERS])

    def _start_block(self, tag: str, attributes: Mapping[str, str]) -> None:
        if tag == "br":
            self._inline.append("\n")
        elif tag in _HEADINGS:
            self._flush()
            self._heading = _HEADINGS[tag]
        elif tag in ("ul", "ol", "menu"):
            self._flush()
            self._lists.append(_List(attributes) if tag == "ol" else None)
            self._in_item = False
        elif tag in ("li", "dd"):
            self._flush()
            self._start_item(tag, attributes)
        elif tag == "pre":
            self._flush()
            self._pre = []
            self._language = self._find_language(attributes)
        elif tag in _BLOCK_TAGS:
            self._break()

    def _end_block(self, tag: str) -> None:
        if tag in _HEADINGS:
            self._flush()
        elif tag in ("ul", "ol", "menu"):
            self._flush()
            if self._lists:
                self._lists.pop()
            self._in_item = bool(self._lists)
            self._marker = ""
        elif tag in ("li", "dd"):
            self._flush()
            self._in_item = tag == "li" and len(self._lists) > 1
            self._marker = ""
        elif tag in _BLOCK_TAGS:
            self._break()

    def _start_item(self, tag: str, attributes: Mapping[str, str]) -> None:
        self._in_item = True
        self._marker = "-"
        if tag == "li" and self._lists and (numbers := self._lists[-1]) is not None:
            self._marker = numbers.next(attributes.get("value", ""))

    def _break(self) -> None:
        """Begin a new line within a list item or heading, else a new block."""
        if self._in_item or self._heading:
            self._inline.append("\n")
        else:
            self._flush()

    def _flush(self) -> None:
        text = _AROUND_BREAK.sub("\n", re.sub(" {2,}", " ", "".join(self._inline))).strip()
        self._inline.clear()
        level, self._heading = self._heading, 0
        if not text:
            return
        if level:
            self.writer.heading(level, text.rstrip("¶ "))
        elif self._in_item:
            depth = max(len(self._lists) - 1, 0)
            self.writer.item(re.sub(r"\n+", "\n", text), depth, self._marker or " ")
            self._marker = ""
        else:
            self.writer.paragraph(text)


class _List:
    """The numbers of an ordered list."""

    def __init__(self, attributes: Mapping[str, str]) -> None:
        self._step = -1 if "reversed" in attributes else 1
        self._number = _integer(attributes.get("start", ""), 1) - self._step
        form = _LIST_STYLE.search(attributes.get("style", "").lower())
        self._form = _STYLE_TYPES.get(form[1], "1") if form else attributes.get("type", "1")

    def next(self, value: str) -> str:
        """Return the next number; `value` is what the item itself says."""
        self._number = _integer(value, self._number + self._step)
        write = _LIST_TYPES.get(self._form.lower(), str)
        text = write(self._number)
        return f"{text.upper() if self._form.isupper() else text}."


def _integer(text: str, default: int) -> int:
    found = _INTEGER.match(text)
    return int(found[1]) if found else default
