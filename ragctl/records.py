"""The values that travel between rooms: frozen, without behaviour of their own."""

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

    number: int  # physical, from 1
    start: int
    end: int
    label: str | None = None  # as printed ("iv"), where the format has it


@dataclass(frozen=True, slots=True)
class Document:
    """One source item after loading.

    `source` is the path relative to its root with `/`, plus `#record` for one
    record of a file that holds many. `text` is valid Unicode (no lone
    surrogates) with `\\n` line ends. `kind` tells the chunker how to read it.
    """

    source: str
    text: str
    kind: Kind = "text"
    title: str | None = None
    headings: tuple[Heading, ...] = ()
    pages: tuple[Page, ...] = ()
    meta: Mapping[str, Json] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()  # "3 of 7 pages have no text (scans?)"


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
    """One answer to a search: a chunk, or the passage around one; the best first.

    `score` is the engine's: cosine similarity (dense), BM25 (sparse) or the fused rank
    score (hybrid); or the reranker's, where one was asked. Comparable within one search.

    `text` is the document's from `start` to `end`, as long as that: where a passage was
    joined from chunks, what stood between two of them (blanks, that no chunk keeps) is
    blanks here too. `spans` are the parts that are the document's own, letter by letter.

    `ordinal`, `page`, `heading` and `line` (counted from 1 where the document's text is
    the file's own) are those of the best chunk in it. `ordinals`: all chunks it is joined
    from. `cut`: the section, page or document goes on beyond what a passage may hold.
    `version` names the state of the document; `id` the point of the best chunk.
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
    chunks: int = 1  # of the document
    version: str = ""
    id: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """Everything that decides whether two vectors may be compared. The backend does not.

    `document` and `query`: the task or prompt sent with the texts of each side, None for
    none. `normalized`: whether the model's vectors have unit length. `element`: the number
    type of a vector's components.
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

    def to_json(self) -> dict[str, Json]:
        """Return the identity as a JSON object."""
        return asdict(self)


def ignore(line: str) -> None:
    """Discard a line: the default `Notify`."""
