"""Queries answered in the same order by every store.

An engine orders points of equal score by their position in storage, and sums fused scores
in 32 bits. Here ties are ordered by id instead, so that two stores of the same points give
the same answer and pages neither repeat nor lose a hit. For that, ties at the end of the
requested range are read whole. A server's own fusion is used only if it met no ties: with
ties the ranks, and so the fused scores, would depend on chance.

Points that the query does not accept, such as those of other programs, are not hits. A search
that meets one is made again without them, so that they take no place in a ranking.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Literal, Protocol, TypeAlias

import numpy as np

from ragctl.collection.conditions import HasId, NoneOf, Where
from ragctl.collection.payload import Payload, Point
from ragctl.stores.base import Query, Scored
from ragctl.stores.ranking import Ranking, diversify, ends_within_tie, fuse, has_ties, rank

VectorName: TypeAlias = Literal["dense", "sparse"]

SERVER_SCORE_DIGITS = 6
"""Decimal places of a server's fused scores, which it sums in 32 bits."""

MAX_TIES = 10_000
"""Points of one score that are read to order them; larger ties keep the engine's order."""

MAX_REPEATS = 20
"""Times that a search is made again without points that were refused."""


class Engine(Protocol):
    """The requests that answering a query needs from a store; each call is one request."""

    @property
    def max_hits(self) -> int:
        """The most hits that one answer can have."""

    @property
    def own(self) -> Where:
        """Conditions that the points of the collection's own program meet."""

    @property
    def is_shared(self) -> bool:
        """Whether the collection is known to hold points of other programs."""

    def rankings(
        self, query: Query, names: Sequence[VectorName], limit: int, *, payload: bool
    ) -> list[list[Scored]]:
        """Return the best hits by each of the vectors.

        When both are asked for, one more list may follow: the page of the engine's own
        fusion, with payloads.
        """

    def retrieve(self, ids: Sequence[str], *, vectors: bool = False) -> list[Point]:
        """Return the points that exist; see Collection.retrieve."""


def threshold_for(score: float) -> float:
    """Return the engine's threshold for hits of at least `score`: the next float32 below.

    An engine leaves out hits whose score equals its threshold.
    """
    return float(np.nextafter(np.float32(score), np.float32(-np.inf)))


def answer(query: Query, engine: Engine) -> list[Scored]:
    """Return the hits of a query, best first, equal scores in order of id."""
    accept = query.accept
    if accept is None:
        return _Search(query, engine).hits()
    own: Where = engine.own if engine.is_shared else ()
    refused: set[str] = set()
    hits: list[Scored] = []
    for _ in range(MAX_REPEATS):
        without = (NoneOf((HasId(tuple(sorted(refused))),)),) if refused else ()
        search = _Search(replace(query, where=(*query.where, *own, *without)), engine)
        hits = search.hits()
        if all(accept(hit.payload) for hit in hits):
            return hits
        own = engine.own
        refused |= search.refused(accept)
    return [hit for hit in hits if accept(hit.payload)]


