"""What the strict mode of a collection allows, as far as requests can be adapted to it."""

from dataclasses import dataclass

from ragctl.collection.ownership import HAS_OWN_KEY
from ragctl.stores.server_info import CollectionInfo

UNLIMITED = 2**31


@dataclass(frozen=True, slots=True)
class BatchLimits:
    """What the collection's strict mode allows in one request, and whether others write to it.

    Attributes:
        upsert: points of an upsert.
        written: points that one request may write: a collection with a rate limit on writes
            refuses for good what costs more than a minute's tokens, one for each point.
        query: results of a search or a page.
        searches: searches of one request.
        width: hnsw_ef.
        oversampling: of a search in quantised vectors.
        values: values of a condition.
        exact: whether exact searches, counts and facets are allowed.
        unindexed: whether filters on fields without an index are allowed.
        shared: whether it holds points without ragctl's keys.
    """

    upsert: int = UNLIMITED
    written: int = UNLIMITED
    query: int = UNLIMITED
    searches: int = UNLIMITED
    width: int = UNLIMITED
    oversampling: float = float("inf")
    values: int = UNLIMITED
    exact: bool = True
    unindexed: bool = True
    shared: bool = False

    @classmethod
    def of(cls, info: CollectionInfo) -> "BatchLimits":
        """Return the limits of a collection."""
        strict = info.strict_mode
        if not strict.get("enabled"):
            return cls(shared=_is_shared(info))
        return cls(
            upsert=strict.get("upsert_max_batchsize") or UNLIMITED,
            written=strict.get("write_rate_limit") or UNLIMITED,
            query=strict.get("max_query_limit") or UNLIMITED,
            searches=strict.get("search_max_batchsize") or UNLIMITED,
            width=strict.get("search_max_hnsw_ef") or UNLIMITED,
            oversampling=strict.get("search_max_oversampling") or float("inf"),
            values=strict.get("condition_max_size") or UNLIMITED,
            exact=strict.get("search_allow_exact") is not False,
            unindexed=strict.get("unindexed_filtering_retrieve") is not False,
            shared=_is_shared(info),
        )


def _is_shared(info: CollectionInfo) -> bool:
    """Return whether there are more points than the index of ragctl's own key and the hidden one.

    Both counts are in every description of a collection, and may be off by deleted points.
    """
    index = info.payload_schema.get(HAS_OWN_KEY.key)
    return index is not None and info.points > index["points"] + 1
