"""Check the fields that a filter names against those that documents have."""

from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from typing import Any

from ragctl.catalog.strict import nearest
from ragctl.collection.conditions import AllOf, AnyOf, Condition, Has, HasId, NoneOf
from ragctl.collection.payload import FILTERABLE_FIELDS
from ragctl.collection.settings import META_PREFIX
from ragctl.errors import StoreError
from ragctl.search.where import payload_key
from ragctl.stores.base import Collection

SAMPLE_POINTS = 1000  # whose metadata is read for the names of fields


def filter_keys(where: Iterable[Condition]) -> set[str]:
    """Return the payload keys that conditions read."""
    keys: set[str] = set()
    for condition in where:
        if isinstance(condition, AnyOf | AllOf | NoneOf):
            keys |= filter_keys(condition.of)
        elif not isinstance(condition, HasId):
            keys.add(condition.key)
    return keys


def describe_field(collection: Collection, key: str, *, has_hits: bool) -> str | None:
    """Return a warning about a filter on this payload key; None if there is nothing to say.

    Either no document has the metadata field, and others may have been meant, or it has no index.
    A declared field of a filter that `has_hits` is not looked for: it costs a request.
    """
    if not key.startswith(META_PREFIX):
        return None
    declared = key in {payload_key(field) for field in collection.settings.fields}
    if declared and has_hits:
        return None
    name = key.removeprefix(META_PREFIX)
    try:
        missing = next(iter(collection.scroll((Has(key),), fields=("source",))), None) is None
    except StoreError:
        missing = False  # refused by a server in strict mode, as the search will be
    if missing:
        others = field_names(collection) - {name}
        return f"no document has the field {name!r}: {nearest(name, others)}"
    if not declared:
        return (
            f"the filter on {name!r} reads every point; an index needs the type of the field, "
            "under [fields] of a pipeline file"
        )
    return None


def field_names(collection: Collection) -> set[str]:
    """Return the fields that a filter can name, those of metadata from a sample of points."""
    names = set(FILTERABLE_FIELDS)
    for point in islice(collection.scroll(fields=("meta",)), SAMPLE_POINTS):
        names.update(_paths(point.payload.get("meta") or {}))
    return names


def _paths(meta: Mapping[str, Any]) -> Iterator[str]:
    for name, value in meta.items():
        yield name
        if isinstance(value, dict):
            yield from (f"{name}.{path}" for path in _paths(value))
