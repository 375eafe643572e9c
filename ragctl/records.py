"""Values that several packages exchange: frozen, and with no behaviour."""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Literal, TypeAlias

Kind = Literal["markdown", "text", "code"]
Notify: TypeAlias = Callable[[str], None]
"""Receives one line of text."""

Json = None | bool | int | float | str | list["Json"] | dict[str, "Json"]


@dataclass(frozen=True, slots=True)
class Heading:
    """A heading in a document's text. `start` is the character offset of its line."""

    start: int
    level: int  # 1 (outermost) to 6
    title: str


@dataclass(frozen=True, slots=True)
class Page:
    """A page's span in a document's text, in characters: text[start:end]."""

    number: int  # its position in the file, from 1
    start: int
    end: int
    label: str | None = None  # as printed ("iv"), if the format has it


@dataclass(frozen=True, slots=True)
class Document:
    """One document after loading.

    `source` is the path relative to its root, with `/`; for one record of a JSONL file,
    `#record` follows. `text` is valid Unicode (no lone surrogates) whose lines end with a line
    feed. `kind` selects the rules of the chunker.
    """

    source: str
    text: str
    kind: Kind = "text"
    title: str | None = None
    headings: tuple[Heading, ...] = ()
    pages: tuple[Page, ...] = ()
    meta: Mapping[str, Json] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()  # such as "2 characters are not valid utf-8"


@dataclass(frozen=True, slots=True)
class Chunk:
    """A span of a document's text: `document.text[start:end] == text`, exactly.

    `heading` is the path of headings in force at `start`, outermost first.
    `tokens` is the exact o200k_base length of `text`.
    """

    ordinal: int
    start: int
    end: int
    text: str
    tokens: int
    page: int | None = None
    heading: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Hit:
    """One hit of a search: a chunk, or the passage around one.

    `score` is the store's: cosine similarity (dense), BM25 (sparse) or fused score (hybrid);
    or the reranker's, if there is one. Scores of one search are comparable.

    `text` is the document's text from `start` to `end`, and as long as that span. In a passage
    joined from chunks, white space between two chunks is not stored, so blanks replace it.
    `spans` are the parts that are the document's exact text.

    `ordinal`, `page`, `heading` and `line` are those of the best chunk in it. `line` counts from
    1; it is None if the lines of the document's text are not those of the file. `ordinals` are
    the chunks that a passage is joined from. `cut`: the passage reached its maximum length before
    the end of the section, page or document. `version` names the state of the document, `id` the
    point of the best chunk. `lang` is the document's language, None if it is not known.
    """

    source: str
    score: float
    text: str
    start: int
    end: int
    page: int | None
    heading: tuple[str, ...]
    ordinal: int
    meta: Mapping[str, Json]
    line: int | None = None
    title: str | None = None
    spans: tuple[tuple[int, int], ...] = ()
    ordinals: tuple[int, ...] = ()
    cut: bool = False
    chunks: int = 1  # chunks of the document
    version: str = ""
    id: str = ""
    lang: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """Everything that decides whether two vectors may be compared; the backend is not part of it.

    `document` and `query`: the task or prompt sent with the texts of each side, None for
    none. `normalized`: whether the model's vectors have unit length. `element`: the number
    type of a vector's components. `family`: the models that share its vector space by design;
    it tells which other models may be compared, and does not make two identities differ.
    """

    model: str
    revision: str | None = None
    dimension: int
    document: str | None = None
    query: str | None = None
    normalized: bool = True
    distance: str = "cosine"
    late_chunking: bool = False
    element: str = "float32"
    family: str | None = field(default=None, compare=False)

    def to_json(self) -> dict[str, Json]:
        """Return the identity as a JSON object."""
        return asdict(self)


def ignore(line: str) -> None:
    """Discard a line; the default `Notify`."""
