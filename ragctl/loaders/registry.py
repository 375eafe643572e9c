"""The formats that ragctl reads: one row of FORMATS each.

To add a format, write its loader in a file of this package, add its row here and its suffixes to
docs/documents.md; no other code lists formats.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from importlib import metadata
from typing import TypeVar

from ragctl.errors import DocumentError
from ragctl.loaders.asciidoc import load_asciidoc
from ragctl.loaders.content import FileContent, Location
from ragctl.loaders.docx import load_docx
from ragctl.loaders.html import load_html
from ragctl.loaders.jsonl import load_jsonl
from ragctl.loaders.markdown import load_markdown
from ragctl.loaders.notebook import load_notebook
from ragctl.loaders.options import LoadOptions
from ragctl.loaders.pdf import load_pdf
from ragctl.loaders.plain import load_code, load_text
from ragctl.loaders.rst import load_rst
from ragctl.loaders.table import load_table
from ragctl.records import Document, Json

T = TypeVar("T")

Load = Callable[[FileContent, str, LoadOptions], Iterator[Document | DocumentError]]
"""Yields the documents of a file, given its content, its source and the user's settings.

Raises DocumentError for a file that cannot be read as a whole, and OSError; a record that cannot
be read is yielded as a DocumentError. Messages leave out the source.
"""


@dataclass(frozen=True, slots=True)
class Format:
    """A file format, recognised by suffix, or by file name for files without a suffix.

    Increase `version` when `load` returns a different text for any file: it is part of the recipe
    of a document, so the files are read again. So are the versions of `engines` (installed
    packages that affect the text) and the values of `settings` (fields of LoadOptions that do).
    """

    name: str
    version: int
    load: Load
    suffixes: tuple[str, ...]  # lower case, with the dot
    file_names: tuple[str, ...] = ()  # lower case
    engines: tuple[str, ...] = ()
    settings: tuple[str, ...] = ("encoding",)
    keeps_lines: bool = False  # line numbers of the text are those of the file
    many_documents: bool = False  # a file holds any number of documents


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


FORMATS = (
    Format(
        "text",
        2,
        load_text,
        suffixes=_words(".txt .text .log .org .tex"),
        file_names=_words(
            """readme license licence copying notice authors contributors changelog changes
            history news todo install contributing copyright thanks credits faq maintainers"""
        ),
        keeps_lines=True,
    ),
    Format(
        "markdown",
        4,
        load_markdown,
        suffixes=_words(".md .markdown .mdx .qmd"),
        keeps_lines=True,
    ),
    Format("asciidoc", 1, load_asciidoc, suffixes=_words(".adoc .asciidoc"), keeps_lines=True),
    Format("rst", 3, load_rst, suffixes=(".rst",), keeps_lines=True),
    Format("html", 3, load_html, suffixes=_words(".html .htm .xhtml"), engines=("lxml",)),
    Format("pdf", 1, load_pdf, suffixes=(".pdf",), engines=("pypdfium2", "pypdf"), settings=()),
    Format("docx", 3, load_docx, suffixes=(".docx",), engines=("lxml",), settings=()),
    Format("table", 3, load_table, suffixes=_words(".csv .tsv")),
    Format(
        "jsonl",
        2,
        load_jsonl,
        suffixes=_words(".jsonl .ndjson"),
        settings=("encoding", "jsonl_text", "jsonl_id", "jsonl_metadata"),
        many_documents=True,
    ),
    Format("notebook", 3, load_notebook, suffixes=(".ipynb",)),
    Format(
        "code",
        2,
        load_code,
        suffixes=_words(
            """.py .pyi .js .mjs .cjs .jsx .ts .tsx .go .rs .java .c .h .cpp .hpp .cc .cs .rb .php
            .sh .bash .ps1 .sql .toml .yaml .yml .ini .cfg .conf .properties .kt .swift .scala .lua
            .pl .r .jl .dart .ex .exs .erl .hs .clj .proto .graphql .tf .cmake .mk .css .scss
            .vue"""
        ),
        file_names=_words("makefile dockerfile containerfile jenkinsfile rakefile gemfile"),
        keeps_lines=True,
    ),
)
_MAX_SUFFIXES_SHOWN = 6  # of one format
_BY_SUFFIX = {suffix: each for each in FORMATS for suffix in each.suffixes}
_BY_FILE_NAME = {name: each for each in FORMATS for name in each.file_names}


def format_of(name: str) -> Format | None:
    """Return the format of a file by its name, path or source; None if it has none."""
    file = name[name.rfind("/") + 1 :].lower()
    dot = file.rfind(".")
    return _BY_SUFFIX.get(file[dot:]) if dot > 0 else _BY_FILE_NAME.get(file)


def supported_formats() -> str:
    """Return the formats with their suffixes, for a message: "text (.txt .log …), pdf (.pdf)"."""
    return ", ".join(
        f"{each.name} ({' '.join(each.suffixes[:_MAX_SUFFIXES_SHOWN])}"
        f"{' …' if len(each.suffixes) > _MAX_SUFFIXES_SHOWN else ''})"
        for each in FORMATS
    )


def load(
    location: Location, source: str, options: LoadOptions | None = None
) -> Iterator[Document | DocumentError]:
    """Yield the documents of one file as they are read; failures are yielded, not raised.

    A file that yields a failure may hold documents that were not read, so its stored documents
    must not be removed. Parsers may raise other errors, hang or crash on hostile files: run this
    in a `ragctl.workers.Pool`.
    """

    def items() -> Iterator[Document | DocumentError]:
        with location.open() as content:
            yield from load_content(content, source, options or LoadOptions())

    return with_failures(source, items())


def load_content(
    content: FileContent, source: str, options: LoadOptions
) -> Iterator[Document | DocumentError]:
    """Yield the documents of an open file. Raises DocumentError and OSError, see `Load`."""
    form = format_of(source)
    if form is None:
        raise DocumentError("is not in a supported format")
    return form.load(content, source, options)


def with_failures(source: str, items: Iterable[T]) -> Iterator[T | DocumentError]:
    """Yield `items`, and a DocumentError or OSError that is raised instead of the next one.

    The message of each DocumentError then begins with the source.
    """
    try:
        for item in items:
            yield _with_source(source, item) if isinstance(item, DocumentError) else item
    except DocumentError as error:
        yield _with_source(source, error)
    except OSError as error:
        yield _with_source(source, DocumentError(f"cannot be read: {error.strerror or error}"))


def _with_source(source: str, error: DocumentError) -> DocumentError:
    whole = DocumentError(f"{source}: {error}")
    whole.documents = error.documents
    return whole


def load_job(job: tuple[Location, str, LoadOptions]) -> Iterator[Document | DocumentError]:
    """Run `load` as a job of `ragctl.workers.Pool.stream`."""
    return load(*job)


def recipe(source: str, options: LoadOptions) -> dict[str, Json]:
    """Return what decides the text of a file's documents, apart from its bytes.

    {} for a file of no known format.
    """
    form = format_of(source)
    if form is None:
        return {}
    settings: dict[str, Json] = {}
    for name in form.settings:
        value = getattr(options, name)
        settings[name] = list(value) if isinstance(value, tuple) else value
    engines: dict[str, Json] = {name: _package_version(name) for name in form.engines}
    return {"format": form.name, "version": form.version, "engines": engines, **settings}


@cache
def _package_version(package: str) -> str:
    return metadata.version(package)
