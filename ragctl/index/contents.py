"""Whether a file still has the content that was indexed."""

import hashlib

from ragctl.collection.points import digest
from ragctl.collection.state import StoredDocument
from ragctl.errors import DocumentError
from ragctl.loaders import format_of
from ragctl.sources.found import FoundFile


def file_digest(content: bytes, recipe: str) -> str:
    """Return the digest of a document that is a whole file, chunked by `recipe`."""
    return digest(hashlib.blake2b(content, digest_size=16).digest(), recipe.encode("ascii"))


def same_content(file: FoundFile, document: StoredDocument) -> bool:
    """Return whether a file has the content of a stored document of the same size.

    The records of a file are not compared: their size must do.
    """
    if file.exact and file.stamp == document.stamp:
        return True
    form = format_of(file.source)
    if form is not None and form.many_documents:
        return True
    try:
        with file.location.open() as content:
            found = content.read(document.size)
    except (OSError, DocumentError):
        return False
    return file_digest(found, document.recipe) == document.digest
