"""The text of a Word document, block by block (ECMA-376, part 1, section 17)."""

import re
from typing import Any

from ragctl.loaders.decode import clean
from ragctl.loaders.docx_math import equation_text
from ragctl.loaders.docx_numbering import Numbering
from ragctl.loaders.docx_package import Package
from ragctl.loaders.docx_styles import Styles, outline
from ragctl.loaders.docx_table import header_rows, read_cells, row_cells, table_rows
from ragctl.loaders.docx_xml import (
    HIDDEN_TAGS,
    MATH,
    MATH_PARAGRAPH,
    TBL,
    P,
    W,
    blocks,
    find,
    is_on,
    number,
    value,
)
from ragctl.loaders.grid import write_table
from ragctl.loaders.scripts import subscript, superscript
from ragctl.loaders.writer import MarkdownWriter
from ragctl.text import collapse_whitespace

_TEXT_BOXES = frozenset({W + "txbxContent"})
_NOT_INLINE = frozenset({W + "pPr", W + "rPr", P})
_CHARACTERS = {
    W + "tab": "\t",
    W + "ptab": "\t",
    W + "br": "\n",
    W + "cr": "\n",
    W + "noBreakHyphen": "-",
}
_NOTES = {W + "footnoteReference": "footnote", W + "endnoteReference": "endnote"}
_FIELD, _FIELD_CODE, _SIMPLE_FIELD = W + "fldChar", W + "instrText", W + "fldSimple"
_PAGE_FIELD = re.compile(r"\s*(?:PAGE|NUMPAGES|SECTIONPAGES)\b", re.IGNORECASE)
# What is left of a header or footer that only numbers the pages.
_PAGE_WORDS = re.compile(
    r"(?:\W|\d|page|seite|página|pagina|страница|стр|of|von|de|di|sur|из|第|页|頁|共|/)*",
    re.IGNORECASE,
)


