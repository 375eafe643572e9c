"""How a question is asked: everything that a search may be told, checked in one place."""

from dataclasses import dataclass, replace
from typing import Literal, get_args

from ragctl.collection.conditions import Where
from ragctl.errors import UsageError
from ragctl.stores.base import Fusion, Rescore

Mode = Literal["hybrid", "dense", "sparse"]
MODES: tuple[Mode, ...] = get_args(Mode)
Expand = Literal["section", "page", "document"]
EXPANDS: tuple[Expand, ...] = get_args(Expand)
FusionKind = Literal["rrf", "dbsf"]
FUSIONS: tuple[FusionKind, ...] = get_args(FusionKind)

OVERSAMPLED = 100  # times as many, at most
MOST = 10_000  # hits, candidates, or what is left out before them
CANDIDATES = 50  # for a reranker


@dataclass(frozen=True, slots=True)
class SearchOptions:
    """What to search, and how. Raises UsageError for what cannot be.

    limit      hits, or with `group` documents; `offset` of them are left out
    mode       both sides fused, meaning alone ("dense"), words alone ("sparse")
    where      conditions, all of which must hold
    fusion     "rrf": ranks, with `k` and weights (None: the model's own); "dbsf": scores
    exact, ef  without an approximate index; or how many candidates to keep while walking it
    diversity  0 to 1: variety (maximal marginal relevance) among the dense hits; None: none
    min_score  the least score of a hit, of one side alone
    group      at most so many chunks of each document, together; None: chunks by themselves
    context    neighbouring chunks on either side; `expand` to a section, page or document
    candidates how many hits each side gives to the fusion, and the search to the reranker
    rescore    of a quantised collection: whether the best by the small vectors are scored again
               with the whole ones, `oversampling` times as many; None: as Rescore() says
    """

    limit: int = 10
    mode: Mode = "hybrid"
    where: Where = ()
    offset: int = 0
    fusion: FusionKind = "rrf"
    k: int | None = None
    dense_weight: float | None = None
    sparse_weight: float | None = None
    exact: bool = False
    ef: int | None = None
    diversity: float | None = None
    min_score: float | None = None
    group: int | None = None
    context: int = 0
    expand: Expand | None = None
    candidates: int | None = None
    rescore: bool | None = None
    oversampling: float | None = None

    def __post_init__(self) -> None:
        _one_of("mode", self.mode, MODES)
        _one_of("fusion", self.fusion, FUSIONS)
        if self.expand is not None:
            _one_of("expand", self.expand, EXPANDS)
        _within("limit", self.limit, 1, MOST)
        _within("offset", self.offset, 0, MOST)
        _within("context", self.context, 0, 100)
        for name, value in (
            *(("candidates", self.candidates), ("group", self.group)),
            *(("ef", self.ef), ("k", self.k)),
        ):
            if value is not None:
                _within(name, value, 1, MOST)
        for name, weight in (
            ("dense weight", self.dense_weight),
            ("sparse weight", self.sparse_weight),
        ):
            if weight is not None and not 0 < weight <= 1000:
                raise UsageError(f"{name} {weight:g}: a number above 0, at most 1000")
        self._check_sides()
        self._check_rescore()

    def _check_sides(self) -> None:
        """What makes sense with both sides alone, and with one."""
        weights = (self.k, self.dense_weight, self.sparse_weight)
        if any(value is not None for value in weights) and (
            self.fusion != "rrf" or self.mode != "hybrid"
        ):
            raise UsageError("k and weights belong to the fusion rrf, in hybrid mode")
        if self.fusion != "rrf" and self.mode != "hybrid":
            raise UsageError(f"fusion {self.fusion} joins two sides: use it in hybrid mode")
        if self.min_score is not None and self.mode == "hybrid":
            raise UsageError(
                "min score is of one side, dense or sparse: a fused score tells a hit's ranks, "
                "not how good it is"
            )
        if self.diversity is not None:
            if not 0 <= self.diversity <= 1:
                raise UsageError(f"diversity {self.diversity:g}: a number from 0 to 1")
            if self.mode == "sparse":
                raise UsageError("diversity compares vectors: use it in dense or hybrid mode")
        if self.exact and self.ef is not None:
            raise UsageError("an exact search walks no index: ef has no meaning for it")

    def _check_rescore(self) -> None:
        if self.rescored is None:
            return
        if self.oversampling is not None and not 1 <= self.oversampling <= OVERSAMPLED:
            raise UsageError(
                f"oversampling {self.oversampling:g}: a number from 1 to {OVERSAMPLED}"
            )
        if self.mode == "sparse":
            raise UsageError("rescore and oversampling are of vectors: sparse mode asks for words")
        if self.exact:
            raise UsageError("an exact search reads the whole vectors: there is nothing to rescore")
        if self.oversampling is not None and self.rescore is False:
            raise UsageError("oversampling is of what is rescored: without rescore leave it out")

    @property
    def rescored(self) -> Rescore | None:
        """How quantised vectors are searched; None: as the store does by itself."""
        return Rescore.from_options(self.rescore, self.oversampling)

    def check(self, quantization: str | None) -> None:
        """Raises UsageError for what a collection with this quantization has no use for."""
        if self.rescored is not None and quantization is None:
            raise UsageError(
                "the collection has no quantized vectors: rescore and oversampling have no effect; "
                "leave them out"
            )

    def fused(self, dense_weight: float) -> Fusion:
        """The fusion; `dense_weight` is the model's own."""
        plain = Fusion(kind=self.fusion)
        if self.fusion == "dbsf":
            return replace(plain, prefetch=self._prefetch(plain.prefetch))
        return Fusion(
            kind="rrf",
            k=plain.k if self.k is None else self.k,
            dense=dense_weight if self.dense_weight is None else self.dense_weight,
            sparse=plain.sparse if self.sparse_weight is None else self.sparse_weight,
            prefetch=self._prefetch(plain.prefetch),
        )

    def _prefetch(self, usual: int) -> int:
        return usual if self.candidates is None else max(usual, self.candidates)


def _one_of(what: str, value: str, known: tuple[str, ...]) -> None:
    if value not in known:
        raise UsageError(f"{what} {value!r}: one of {', '.join(known)}")


def _within(what: str, value: int, least: int, most: int) -> None:
    if not least <= value <= most:
        raise UsageError(f"{what} {value}: a whole number from {least} to {most:,}")
