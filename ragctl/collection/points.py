"""What a chunk becomes in the store: its id, its hash, its payload."""

import hashlib
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, cast

from ragctl.collection.payload import SparseVector
from ragctl.records import Json

CONTEXT = 1  # version of the rule that puts headings before a chunk's text
_NONE = SparseVector([], [])
_NAMESPACE = uuid.UUID("6f0d3c1e-5b0a-5c2b-9a3e-2f6f1d0c7a11")


def digest(*parts: bytes) -> str:
    """A 128-bit content hash, hexadecimal; parts are kept apart."""
    hasher = hashlib.blake2b(digest_size=16)
    for part in parts:
        hasher.update(len(part).to_bytes(8, "big"))
        hasher.update(part)
    return hasher.hexdigest()


def embedded_text(text: str, heading: Sequence[str]) -> str:
    """The text that is embedded for a chunk: its heading path, then the chunk.

    A heading with which the chunk itself begins is not said twice.
    """
    return context_of(text, heading) + text


def context_of(text: str, heading: Sequence[str]) -> str:
    """What stands before a chunk's text where it is embedded."""
    first = text.split("\n", 1)[0].strip("#= \t")
    path = list(heading)
    if path and path[-1] == first:
        path.pop()
    return f"{' > '.join(path)}\n\n" if path else ""


def text_hash(text: str) -> str:
    """Of the exact text embedded (without the model's own prompt, which is identity)."""
    return digest(text.encode("utf-8"))


def version(source: str, content: str) -> str:
    """Names one state of one document; every point of that state carries it."""
    return digest(source.encode("utf-8"), content.encode("ascii"))


def namespace(collection: str) -> uuid.UUID:
    return uuid.uuid5(_NAMESPACE, collection)


def point_ids(space: uuid.UUID, source: str, hashes: Sequence[str]) -> list[str]:
    """Ids of a document's points: the same text keeps its id wherever it moves.

    Equal texts within the document are told apart by which occurrence they are.
    """
    seen: dict[str, int] = {}
    ids = []
    for value in hashes:
        seen[value] = seen.get(value, 0) + 1
        ids.append(str(uuid.uuid5(space, f"{source}\0{value}\0{seen[value]}")))
    return ids


class FileStat(NamedTuple):
    """Where a document was found, and the file's state then."""

    file: str
    root: str
    size: int
    mtime_ns: int
    path: str = ""  # on the disk; `file` is in Unicode NFC, a name need not be
    origin: int = 0  # which of the pipeline's sources it was found under


class PreparedChunk(NamedTuple):
    """A chunk ready to be compared with the store, and to be written but for its vector.

    `window`: which chunks of its document it is embedded together with (late
    chunking), None where it is embedded alone.
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
    context: int = 0  # tokens of what stands before the text where it is embedded
    terms: SparseVector = _NONE  # for BM25

    @property
    def sent_tokens(self) -> int:
        return self.tokens + self.context

    @property
    def sent(self) -> str:
        """The text that is embedded: in late chunking the chunk alone."""
        return self.text if self.window is not None else self.words

    @property
    def words(self) -> str:
        """The text whose words BM25 counts."""
        return embedded_text(self.text, self.heading)


@dataclass(frozen=True, slots=True)
class PreparedDocument:
    """A document loaded, chunked and hashed. `digest`: of content and recipe."""

    source: str
    digest: str
    title: str | None
    lang: str
    meta: Mapping[str, Json]
    warnings: tuple[str, ...]
    chunks: tuple[PreparedChunk, ...]


def payloads(
    document: PreparedDocument, stat: FileStat, *, recipe: str, parts: int
) -> list[dict[str, Json]]:
    """One payload a point, in order; a document without text has one, without a vector.

    The first carries the mark that the document is complete; its value is the
    language, so that one count tells which there are. `parts`: how many documents
    the file has.
    """
    common: dict[str, Json] = {
        "source": document.source,
        "file": stat.file,
        "root": stat.root,
        "digest": document.digest,
        "version": version(document.source, document.digest),
        "chunks": len(document.chunks),
        "title": document.title,
        "lang": document.lang,
        "mtime_ns": stat.mtime_ns,
        "size": stat.size,
        "recipe": recipe,
        "parts": parts,
        "meta": cast(Json, dict(document.meta)),
    }
    rows: list[dict[str, Json]] = [
        common
        | {
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
    ] or [common | {"ordinal": 0, "text": "", "text_hash": ""}]
    rows[0]["mark"] = document.lang
    return rows
