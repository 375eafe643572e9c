"""Plain text and source code, kept as they are."""

from collections.abc import Iterator
from pathlib import Path

from ragctl.loaders.decode import decode
from ragctl.loaders.options import LoadOptions, read_bytes
from ragctl.records import Document


def load_text(path: Path, source: str, options: LoadOptions) -> Iterator[Document]:
    """Yield the document of a text file."""
    text, warnings = decode(read_bytes(path, options), options.encoding)
    yield Document(source, text, warnings=warnings)


def load_code(path: Path, source: str, options: LoadOptions) -> Iterator[Document]:
    """Yield the document of a source file."""
    text, warnings = decode(read_bytes(path, options), options.encoding)
    yield Document(source, text, kind="code", warnings=warnings)
