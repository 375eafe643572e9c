"""Hits by document: the best chunks of each together."""

from collections.abc import Sequence

from ragctl.records import Hit


def documents_in(hits: Sequence[Hit]) -> int:
    return len({hit.source for hit in hits})


def grouped(hits: Sequence[Hit], most: int, offset: int, limit: int) -> list[Hit]:
    """Of ranked hits the best `most` of each document, documents by their best hit.

    `offset` documents are left out, then `limit` are taken. Nothing but the order of
    `hits` decides, so that every store groups alike.
    """
    of: dict[str, list[Hit]] = {}
    for hit in hits:
        of.setdefault(hit.source, []).append(hit)
    chosen = list(of.values())[offset : offset + limit]
    return [hit for found in chosen for hit in found[:most]]
