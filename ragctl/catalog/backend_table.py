"""Backends: what runs a model. Each is one table of backends.toml."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, cast, get_args
from urllib.parse import urlsplit

from ragctl.catalog.batch_table import BatchApi, read_batch_api
from ragctl.catalog.strict import ConfigSource, Table, parse
from ragctl.catalog.wires import BUILTIN, KnownWires, WireTraits
from ragctl.errors import UsageError
from ragctl.records import Json

Encoding = Literal["base64", "float", "unset", "probe"]
ENCODINGS: tuple[Encoding, ...] = get_args(Encoding)

Truncation = Literal["refuses", "cuts", "unknown"]
TRUNCATIONS: tuple[Truncation, ...] = get_args(Truncation)

Prompts = Literal["text", "name"]
PROMPTS: tuple[Prompts, ...] = get_args(Prompts)

OPTIONAL_FIELDS = ("normalized", "late_chunking", "trust_remote_code")
"""Optional request fields, or runtime arguments, that only some models accept."""

SECRET_KEYS = ("key", "api_key", "token", "secret", "password")
"""Keys that people write a secret under; none is allowed in a row."""

BACKEND_KEYS = (
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
    "batch",
    "free_tokens",
    "licensed",
    "runtime",
    "extra",
)
SERVED_MODEL_KEYS = ("id", "dims", "context", "price", "fields", "onnx")


@dataclass(frozen=True, slots=True)
class RequestLimits:
    """Limits on one request: texts, tokens, bytes of its body. None: no known limit."""

    texts: int
    tokens: int | None = None
    bytes: int | None = None


@dataclass(frozen=True, slots=True)
class Rates:
    """Limits per API key and minute: requests, tokens. None: no known limit."""

    requests: int | None = None
    tokens: int | None = None


NVIDIA_DEVICE_FILE = Path("/dev/nvidiactl")
"""Exists where NVIDIA's driver is loaded."""


@dataclass(frozen=True, slots=True)
class Runtime:
    """Settings of a model that runs in this process. None: chosen to suit the machine.

    `device` is torch's name for it (cpu, cuda, cuda:1, mps); `dtype` is float32,
    bfloat16 or float16; `batch` is texts per forward pass; `threads` is CPU threads.
    """

    device: str | None = None
    dtype: str | None = None
    batch: int | None = None
    threads: int | None = None

    def on_cuda(self) -> bool:
        """Return whether the model will run on CUDA: if `device` says so, else if there is a GPU.

        Looks for NVIDIA's driver instead of asking torch, which takes seconds to import.
        """
        if self.device is not None:
            return self.device.startswith("cuda")
        return NVIDIA_DEVICE_FILE.exists()


@dataclass(frozen=True, slots=True)
class Onnx:
    """The ONNX export of a model.

    `file` is its path in the repository, `more` the other files that it needs. `output` is
    the output to read if there are several. `pooling` (cls, mean, last) is how token
    vectors become one vector; "none" if the output is already one vector per text.
    """

    file: str
    more: tuple[str, ...] = ()
    output: str | None = None
    pooling: str = "none"


@dataclass(frozen=True, slots=True)
class ServedModel:
    """A model as one backend serves it.

    `id` is the model's name at the backend. `dims` are the sizes that the host itself
    cuts vectors to (None: as the backend's `honours_dimensions` says). `context` is the
    host's own limit in tokens, if smaller than the model's. `price` is US dollars per
    million tokens. `fields` are the optional request fields it accepts (see OPTIONAL_FIELDS).
    `weights` is a local folder to load the model from instead of the Hugging Face hub.
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
    """What runs a model: a host with an address and a wire, or a runtime in this process.

    `keys` are the environment variables that may hold its API key; the first one set is
    used. `key_command` is a program with arguments that prints the key.
    `honours_dimensions`: the host cuts and renormalises vectors itself when asked to.
    `encoding` is the `encoding_format` that requests ask for; "probe": base64, if the host turns
    out to support it. `truncation` is what the
    host does with a text longer than its context. `prompts`: whether a prompt is sent as
    text before each input or by its name. `limits` are per request, `rates` per minute;
    `concurrency` is requests in flight. `free_tokens` come with a new account.
    `batch`: its asynchronous API, if it has one that ragctl speaks.
    `licensed`: its customers may use weights under a non-commercial licence. `extra` is
    merged into the body of each request. `known_wires` gives the traits of `wire`.
    """

    name: str
    wire: str
    base_url: str | None
    keys: tuple[str, ...]
    key_required: bool
    models: Mapping[str, ServedModel]
    honours_dimensions: bool
    encoding: Encoding
    limits: RequestLimits
    concurrency: int
    extra: Mapping[str, Json]
    known_wires: KnownWires = field(repr=False, compare=False)
    truncation: Truncation = "unknown"
    prompts: Prompts = "text"
    rates: Rates = Rates()
    batch: BatchApi | None = None
    free_tokens: int | None = None
    licensed: bool = False
    key_command: tuple[str, ...] = field(default=(), repr=False)
    runtime: Runtime = Runtime()

    @property
    def traits(self) -> WireTraits:
        """The traits of the backend's wire."""
        return self.known_wires.traits(self.wire)

    @property
    def in_process(self) -> bool:
        """Whether the model runs in this process."""
        return self.traits.in_process

    @property
    def is_builtin(self) -> bool:
        """Whether this backend runs the built-in lexical model."""
        return self.wire == BUILTIN

    def cuts_to(self, model: str, dim: int) -> bool:
        """Return whether this host can be asked for `dim` dimensions of `model`."""
        dims = self.models[model].dims
        return self.honours_dimensions if dims is None else dim in dims


