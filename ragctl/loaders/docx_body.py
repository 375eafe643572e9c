"""The body of a DOCX package, block by block.

It reads WordprocessingML (ECMA-376, part 1, section 17) itself, since python-docx skips content
controls, insertions and footnotes, all of which hold text.
"""

from collections.abc import Iterator
from typing import Any

from ragctl.errors import DocumentError
from ragctl.loaders.decode import clean
from ragctl.loaders.docx_table import header_rows, read_cells, row_cells, table_rows
from ragctl.loaders.docx_xml import HIDDEN_TAGS, P, W, blocks, find, value
from ragctl.loaders.grid import write_table
from ragctl.loaders.writer import MarkdownWriter
from ragctl.text import collapse_whitespace

_FOOTNOTES = "http://schemas.openxmlformats.org/officeDocument/2006/relationships/footnotes"
_TEXT_BOXES = frozenset({W + "txbxContent"})
_NOT_INLINE = frozenset({W + "pPr", P})
_CHARACTERS = {
    W + "tab": "\t",
    W + "br": "\n",
    W + "cr": "\n",
    W + "noBreakHyphen": "-",
}
_BULLET = "bullet"


class Body:
    """The body and footnotes of a python-docx package; `write` turns them into Markdown."""

    def __init__(self, package: Any) -> None:
        self.writer = MarkdownWriter()
        self._element = package.element.body
        self._part = package.part
        self._styles = _Styles(package.styles.element)
        self._formats = _list_formats(package.part)
        self._counts: dict[tuple[str, int], int] = {}
        self._below_title = 0  # 1 after the title: headings are one level below it
        self._notes: list[str] = []  # ids of footnotes, in the order of their references

    def write(self) -> None:
        """Write all blocks and footnotes to `writer`."""
        self._write_blocks(self._element)
        self._write_footnotes()

    def _write_blocks(self, container: Any) -> None:
        for block in blocks(container):
            if block.tag == P:
                self._paragraph(block)
                for box in find(block, _TEXT_BOXES, _TEXT_BOXES):
                    self._write_blocks(box)
            else:
                self._table(block)

    def _paragraph(self, element: Any) -> None:
        text = self._text(element)
        properties = element.find(W + "pPr")
        style = value(properties, "pStyle")
        if self._styles.is_title(style):
            self.writer.heading(1, text)
            self._below_title = 1
            return
        level = _outline(properties) or self._styles.level(style)
        if level:
            self.writer.heading(level + self._below_title, text)
            return
        number = None if properties is None else properties.find(W + "numPr")
        if number is None:
            number = self._styles.numbering(style)
        list_id = value(number, "numId")
        if list_id and list_id != "0":
            depth = int(value(number, "ilvl") or 0)
            self.writer.item(text, depth, self._marker(list_id, depth))
        else:
            self.writer.paragraph(text)

    def _marker(self, list_id: str, depth: int) -> str:
        if self._formats.get((list_id, depth), _BULLET) in (_BULLET, "none"):
            return "-"
        self._counts[(list_id, depth)] = self._counts.get((list_id, depth), 0) + 1
        for deeper in [key for key in self._counts if key[0] == list_id and key[1] > depth]:
            del self._counts[deeper]
        return f"{self._counts[(list_id, depth)]}."

    def _table(self, element: Any) -> None:
        """Write a pipe table; a table within a cell becomes text of the cell."""
        rows = table_rows(element)
        cells = [row_cells(row) for row in rows]
        if cells and max(map(len, cells)) == 1:  # a frame around text, not data
            for block in (block for row in cells for cell in row for block in blocks(cell)):
                if block.tag == P:
                    self._paragraph(block)
                else:
                    self.writer.paragraph(self._cell(block))
        else:
            write_table(self.writer, [read_cells(rows, self._cell)], header_rows(rows))

    def _cell(self, cell: Any) -> str:
        return " ".join(self._text(paragraph) for paragraph in cell.iter(P))

    def _text(self, paragraph: Any) -> str:
        """Return a paragraph's text, with [1], [2] … for references to footnotes."""
        parts: list[str] = []
        stack = [iter(paragraph)]
        while stack:
            child = next(stack[-1], None)
            if child is None:
                stack.pop()
            elif child.tag == W + "t":
                parts.append(child.text or "")
            elif child.tag in _CHARACTERS:
                parts.append(_CHARACTERS[child.tag])
            elif child.tag == W + "footnoteReference":
                self._notes.append(child.get(W + "id", ""))
                parts.append(f"[{len(self._notes)}]")
            elif child.tag not in HIDDEN_TAGS and child.tag not in _NOT_INLINE:
                stack.append(iter(child))
        return clean("".join(parts))

    def _write_footnotes(self) -> None:
        if not self._notes:
            return
        from lxml import etree

        relations = [r for r in self._part.rels.values() if r.reltype == _FOOTNOTES]
        if not relations or relations[0].is_external:
            return
        parser = etree.XMLParser(resolve_entities=False, no_network=True, huge_tree=False)
        try:
            root = etree.fromstring(relations[0].target_part.blob, parser)
        except etree.XMLSyntaxError as error:
            raise DocumentError(f"has broken footnotes: {error}") from error
        texts = {note.get(W + "id"): self._cell(note) for note in root.iter(W + "footnote")}
        for number, note in enumerate(tuple(self._notes), 1):
            if text := collapse_whitespace(texts.get(note, "")):
                self.writer.paragraph(f"[{number}] {text}")


