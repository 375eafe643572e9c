"""A query answered in the same order by every store.

An engine puts points of equal score in the order of its own storage, and adds up fused
scores in 32 bits. So that two stores of the same points answer alike, and that no page
repeats or loses a hit, the equals at the end of what is asked for are read too, and
put in order of id; and of two sides a server's own fusion counts only where it met no
equals, which would make ranks, and so its sums, a matter of chance.
"""

from collections.abc import Iterable, Sequence
from typing import Literal, Protocol, TypeAlias

import numpy as np

from ragctl.collection.payload import Payload, Point
from ragctl.stores.base import Query, Scored
from ragctl.stores.ranking import Ranking, fused, has_equals, is_cut, ranked, varied

Side: TypeAlias = Literal["dense", "sparse"]

_FUSED_DIGITS = 6  # of the engine's fused scores: it adds up 32 bits
_EQUALS = 10_000  # more points of one score are left in the engine's order


class Engine(Protocol):
    """What a store does for a query; each call is one request."""

    @property
    def most(self) -> int:
        """Hits that one answer may have."""

    def sides(
        self, query: Query, sides: Sequence[Side], limit: int, *, payload: bool
    ) -> list[list[Scored]]:
        """The best of each side. The page as the engine fuses it may follow, with payloads."""

    def retrieve(self, ids: Sequence[str], *, vectors: bool = False) -> list[Point]: ...


def just_below(score: float) -> float:
    """The threshold for hits of at least `score`; an engine drops what equals its threshold."""
    return float(np.nextafter(np.float32(score), np.float32(-np.inf)))


def answer(query: Query, engine: Engine) -> list[Scored]:
    """The hits of a query."""
    return _Search(query, engine).hits()


class _Search:
    """One query. `_payloads`: those that came along so far. `_page`: as the engine fused it."""

    def __init__(self, query: Query, engine: Engine) -> None:
        self._query = query
        self._engine = engine
        self._wanted = query.offset + query.limit
        self._payloads: dict[str, Payload] = {}
        self._page: Ranking | None = None
        self._sides: list[Side] = []
        if query.dense is not None:
            self._sides.append("dense")
        if query.sparse is not None:
            self._sides.append("sparse")

    def hits(self) -> list[Scored]:
        query = self._query
        if len(self._sides) > 1:
            dense, sparse = self._read(self._depth(), payload=False)
            ranking = fused(dense, sparse, query.fusion)
            if self._page is not None and self._is_certain(ranking):
                ranking = [*ranking[: query.offset], *self._page]
        else:
            whole = query.diversity is not None
            count = self._depth() if whole else self._wanted
            (ranking,) = self._read(count, payload=not whole)
            if query.min_score is not None:
                ranking = [hit for hit in ranking if hit[1] >= query.min_score]
        if query.diversity is not None:
            ranking = self._varied(ranking[: self._depth()], query.diversity)
        return self._filled(ranking[query.offset : self._wanted])

    def _is_certain(self, ranking: Ranking) -> bool:
        """Whether no equals stand on both sides of an end of the page."""
        ends = (self._query.offset, self._wanted)
        return not any(is_cut(ranking[: end + 1], end) for end in ends if end)

    def _depth(self) -> int:
        """Candidates of each side, the same for all pages between two powers of ten."""
        deep = max(1, self._query.fusion.prefetch)
        while deep < self._wanted:
            deep *= 10
        # Beyond what is allowed the engine is asked all the same, to say so itself.
        return max(self._wanted, min(deep, self._engine.most))

    def _read(self, count: int, *, payload: bool) -> list[Ranking]:
        """The best `count` of each side, chosen by id among the equals of the last."""
        limit = max(count, min(count + 1, self._engine.most))
        answers = self._engine.sides(self._query, self._sides, limit, payload=payload)
        for answer in answers:
            self._payloads.update((hit.id, hit.payload) for hit in answer if hit.payload)
        whole, page = answers[: len(self._sides)], answers[len(self._sides) :]
        if page and not any(has_equals(_ranking(side)) for side in whole):
            self._page = ranked((hit.id, round(hit.score, _FUSED_DIGITS)) for hit in page[0])
        return [
            self._whole(side, found, count)[:count]
            for side, found in zip(self._sides, whole, strict=True)
        ]

    def _whole(self, side: Side, found: list[Scored], count: int) -> Ranking:
        ranking, limit = _ranking(found), count + 1
        most = min(self._engine.most, count + _EQUALS)
        while len(ranking) >= limit and is_cut(ranking, count) and limit < most:
            limit = min(limit * 8, most)
            (found,) = self._engine.sides(self._query, [side], limit, payload=False)
            ranking = _ranking(found)
        return ranking

    def _varied(self, ranking: Ranking, diversity: float) -> Ranking:
        """The ranking by variety. But for cosines, scores are relevance as parts of the best."""
        points = self._engine.retrieve([point_id for point_id, _ in ranking], vectors=True)
        self._payloads.update((point.id, point.payload) for point in points)
        vectors = {point.id: point.dense for point in points if point.dense is not None}
        scores = dict(ranking)
        best = 1.0 if self._sides == ["dense"] else max(scores.values(), default=1.0)
        parts = [(point_id, score / (best or 1.0)) for point_id, score in ranking]
        chosen = varied(parts, vectors, diversity, self._wanted)
        return [(point_id, scores[point_id]) for point_id, _ in chosen]

    def _filled(self, ranking: Ranking) -> list[Scored]:
        missing = [point_id for point_id, _ in ranking if point_id not in self._payloads]
        if missing:
            points = self._engine.retrieve(missing)
            self._payloads.update((point.id, point.payload) for point in points)
        # One that is not there any more was deleted between two requests.
        return [
            Scored(point_id, score, self._payloads[point_id])
            for point_id, score in ranking
            if point_id in self._payloads
        ]


def _ranking(found: Iterable[Scored]) -> Ranking:
    return ranked((hit.id, hit.score) for hit in found)