def load_backends(text: str, source: str, wires: KnownWires) -> dict[str, Backend]:
    """Return the backends of a TOML file, one top-level table each.

    Raises UsageError, naming `source`.
    """
    return {
        name: read_backend(name, data, source, wires) for name, data in parse(text, source).items()
    }


def read_backend(name: str, data: object, source: ConfigSource | str, wires: KnownWires) -> Backend:
    """Return the backend that one table describes.

    Raises UsageError, naming `source` and the faulty key. Whether the row fits its wire
    and its models is checked by `catalog.check_rows`.
    """
    check_no_secret(name, data, source)
    row = Table(source, (name,), data, BACKEND_KEYS)
    keys, key_required, command = read_key_settings(row)
    models = row.table("models", None)
    return Backend(
        name=name,
        wire=row.choice("wire", wires.names),
        base_url=read_base_url(row),
        keys=keys,
        key_required=key_required,
        key_command=command,
        models={
            model: _served(models, model, row.optional("price", float)) for model in models.names()
        },
        honours_dimensions=row.required("dimensions", bool),
        encoding=cast(Encoding, row.choice("encoding", ENCODINGS, "probe")),
        truncation=cast(Truncation, row.choice("truncation", TRUNCATIONS, "unknown")),
        prompts=cast(Prompts, row.choice("prompts", PROMPTS, "text")),
        limits=_limits(row),
        rates=read_rates(row),
        concurrency=row.positive("concurrency") or 1,
        batch=read_batch_api(row),
        free_tokens=row.positive("free_tokens"),
        licensed=row.optional("licensed", bool) or False,
        runtime=read_runtime(row),
        extra=cast(dict[str, Json], row.optional("extra", dict) or {}),
        known_wires=wires,
    )


def read_rates(row: Table) -> Rates:
    """Return the table `rates` of a backend or of a pipeline."""
    rates = row.table("rates", ("requests", "tokens"))
    return Rates(rates.positive("requests"), rates.positive("tokens"))


def read_runtime(row: Table) -> Runtime:
    """Return the table `runtime` of a backend or of a pipeline."""
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


def read_key_settings(row: Table) -> tuple[tuple[str, ...], bool, tuple[str, ...]]:
    """Return the keys `keys`, `key_required` and `key_command` of a backend or reranker.

    A key is required by default if `keys` names a variable.
    """
    keys = row.sequence("keys", str)
    required = row.optional("key_required", bool)
    command = row.strings("key_command")
    if required and not (keys or command):
        raise row.error("key_required", "needs the key's variables in keys")
    return keys, bool(keys) if required is None else required, command


def read_base_url(row: Table) -> str | None:
    """Return the key `base_url` of a backend or reranker; None if absent."""
    url = row.optional("base_url", str)
    if url is None:
        return None
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise row.error("base_url", f"must be an http or https address, not {url!r}")
    return url.rstrip("/")


def _served(models: Table, model: str, price: float | None) -> ServedModel:
    """Return how a model is served; the row gives its name at the backend, or a table.

    `price` is the backend's, used for models without one of their own.
    """
    try:
        name = models.optional(model, str)
    except UsageError:
        row = models.table(model, SERVED_MODEL_KEYS)
        fields = row.sequence("fields", str)
        for known in fields:
            if known not in OPTIONAL_FIELDS:
                raise row.error("fields", f"cannot hold {known!r}") from None
        return ServedModel(
            id=row.required("id", str),
            dims=tuple(sorted(row.sequence("dims", int))) if row.has("dims") else None,
            context=row.positive("context"),
            price=row.optional("price", float) if row.has("price") else price,
            fields=frozenset(fields),
            onnx=_onnx(row) if row.has("onnx") else None,
        )
    assert name is not None
    return ServedModel(id=name, price=price)


def _onnx(row: Table) -> Onnx:
    onnx = row.table("onnx", ("file", "more", "output", "pooling"))
    return Onnx(
        file=onnx.required("file", str),
        more=onnx.sequence("more", str),
        output=onnx.optional("output", str),
        pooling=onnx.choice("pooling", ("none", "cls", "mean", "last"), "none"),
    )


def check_no_secret(name: str, data: object, source: ConfigSource | str) -> None:
    """Raise UsageError if the row holds a secret, before any other message can quote it."""
    if isinstance(data, dict):
        for key in SECRET_KEYS:
            if key in data:
                location = ConfigSource.of(source).table_location((name, key))
                raise UsageError(
                    f"{location}: a key does not belong in a file (found {key}); name its "
                    "variable in keys, or a key_command"
                )