class Body:
    """Writes a document as Markdown to `writer`.

    Headers come first and footers last, each text once. The end has the footnotes and endnotes,
    numbered in one sequence, and the comments with their authors.
    """

    def __init__(self, package: Package) -> None:
        self.writer = MarkdownWriter()
        self._package = package
        self._styles = Styles(_first(package.related("styles")))
        self._numbering = Numbering(_first(package.related("numbering")), self._styles.list_styles)
        self._below_title = 0  # 1 after the title: headings are one level below it
        self._notes: list[tuple[str, str]] = []  # kind and id, in the order of the references

    def write(self) -> None:
        """Write all parts of the document."""
        self._write_margins("header")
        self._write_blocks(self._package.document)
        self._write_notes()
        self._write_comments()
        self._write_margins("footer")

    def _write_blocks(self, container: Any) -> None:
        for block in blocks(container):
            if block.tag == P:
                self._paragraph(block)
                for box in find(block, _TEXT_BOXES, _TEXT_BOXES):
                    self._write_blocks(box)
            elif block.tag == TBL:
                self._table(block)
            else:
                self.writer.paragraph(clean(equation_text(block)))

    def _paragraph(self, element: Any) -> None:
        text = self._text(element)
        properties = element.find(W + "pPr")
        style = value(properties, "pStyle")
        marker, depth = self._marker(properties, style, text)
        if self._styles.is_title(style):
            self.writer.heading(1, text)
            self._below_title = self._below_title or bool(text.strip())
            return
        own = None if properties is None else properties.find(W + "outlineLvl")
        level = self._styles.level(style) if own is None else outline(properties)
        if level:
            number_ = marker if marker != "-" and text.strip() else ""
            self.writer.heading(level + self._below_title, f"{number_} {text}")
        elif marker:
            self.writer.item(text, depth, marker)
        else:
            self.writer.paragraph(text)

    def _marker(self, properties: Any, style: str | None, text: str) -> tuple[str, int]:
        """Count a paragraph of a list; return its number as shown, "" without one, and level."""
        own = None if properties is None else properties.find(W + "numPr")
        list_id, level, source = self._styles.numbering(style)
        if own is not None:
            list_id = value(own, "numId") or list_id
            if value(own, "ilvl") is not None:
                level = number(own, "ilvl", 0)
        if not list_id or list_id == "0":
            return "", 0
        mark = None if properties is None else properties.find(W + "rPr")
        hidden = mark is not None and (mark.find(W + "del") is not None or is_on(mark, "vanish"))
        if hidden and not text.strip():
            return "", 0
        if level is None:
            level = self._numbering.level_of_style(list_id, source)
        level = min(max(level, 0), 8)
        return self._numbering.marker(list_id, level), level

    def _table(self, element: Any) -> None:
        """Write a pipe table; a table within a cell becomes text of the cell."""
        rows = table_rows(element)
        cells = [row_cells(row) for row in rows]
        if cells and max(map(len, cells)) == 1:  # a frame around text, not data
            for block in (block for row in cells for cell in row for block in blocks(cell)):
                if block.tag == P:
                    self._paragraph(block)
                    for box in find(block, _TEXT_BOXES, _TEXT_BOXES):
                        self._write_blocks(box)
                elif block.tag == TBL:
                    self._table(block)
                else:
                    self.writer.paragraph(clean(equation_text(block)))
        else:
            write_table(self.writer, [read_cells(rows, self._flat)], header_rows(rows))

    def _flat(self, container: Any) -> str:
        """Return all text of a container in one line."""
        parts = []
        for block in blocks(container):
            if block.tag == P:
                text = self._text(block)
                marker, _ = self._marker(
                    block.find(W + "pPr"), value(block.find(W + "pPr"), "pStyle"), text
                )
                parts.append(f"{marker} {text}" if marker not in ("", "-") else text)
                boxes = find(block, _TEXT_BOXES, _TEXT_BOXES)
                parts.extend(self._flat(box) for box in boxes)
            elif block.tag == TBL:
                rows = (row_cells(row) for row in table_rows(block))
                parts.append("; ".join(" ".join(map(self._flat, row)) for row in rows))
            else:
                parts.append(clean(equation_text(block)))
        return " ".join(parts)

    def _text(self, paragraph: Any) -> str:
        """Return a paragraph's text, with [1], [2] … for references to notes."""
        parts: list[str] = []
        fields: list[str] = []  # codes of the open fields
        stack = [iter(paragraph)]
        while stack:
            child = next(stack[-1], None)
            if child is None:
                stack.pop()
            elif child.tag == _FIELD:
                _open_or_close(fields, child)
            elif child.tag == _FIELD_CODE and fields:
                fields[-1] += child.text or ""
            elif any(_PAGE_FIELD.match(code) for code in fields) or (
                child.tag == _SIMPLE_FIELD and _PAGE_FIELD.match(child.get(W + "instr", ""))
            ):
                if child.tag == W + "r":  # its field may end within
                    stack.append(iter(child))
            elif child.tag == W + "t":
                parts.append(_raised(parts, child))
            elif child.tag in _CHARACTERS:
                parts.append(_CHARACTERS[child.tag])
            elif child.tag in (MATH, MATH_PARAGRAPH):
                parts.append(equation_text(child))
            elif child.tag in _NOTES:
                self._notes.append((_NOTES[child.tag], child.get(W + "id", "")))
                parts.append(f"[{len(self._notes)}]")
            elif child.tag == W + "r" and is_on(child.find(W + "rPr"), "vanish"):
                pass
            elif child.tag not in HIDDEN_TAGS and child.tag not in _NOT_INLINE:
                stack.append(iter(child))
        return clean("".join(parts))

    def _write_notes(self) -> None:
        notes = {
            (kind, note.get(W + "id", "")): note
            for kind in _NOTES.values()
            for root in self._package.related(f"{kind}s")
            for note in root.iter(W + kind)
        }
        written = 0
        while written < len(self._notes):  # a note can refer to another one
            note = notes.pop(self._notes[written], None)
            written += 1
            if note is not None and (text := collapse_whitespace(self._flat(note))):
                self.writer.paragraph(f"[{written}] {text}")

    def _write_comments(self) -> None:
        for root in self._package.related("comments"):
            for comment in root.iter(W + "comment"):
                if text := collapse_whitespace(self._flat(comment)):
                    author = collapse_whitespace(clean(comment.get(W + "author", "")))
                    by = f" by {author}" if author else ""
                    self.writer.paragraph(f"Comment{by}: {text}")

    def _write_margins(self, kind: str) -> None:
        seen = set()
        for root in self._package.related(kind):
            text = collapse_whitespace(self._flat(root))
            if text not in seen and not _PAGE_WORDS.fullmatch(text):
                seen.add(text)
                self.writer.paragraph(text)


def _open_or_close(fields: list[str], mark: Any) -> None:
    kind = mark.get(W + "fldCharType")
    if kind == "begin":
        fields.append("")
    elif kind == "end" and fields:
        fields.pop()


def _raised(parts: list[str], element: Any) -> str:
    """Return the text of w:t, marked if its run is a superscript or subscript."""
    text = element.text or ""
    run = element.getparent()
    form = value(run.find(W + "rPr"), "vertAlign") if run.tag == W + "r" else None
    if form not in ("superscript", "subscript") or not parts:
        return text
    before = parts[-1]
    return superscript(before, text) if form == "superscript" else subscript(before, text)


def _first(roots: list[Any]) -> Any:
    return roots[0] if roots else None
