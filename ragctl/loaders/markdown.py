"""Markdown: the text of the file, its headings, and its front matter as metadata.

Front matter is replaced with as many blanks, so that offsets and line numbers stay those of the
file.
"""

import re
from collections.abc import Iterator

from ragctl.loaders.content import FileContent
from ragctl.loaders.decode import decode
from ragctl.loaders.embedded import without_embedded
from ragctl.loaders.front_matter import read_front_matter
from ragctl.loaders.markdown_headings import find_headings
from ragctl.loaders.metadata import first_title
from ragctl.loaders.options import LoadOptions
from ragctl.records import Document

_NOT_LINE_END = re.compile(r"[^\n]")


def load_markdown(content: FileContent, source: str, options: LoadOptions) -> Iterator[Document]:
    """Yield the document of a Markdown file.

    Its title is that of the front matter, else the first heading of level 1.
    """
    text, warnings = decode(content.read(options.max_bytes), options.encoding)
    text = without_embedded(text)
    front = read_front_matter(text)
    headings = tuple(find_headings(text, front.end))
    yield Document(
        source,
        _NOT_LINE_END.sub(" ", text[: front.end]) + text[front.end :],
        "markdown",
        front.title or first_title(headings),
        headings,
        meta=front.meta,
        warnings=warnings + front.warnings,
    )
