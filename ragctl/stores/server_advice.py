"""Refusals that come from a limit on the server: which setting it is, and what to do."""

import re
from dataclasses import dataclass

STORAGE_FULL = 507


@dataclass(frozen=True, slots=True)
class _Limit:
    """A limit: the server's words (`{n}` is its value), the setting, and the advice."""

    words: str
    setting: str
    advice: str


_RAISE = "raise it with PATCH /collections/NAME"

_LIMITS = (
    _Limit("Exact search disabled", "search_allow_exact", "search without --exact"),
    _Limit(r'> (?P<n>\S+) for "limit"', "max_query_limit", "ask for fewer results (--limit)"),
    _Limit(r'> (?P<n>\S+) for "hnsw_ef"', "search_max_hnsw_ef", "use a smaller --ef"),
    _Limit(
        r'> (?P<n>\S+) for "oversampling"',
        "search_max_oversampling",
        "use a smaller --oversampling",
    ),
    _Limit(r'> (?P<n>\S+) for "upsert limit"', "upsert_max_batchsize", "run again"),
    _Limit(r'> (?P<n>\S+) for "search batch size"', "search_max_batchsize", "run again"),
    _Limit(r'> (?P<n>\S+) for "timeout"', "max_timeout", _RAISE),
    _Limit(
        r"Filter condition limit reached \(\d+ > (?P<n>\d+)\)",
        "filter_max_conditions",
        "use fewer conditions",
    ),
    _Limit(
        r"Condition size limit reached \(\d+ > (?P<n>\d+)\)",
        "condition_max_size",
        "use fewer values in a condition",
    ),
    _Limit(
        "Index required but not found",
        "unindexed_filtering_retrieve or unindexed_filtering_update",
        "declare the type of the field in the pipeline, or filter by another one",
    ),
    _Limit(
        r"points count limit of (?P<n>\d+) reached",
        "max_points_count",
        f"{_RAISE}, or index less; ragctl delete frees points",
    ),
    _Limit(
        r"vector storage size limit of (?P<n>\S+) reached",
        "max_collection_vector_size_bytes",
        f"{_RAISE}, or index less; ragctl delete frees space",
    ),
    _Limit(
        r"payload storage size limit of (?P<n>\S+) reached",
        "max_collection_payload_size_bytes",
        f"{_RAISE}, or index less; ragctl delete frees space",
    ),
    _Limit(
        r"Max allowed: (?P<n>\d+)",
        "max_payload_index_count",
        f"{_RAISE}, or declare fewer fields",
    ),
    _Limit(
        "request larger than rate limiter capacity",
        "write_rate_limit or read_rate_limit",
        f"a single write needs more than one minute allows; {_RAISE}",
    ),
)


def limit_advice(status: int, reason: str) -> str | None:
    """Return what to do about a refusal; None if no limit is behind it."""
    for limit in _LIMITS:
        found = re.search(limit.words, reason)
        if found:
            value = f" = {found['n']}" if found.groupdict() else ""
            return f"strict mode of the collection sets {limit.setting}{value}: {limit.advice}"
    if status == STORAGE_FULL or re.search(r"\bquota\b", reason, re.IGNORECASE):
        return (
            "a quota of the server is used up: free memory or disk there, or raise the quota "
            "(PUT /quotas); ragctl delete still works"
        )
    return None
