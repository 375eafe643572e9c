"""Models: what makes the vectors. One table of models.toml each."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal, cast, get_args

from ragctl.catalog.strict import ConfigSource, Table, parse
from ragctl.errors import UsageError

Distance = Literal["cosine", "dot", "euclid", "manhattan"]
DISTANCES: tuple[Distance, ...] = get_args(Distance)

RETRIEVAL = "retrieval"
"""The task whose sides a model's row gives as its document and query."""

Pooling = Literal["lexical", "mean", "cls", "last", "clip", "unknown"]
POOLINGS: tuple[Pooling, ...] = get_args(Pooling)

_KEYS = (
    "dim",
    "dims",
    "trained",
    "context",
    "normalized",
    "distance",
    "pooling",
    "layer_norm",
    "tokenizer",
    "licence",
    "non_commercial",
    "languages",
    "document",
    "query",
    "tasks",
    "late_chunking",
    "multi_vector",
    "images",
    "backend",
    "price",
    "revision",
    "dense_weight",
)


@dataclass(frozen=True, slots=True)
class Library:
    """What the model's own `encode` in Python libraries is told, beside or instead of a prompt.

    `task` and `prompt_name` are the arguments of these names. Without a
    `prompt_name` the side's prompt is passed as text.
    """

    task: str | None = None
    prompt_name: str | None = None


@dataclass(frozen=True, slots=True)
class Instruction:
    """How a model is told what a text is: a document to be found, or a query.

    `task` is the name its own API has for it (None: the API has no such field).
    `prompt` is the exact text put before each input where no such field exists,
    spaces included; "" for none, None where the text is not published.
    `library` is what the model's own Python code is told.
    """

    task: str | None
    prompt: str | None
    library: Library = Library()

    @property
    def label(self) -> str | None:
        """What a collection's identity records, the same through every backend."""
        return self.task or self.prompt or None


@dataclass(frozen=True, slots=True)
class Instructions:
    """The two sides of one task of a model."""

    document: Instruction
    query: Instruction


@dataclass(frozen=True, slots=True)
class Model:
    """An embedding model.

    `dims` are the sizes its vectors may be cut to (Matryoshka), native size
    included; `trained` those that it was trained at, where they are published.
    `context` is in tokens of its own tokenizer. `price` is US dollars per
    million tokens at its maker's API, None where unknown. `backend` is the
    backend used when none is named. `dense_weight` is the weight of its vectors
    beside BM25's 1 when both are fused. `layer_norm`: a whole vector passes a
    layer norm before it is cut. `tasks` are its other tasks by name. `late_chunking`:
    its API can embed the chunks of a document in each other's context.
    `multi_vector`: dimensions of each token's vector, where it can answer those.
    """

    name: str
    dim: int
    dims: Sequence[int]
    trained: tuple[int, ...]
    context: int | None
    normalized: bool
    distance: Distance
    licence: str
    languages: str
    document: Instruction
    query: Instruction
    backend: str
    price: float | None = None
    revision: str | None = None
    dense_weight: float = 1.0
    pooling: Pooling = "unknown"
    layer_norm: bool = False
    tokenizer: str | None = None
    non_commercial: bool = False
    tasks: Mapping[str, Instructions] = field(default_factory=dict)
    late_chunking: bool = False
    multi_vector: int | None = None
    images: bool = False

    @property
    def matryoshka(self) -> bool:
        return len(self.dims) > 1

    def for_task(self, task: str | None) -> "Model":
        """Return this model with the sides of another of its tasks (None: itself, retrieval).

        Raises UsageError, listing its tasks, for one that it does not have.
        """
        if task is None or task == RETRIEVAL:
            return self
        if task not in self.tasks:
            others = ", ".join([RETRIEVAL, *self.tasks])
            raise UsageError(f"{self.name} has no task {task!r}; it has: {others}")
        sides = self.tasks[task]
        return replace(self, document=sides.document, query=sides.query)

    def size(self, dim: int | None) -> int:
        """Return the vector size to use when `dim` is asked (None: native).

        Raises UsageError, listing what is allowed, for a size this model cannot have.
        """
        if dim is None:
            return self.dim
        if dim not in self.dims:
            raise UsageError(
                f"{self.name} has no vectors of {dim} dimensions; allowed: {self.sizes()}"
            )
        return dim

    def sizes(self) -> str:
        """Return the allowed sizes in words: "32 to 4096", or "64, 128, 256"."""
        if isinstance(self.dims, range):
            return f"{self.dims[0]} to {self.dims[-1]}"
        return ", ".join(str(size) for size in self.dims)


