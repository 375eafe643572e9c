"""The styles of a Word document: titles, headings and numbered paragraphs."""

from collections.abc import Iterator
from typing import Any

from ragctl.loaders.docx_xml import W, number, value


class Styles:
    """The styles of a document; a paragraph style inherits from the one that it is based on."""

    def __init__(self, root: Any) -> None:
        """Read w:styles; None if there is none."""
        styles = [] if root is None else list(root.iter(W + "style"))
        self._styles = {
            style.get(W + "styleId"): style
            for style in styles
            if style.get(W + "type", "paragraph") == "paragraph"
        }
        self.list_styles: dict[str, str] = {}
        for style in styles:
            list_id = value(_numbering(style), "numId")
            if style.get(W + "type") == "numbering" and list_id:
                self.list_styles[style.get(W + "styleId")] = list_id

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
            if level := outline(element.find(W + "pPr")):
                return level
        return 0

    def numbering(self, style: str | None) -> tuple[str | None, int | None, str | None]:
        """Return the list id and level of a style, and the style that names the list."""
        level: int | None = None
        for element in self._chain(style):
            properties = _numbering(element)
            if level is None and value(properties, "ilvl") is not None:
                level = number(properties, "ilvl", 0)
            if list_id := value(properties, "numId"):
                return list_id, level, style
        return None, level, style


def outline(properties: Any) -> int:
    """Return the outline level as 1 to 6; 0 for body text."""
    level = number(properties, "outlineLvl", 9)
    return min(level + 1, 6) if 0 <= level < 9 else 0


def _numbering(style: Any) -> Any:
    properties = style.find(W + "pPr")
    return None if properties is None else properties.find(W + "numPr")
