"""Backends: who runs a model. One table of backends.toml each."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, cast, get_args
from urllib.parse import urlsplit

from ragctl.catalog.strict import ConfigSource, Table, parse
from ragctl.errors import UsageError
from ragctl.records import Json

Wire = Literal[
    "builtin",
    "sentence-transformers",
    "fastembed",
    "jina",
    "openai",
    "ollama",
    "ollama-legacy",
    "tei",
    "elastic",
    "cohere",
    "voyage",
    "gemini",
]
WIRES: tuple[Wire, ...] = get_args(Wire)
IN_PROCESS: tuple[Wire, ...] = ("builtin", "sentence-transformers", "fastembed")
TASKED: tuple[Wire, ...] = ("jina", "elastic", "cohere", "voyage", "gemini")
"""Wires with a field for the side of a text; on all others a prompt goes before the text."""

Encoding = Literal["base64", "float", "unset"]
ENCODINGS: tuple[Encoding, ...] = get_args(Encoding)

Truncation = Literal["refuses", "cuts", "unknown"]
TRUNCATIONS: tuple[Truncation, ...] = get_args(Truncation)

Prompts = Literal["text", "name"]
PROMPTS: tuple[Prompts, ...] = get_args(Prompts)

FIELDS = ("normalized", "late_chunking", "trust_remote_code")
"""Optional fields of a request, or arguments of a runtime, for models that take them."""

_KEYS = (
    "wire",
    "base_url",
    "keys",
    "key_required",
    "key_command",
    "models",
    "dimensions",
    "encoding",
    "truncation",
    "prompts",
    "limits",
    "rates",
    "concurrency",
    "price",
    "free_tokens",
    "licensed",
    "runtime",
    "extra",
)
_SERVED = ("id", "dims", "context", "price", "fields", "onnx")


@dataclass(frozen=True, slots=True)
class RequestLimits:
    """What one request may carry: texts, tokens, bytes of body. None: no known limit."""

    texts: int
    tokens: int | None = None
    bytes: int | None = None


@dataclass(frozen=True, slots=True)
class Rates:
    """What one key may send in a minute: requests, tokens. None: no known limit."""

    requests: int | None = None
    tokens: int | None = None


_CARD = Path("/dev/nvidiactl")  # of NVIDIA's driver


@dataclass(frozen=True, slots=True)
class Runtime:
    """How a model runs in this process. None: chosen by what the machine has.

    `device` as torch names it (cpu, cuda, cuda:1, mps); `dtype` float32,
    bfloat16 or float16; `batch` texts a forward pass; `threads` of the CPU.
    """

    device: str | None = None
    dtype: str | None = None
    batch: int | None = None
    threads: int | None = None

    def on_card(self) -> bool:
        """Whether it runs on CUDA: as it says, else if the machine looks as if it could.

        torch is not asked: importing it takes seconds.
        """
        if self.device is not None:
            return self.device.startswith("cuda")
        return _CARD.exists()


@dataclass(frozen=True, slots=True)
class Onnx:
    """A model's ONNX export: its `file` in the repository, files it needs beside (`more`),
    the `output` to read where it has several, and how token vectors are pooled into one
    (cls, mean, last, or none where the output is one vector a text)."""

    file: str
    more: tuple[str, ...] = ()
    output: str | None = None
    pooling: str = "none"


@dataclass(frozen=True, slots=True)
class Served:
    """A model as one backend serves it.

    `id` is its name there. `dims` are the sizes that the host itself cuts to
    (None: whatever the backend's `honours_dimensions` says). `context` is the
    host's own, smaller limit in tokens; `price` is US dollars per million tokens.
    `weights` is the folder that a run reads it from, instead of from the hub.
    """

    id: str
    dims: tuple[int, ...] | None = None
    context: int | None = None
    price: float | None = None
    fields: frozenset[str] = frozenset()
    onnx: Onnx | None = None
    weights: str | None = None


@dataclass(frozen=True, slots=True)
class Backend:
    """A service that computes embeddings: an address, a wire, and its peculiarities.

    `keys` are the environment variables that may hold its key, first found wins;
    `key_command` a program and its arguments that print it. `honours_dimensions`
    says whether the host cuts and renormalises vectors itself when asked.
    `encoding` is the `encoding_format` it is sent. `truncation` says what it does
    with a text longer than its context. `prompts`: whether a prompt is sent as
    text before each input or by its name. `concurrency` is how many requests may
    be in flight. `free_tokens` come with a new account. `licensed`: its customers
    may use non-commercial weights. `extra` is merged into the body of each request.
    """

    name: str
    wire: Wire
    base_url: str | None
    keys: tuple[str, ...]
    key_required: bool
    models: Mapping[str, Served]
    honours_dimensions: bool
    encoding: Encoding
    limits: RequestLimits
    concurrency: int
    extra: Mapping[str, Json]
    truncation: Truncation = "unknown"
    prompts: Prompts = "text"
    rates: Rates = Rates()
    free_tokens: int | None = None
    licensed: bool = False
    key_command: tuple[str, ...] = field(default=(), repr=False)
    runtime: Runtime = Runtime()

    @property
    def in_process(self) -> bool:
        return self.wire in IN_PROCESS

    def cuts_to(self, model: str, dim: int) -> bool:
        """Whether this host can be asked for `dim` dimensions of that model."""
        dims = self.models[model].dims
        return self.honours_dimensions if dims is None else dim in dims


def load_backends(text: str, source: str) -> dict[str, Backend]:
    """Read backends from TOML, one top-level table each. Raises UsageError, naming `source`."""
    return {name: read_backend(name, data, source) for name, data in parse(text, source).items()}


def read_backend(name: str, data: object, source: ConfigSource | str) -> Backend:
    """Read one table. Raises UsageError, naming `source` and what is wrong in it."""
    no_secret(name, data, source)
    row = Table(source, (name,), data, _KEYS)
    wire = cast(Wire, row.choice("wire", WIRES))
    keys = row.sequence("keys", str)
    key_required = row.optional("key_required", bool)
    command = row.words("key_command")
    if key_required and not (keys or command):
        raise row.error("key_required", "needs the variables of the key in keys")
    models = row.table("models", None)
    return Backend(
        name=name,
        wire=wire,
        base_url=_base_url(row, wire),
        keys=keys,
        key_required=bool(keys) if key_required is None else key_required,
        key_command=command,
        models={
            model: _served(models, model, row.optional("price", float)) for model in models.names()
        },
        honours_dimensions=row.required("dimensions", bool),
        encoding=cast(Encoding, row.choice("encoding", ENCODINGS, "unset")),
        truncation=cast(Truncation, row.choice("truncation", TRUNCATIONS, "unknown")),
        prompts=cast(Prompts, row.choice("prompts", PROMPTS, "text")),
        limits=_limits(row),
        rates=read_rates(row),
        concurrency=row.positive("concurrency") or 1,
        free_tokens=row.positive("free_tokens"),
        licensed=row.optional("licensed", bool) or False,
        runtime=read_runtime(row),
        extra=cast(dict[str, Json], row.optional("extra", dict) or {}),
    )


def read_rates(row: Table) -> Rates:
    """Read the table `rates` of a backend, or of a pipeline that knows its account better."""
    rates = row.table("rates", ("requests", "tokens"))
    return Rates(rates.positive("requests"), rates.positive("tokens"))


def read_runtime(row: Table) -> Runtime:
    runtime = row.table("runtime", ("device", "dtype", "batch", "threads"))
    dtype = runtime.optional("dtype", str)
    if dtype is not None:
        runtime.choice("dtype", ("float32", "bfloat16", "float16"))
    return Runtime(
        runtime.optional("device", str),
        dtype,
        runtime.positive("batch"),
        runtime.positive("threads"),
    )


def _limits(row: Table) -> RequestLimits:
    limits = row.table("limits", ("texts", "tokens", "bytes"))
    texts = limits.positive("texts")
    if texts is None:
        raise limits.error("texts", "is missing (a whole number)")
    return RequestLimits(texts, limits.positive("tokens"), limits.positive("bytes"))


def _base_url(row: Table, wire: Wire) -> str | None:
    url = row.optional("base_url", str)
    if wire in IN_PROCESS:
        if url is not None:
            raise row.error("base_url", "has no meaning for a wire without a network")
        return None
    if url is None:
        raise row.error("base_url", "is missing (a text)")
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise row.error("base_url", f"must be an http or https address, not {url!r}")
    return url.rstrip("/")


def _served(models: Table, model: str, price: float | None) -> Served:
    """Read how a model is served: its name there, or a table with more.

    `price` is the backend's, for models without one of their own.
    """
    try:
        name = models.optional(model, str)
    except UsageError:
        row = models.table(model, _SERVED)
        fields = row.sequence("fields", str)
        for known in fields:
            if known not in FIELDS:
                raise row.error("fields", f"cannot hold {known!r}") from None
        return Served(
            id=row.required("id", str),
            dims=tuple(sorted(row.sequence("dims", int))) if row.has("dims") else None,
            context=row.positive("context"),
            price=row.optional("price", float) if row.has("price") else price,
            fields=frozenset(fields),
            onnx=_onnx(row) if row.has("onnx") else None,
        )
    assert name is not None
    return Served(id=name, price=price)


def _onnx(row: Table) -> Onnx:
    onnx = row.table("onnx", ("file", "more", "output", "pooling"))
    return Onnx(
        file=onnx.required("file", str),
        more=onnx.sequence("more", str),
        output=onnx.optional("output", str),
        pooling=onnx.choice("pooling", ("none", "cls", "mean", "last"), "none"),
    )


def no_secret(name: str, data: object, source: ConfigSource | str) -> None:
    """Refuse a key written into a file before anything could quote it."""
    if isinstance(data, dict):
        for key in ("key", "api_key", "token", "secret", "password"):
            if key in data:
                raise UsageError(
                    f"{ConfigSource.of(source).place((name, key))}: a key does not belong in a "
                    f"file (found {key}); name its variable in keys, or a key_command"
                )
