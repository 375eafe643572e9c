"""DOCX as Markdown: headings, numbered lists, tables, equations, notes, comments."""

import io
import zipfile
from collections.abc import Iterator

from ragctl.errors import DocumentError
from ragctl.loaders.content import FileContent, megabytes
from ragctl.loaders.metadata import MAX_PROPERTY_CHARACTERS
from ragctl.loaders.options import LoadOptions
from ragctl.records import Document, Json

MAX_UNPACKED_BYTES = 1_000_000_000  # of all parts together
# Ratio of unpacked to packed size of a larger part; WordprocessingML reaches 10 to 40.
MAX_EXPANSION = 200
SMALL_PART_BYTES = 50_000_000  # a part up to this size may be packed at any ratio
_PROPERTIES = {
    "title": "title",
    "author": "creator",
    "subject": "subject",
    "keywords": "keywords",
    "category": "category",
}
_DEFAULT_TITLES = ("word document", "untitled", "document1")  # of programs, not of authors
_OLE_MAGIC = b"\xd0\xcf\x11\xe0"


def load_docx(content: FileContent, source: str, options: LoadOptions) -> Iterator[Document]:
    """Yield the document of a DOCX file.

    Raises DocumentError for a file that is damaged or encrypted, or unpacks to too much.
    """
    from ragctl.loaders.docx_body import Body
    from ragctl.loaders.docx_package import Package

    data = content.read(options.max_bytes)
    if not data:
        yield Document(source, "", "markdown")
        return
    _check_archive(data)
    package = Package(data)
    body = Body(package)
    body.write()
    headings = tuple(body.writer.headings)
    meta = _properties(package.core_properties())
    title = meta.pop("title", None) or (headings[0].title if headings else None)
    yield Document(
        source,
        body.writer.text(),
        "markdown",
        str(title) if title else None,
        headings,
        meta=meta,
        warnings=tuple(package.warnings),
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


def _properties(found: dict[str, str]) -> dict[str, Json]:
    if found.get("creator") == "python-docx":  # the author of the template, not of the document
        del found["creator"]
    if found.get("title", "").lower() in _DEFAULT_TITLES:
        del found["title"]
    return {
        name: found[key][:MAX_PROPERTY_CHARACTERS]
        for name, key in _PROPERTIES.items()
        if key in found
    }
