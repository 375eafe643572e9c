"""One row per format: its name, the version of its loader, and the function.

A version goes up when the loader's text for some file changes: it is part of the document's
recipe, and the documents of that format are then read again.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from importlib import metadata
from pathlib import Path

from ragctl.errors import DocumentError
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


@dataclass(frozen=True, slots=True)
class Format:
    """`load` raises DocumentError and OSError; `engines` are the packages that decide the text,
    `settings` the options that do. `lines`: the text's lines are the file's own. `many`: a
    file holds any number of documents.
    """

    name: str
    version: int
    load: Callable[[Path, str, LoadOptions], Iterator[Document | DocumentError]]
    engines: tuple[str, ...] = ()
    settings: tuple[str, ...] = ("encoding",)
    lines: bool = False
    many: bool = False


_TEXT = Format("text", 1, load_text, lines=True)
_CODE = Format("code", 1, load_code, lines=True)
_MARKDOWN = Format("markdown", 1, load_markdown, lines=True)
_HTML = Format("html", 1, load_html, ("lxml",))
_TABLE = Format("table", 1, load_table)
_JSONL = Format(
    "jsonl", 1, load_jsonl, (), ("encoding", "jsonl_text", "jsonl_id", "jsonl_metadata"), many=True
)

FORMATS: dict[str, Format] = {
    **dict.fromkeys((".txt", ".text", ".log", ".adoc", ".org", ".tex"), _TEXT),
    **dict.fromkeys((".md", ".markdown", ".mdx", ".qmd"), _MARKDOWN),
    ".rst": Format("rst", 1, load_rst, lines=True),
    **dict.fromkeys((".html", ".htm", ".xhtml"), _HTML),
    ".pdf": Format("pdf", 1, load_pdf, ("pypdfium2", "pypdf"), ()),
    ".docx": Format("docx", 1, load_docx, ("python-docx",), ()),
    **dict.fromkeys((".csv", ".tsv"), _TABLE),
    **dict.fromkeys((".jsonl", ".ndjson"), _JSONL),
    ".ipynb": Format("notebook", 1, load_notebook),
    **dict.fromkeys(
        (
            *(".py", ".pyi", ".js", ".mjs", ".cjs", ".jsx", ".ts", ".tsx", ".go", ".rs", ".java"),
            *(".c", ".h", ".cpp", ".hpp", ".cc", ".cs", ".rb", ".php", ".sh", ".bash", ".ps1"),
            *(".sql", ".toml", ".yaml", ".yml", ".ini", ".cfg", ".conf", ".properties", ".kt"),
            *(".swift", ".scala", ".lua", ".pl", ".r", ".jl", ".dart", ".ex", ".exs", ".erl"),
            *(".hs", ".clj", ".proto", ".graphql", ".tf", ".cmake", ".mk", ".css", ".scss", ".vue"),
        ),
        _CODE,
    ),
}
# Files without a suffix, by name in lower case.
_NAMES: dict[str, Format] = {
    **dict.fromkeys(
        (
            *("readme", "license", "licence", "copying", "notice", "authors", "contributors"),
            *("changelog", "changes", "history", "news", "todo", "install", "contributing"),
            *("copyright", "thanks", "credits", "faq", "maintainers"),
        ),
        _TEXT,
    ),
    **dict.fromkeys(
        ("makefile", "dockerfile", "containerfile", "jenkinsfile", "rakefile", "gemfile"), _CODE
    ),
}


def format_of(name: str) -> Format | None:
    """The format of a file by its name or source; None if no loader knows it."""
    file = name[name.rfind("/") + 1 :].lower()
    dot = file.rfind(".")
    return FORMATS.get(file[dot:]) if dot > 0 else _NAMES.get(file)


def load(
    path: Path, source: str, options: LoadOptions | None = None
) -> Iterator[Document | DocumentError]:
    """The documents of one file, as they are read; failures are yielded, not raised.

    A DocumentError's message begins with the source. A file with one may hold documents that
    were not read: what is stored of it must then not be removed as gone. Parsers may raise
    other errors, hang or crash on hostile files: run this in a `ragctl.workers.Pool`.
    """
    found = format_of(source)
    try:
        if found is None:
            raise DocumentError("is of no format that can be read")
        for item in found.load(path, source, options or LoadOptions()):
            yield _named(source, item) if isinstance(item, DocumentError) else item
    except DocumentError as error:
        yield _named(source, error)
    except OSError as error:
        yield _named(source, DocumentError(f"cannot be read: {error.strerror or error}"))


def _named(source: str, error: DocumentError) -> DocumentError:
    return DocumentError(f"{source}: {error}")


def load_job(job: tuple[Path, str, LoadOptions]) -> Iterator[Document | DocumentError]:
    """`load` as a job of `ragctl.workers.Pool.stream`."""
    return load(*job)


def recipe(source: str, options: LoadOptions) -> dict[str, Json]:
    """What decides the text of a file's documents, beside its bytes; {} if nothing can read it."""
    found = format_of(source)
    if found is None:
        return {}
    settings: dict[str, Json] = {}
    for name in found.settings:
        value = getattr(options, name)
        settings[name] = list(value) if isinstance(value, tuple) else value
    engines: dict[str, Json] = {name: _version(name) for name in found.engines}
    return {"format": found.name, "version": found.version, "engines": engines, **settings}


@cache
def _version(package: str) -> str:
    return metadata.version(package)