class _Styles:
    """The paragraph styles of a document; a style inherits from the one that it is based on."""

    def __init__(self, root: Any) -> None:
        self._styles = {
            style.get(W + "styleId"): style
            for style in root.iter(W + "style")
            if style.get(W + "type") == "paragraph"
        }

    def _chain(self, style: str | None) -> Iterator[Any]:
        seen: set[str] = set()
        while style is not None and style in self._styles and style not in seen:
            seen.add(style)
            yield self._styles[style]
            style = value(self._styles[style], "basedOn")

    def is_title(self, style: str | None) -> bool:
        """Return whether a style is that of the document's title."""
        return any((value(e, "name") or "").lower() == "title" for e in self._chain(style))

    def level(self, style: str | None) -> int:
        """Return the level of a heading style, 1 to 6; 0 for any other style."""
        for element in self._chain(style):
            name = (value(element, "name") or "").lower()
            if name.startswith("heading ") and name[8:].isdecimal():
                return min(int(name[8:]), 6)
            if level := _outline(element.find(W + "pPr")):
                return level
        return 0

    def numbering(self, style: str | None) -> Any:
        """Return the list properties (w:numPr) of a style, or None."""
        for element in self._chain(style):
            properties = element.find(W + "pPr")
            if properties is not None and properties.find(W + "numPr") is not None:
                return properties.find(W + "numPr")
        return None


def _outline(properties: Any) -> int:
    """Return the outline level as 1 to 6; 0 for body text."""
    level = value(properties, "outlineLvl")
    return min(int(level) + 1, 6) if level and level.isdecimal() and int(level) < 9 else 0


def _list_formats(part: Any) -> dict[tuple[str, int], str]:
    """Return the number format ("bullet", "decimal" …) by list id and level."""
    try:
        root = part.numbering_part.element
    except (KeyError, NotImplementedError):
        return {}
    abstract = {
        definition.get(W + "abstractNumId"): {
            int(level.get(W + "ilvl")): value(level, "numFmt") or _BULLET
            for level in definition.iter(W + "lvl")
            if (level.get(W + "ilvl") or "").isdecimal()
        }
        for definition in root.iter(W + "abstractNum")
    }
    return {
        (number.get(W + "numId"), level): form
        for number in root.iter(W + "num")
        for level, form in abstract.get(value(number, "abstractNumId"), {}).items()
    }
