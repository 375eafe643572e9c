"""Documents that are loaded, chunked and hashed, but not yet embedded."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

from ragctl.collection.payload import Payload, SparseVector
from ragctl.collection.points import version
from ragctl.collection.text import embedded_text
from ragctl.loaders import Location
from ragctl.records import Json

_NO_TERMS = SparseVector([], [])


class FileStat(NamedTuple):
    """A file as the scan found it.

    `file`: the name of its source, "/", and its path there, in Unicode NFC; `location` opens it,
    and is None if it is not read. `size` is in bytes, `mtime_ns` in nanoseconds since 1970.
    `source_number` counts the pipeline's sources from 0. `stamp`: see FoundFile. `doubtful`: size,
    time and stamp do not prove that it is unchanged, so its content is compared. `title` and
    `meta`: see FoundFile.
    """

    file: str
    source_name: str
    size: int
    mtime_ns: int
    location: Location | None = None
    source_number: int = 0
    stamp: str = ""
    doubtful: bool = False
    title: str = ""
    meta: tuple[tuple[str, Json], ...] = ()


class PreparedChunk(NamedTuple):
    """A chunk with all data of its point except the dense vector.

    `start` and `end` are character offsets. `hash` is its text hash. `tokens` are those of
    `text`, `context_tokens` those of the heading path put before it. `window` is the number of the
    window that it is embedded with in late chunking; None when it is embedded alone.
    `terms` is its BM25 vector.
    """

    start: int
    end: int
    text: str
    hash: str
    page: int | None
    line: int | None
    heading: tuple[str, ...]
    tokens: int
    window: int | None = None
    context_tokens: int = 0
    terms: SparseVector = _NO_TERMS

    @property
    def sent_tokens(self) -> int:
        """Tokens of `sent`."""
        return self.tokens + self.context_tokens

    @property
    def sent(self) -> str:
        """The text that is embedded; in late chunking the chunk without its heading path."""
        return self.text if self.window is not None else self.bm25_text

    @property
    def bm25_text(self) -> str:
        """The text whose words BM25 counts."""
        return embedded_text(self.text, self.heading)


@dataclass(frozen=True, slots=True)
class PreparedDocument:
    """A document loaded, chunked and hashed. `digest`: hash of its content and recipe.

    `rows`: the payloads of its points, if they are stored already, in another generation.
    """

    source: str
    digest: str
    title: str | None
    lang: str
    meta: Mapping[str, Json]
    warnings: tuple[str, ...]
    chunks: tuple[PreparedChunk, ...]
    rows: tuple[Payload, ...] | None = None


def payloads(
    document: PreparedDocument, stat: FileStat, *, recipe: str, parts: int
) -> list[Payload]:
    """Return the payloads of a document's points, in order.

    A document without text has one point, without vectors. The first payload has the mark;
    its value is the language, so that one facet counts the documents of each language.
    `parts`: how many documents the file has.
    """
    common: Payload = {
        "source": document.source,
        "file": stat.file,
        "source_name": stat.source_name,
        "digest": document.digest,
        "version": version(document.source, document.digest),
        "chunks": len(document.chunks),
        "title": document.title,
        "lang": document.lang,
        "mtime_ns": stat.mtime_ns,
        "size": stat.size,
        "stamp": stat.stamp,
        "recipe": recipe,
        "parts": parts,
        "meta": dict(document.meta),
    }
    rows: list[Payload] = [
        {
            **common,
            "ordinal": ordinal,
            "text": chunk.text,
            "text_hash": chunk.hash,
            "start": chunk.start,
            "end": chunk.end,
            "page": chunk.page,
            "line": chunk.line,
            "heading": list(chunk.heading),
            "tokens": chunk.tokens,
        }
        for ordinal, chunk in enumerate(document.chunks)
    ] or [{**common, "ordinal": 0, "text": "", "text_hash": ""}]
    rows[0]["mark"] = document.lang
    return rows
