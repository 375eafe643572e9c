"""Search options, each declared once.

A field of `SearchOptions` is at the same time

- a keyword argument of `Searcher.search`, `search_many` and their async twins (`takes_options`),
- a flag of `ragctl search` (`cli/search_flags.py`),
- if `tunable`, a key of `ragctl eval --sweep` and `--against` (`evaluate/variant.py`).

To add an option, add a field here and use it where it takes effect: in `build_query` (`query.py`)
if the store applies it, in `_Batch` (`find.py`) if it selects among the hits of the store. One
that drops hits must ask the store for more of them, as grouping does.
"""

# ruff: noqa: RUF009 - `option` declares a field, as `dataclasses.field` does

from dataclasses import dataclass, fields
from typing import Any, Literal, cast

from ragctl.collection.conditions import Where
from ragctl.errors import OptionError
from ragctl.search.option_spec import conflicts, declared_options, option, taking
from ragctl.search.where import Filter, parse_filter
from ragctl.stores.base import Fusion, Rescore
from ragctl.text import counted

Mode = Literal["hybrid", "dense", "sparse"]
Expand = Literal["section", "page", "document"]
FusionKind = Literal["rrf", "dbsf"]

MAX_HITS = 10_000  # hits, candidates, or hits skipped before them
MAX_OVERSAMPLING = 100
MIN_WEIGHT, MAX_WEIGHT = 0.001, 1000
MAX_CONTEXT_CHUNKS = 100
RERANK_CANDIDATES = 50  # hits given to a reranker by default

