"""PDF: the text of each page by PDFium; outline, page labels and metadata by pypdf.

pypdf also reads the text of a page in which PDFium finds none, or of a file that PDFium cannot
open.
"""

import re
from collections.abc import Iterator

from ragctl.environment import PDF_PASSWORD
from ragctl.errors import DocumentError
from ragctl.loaders.content import FileContent
from ragctl.loaders.options import LoadOptions
from ragctl.loaders.pdf_structure import PdfStructure, open_structure
from ragctl.loaders.pdf_text import Encrypted, join_pages, pdfium_texts
from ragctl.records import Document
from ragctl.text import counted

_PDFIUM_REASON = re.compile(r"\(PDFium: (.+?)\.?\)")


def load_pdf(content: FileContent, source: str, options: LoadOptions) -> Iterator[Document]:
    """Yield the document of a PDF file.

    Raises DocumentError for a file that is encrypted or that neither library can read.
    """
    data = content.read(options.max_bytes)
    if not data:
        raise DocumentError("is empty: not a PDF")
    texts, failure = _read_with_pdfium(data, options.pdf_password)
    structure = open_structure(data, options.pdf_password)
    if texts is None:
        texts = [""] * structure.page_count
    for number, text in enumerate(texts):
        if not text.strip():
            texts[number] = structure.page_text(number)
    if not texts:
        reason = failure or structure.failure or "no pages"
        raise DocumentError(f"is not a readable PDF: {reason.removesuffix('.')}")
    yield _document(source, texts, structure)


def _read_with_pdfium(data: bytes, password: str | None) -> tuple[list[str] | None, str]:
    """Return the text of each page and ""; or None and PDFium's error message."""
    from pypdfium2 import PdfiumError

    try:
        return pdfium_texts(data, password), ""
    except Encrypted as error:
        why = "the password does not open it" if password else "is encrypted"
        raise DocumentError(f"{why}; set {PDF_PASSWORD.name}") from error
    except PdfiumError as error:
        found = _PDFIUM_REASON.search(str(error))
        return None, found[1].lower() if found else str(error)


def _document(source: str, texts: list[str], structure: PdfStructure) -> Document:
    text, pages = join_pages(texts, structure.labels)
    empty = sum(1 for page in pages if page.start == page.end)
    warnings = []
    if empty:
        verb = "has" if empty == 1 else "have"
        warnings.append(
            f"{empty} of {counted(len(pages), 'page')} {verb} no text; scanned pages need OCR first"
        )
    if structure.failure:
        warnings.append(f"outline and metadata cannot be read: {structure.failure}")
    headings = structure.headings(text, pages)
    return Document(
        source,
        text,
        title=structure.title,
        headings=headings,
        pages=pages,
        meta=structure.meta,
        warnings=tuple(warnings),
    )
