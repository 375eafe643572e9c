"""Group hits by document."""

from collections.abc import Sequence

from ragctl.records import Hit


def count_documents(hits: Sequence[Hit]) -> int:
    """Return how many documents the hits are from."""
    return len({hit.source for hit in hits})


def group_by_document(hits: Sequence[Hit], size: int, offset: int, limit: int) -> list[Hit]:
    """Return the best `size` hits of each document, documents ordered by their best hit.

    `offset` documents are skipped, then `limit` are taken. Only the order of `hits` decides, so
    every store groups alike.
    """
    by_source: dict[str, list[Hit]] = {}
    for hit in hits:
        by_source.setdefault(hit.source, []).append(hit)
    groups = list(by_source.values())[offset : offset + limit]
    return [hit for group in groups for hit in group[:size]]
