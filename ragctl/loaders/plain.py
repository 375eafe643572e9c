"""Plain text and source code, kept as they are, except for embedded data."""

from collections.abc import Iterator

from ragctl.loaders.content import FileContent
from ragctl.loaders.decode import decode
from ragctl.loaders.embedded import without_embedded
from ragctl.loaders.options import LoadOptions
from ragctl.records import Document


def load_text(content: FileContent, source: str, options: LoadOptions) -> Iterator[Document]:
    """Yield the document of a text file."""
    text, warnings = decode(content.read(options.max_bytes), options.encoding)
    text = without_embedded(text)
    yield Document(source, text, warnings=warnings)


def load_code(content: FileContent, source: str, options: LoadOptions) -> Iterator[Document]:
    """Yield the document of a source file."""
    text, warnings = decode(content.read(options.max_bytes), options.encoding)
    text = without_embedded(text)
    yield Document(source, text, kind="code", warnings=warnings)
