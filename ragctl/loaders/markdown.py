"""Markdown: the raw text, its headings, and the front matter.

The text stays as it is in the file, front matter included: offsets and line numbers are the
file's, and nothing that a search could find is lost.
"""

from collections.abc import Iterator
from pathlib import Path

from ragctl.loaders.decode import decode
from ragctl.loaders.front_matter import front_matter
from ragctl.loaders.markdown_headings import find_headings
from ragctl.loaders.options import LoadOptions, read
from ragctl.records import Document


def load_markdown(path: Path, source: str, options: LoadOptions) -> Iterator[Document]:
    text, warnings = decode(read(path, options), options.encoding)
    meta, start = front_matter(text)
    headings = tuple(find_headings(text, start))
    named = meta.pop("title", None)
    title = named if isinstance(named, str) and named else None
    if title is None:
        title = next((heading.title for heading in headings if heading.level == 1), None)
    yield Document(source, text, "markdown", title, headings, meta=meta, warnings=warnings)
