"""Faster replacements for functions of the client's local mode, with the same results.

Local mode parses the path of every condition, and every date, anew for each point, and
multiplies sparse vectors index by index. `test_qdrant_fast.py` compares these functions with the
ones that they replace.
"""

from collections.abc import Mapping, Sequence
from functools import cache, lru_cache, partialmethod
from itertools import repeat
from typing import Any

import numpy as np
from qdrant_client import models
from qdrant_client.local import (
    datetime_utils,
    json_path_parser,
    local_collection,
    payload_filters,
    payload_value_extractor,
)

original_value_by_key = payload_value_extractor.value_by_key
original_check_filter = payload_filters.check_filter
original_calculate_payload_mask = payload_filters.calculate_payload_mask


def install() -> None:
    """Replace the functions in this process."""
    datetime_utils.parse = lru_cache(maxsize=10_000)(datetime_utils.parse)
    places = {
        value_by_key: (payload_filters, local_collection, payload_value_extractor),
        check_filter: (payload_filters, local_collection),
        calculate_payload_mask: (local_collection,),
        calculate_distance_sparse: (local_collection,),
    }
    for function, modules in places.items():
        for module in modules:
            setattr(module, function.__name__, function)
    # Payloads are read and sent, never changed: they need no copy.
    collection: Any = local_collection.LocalCollection
    collection._get_payload = partialmethod(collection._get_payload, return_copy=False)


@cache
def _plain_path(key: str) -> tuple[str, ...] | None:
    """Return the keys of a path, or None if it has an index or cannot be parsed."""
    try:
        items = json_path_parser.parse_json_path(key)
    except ValueError:
        return None
    kinds = {item.item_type for item in items}
    if kinds != {json_path_parser.JsonPathItemType.KEY}:
        return None
    return tuple(str(item.key) for item in items)


def value_by_key(payload: dict[str, Any], key: str, flat: bool = True) -> list[Any] | None:
    """Return the values at a path, None if there are none."""
    path = _plain_path(key)
    if path is None:
        return original_value_by_key(payload, key, flat)
    held: Any = payload
    for name in path:
        if not isinstance(held, dict) or name not in held:
            return None
        held = held[name]
    return (held or None) if isinstance(held, list) and flat else [held]


def check_filter(
    payload_filter: models.Filter,
    payload: dict[str, Any],
    point_id: models.ExtendedPointId,
    has_vector: dict[str, bool],
) -> bool:
    """Return whether a point meets a filter."""
    if payload_filter.min_should is not None:
        return original_check_filter(payload_filter, payload, point_id, has_vector)
    point = (payload, point_id, has_vector)
    check = payload_filters.check_condition
    must, must_not = _listed(payload_filter.must), _listed(payload_filter.must_not)
    should = _listed(payload_filter.should)
    return (
        all(check(each, *point) for each in must)
        and not any(check(each, *point) for each in must_not)
        and (not should or any(check(each, *point) for each in should))
    )


def _listed(clause: Any) -> Sequence[models.Condition]:
    if clause is None:
        return ()
    return clause if isinstance(clause, list) else [clause]


def calculate_payload_mask(
    payloads: Sequence[dict[str, Any]],
    payload_filter: models.Filter | None,
    ids_inv: Sequence[models.ExtendedPointId],
    deleted_per_vector: Mapping[str, Any],
) -> Any:
    """Return for each point whether it meets the filter."""
    if payload_filter is None:
        return np.ones(len(payloads), dtype=bool)
    names = list(deleted_per_vector)
    deleted = zip(
        *(deleted_per_vector[name][: len(payloads)].tolist() for name in names), strict=True
    )
    absent = deleted if names else repeat(())
    return np.fromiter(
        (
            check_filter(
                payload_filter,
                payload,
                point_id,
                {name: True for name, gone in zip(names, without, strict=True) if not gone},
            )
            for payload, point_id, without in zip(payloads, ids_inv, absent, strict=False)
        ),
        dtype=bool,
        count=len(payloads),
    )


def calculate_distance_sparse(
    query: models.SparseVector,
    vectors: Sequence[models.SparseVector],
    empty_is_zero: bool = False,
) -> Any:
    """Return the dot product of a query with each vector; without a common index, -inf or 0."""
    weights = dict(zip(query.indices, query.values, strict=True))
    nothing = 0.0 if empty_is_zero else -np.inf
    scores = []
    for vector in vectors:
        if weights.keys().isdisjoint(vector.indices):
            scores.append(nothing)
            continue
        pairs = zip(vector.indices, vector.values, strict=True)
        scores.append(sum(weights[index] * value for index, value in pairs if index in weights))
    return np.array(scores, dtype=np.float32)
