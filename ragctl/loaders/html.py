"""HTML and XHTML as Markdown: headings, lists, tables, code, paragraphs.

Scripts, styles, templates, drawings and hidden elements are left out, and so are navigation, cookie
banners and what stands beside the main part. Links keep their text and lose their address.
"""

import codecs
import re
from collections.abc import Iterator, Mapping
from html.parser import HTMLParser
from typing import Any

from ragctl.loaders.content import FileContent
from ragctl.loaders.decode import clean, decode
from ragctl.loaders.html_page import HtmlPage
from ragctl.loaders.metadata import first_title
from ragctl.loaders.options import LoadOptions
from ragctl.records import Document

_DECLARED_ENCODING = re.compile(
    rb"""(?:charset|encoding)\s*=\s*["']?\s*([\w.:-]+)""", re.IGNORECASE
)
_HAS_MAIN = re.compile(r"""<(?:main|article)[\s>]|\srole\s*=\s*["']?main\b""", re.IGNORECASE)
_LAYOUT_TAGS = ("table", "h1", "h2", "h3", "h4", "h5", "h6", "pre")


def load_html(content: FileContent, source: str, options: LoadOptions) -> Iterator[Document]:
    """Yield the document of an HTML page, however broken its markup."""
    text, warnings = _decode(content.read(options.max_bytes), options.encoding)
    page = HtmlPage(has_main=False)
    if not _walk_tree(text, page):
        page = HtmlPage(has_main=_HAS_MAIN.search(text) is not None)
        _walk_events(text, page)
    page.close()
    headings = tuple(page.writer.headings)
    title = page.title or first_title(headings)
    yield Document(
        source,
        page.writer.text(),
        "markdown",
        title,
        headings,
        meta=page.meta,
        warnings=warnings,
    )


def _decode(data: bytes, encoding: str | None) -> tuple[str, tuple[str, ...]]:
    """Return text and warnings like `decode`, but use the declared encoding before detection."""
    declared = _DECLARED_ENCODING.search(data, 0, 4096)
    if encoding is None and declared is not None:
        name = declared[1].decode("ascii", "ignore").lower()
        if name in ("iso-8859-1", "latin1", "us-ascii", "ascii"):
            name = "cp1252"  # as browsers read it: WHATWG Encoding, section 4.2
        try:
            codecs.lookup(name)
            data.decode("utf-8")
        except LookupError:
            pass
        except UnicodeDecodeError:
            try:
                return clean(data.decode(name)), ()
            except (UnicodeDecodeError, LookupError):  # LookupError: not a text codec
                pass
    return decode(data, encoding)


def _walk_tree(text: str, page: HtmlPage) -> bool:
    """Feed the page from lxml's tree; return False if the nesting is too deep for libxml2."""
    from lxml import etree

    from ragctl.loaders.html_main import remove_furniture
    from ragctl.loaders.html_tree import simplify

    parser = etree.HTMLParser(
        encoding="utf-8", huge_tree=True, remove_comments=True, remove_pis=True
    )
    try:
        root = etree.fromstring(text.encode(), parser)
    except etree.ParserError:  # an empty document
        return True
    except etree.XMLSyntaxError:
        return False
    if any(entry.type_name == "ERR_RESOURCE_LIMIT" for entry in parser.error_log):
        return False
    if root is None:
        return True
    simplify(root)
    remove_furniture(root)
    for event, element in etree.iterwalk(root, events=("start", "end")):
        if event == "start":
            tag = str(element.tag)
            page.start(tag, dict(element.items()), tag == "table" and _is_data(element))
            page.data(element.text or "")
        else:
            page.end(str(element.tag))
            page.data(element.tail or "")
    return True


def _is_data(table: Any) -> bool:
    """Return whether a table holds data, instead of laying out the page."""
    if table.get("role") in ("presentation", "none"):
        return False
    rows = [row for row in table.iter("tr") if next(row.iterancestors("table")) is table]
    if not any(len(row) > 1 for row in rows):
        return False
    if any(cell.tag == "th" for row in rows for cell in row):
        return True
    return next((e for e in table.iter(*_LAYOUT_TAGS) if e is not table), None) is None


def _walk_events(text: str, page: HtmlPage) -> None:
    """Feed the page tag by tag, at any depth of nesting."""
    parser = _Events(page)
    parser.feed(text)
    parser.close()


class _Events(HTMLParser):
    def __init__(self, page: HtmlPage) -> None:
        super().__init__(convert_charrefs=True)
        self._page = page

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        attributes: Mapping[str, str] = {name: value or "" for name, value in attrs}
        self._page.start(tag, attributes, False)

    def handle_endtag(self, tag: str) -> None:
        self._page.end(tag)

    def handle_data(self, data: str) -> None:
        self._page.data(data)
