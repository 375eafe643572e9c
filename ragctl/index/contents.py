"""Whether a file still has the content that was indexed."""

import hashlib
from pathlib import Path

from ragctl.collection.points import digest
from ragctl.collection.state import StoredDocument
from ragctl.loaders import format_of
from ragctl.sources.walk import FoundFile

HASH_BLOCK_BYTES = 1 << 20


def content_hash(path: Path, max_bytes: int) -> bytes:
    """Return a hash of a file's bytes; of nothing if it is above `max_bytes` or unreadable."""
    hasher = hashlib.blake2b(digest_size=16)
    try:
        if path.stat().st_size <= max_bytes:
            with path.open("rb") as file:
                while block := file.read(HASH_BLOCK_BYTES):
                    hasher.update(block)
    except OSError:
        return b""
    return hasher.digest()


def document_digest(content: bytes, recipe: str) -> str:
    """Return the digest of a document that is a whole file, from the hash of its bytes."""
    return digest(content, recipe.encode("ascii"))


def same_content(file: FoundFile, document: StoredDocument) -> bool:
    """Return whether a file has the content of a stored document of the same size.

    The records of a file are not compared: their size must do.
    """
    form = format_of(file.source)
    if form is not None and form.many_documents:
        return True
    content = content_hash(Path(file.path), document.size)
    return document_digest(content, document.recipe) == document.digest
