"""DOCX into Markdown-shaped text: headings, lists, tables, footnotes."""

import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ragctl.errors import DocumentError
from ragctl.loaders.decode import clean
from ragctl.loaders.docx_body import Body
from ragctl.loaders.options import LoadOptions, check_size, megabytes
from ragctl.records import Document, Json
from ragctl.text import collapse_whitespace

_LARGEST = 1_000_000_000  # bytes unpacked
_BOMB = 200  # times that a part above _SMALL may grow in unpacking; WordprocessingML grows 10-40
_SMALL = 50_000_000
_OLE = b"\xd0\xcf\x11\xe0"


def load_docx(path: Path, source: str, options: LoadOptions) -> Iterator[Document]:
    check_size(path.stat().st_size, options)
    if not path.stat().st_size:
        yield Document(source, "", "markdown")
        return
    _check_archive(path)
    package = _open(path)
    body = Body(package)
    body.write()
    headings = tuple(body.writer.headings)
    meta = _properties(package)
    title = meta.pop("title", None) or next((h.title for h in headings if h.level == 1), None)
    yield Document(
        source,
        body.writer.text(),
        "markdown",
        str(title) if title else None,
        headings,
        meta=meta,
    )


def _check_archive(path: Path) -> None:
    """Refuses what is no DOCX, and what would unpack to far more than its size."""
    with path.open("rb") as file:
        if file.read(4) == _OLE:
            raise DocumentError("is encrypted, or an old .doc; save it as an open .docx")
    try:
        with zipfile.ZipFile(path) as archive:
            parts = archive.infolist()
    except (zipfile.BadZipFile, NotImplementedError, ValueError) as error:
        raise DocumentError(f"is not a DOCX file: {error}") from error
    total = sum(part.file_size for part in parts)
    grown = any(
        part.file_size > _SMALL and part.file_size > _BOMB * max(part.compress_size, 1)
        for part in parts
    )
    if total > _LARGEST or grown or total > _SMALL + _BOMB * path.stat().st_size:
        raise DocumentError(
            f"would unpack from {megabytes(path.stat().st_size)} to {megabytes(total)}: a zip bomb?"
        )


def _open(path: Path) -> Any:
    import docx
    from docx.opc.exceptions import OpcError
    from lxml.etree import LxmlError

    try:
        return docx.Document(str(path))
    except (OpcError, LxmlError, zipfile.BadZipFile, KeyError, ValueError, EOFError) as error:
        reason = collapse_whitespace(str(error))
        raise DocumentError(f"is not a readable DOCX file: {reason}") from error


def _properties(package: Any) -> dict[str, Json]:
    properties = package.core_properties
    names = ("title", "author", "subject", "keywords", "category")
    found = {
        name: collapse_whitespace(clean(str(getattr(properties, name) or ""))) for name in names
    }
    if found["author"] == "python-docx":  # the template's own name, not an author's
        del found["author"]
    return {name: value[:1000] for name, value in found.items() if value}
