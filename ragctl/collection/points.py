"""Content hashes, and the ids of points."""

import hashlib
import uuid
from collections.abc import Sequence

_ID_NAMESPACE = uuid.UUID("6f0d3c1e-5b0a-5c2b-9a3e-2f6f1d0c7a11")


def digest(*parts: bytes) -> str:
    """Return a 128-bit BLAKE2b hash in hexadecimal; ("a", "b") and ("ab",) differ."""
    hasher = hashlib.blake2b(digest_size=16)
    for part in parts:
        hasher.update(len(part).to_bytes(8, "big"))
        hasher.update(part)
    return hasher.hexdigest()


def version(source: str, content: str) -> str:
    """Return the version of a document: the hash of its name and of its digest."""
    return digest(source.encode("utf-8"), content.encode("ascii"))


def namespace(collection: str) -> uuid.UUID:
    """Return the UUID namespace of a collection's point ids."""
    return uuid.uuid5(_ID_NAMESPACE, collection)


def point_ids(space: uuid.UUID, source: str, hashes: Sequence[str]) -> list[str]:
    """Return the ids of a document's points, given the text hashes of its chunks in order.

    A text keeps its id when it moves within the document. Equal texts of one document get
    different ids: the occurrence number is part of the id.
    """
    occurrences: dict[str, int] = {}
    ids = []
    for value in hashes:
        occurrences[value] = occurrences.get(value, 0) + 1
        ids.append(point_id(space, source, value, occurrences[value]))
    return ids


def point_id(space: uuid.UUID, source: str, text_hash: str, occurrence: int) -> str:
    """Return the id of the `occurrence`th point (from 1) of a text in a document."""
    return str(uuid.uuid5(space, f"{source}\0{text_hash}\0{occurrence}"))
