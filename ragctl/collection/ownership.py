"""Tell the points of ragctl from those of other programs, and sound payloads from damaged ones.

A collection on a server is open to other programs. Their points, and points of ragctl whose
payload was overwritten, may have any payload: keys may be missing, or hold another type.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from ragctl.collection.conditions import Has
from ragctl.collection.payload import PayloadKey
from ragctl.collection.points import version

_TEXT, _NUMBER, _OPTIONAL_NUMBER = (str,), (int,), (int, type(None))

DOCUMENT_TYPES: Mapping[str, tuple[type, ...]] = {
    "source": _TEXT,
    "file": _TEXT,
    "source_name": _TEXT,
    "digest": _TEXT,
    "version": _TEXT,
    "ordinal": _NUMBER,
    "chunks": _NUMBER,
    "text": _TEXT,
    "text_hash": _TEXT,
    "title": (str, type(None)),
    "lang": _TEXT,
    "mtime_ns": _NUMBER,
    "size": _NUMBER,
    "stamp": _TEXT,
    "recipe": _TEXT,
    "parts": _NUMBER,
    "meta": (dict,),
}
"""The keys that every point of ragctl has, and the types of their values."""

CHUNK_TYPES: Mapping[str, tuple[type, ...]] = {
    "start": _NUMBER,
    "end": _NUMBER,
    "page": _OPTIONAL_NUMBER,
    "line": _OPTIONAL_NUMBER,
    "heading": (list,),
    "tokens": _NUMBER,
}
"""The further keys of a chunk; the point of a document without text lacks them."""

_TYPES: Mapping[str, tuple[type, ...]] = {**DOCUMENT_TYPES, **CHUNK_TYPES, "mark": _TEXT}

OWN_KEYS: tuple[PayloadKey, ...] = (
    *("source", "file", "source_name", "digest", "version", "text_hash", "recipe", "chunks"),
)
"""The keys by which `is_own` decides; a read of selected fields must include them."""

HAS_OWN_KEY = Has("text_hash")
"""Every point of ragctl meets this condition, and hardly any of another program."""


def is_own(payload: Mapping[str, Any]) -> bool:
    """Return whether ragctl wrote this payload, even if it was damaged later.

    The version is the hash of source and digest, which nothing else writes. Without it, the
    types of all of OWN_KEYS must be right.
    """
    source, content, stored = (payload.get(key) for key in ("source", "digest", "version"))
    if not (isinstance(source, str) and isinstance(content, str) and isinstance(stored, str)):
        return False
    try:
        if version(source, content) == stored:
            return True
    except UnicodeEncodeError:  # a lone surrogate, or a digest that is not hexadecimal
        return False
    return not wrong_keys(payload, OWN_KEYS)


def wrong_keys(payload: Mapping[str, Any], keys: Iterable[str]) -> list[str]:
    """Return those of `keys` that are missing, or whose value has another type than ragctl's."""
    return [key for key in keys if not _is_right(payload, key)]


def faulty_keys(payload: Mapping[str, Any]) -> list[str]:
    """Return the keys of a whole payload that are missing or wrong; [] if it is sound."""
    faulty = wrong_keys(payload, DOCUMENT_TYPES)
    if "mark" in payload:
        faulty += wrong_keys(payload, ("mark",))
    if faulty or (payload["chunks"] == 0 and payload["text"] == ""):
        return faulty
    faulty += wrong_keys(payload, CHUNK_TYPES)
    if not 0 <= payload["ordinal"] < payload["chunks"]:
        faulty.append("ordinal")
    if not faulty and not 0 <= payload["start"] <= payload["end"]:
        faulty.append("start")
    return faulty


def is_sound(payload: Mapping[str, Any]) -> bool:
    """Return whether ragctl wrote this whole payload and it is undamaged, as far as types tell."""
    return not faulty_keys(payload)


def _is_right(payload: Mapping[str, Any], key: str) -> bool:
    value = payload.get(key)
    if type(value) not in _TYPES[key]:  # not isinstance: True is no number
        return False
    return key != "heading" or all(type(part) is str for part in value or ())
