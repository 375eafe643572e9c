"""Titles and metadata of files; metadata is JSON that every store accepts."""

import math
from collections.abc import Iterable, Mapping
from datetime import date, datetime, time

from ragctl.errors import DocumentError
from ragctl.loaders.decode import clean
from ragctl.loaders.embedded import without_embedded
from ragctl.records import Heading, Json

MAX_DEPTH = 100  # of nested values; Qdrant's JSON parser (serde_json) refuses more than 128
MAX_PROPERTY_CHARACTERS = 1_000  # of a property such as author; the rest is cut off


def to_json(value: object, levels: int = MAX_DEPTH) -> Json:
    """Return a value from a JSON, YAML or TOML file as JSON.

    Strings lose their control characters and embedded data, dates and times become ISO 8601, NaN
    and infinity become None, integers beyond 64 bits become strings, and so does any other type.
    Raises DocumentError for values nested more than `levels` deep.
    """
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        return without_embedded(clean(value))
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, int):
        return value if -(2**63) <= value < 2**63 else str(value)
    if isinstance(value, date | datetime | time):
        return value.isoformat()
    if not levels:
        raise DocumentError("is nested too deep")
    if isinstance(value, Mapping):
        return {_key(key): to_json(item, levels - 1) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [to_json(item, levels - 1) for item in value]
    if isinstance(value, set):
        return [*sorted(clean(str(item)) for item in value)]
    return clean(str(value))


def json_object(fields: Mapping[str, object]) -> dict[str, Json]:
    """Return the fields of a document as JSON, each by `to_json`."""
    return {_key(key): to_json(value) for key, value in fields.items()}


def first_title(headings: Iterable[Heading]) -> str | None:
    """Return the title of the first heading of level 1, None if there is none."""
    return next((heading.title for heading in headings if heading.level == 1), None)


def _key(key: object) -> str:
    if key is None or isinstance(key, bool):  # as YAML writes them
        return {None: "null", True: "true", False: "false"}[key]
    return clean(str(key))
