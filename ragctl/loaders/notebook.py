"""Jupyter notebooks: Markdown cells as they are, code and its text output in fences."""

import io
import json
from collections.abc import Iterator

from ragctl.errors import DocumentError
from ragctl.loaders.content import FileContent
from ragctl.loaders.decode import clean, decode
from ragctl.loaders.embedded import without_embedded
from ragctl.loaders.markdown_headings import find_headings
from ragctl.loaders.metadata import first_title
from ragctl.loaders.options import LoadOptions
from ragctl.loaders.writer import MarkdownWriter
from ragctl.records import Document, Json

MAX_OUTPUT_CHARACTERS = 2_000  # of one output; longer ones are tables of numbers and logs


def load_notebook(content: FileContent, source: str, options: LoadOptions) -> Iterator[Document]:
    """Yield the document of a notebook. Raises DocumentError if it is not a notebook."""
    text, warnings = decode(content.read(options.max_bytes), options.encoding)
    if not text.strip():
        yield Document(source, "", "markdown")
        return
    try:
        notebook = json.loads(text)
    except RecursionError as error:
        raise DocumentError("is nested too deep") from error
    except ValueError as error:
        raise DocumentError(f"is not a notebook: {error}") from error
    language = _language(notebook)
    writer = MarkdownWriter()
    for cell in _cells(notebook):
        _write_cell(cell, language, writer)
    headings = tuple(writer.headings)
    yield Document(
        source,
        writer.text(),
        "markdown",
        first_title(headings),
        headings,
        warnings=warnings,
    )


def _cells(notebook: Json) -> list[Json]:
    """Return the cells of format 4, or of all worksheets of format 3."""
    if isinstance(notebook, dict):
        sheets = notebook.get("worksheets")
        parts = [notebook, *(sheets if isinstance(sheets, list) else ())]
        found = [cells for part in parts if isinstance(cells := _get(part, "cells"), list)]
        if found:
            return [cell for cells in found for cell in cells]
    raise DocumentError("is not a notebook: it has no list of cells")


def _language(notebook: Json) -> str:
    metadata = _get(notebook, "metadata")
    for path in (("language_info", "name"), ("kernelspec", "language")):
        name = _get(_get(metadata, path[0]), path[1])
        if isinstance(name, str) and name.isidentifier():
            return name
    return "python"


def _get(value: Json, name: str) -> Json:
    return value.get(name) if isinstance(value, dict) else None


def _write_cell(cell: Json, language: str, writer: MarkdownWriter) -> None:
    kind = _get(cell, "cell_type")
    text = _joined(_get(cell, "source"))
    if kind == "markdown":
        writer.raw(text, find_headings(text))
    elif kind == "heading":  # format 3
        level = _get(cell, "level")
        writer.heading(level if isinstance(level, int) else 1, text)
    elif kind == "code":
        writer.code(text or _joined(_get(cell, "input")), language)
        outputs = _get(cell, "outputs")
        for output in outputs if isinstance(outputs, list) else ():
            writer.code(_output_text(output))
    else:
        writer.paragraph(text)


def _output_text(output: Json) -> str:
    """Return what a cell printed or returned as text, or its error message."""
    kind = _get(output, "output_type")
    if kind in ("error", "pyerr"):
        text = f"{_joined(_get(output, 'ename'))}: {_joined(_get(output, 'evalue'))}"
    elif kind == "stream":
        text = _joined(_get(output, "text"))
    elif kind == "pyout" or (kind == "display_data" and _get(output, "data") is None):  # format 3
        text = _joined(_get(output, "text")) or _html_text(_joined(_get(output, "html")))
    else:
        data = _get(output, "data")
        text = (
            _joined(_get(data, "text/plain"))
            or _joined(_get(data, "text/markdown"))
            or _html_text(_joined(_get(data, "text/html")))
        )
    if len(text) > MAX_OUTPUT_CHARACTERS:
        text = f"{text[:MAX_OUTPUT_CHARACTERS].rstrip()}…"
    return text


def _html_text(html: str) -> str:
    """Return the text of a result that is only HTML."""
    if not html:
        return ""
    from ragctl.loaders.html import load_html

    data = html.encode()
    with FileContent("output.html", len(data), io.BytesIO(data)) as content:
        [document] = load_html(content, "", LoadOptions(encoding="utf-8"))
    return document.text


def _joined(value: Json) -> str:
    """Return a string that nbformat stores whole or as a list of its lines."""
    if isinstance(value, list):
        value = "".join(line for line in value if isinstance(line, str))
    return without_embedded(clean(value)) if isinstance(value, str) else ""
