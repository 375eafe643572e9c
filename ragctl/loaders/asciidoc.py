"""AsciiDoc: the text of the file, and its section titles as headings."""

import re
from collections.abc import Iterator

from ragctl.loaders.content import FileContent
from ragctl.loaders.decode import decode
from ragctl.loaders.embedded import without_embedded
from ragctl.loaders.markdown_headings import plain_title
from ragctl.loaders.options import LoadOptions
from ragctl.records import Document, Heading

_TITLE = re.compile(r"(={1,6}|#{1,6})[ \t]+(\S.*)")
_CLOSING = re.compile(r"[ \t]+[=#]+$")
# Listing, literal, example, sidebar, passthrough, quote, open and comment blocks, and fences.
_DELIMITER = re.compile(r"(?:-{4,}|\.{4,}|={4,}|\*{4,}|\+{4,}|_{4,}|/{4,}|--|`{3,}\w*)[ \t]*$")


def load_asciidoc(content: FileContent, source: str, options: LoadOptions) -> Iterator[Document]:
    """Yield the document of a file; its title is the first heading, if it is of level 1."""
    text, warnings = decode(content.read(options.max_bytes), options.encoding)
    text = without_embedded(text)
    headings = tuple(find_titles(text))
    title = headings[0].title if headings and headings[0].level == 1 else None
    yield Document(source, text, title=title, headings=headings, warnings=warnings)


def find_titles(text: str) -> Iterator[Heading]:
    """Yield the section titles outside delimited blocks, in order of offset.

    `=` is level 1, the title of the document; `#` is the same as `=` (AsciiDoc, "Section titles").
    """
    offset = 0
    closing = ""  # the line that ends the open block
    for line in text.split("\n"):
        bare = line.rstrip()
        if closing:
            if bare == closing:
                closing = ""
        elif _DELIMITER.match(bare):
            closing = "```" if bare.startswith("```") else bare
        elif found := _TITLE.match(bare):
            title = plain_title(_CLOSING.sub("", found[2]))
            if title:
                yield Heading(offset, len(found[1]), title)
        offset += len(line) + 1