def load_models(text: str, source: str) -> dict[str, Model]:
    """Read models from TOML, one top-level table each. Raises UsageError, naming `source`."""
    return {name: read_model(name, data, source) for name, data in parse(text, source).items()}


def read_model(name: str, data: object, source: ConfigSource | str) -> Model:
    """Read one table. Raises UsageError, naming `source` and what is wrong in it."""
    row = Table(source, (name,), data, _KEYS)
    dim = row.positive("dim")
    if dim is None:
        raise row.error("dim", "is missing (a whole number)")
    dims = _dims(row, dim)
    trained = row.sequence("trained", int)
    for size in trained:
        if size not in dims:
            raise row.error("trained", f"holds {size}, which dims does not allow")
    return Model(
        name=name,
        dim=dim,
        dims=dims,
        trained=trained,
        context=row.positive("context"),
        normalized=row.required("normalized", bool),
        distance=cast(Distance, row.choice("distance", DISTANCES)),
        licence=row.required("licence", str),
        languages=row.required("languages", str),
        document=_side(row, "document"),
        query=_side(row, "query"),
        backend=row.required("backend", str),
        price=row.optional("price", float),
        dense_weight=_weight(row),
        revision=row.optional("revision", str),
        pooling=cast(Pooling, row.choice("pooling", POOLINGS, "unknown")),
        layer_norm=row.optional("layer_norm", bool) or False,
        tokenizer=row.optional("tokenizer", str),
        non_commercial=row.optional("non_commercial", bool) or False,
        tasks=_tasks(row),
        late_chunking=row.optional("late_chunking", bool) or False,
        multi_vector=row.positive("multi_vector"),
        images=row.optional("images", bool) or False,
    )


def _dims(row: Table, dim: int) -> Sequence[int]:
    """Read `dims`: a list of sizes, a table {min, max}, or absent for the native size alone."""
    if not row.has("dims"):
        return (dim,)
    try:
        span = row.optional("dims", dict)
    except UsageError:
        sizes = tuple(sorted(row.sequence("dims", int)))
        if dim not in sizes:
            raise row.error("dims", f"must hold the native size {dim}") from None
        return sizes
    assert span is not None
    ends = row.table("dims", ("min", "max"))
    least, most = ends.required("min", int), ends.required("max", int)
    if not 1 <= least <= dim <= most:
        raise row.error("dims", f"must span the native size {dim}, from 1 or more")
    return range(least, most + 1)


def _tasks(row: Table) -> dict[str, Instructions]:
    """Read `tasks`: a table from names to the two sides of each."""
    listed = row.table("tasks", None)
    tasks = {}
    for name in listed.names():
        if name == RETRIEVAL:
            raise listed.error(name, "is the row's own document and query")
        sides = listed.table(name, ("document", "query"))
        tasks[name] = Instructions(_side(sides, "document"), _side(sides, "query"))
    return tasks


def _side(row: Table, key: str) -> Instruction:
    side = row.table(key, ("task", "prompt", "library"))
    library = side.table("library", ("task", "prompt_name"))
    return Instruction(
        task=side.optional("task", str),
        prompt=side.optional("prompt", str),
        library=Library(library.optional("task", str), library.optional("prompt_name", str)),
    )


def _weight(row: Table) -> float:
    weight = row.optional("dense_weight", float)
    if weight is not None and weight <= 0:
        raise row.error("dense_weight", f"must be above 0, not {weight:g}")
    return 1.0 if weight is None else weight
