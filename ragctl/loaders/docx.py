"""DOCX as Markdown: headings, lists, tables, footnotes."""

import io
import zipfile
from collections.abc import Iterator
from typing import Any

from ragctl.errors import DocumentError
from ragctl.loaders.content import FileContent, megabytes
from ragctl.loaders.decode import clean
from ragctl.loaders.docx_body import Body
from ragctl.loaders.metadata import MAX_PROPERTY_CHARACTERS, first_title
from ragctl.loaders.options import LoadOptions
from ragctl.records import Document, Json
from ragctl.text import collapse_whitespace

MAX_UNPACKED_BYTES = 1_000_000_000  # of all parts together
# Ratio of unpacked to packed size of a larger part; WordprocessingML reaches 10 to 40.
MAX_EXPANSION = 200
SMALL_PART_BYTES = 50_000_000  # a part up to this size may be packed at any ratio
_OLE_MAGIC = b"\xd0\xcf\x11\xe0"


def load_docx(content: FileContent, source: str, options: LoadOptions) -> Iterator[Document]:
    """Yield the document of a DOCX file.

    Raises DocumentError for a file that is damaged or encrypted, or unpacks to too much.
    """
    data = content.read(options.max_bytes)
    if not data:
        yield Document(source, "", "markdown")
        return
    _check_archive(data)
    package = _open(data)
    body = Body(package)
    body.write()
    headings = tuple(body.writer.headings)
    meta = _properties(package)
    title = meta.pop("title", None) or first_title(headings)
    yield Document(
        source,
        body.writer.text(),
        "markdown",
        str(title) if title else None,
        headings,
        meta=meta,
    )


def _check_archive(data: bytes) -> None:
    """Raise DocumentError for a file that is not a DOCX, or unpacks to far more than its size."""
    if data.startswith(_OLE_MAGIC):
        raise DocumentError("is encrypted, or an old .doc; save it as an open .docx")
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            parts = archive.infolist()
    except (zipfile.BadZipFile, NotImplementedError, ValueError) as error:
        raise DocumentError("is not a DOCX file, or is damaged: not a zip archive") from error
    total = sum(part.file_size for part in parts)
    inflated = any(
        part.file_size > SMALL_PART_BYTES
        and part.file_size > MAX_EXPANSION * max(part.compress_size, 1)
        for part in parts
    )
    if (
        total > MAX_UNPACKED_BYTES
        or inflated
        or total > SMALL_PART_BYTES + MAX_EXPANSION * len(data)
    ):
        raise DocumentError(
            f"would unpack from {megabytes(len(data))} to {megabytes(total)}: a zip bomb?"
        )


def _open(data: bytes) -> Any:
    import docx
    from docx.opc.exceptions import OpcError
    from lxml.etree import LxmlError

    try:
        return docx.Document(io.BytesIO(data))
    except (OpcError, LxmlError, zipfile.BadZipFile, KeyError, ValueError, EOFError) as error:
        reason = collapse_whitespace(str(error))
        raise DocumentError(f"is not a readable DOCX file: {reason}") from error


def _properties(package: Any) -> dict[str, Json]:
    properties = package.core_properties
    names = ("title", "author", "subject", "keywords", "category")
    found = {
        name: collapse_whitespace(clean(str(getattr(properties, name) or ""))) for name in names
    }
    if found["author"] == "python-docx":  # the author of the template, not of the document
        del found["author"]
    return {name: value[:MAX_PROPERTY_CHARACTERS] for name, value in found.items() if value}
