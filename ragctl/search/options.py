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

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import cache, wraps
from types import UnionType
from typing import (
    Any,
    Concatenate,
    Literal,
    NamedTuple,
    ParamSpec,
    TypeAlias,
    TypeVar,
    Union,
    cast,
    get_args,
    get_origin,
    get_type_hints,
)

from ragctl.collection.conditions import Condition, Where
from ragctl.errors import OptionError
from ragctl.search.where import parse_where
from ragctl.stores.base import Fusion, Rescore
from ragctl.stores.foreign_layout import LANGCHAIN_TEXT, Layout
from ragctl.text import counted

Mode = Literal["hybrid", "dense", "sparse"]
Expand = Literal["section", "page", "document"]
FusionKind = Literal["rrf", "dbsf"]
Filter: TypeAlias = str | Condition | Sequence[str | Condition]
"""Conditions as text ("team=ops and year>=2024") or as values; all must hold."""

MAX_HITS = 10_000  # hits, candidates, or hits skipped before them
MAX_OVERSAMPLING = 100
MIN_WEIGHT, MAX_WEIGHT = 0.001, 1000
MAX_CONTEXT_CHUNKS = 100
RERANK_CANDIDATES = 50  # hits given to a reranker by default

P = ParamSpec("P")
R = TypeVar("R")
S = TypeVar("S")
T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class OptionSpec:
    """How one option is shown, checked and combined with others.

    `help`: a sentence for the flag's help, to which the default is added. `default_text`: the
    default in words, if the value is not clear by itself. `metavar`: the placeholder of the
    value; options with choices show these. `short`: a one-letter flag. `minimum`, `maximum`:
    inclusive bounds of a number. `only_with`: the values of other options that this one requires.
    `ignored_with`: the values of other options with which this one is accepted and has no effect.
    `tunable`: whether `ragctl eval` can vary it. `command_default`: the default of
    `ragctl search`, if different.
    """

    help: str
    default_text: str = ""
    metavar: str = ""
    short: str = ""
    minimum: float | None = None
    maximum: float | None = None
    only_with: Mapping[str, tuple[object, ...]] = field(default_factory=dict)
    ignored_with: Mapping[str, tuple[object, ...]] = field(default_factory=dict)
    tunable: bool = False
    command_default: Any = None


