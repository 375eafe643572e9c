"""Providers: who runs a model. One table of providers.toml each."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, cast
from urllib.parse import urlsplit

from ragctl.catalog.strict import Table, parse
from ragctl.errors import UsageError
from ragctl.records import Json

Wire = Literal["builtin", "jina", "openai"]
WIRES: tuple[Wire, ...] = ("builtin", "jina", "openai")

Encoding = Literal["base64", "float", "unset"]
ENCODINGS: tuple[Encoding, ...] = ("base64", "float", "unset")

FIELDS = ("normalized",)
"""Optional request fields that a wire sends only to models that take them."""

_KEYS = (
    "wire",
    "base_url",
    "keys",
    "key_required",
    "models",
    "dimensions",
    "encoding",
    "limits",
    "concurrency",
    "extra",
)


@dataclass(frozen=True, slots=True)
class Limits:
    """What one request may carry: texts, tokens, bytes of body. None: no known limit."""

    texts: int
    tokens: int | None = None
    bytes: int | None = None


@dataclass(frozen=True, slots=True)
class Served:
    """A model as one provider serves it.

    `id` is its name there. `dims` are the sizes that the host itself cuts to
    (None: whatever the provider's `honours_dimensions` says). `context` is the
    host's own, smaller limit in tokens; `price` is US dollars per million tokens.
    """

    id: str
    dims: tuple[int, ...] | None = None
    context: int | None = None
    price: float | None = None
    fields: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Provider:
    """A service that computes embeddings: an address, a wire, and its peculiarities.

    `keys` are the environment variables that may hold its key, first found wins.
    `honours_dimensions` says whether the host cuts and renormalises vectors
    itself when asked. `encoding` is the `encoding_format` it is sent.
    `concurrency` is how many requests may be in flight. `extra` is merged into
    the body of each request.
    """

    name: str
    wire: Wire
    base_url: str | None
    keys: tuple[str, ...]
    key_required: bool
    models: Mapping[str, Served]
    honours_dimensions: bool
    encoding: Encoding
    limits: Limits
    concurrency: int
    extra: Mapping[str, Json]

    def cuts_to(self, model: str, dim: int) -> bool:
        """Whether this host can be asked for `dim` dimensions of that model."""
        dims = self.models[model].dims
        return self.honours_dimensions if dims is None else dim in dims


def load_providers(text: str, source: str) -> dict[str, Provider]:
    """Read providers from TOML, one top-level table each. Raises UsageError, naming `source`."""
    return {name: _provider(name, data, source) for name, data in parse(text, source).items()}


def _provider(name: str, data: object, source: str) -> Provider:
    row = Table(source, name, data, _KEYS)
    wire = cast(Wire, row.choice("wire", WIRES))
    base_url = row.optional("base_url", str)
    if wire == "builtin":
        if base_url is not None:
            raise row.error("base_url", "has no meaning for a wire without a network")
    elif base_url is None:
        raise row.error("base_url", "is missing (a text)")
    else:
        _check_url(row, base_url)
    keys = row.sequence("keys", str)
    key_required = row.optional("key_required", bool)
    if key_required and not keys:
        raise row.error("key_required", "needs the variables of the key in keys")
    models = row.table("models", None)
    limits = row.table("limits", ("texts", "tokens", "bytes"))
    texts = limits.positive("texts")
    if texts is None:
        raise limits.error("texts", "is missing (a whole number)")
    return Provider(
        name=name,
        wire=wire,
        base_url=base_url.rstrip("/") if base_url else None,
        keys=keys,
        key_required=bool(keys) if key_required is None else key_required,
        models={model: _served(models, model) for model in models.names()},
        honours_dimensions=row.required("dimensions", bool),
        encoding=cast(Encoding, row.choice("encoding", ENCODINGS, "unset")),
        limits=Limits(texts, limits.positive("tokens"), limits.positive("bytes")),
        concurrency=row.positive("concurrency") or 1,
        extra=cast(dict[str, Json], row.optional("extra", dict) or {}),
    )


def _served(models: Table, model: str) -> Served:
    """Read how a model is served: its name there, or a table with more."""
    try:
        name = models.optional(model, str)
    except UsageError:
        row = models.table(model, ("id", "dims", "context", "price", "fields"))
        fields = row.sequence("fields", str)
        for field in fields:
            if field not in FIELDS:
                raise row.error("fields", f"cannot hold {field!r}") from None
        return Served(
            id=row.required("id", str),
            dims=tuple(sorted(row.sequence("dims", int))) if row.has("dims") else None,
            context=row.positive("context"),
            price=row.optional("price", float),
            fields=frozenset(fields),
        )
    assert name is not None
    return Served(id=name)


def _check_url(row: Table, url: str) -> None:
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise row.error("base_url", f"must be an http or https address, not {url!r}")
