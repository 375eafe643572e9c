"""The payload and the vectors of a point."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TypeAlias, TypedDict, get_args

from ragctl.collection.settings import FieldType
from ragctl.records import Json

if TYPE_CHECKING:
    import numpy as np

if TYPE_CHECKING:
    import numpy as np

    Vector: TypeAlias = np.ndarray  # float32, shape (dim,)
else:
    Vector: TypeAlias = Any  # `ragctl search --help` reads this module, and needs no numpy

DENSE = "dense"
"""Name of a point's dense vector."""

BM25 = "bm25"
"""Name of a point's sparse vector."""


class Payload(TypedDict, total=False):
    """The payload of a point, one point for each chunk.

    A document without text has one point without vectors; its payload has no `start`,
    `end`, `page`, `line`, `heading` and `tokens`. A read of selected fields returns only
    those.
    """

    source: str  # name of the document: that of its file, or `file#record`
    file: str  # name of the source, "/", and the path of the file below it
    source_name: str  # name of the source
    digest: str  # hash of the document's content and recipe
    version: str  # hash of `source` and `digest`; the same on all points of the document
    ordinal: int  # number of the chunk in its document, from 0
    chunks: int  # chunks of the document
    text: str  # text of the chunk; "" for a document without text
    text_hash: str  # hash of the exact text embedded: heading path and chunk
    start: int  # character offset in the document's text, included
    end: int  # character offset in the document's text, excluded
    page: int | None  # page at `start`, from 1; None in formats without pages
    line: int | None  # line of the file at `start`, from 1; None where lines do not correspond
    heading: list[str]  # headings in force at `start`, outermost first
    tokens: int  # o200k_base tokens of `text`
    title: str | None  # title of the document
    lang: str  # ISO 639-1 code of the document's language, or "und"
    mtime_ns: int  # modification time of the file, nanoseconds since 1970
    size: int  # size of the file, in bytes
    stamp: str  # change time of the file, or ETag or version of a remote one; "" if unknown
    recipe: str  # hash of the versions and settings of loader and chunker
    parts: int  # documents in the file; 0 until all records of a JSONL file are written
    meta: dict[str, Json]  # the user's fields, from the file and from the pipeline
    mark: str  # on the first point of a complete document only: its `lang`


PayloadKey = Literal[
    "source",
    "file",
    "source_name",
    "digest",
    "version",
    "ordinal",
    "chunks",
    "text",
    "text_hash",
    "start",
    "end",
    "page",
    "line",
    "heading",
    "tokens",
    "title",
    "lang",
    "mtime_ns",
    "size",
    "stamp",
    "recipe",
    "parts",
    "meta",
    "mark",
]
"""The keys of `Payload`, for parameters that name one. A test compares the two."""

IndexedKey = Literal["source", "version", "text_hash", "mark"]
"""The keys with a keyword index in every store: ingest filters and counts by them."""

KEYWORD_INDEXES: tuple[IndexedKey, ...] = get_args(IndexedKey)
"""The same as a tuple. There are few: each index adds 2 to 3 ms per segment to opening an
embedded collection.
"""

_KEYWORD_FIELDS: tuple[PayloadKey, ...] = (
    "source",
    "file",
    "source_name",
    "title",
    "lang",
    "text_hash",
    "digest",
)
_INTEGER_FIELDS: tuple[PayloadKey, ...] = ("page", "ordinal")

FILTERABLE_FIELDS: Mapping[str, FieldType] = {
    **dict.fromkeys(_KEYWORD_FIELDS, "keyword"),
    **dict.fromkeys(_INTEGER_FIELDS, "integer"),
}
"""The keys that a search may filter by, in addition to the user's fields under `meta`.

On a server each has an index of this type.
"""


class SparseVector(NamedTuple):
    """Token ids (uint32, ascending) and their weights, of equal length."""

    indices: list[int]
    values: list[float]


@dataclass(frozen=True, slots=True)
class Point:
    """One point. A vector is None if it does not exist or was not requested."""

    id: str
    payload: Payload
    dense: Vector | None = None
    sparse: SparseVector | None = None


def without_mark(payload: Payload) -> Payload:
    """Return a copy without the mark, for the first point of an incomplete document."""
    copy = payload.copy()
    copy.pop("mark", None)
    return copy
