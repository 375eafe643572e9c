"""Models: what computes dense vectors. Each is one table of models.toml."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal, cast, get_args

from ragctl.catalog.strict import ConfigSource, Table, parse
from ragctl.errors import UsageError

Distance = Literal["cosine", "dot", "euclid", "manhattan"]
DISTANCES: tuple[Distance, ...] = get_args(Distance)

RETRIEVAL = "retrieval"
"""The task that a row's own `document` and `query` instructions are for."""

Pooling = Literal["lexical", "mean", "cls", "last", "clip", "unknown"]
POOLINGS: tuple[Pooling, ...] = get_args(Pooling)

MODEL_KEYS = (
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
    "hub",
    "dense_weight",
    "family",
    "family_cosine",
)


@dataclass(frozen=True, slots=True)
class Library:
    """Arguments of the model's own `encode` function in Python libraries.

    `task` and `prompt_name` are the arguments of these names; None: not passed. Without a
    `prompt_name` the instruction's prompt is passed as text.
    """

    task: str | None = None
    prompt_name: str | None = None


@dataclass(frozen=True, slots=True)
class Instruction:
    """What a model expects with the texts of one side: a task name or a prompt.

    `task` is the name in the model's own API (None: the API has no such field). `prompt`
    is the exact text to put before each input where there is no task field, spaces
    included; "" for none, None if it is not published. `library` has the arguments for
    the model's own Python code.
    """

    task: str | None
    prompt: str | None
    library: Library = Library()

    @property
    def label(self) -> str | None:
        """The value that a collection's identity stores; the same for every backend."""
        return self.task or self.prompt or None


@dataclass(frozen=True, slots=True)
class Instructions:
    """The instructions of one of a model's tasks, for documents and for queries."""

    document: Instruction
    query: Instruction


@dataclass(frozen=True, slots=True)
class Model:
    """An embedding model.

    `dims` are the sizes that its vectors may be cut to (Matryoshka), including the native
    size `dim`; `trained` are the sizes it was trained at, if published. `context` is in
    tokens of its own tokenizer (None: unlimited or unknown). `document` and `query` are
    the instructions for retrieval, `tasks` those of its other tasks by name. `price` is
    US dollars per million tokens at its maker's API, None if unknown. `backend` is the
    default backend. `dense_weight` is the weight of its vectors in fusion, where BM25 has
    1. `layer_norm`: vectors pass a layer norm before they are cut. `late_chunking`: its
    API can embed the chunks of a document in each other's context. `hub` is its repository on
    the Hugging Face hub, if no backend knows it by that name. `multi_vector` is the
    dimensions of each token's vector, if the model can return those. `family` names the models
    that share its vector space by design: a collection of one of them takes vectors of all.
    `family_cosine` is the lowest cosine between its vectors and another member's of the same
    text; None: they are equal.
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
    hub: str | None = None
    dense_weight: float = 1.0
    pooling: Pooling = "unknown"
    layer_norm: bool = False
    tokenizer: str | None = None
    non_commercial: bool = False
    tasks: Mapping[str, Instructions] = field(default_factory=dict)
    late_chunking: bool = False
    multi_vector: int | None = None
    images: bool = False
    family: str | None = None
    family_cosine: float | None = None

    @property
    def matryoshka(self) -> bool:
        """Whether its vectors may be cut to smaller sizes."""
        return len(self.dims) > 1

    def for_task(self, task: str | None) -> "Model":
        """Return this model with the instructions of one of its tasks (None: retrieval).

        Raises UsageError, listing its tasks, if it has no such task.
        """
        if task is None or task == RETRIEVAL:
            return self
        if task not in self.tasks:
            others = ", ".join([RETRIEVAL, *self.tasks])
            raise UsageError(f"{self.name} has no task {task!r}; it has: {others}")
        instructions = self.tasks[task]
        return replace(self, document=instructions.document, query=instructions.query)

    def size(self, dim: int | None) -> int:
        """Return the vector size for a requested `dim` (None: the native size).

        Raises UsageError, listing the allowed sizes, if the model does not have this one.
        """
        if dim is None:
            return self.dim
        if dim not in self.dims:
            raise UsageError(
                f"{self.name} has no vectors of {dim} dimensions; allowed: {self.sizes()}"
            )
        return dim

    def sizes(self) -> str:
        """Return the allowed sizes as text: "32 to 4096", or "64, 128, 256"."""
        if isinstance(self.dims, range):
            return f"{self.dims[0]} to {self.dims[-1]}"
        return ", ".join(str(size) for size in self.dims)


def load_models(text: str, source: str) -> dict[str, Model]:
    """Return the models of a TOML file, one top-level table each.

    Raises UsageError, naming `source`.
    """
    return {name: read_model(name, data, source) for name, data in parse(text, source).items()}


def read_model(name: str, data: object, source: ConfigSource | str) -> Model:
    """Return the model that one table describes.

    Raises UsageError, naming `source` and the faulty key.
    """
    row = Table(source, (name,), data, MODEL_KEYS)
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
        document=_instruction(row, "document"),
        query=_instruction(row, "query"),
        backend=row.required("backend", str),
        price=row.optional("price", float),
        dense_weight=_dense_weight(row),
        revision=row.optional("revision", str),
        hub=row.optional("hub", str),
        pooling=cast(Pooling, row.choice("pooling", POOLINGS, "unknown")),
        layer_norm=row.optional("layer_norm", bool) or False,
        tokenizer=row.optional("tokenizer", str),
        non_commercial=row.optional("non_commercial", bool) or False,
        tasks=_tasks(row),
        late_chunking=row.optional("late_chunking", bool) or False,
        multi_vector=row.positive("multi_vector"),
        images=row.optional("images", bool) or False,
        family=row.optional("family", str),
        family_cosine=_family_cosine(row),
    )


def _dims(row: Table, dim: int) -> Sequence[int]:
    """Return `dims`: a list of sizes, a table {min, max}, or only the native size if absent."""
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
    smallest, largest = ends.required("min", int), ends.required("max", int)
    if not 1 <= smallest <= dim <= largest:
        raise row.error("dims", f"must span the native size {dim}, from 1 or more")
    return range(smallest, largest + 1)


def _tasks(row: Table) -> dict[str, Instructions]:
    """Return `tasks`: a table of task names, each with its two instructions."""
    listed = row.table("tasks", None)
    tasks = {}
    for name in listed.names():
        if name == RETRIEVAL:
            raise listed.error(name, "is the row's own document and query")
        pair = listed.table(name, ("document", "query"))
        tasks[name] = Instructions(_instruction(pair, "document"), _instruction(pair, "query"))
    return tasks


def _instruction(row: Table, key: str) -> Instruction:
    instruction = row.table(key, ("task", "prompt", "library"))
    library = instruction.table("library", ("task", "prompt_name"))
    return Instruction(
        task=instruction.optional("task", str),
        prompt=instruction.optional("prompt", str),
        library=Library(library.optional("task", str), library.optional("prompt_name", str)),
    )


def _family_cosine(row: Table) -> float | None:
    cosine = row.optional("family_cosine", float)
    if cosine is not None and not 0 < cosine <= 1:
        raise row.error("family_cosine", f"must be above 0 and at most 1, not {cosine:g}")
    if cosine is not None and not row.has("family"):
        raise row.error("family_cosine", "needs the name of the family")
    return cosine


def _dense_weight(row: Table) -> float:
    weight = row.optional("dense_weight", float)
    if weight is not None and weight <= 0:
        raise row.error("dense_weight", f"must be above 0, not {weight:g}")
    return 1.0 if weight is None else weight