def option(default: T, help: str, **spec: Any) -> T:  # noqa: A002 - as in typer and argparse
    """Declare a field of `SearchOptions`; `spec` are the fields of `OptionSpec`."""
    return field(default=default, metadata={"option": OptionSpec(help=help, **spec)})


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchOptions:
    """Options of a search: what to return, and how to search.

    Raises OptionError for a value out of range, a condition that cannot be parsed, or options
    that contradict each other.
    """

    limit: int = option(
        10,
        "Number of hits, or of documents if they are grouped.",
        short="-n",
        metavar="N",
        minimum=1,
        maximum=MAX_HITS,
        command_default=5,
    )
    mode: Mode = option(
        "hybrid",
        "Search dense vectors, BM25 (sparse), or both and fuse the rankings (hybrid).",
        tunable=True,
    )
    where: Filter = option(
        (),
        'Filter, such as "team=ops and year>=2024"; repeated filters must all hold, '
        "except that FIELD=VALUE filters on the same field are alternatives.",
        metavar="CONDITION",
    )
    context: int = option(
        0,
        "Add this many neighbouring chunks on either side of each hit.",
        metavar="N",
        minimum=0,
        maximum=MAX_CONTEXT_CHUNKS,
    )
    expand: Expand | None = option(
        None, "Return the whole section, page or document that contains the hit."
    )
    group: int | None = option(
        None,
        "Group hits by document, with at most this many chunks of each.",
        metavar="N",
        minimum=1,
        maximum=MAX_HITS,
    )
    rerank: str | None = option(
        None,
        "Rerank the hits: sentences, cross-encoder, jina, cohere, voyage, tei, vllm, llama.cpp, "
        "jina-on-prem, or a reranker from rerankers.toml.",
        metavar="NAME[:MODEL]",
    )
    rerank_url: str | None = option(
        None, "Address of the reranker.", metavar="URL", default_text="from its row"
    )
    candidates: int | None = option(
        None,
        "Candidates to rerank, and to take from each ranking for the fusion.",
        default_text=f"{RERANK_CANDIDATES} and {Fusion().prefetch}",
        metavar="N",
        minimum=1,
        maximum=MAX_HITS,
        ignored_with={"mode": ("sparse",)},
        tunable=True,
    )
    fusion: FusionKind = option(
        "rrf",
        "Fuse the two rankings by rank (rrf) or by normalised score (dbsf).",
        only_with={"mode": ("hybrid",)},
        tunable=True,
    )
    k: int | None = option(
        None,
        "RRF constant k; larger values flatten the ranking.",
        default_text="2",
        metavar="N",
        minimum=1,
        maximum=MAX_HITS,
        only_with={"mode": ("hybrid",), "fusion": ("rrf",)},
        tunable=True,
    )
    dense_weight: float | None = option(
        None,
        "RRF weight of the dense ranking.",
        default_text="the model's, usually 1",
        metavar="W",
        minimum=MIN_WEIGHT,
        maximum=MAX_WEIGHT,
        only_with={"mode": ("hybrid",), "fusion": ("rrf",)},
        tunable=True,
    )
    sparse_weight: float | None = option(
        None,
        "RRF weight of the BM25 ranking.",
        default_text="1",
        metavar="W",
        minimum=MIN_WEIGHT,
        maximum=MAX_WEIGHT,
        only_with={"mode": ("hybrid",), "fusion": ("rrf",)},
        tunable=True,
    )
    diversity: float | None = option(
        None,
        "Diversify the dense hits by maximal marginal relevance; 1 ignores relevance.",
        default_text="0",
        metavar="0..1",
        minimum=0,
        maximum=1,
        only_with={"mode": ("hybrid", "dense")},
        tunable=True,
    )
    min_score: float | None = option(
        None,
        "Drop hits below this score; not in hybrid mode, where scores only reflect ranks.",
        metavar="X",
        only_with={"mode": ("dense", "sparse")},
    )
    exact: bool = option(
        False,
        "Compare the question with every vector instead of using the approximate index.",
        ignored_with={"mode": ("sparse",)},
        tunable=True,
    )
    ef: int | None = option(
        None,
        "Candidates kept while the approximate index (HNSW) is searched.",
        default_text="the store's",
        metavar="N",
        minimum=1,
        maximum=MAX_HITS,
        only_with={"exact": (False,)},
        ignored_with={"mode": ("sparse",)},
        tunable=True,
    )
    rescore: bool | None = option(
        None,
        "Quantised collections: rescore the best candidates with the full vectors.",
        default_text="yes",
        only_with={"mode": ("hybrid", "dense"), "exact": (False,)},
        tunable=True,
    )
    oversampling: float | None = option(
        None,
        "Quantised collections: rescore this many times --limit candidates.",
        default_text="2",
        metavar="X",
        minimum=1,
        maximum=MAX_OVERSAMPLING,
        only_with={
            "mode": ("hybrid", "dense"),
            "exact": (False,),
            "rescore": (None, True),
        },
        tunable=True,
    )
    offset: int = option(0, "Skip the first N hits.", metavar="N", minimum=0, maximum=MAX_HITS)

    def __post_init__(self) -> None:
        """Parse the filter and check every option. Raises OptionError."""
        object.__setattr__(self, "where", parse_filter(self.where))
        for declared in declared_options():
            declared.check(getattr(self, declared.name))
        for name, other in _conflicts(self.values()):
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


@dataclass(frozen=True, slots=True, kw_only=True)
class ForeignOptions:
    """How a collection of another program on a Qdrant server is read, such as LangChain's.

    See `stores.foreign_layout.Layout`. Raises OptionError for options without a model.
    """

    model: str | None = option(
        None,
        "The collection is of another program: the model that made its vectors.",
        metavar="MODEL",
    )
    vector: str | None = option(
        None,
        "Its dense vector.",
        metavar="NAME",
        default_text="the unnamed one, or the only one",
    )
    text_field: str | None = option(
        None,
        "Its payload field with the text; a dotted path.",
        metavar="PATH",
        default_text="page_content",
    )
    sparse_vector: str | None = option(
        None,
        "Its sparse vector, made by Qdrant/bm25, for hybrid and sparse searches.",
        metavar="NAME",
        default_text="none; dense search only",
    )
    sparse_language: str | None = option(
        None, "The language of its sparse vectors.", metavar="CODE", default_text="en"
    )
    source_field: str | None = option(
        None,
        "Its payload field with the name of the document.",
        metavar="PATH",
        default_text="metadata.source with page_content, else the point's id",
    )
    title_field: str | None = option(
        None, "Its payload field with the title.", metavar="PATH", default_text="none"
    )
    metadata_field: str | None = option(
        None,
        "Its payload field with the metadata that filters name; . is the whole payload.",
        metavar="PATH",
        default_text="metadata with page_content, else the whole payload",
    )

    def __post_init__(self) -> None:
        """Raise OptionError for an option without the model that it needs."""
        if self.model is None:
            for each in fields(self):
                if getattr(self, each.name) is not None:
                    raise OptionError(each.name, "name the model that made the vectors, too")
        if self.sparse_language is not None and self.sparse_vector is None:
            raise OptionError("sparse_language", "name the sparse vector too")

    def layout(self) -> Layout | None:
        """Return the layout of the collection; None for a collection of ragctl."""
        if self.model is None:
            return None
        return Layout(
            model=self.model,
            text=self.text_field or LANGCHAIN_TEXT,
            vector=self.vector,
            sparse=self.sparse_vector,
            language=self.sparse_language or "en",
            source=self.source_field,
            title=self.title_field,
            metadata="" if self.metadata_field == "." else self.metadata_field,
        )

    def adapt(self, options: SearchOptions) -> SearchOptions:
        """Return the options of a search, as the collection can answer them.

        Without a sparse vector the default mode becomes dense. Raises OptionError.
        """
        if self.model is None:
            return options
        for name in ("context", "expand"):
            if getattr(options, name):
                raise OptionError(name, "needs a collection of ragctl, which knows neighbours")
        if self.sparse_vector is not None or options.mode == "dense":
            return options
        if options.mode == "sparse":
            raise OptionError("mode", "a sparse search needs the name of a sparse vector")
        return replace(options, mode="dense")