class _Search:
    """One query.

    `_payloads`: those read so far. `_page`: the page of the engine's fusion. `_candidates`: the
    ids of all rankings read.
    """

    def __init__(self, query: Query, engine: Engine) -> None:
        self._query = query
        self._engine = engine
        self._end = query.offset + query.limit
        self._payloads: dict[str, Payload] = {}
        self._page: Ranking | None = None
        self._candidates: set[str] = set()
        self._names: list[VectorName] = []
        if query.dense is not None:
            self._names.append("dense")
        if query.sparse is not None:
            self._names.append("sparse")

    def hits(self) -> list[Scored]:
        query = self._query
        if len(self._names) > 1:
            dense, sparse = self._read(self._depth(), payload=False)
            ranking = fuse(dense, sparse, query.fusion)
            if self._page is not None and self._is_page_certain(ranking):
                ranking = [*ranking[: query.offset], *self._page]
        else:
            diversified = query.diversity is not None
            count = self._depth() if diversified else self._end
            (ranking,) = self._read(count, payload=not diversified)
            if query.min_score is not None:
                ranking = [hit for hit in ranking if hit[1] >= query.min_score]
        if query.diversity is not None:
            ranking = self._diversified(ranking[: self._depth()], query.diversity)
        return self._with_payloads(ranking[query.offset : self._end])

    def refused(self, accept: Callable[[Payload], bool]) -> set[str]:
        """Return the ids of the candidates that are not accepted, after `hits`."""
        missing = sorted(self._candidates - self._payloads.keys())
        self._payloads.update((point.id, point.payload) for point in self._engine.retrieve(missing))
        return {point_id for point_id, payload in self._payloads.items() if not accept(payload)}

    def _is_page_certain(self, ranking: Ranking) -> bool:
        """Return whether no tie of the fused ranking crosses the page's start or end."""
        ends = (self._query.offset, self._end)
        return not any(ends_within_tie(ranking[: end + 1], end) for end in ends if end)

    def _depth(self) -> int:
        """Return the candidates by each vector; the same for all pages within a power of ten."""
        depth = max(1, self._query.fusion.prefetch)
        while depth < self._end:
            depth *= 10
        # A page beyond the engine's limit is requested all the same: the engine refuses it.
        return max(self._end, min(depth, self._engine.max_hits))

    def _read(self, count: int, *, payload: bool) -> list[Ranking]:
        """Return the best `count` by each vector; a tie at the end is decided by id."""
        limit = max(count, min(count + 1, self._engine.max_hits))
        answers = self._engine.rankings(self._query, self._names, limit, payload=payload)
        for answer in answers:
            self._candidates.update(hit.id for hit in answer)
            self._payloads.update((hit.id, hit.payload) for hit in answer if hit.payload)
        rankings, page = answers[: len(self._names)], answers[len(self._names) :]
        if page and not any(has_ties(_ranking(found)) for found in rankings):
            self._page = rank((hit.id, round(hit.score, SERVER_SCORE_DIGITS)) for hit in page[0])
        return [
            self._with_whole_tie(name, found, count)[:count]
            for name, found in zip(self._names, rankings, strict=True)
        ]

    def _with_whole_tie(self, name: VectorName, found: list[Scored], count: int) -> Ranking:
        """Return the ranking, read further until the tie at `count` is whole."""
        ranking, limit = _ranking(found), count + 1
        max_limit = min(self._engine.max_hits, count + MAX_TIES)
        while len(ranking) >= limit and ends_within_tie(ranking, count) and limit < max_limit:
            limit = min(limit * 8, max_limit)
            (found,) = self._engine.rankings(self._query, [name], limit, payload=False)
            ranking = _ranking(found)
        return ranking

    def _diversified(self, ranking: Ranking, diversity: float) -> Ranking:
        """Return the ranking diversified. Scores other than cosines are divided by the best."""
        points = self._engine.retrieve([point_id for point_id, _ in ranking], vectors=True)
        self._payloads.update((point.id, point.payload) for point in points)
        vectors = {point.id: point.dense for point in points if point.dense is not None}
        scores = dict(ranking)
        best = 1.0 if self._names == ["dense"] else max(scores.values(), default=1.0)
        relative = [(point_id, score / (best or 1.0)) for point_id, score in ranking]
        chosen = diversify(relative, vectors, diversity, self._end)
        return [(point_id, scores[point_id]) for point_id, _ in chosen]

    def _with_payloads(self, ranking: Ranking) -> list[Scored]:
        missing = [point_id for point_id, _ in ranking if point_id not in self._payloads]
        if missing:
            points = self._engine.retrieve(missing)
            self._payloads.update((point.id, point.payload) for point in points)
        # A point that is still missing was deleted between two requests.
        return [
            Scored(point_id, score, self._payloads[point_id])
            for point_id, score in ranking
            if point_id in self._payloads
        ]


def _ranking(found: Iterable[Scored]) -> Ranking:
    return rank((hit.id, hit.score) for hit in found)