# What several options have in common: values of other options, and bounds.
_SPARSE = {"mode": ("sparse",)}
_WITH_VECTORS = {"mode": ("hybrid", "dense")}
_HYBRID = {"mode": ("hybrid",)}
_RRF = {**_HYBRID, "fusion": ("rrf",)}
_QUANTIZED = {**_WITH_VECTORS, "exact": (False,)}
_COUNT: dict[str, Any] = {"metavar": "N", "minimum": 1, "maximum": MAX_HITS}
_WEIGHT: dict[str, Any] = {
    "metavar": "W",
    "minimum": MIN_WEIGHT,
    "maximum": MAX_WEIGHT,
    "only_with": _RRF,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchOptions:
    """Options of a search: what to return, and how to search.

    Raises OptionError for a value out of range, a condition that cannot be parsed, or options
    that contradict each other.
    """

    limit: int = option(
        10,
        "Number of hits, or of documents with --group.",
        short="-n",
        **_COUNT,
        command_default=5,
        panel="Common options",
    )
    mode: Mode = option(
        "hybrid",
        "Search dense vectors, BM25 (sparse), or both.",
        tunable=True,
        panel="Common options",
    )
    where: Filter = option(
        (),
        'Filter, such as "team=ops and year>=2024". Operators: =, !=, <, <=, >, >=, ^= (begins '
        "with), in (…), has(FIELD); and, or, not. Of several filters all must hold; FIELD=VALUE on "
        "the same field are alternatives.",
        metavar="CONDITION",
        panel="Common options",
    )
    context: int = option(
        0,
        "Add N neighbouring chunks before and after each hit.",
        metavar="N",
        minimum=0,
        maximum=MAX_CONTEXT_CHUNKS,
        panel="Common options",
    )
    expand: Expand | None = option(
        None,
        "Return the whole section, page or document of a hit.",
        panel="Common options",
    )
    group: int | None = option(
        None,
        "Group hits by document, at most N chunks of each.",
        **_COUNT,
        panel="Results",
    )
    rerank: str | None = option(
        None,
        "Rerank the hits: sentences, cross-encoder, jina, cohere, voyage, tei, vllm, llama.cpp, "
        "jina-on-prem, or a reranker from rerankers.toml.",
        metavar="NAME[:MODEL]",
        panel="Common options",
    )
    rerank_url: str | None = option(
        None, "Address of the reranker.", metavar="URL", default_text="from its row"
    )
    candidates: int | None = option(
        None,
        "Hits to rerank, and to fuse from each ranking.",
        default_text=f"{RERANK_CANDIDATES} and {Fusion().prefetch}",
        **_COUNT,
        ignored_with=_SPARSE,
        tunable=True,
    )
    fusion: FusionKind = option(
        "rrf",
        "Fuse by rank (rrf) or by normalised score (dbsf).",
        only_with=_HYBRID,
        tunable=True,
    )
    k: int | None = option(
        None,
        "RRF constant; larger values flatten the ranking.",
        default_text="2",
        **_COUNT,
        only_with=_RRF,
        tunable=True,
    )
    dense_weight: float | None = option(
        None,
        "RRF weight of the dense ranking.",
        default_text="the model's, usually 1",
        **_WEIGHT,
        tunable=True,
    )
    sparse_weight: float | None = option(
        None,
        "RRF weight of the BM25 ranking.",
        default_text="1",
        **_WEIGHT,
        tunable=True,
    )
    diversity: float | None = option(
        None,
        "Diversify the dense hits (MMR); 1 ignores relevance.",
        default_text="0",
        metavar="0..1",
        minimum=0,
        maximum=1,
        only_with=_WITH_VECTORS,
        tunable=True,
    )
    min_score: float | None = option(
        None,
        "Drop hits below this score; not in hybrid mode, where scores only reflect ranks.",
        metavar="X",
        only_with={"mode": ("dense", "sparse")},
        panel="Results",
    )
    exact: bool = option(
        False,
        "Compare every vector, not the approximate index.",
        ignored_with=_SPARSE,
        tunable=True,
        panel="Vector search",
    )
    ef: int | None = option(
        None,
        "Candidates kept in a search of the HNSW index.",
        default_text="the store's",
        **_COUNT,
        only_with={"exact": (False,)},
        ignored_with=_SPARSE,
        tunable=True,
        panel="Vector search",
    )
    rescore: bool | None = option(
        None,
        "Rescore hits of a quantised collection with full vectors.",
        default_text="yes",
        only_with=_QUANTIZED,
        tunable=True,
        panel="Vector search",
    )
    oversampling: float | None = option(
        None,
        "Rescore this many times --limit candidates.",
        default_text="2",
        metavar="X",
        minimum=1,
        maximum=MAX_OVERSAMPLING,
        only_with={**_QUANTIZED, "rescore": (None, True)},
        tunable=True,
        panel="Vector search",
    )
    offset: int = option(
        0,
        "Skip the first N hits.",
        metavar="N",
        minimum=0,
        maximum=MAX_HITS,
        panel="Results",
    )

    def __post_init__(self) -> None:
        """Parse the filter and check every option. Raises OptionError."""
        object.__setattr__(self, "where", parse_filter(self.where))
        for declared in declared_options(SearchOptions):
            declared.check(getattr(self, declared.name))
        for name, other in conflicts(SearchOptions, self.values()):
            raise OptionError(name, f"has no effect {_with(other, getattr(self, other))}")
        if self.rerank_url is not None and self.rerank is None:
            raise OptionError("rerank_url", "name the reranker too")
        if self.context and self.expand is not None:
            raise OptionError("expand", "cannot be combined with context")
        if self.rerank is not None:
            self.rerank_depth()

    def values(self) -> dict[str, Any]:
        """Return every option by name."""
        return {each.name: getattr(self, each.name) for each in fields(self)}

    @property
    def conditions(self) -> Where:
        """The parsed filter."""
        return cast(Where, self.where)

    @property
    def rescoring(self) -> Rescore | None:
        """How a quantised collection is searched; None: as the store does by default."""
        return Rescore.from_options(self.rescore, self.oversampling)

    def check_quantization(self, quantization: str | None) -> None:
        """Raise OptionError for a rescoring option if the collection is not quantised."""
        if quantization is None and self.rescoring is not None:
            name = "rescore" if self.oversampling is None else "oversampling"
            raise OptionError(name, "the collection is not quantised, so there is no rescoring")

    def fusion_for(self, dense_weight: float) -> Fusion:
        """Return how the rankings are fused; `dense_weight` is the model's own."""
        default = Fusion()
        prefetch = max(default.prefetch, self.candidates or 0)
        if self.fusion == "dbsf":
            return Fusion(kind="dbsf", prefetch=prefetch)
        return Fusion(
            kind="rrf",
            k=default.k if self.k is None else self.k,
            dense=dense_weight if self.dense_weight is None else self.dense_weight,
            sparse=default.sparse if self.sparse_weight is None else self.sparse_weight,
            prefetch=prefetch,
        )

    def rerank_depth(self) -> int:
        """Return how many hits to rerank. Raises OptionError if fewer than are to be returned."""
        needed = self.offset + self.limit
        if self.candidates is None:
            return min(MAX_HITS, max(RERANK_CANDIDATES, needed * (self.group or 1)))
        if self.candidates < needed:
            raise OptionError(
                "candidates",
                f"{self.candidates} is fewer than the {counted(needed, 'hit')} to return",
            )
        return self.candidates


def _with(name: str, value: object) -> str:
    if isinstance(value, bool):
        return f"{'with' if value else 'without'} {name}"
    return f"with {name} {value}"


takes_options = taking(SearchOptions)
"""Decorator: replace a method's third parameter, `SearchOptions`, by one keyword per option."""