class DeclaredOption(NamedTuple):
    """A field of `SearchOptions` or `ForeignOptions`, read for the command, `eval` and the checks.

    `kind`: int, float, bool or str; tuple for `where`. `choices`: the allowed texts, if limited.
    `optional`: whether the value may be None.
    """

    name: str
    kind: type
    choices: tuple[str, ...]
    optional: bool
    default: Any
    spec: OptionSpec

    def check(self, value: Any) -> None:
        """Raise OptionError if `value` is not one of the choices, or out of range."""
        if value is None and self.optional:
            return
        if self.choices and value not in self.choices:
            raise OptionError(self.name, f"{value!r} is not one of {', '.join(self.choices)}")
        low, high = self.spec.minimum, self.spec.maximum
        if low is None or high is None or low <= value <= high:
            return
        number = "a whole number" if self.kind is int else "a number"
        raise OptionError(self.name, f"{value:g} is not {number} from {low:g} to {high:,g}")


def declared_options(of: type[Any] = SearchOptions) -> tuple[DeclaredOption, ...]:
    """Return every option of a class, in the order of declaration."""
    return _declared_options(cast(Any, of))


@cache
def _declared_options(of: Any) -> tuple[DeclaredOption, ...]:
    hints = get_type_hints(of)
    return tuple(_declared(each.name, hints[each.name], each) for each in fields(of))


def _declared(name: str, hint: Any, declaration: Any) -> DeclaredOption:
    default, spec = declaration.default, declaration.metadata["option"]
    if hint == Filter:
        return DeclaredOption(name, tuple, (), False, default, spec)
    optional = get_origin(hint) in (Union, UnionType)
    inner = next(each for each in get_args(hint) if each is not type(None)) if optional else hint
    choices = get_args(inner) if get_origin(inner) is Literal else ()
    return DeclaredOption(name, str if choices else inner, choices, optional, default, spec)


def _conflicts(values: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield each option that is set, with the other option whose value rules it out."""
    for declared in declared_options():
        if values[declared.name] != declared.default:
            for other, allowed in declared.spec.only_with.items():
                if values[other] not in allowed:
                    yield declared.name, other
                    break


def without_ineffective(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values of all options, those without an effect reset to their defaults."""
    effective = dict(values)
    for declared in declared_options():
        allowed, ignored = declared.spec.only_with, declared.spec.ignored_with
        if any(values[other] not in good for other, good in allowed.items()) or any(
            values[other] in bad for other, bad in ignored.items()
        ):
            effective[declared.name] = declared.default
    return effective


def _with(name: str, value: object) -> str:
    if isinstance(value, bool):
        return f"{'with' if value else 'without'} {name}"
    return f"with {name} {value}"


def parse_filter(where: Filter) -> Where:
    """Return the conditions of a filter. Raises OptionError for text that cannot be parsed."""
    parts = (where,) if isinstance(where, str | Condition) else tuple(where)
    texts = [part for part in parts if isinstance(part, str)]
    return (*parse_where(texts), *(part for part in parts if not isinstance(part, str)))


def _taking(
    make: Callable[P, SearchOptions],
) -> Callable[[Callable[[S, T, SearchOptions], R]], Callable[Concatenate[S, T, P], R]]:
    def decorate(method: Callable[[S, T, SearchOptions], R]) -> Callable[Concatenate[S, T, P], R]:
        @wraps(method)
        def call(self: S, subject: T, /, *args: P.args, **kwargs: P.kwargs) -> R:
            return method(self, subject, make(*args, **kwargs))

        subject_and_self = list(inspect.signature(method).parameters.values())[:2]
        keywords = inspect.signature(make).parameters.values()
        call.__signature__ = inspect.Signature([*subject_and_self, *keywords])  # type: ignore[attr-defined]
        return call

    return decorate


takes_options = _taking(SearchOptions)
"""Decorator: replace a method's third parameter, `SearchOptions`, by one keyword per option.

Type checkers and `help()` see the keywords with their types and defaults.
"""
