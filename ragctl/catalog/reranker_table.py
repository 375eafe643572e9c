"""Rerankers: who judges passages. One table of rerankers.toml each."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, cast, get_args
from urllib.parse import urlsplit

from ragctl.catalog.backend_table import Rates, no_secret, read_rates
from ragctl.catalog.strict import ConfigSource, Table, nearest
from ragctl.errors import UsageError

RerankWire = Literal["jina", "cohere", "voyage", "tei", "cross-encoder", "sentences"]
RERANK_WIRES: tuple[RerankWire, ...] = get_args(RerankWire)
_IN_PROCESS: tuple[RerankWire, ...] = ("cross-encoder", "sentences")
_UNLIMITED = Rates()

_KEYS = (
    *("wire", "base_url", "keys", "key_required", "key_command"),
    *("model", "model_required", "models", "documents", "concurrency", "rates"),
)


@dataclass(frozen=True, slots=True)
class RerankerRow:
    """A row of rerankers.toml; the file begins with what each key means."""

    name: str
    wire: RerankWire
    base_url: str | None
    keys: tuple[str, ...]
    key_required: bool
    model: str | None
    model_required: bool
    models: tuple[str, ...]
    documents: int
    concurrency: int
    rates: Rates = _UNLIMITED
    key_command: tuple[str, ...] = field(default=(), repr=False)

    @property
    def in_process(self) -> bool:
        return self.wire in _IN_PROCESS


def read_reranker(name: str, data: object, source: ConfigSource | str) -> RerankerRow:
    """Read one table. Raises UsageError, naming `source` and what is wrong in it."""
    no_secret(name, data, source)
    row = Table(source, (name,), data, _KEYS)
    wire = cast(RerankWire, row.choice("wire", RERANK_WIRES))
    keys = row.sequence("keys", str)
    command = row.strings("key_command")
    required = row.optional("key_required", bool)
    if required and not (keys or command):
        raise row.error("key_required", "needs the variables of the key in keys")
    return RerankerRow(
        name=name,
        wire=wire,
        base_url=_base_url(row, wire),
        keys=keys,
        key_required=bool(keys) if required is None else required,
        key_command=command,
        model=row.optional("model", str),
        model_required=row.optional("model_required", bool) or False,
        models=row.sequence("models", str),
        documents=row.positive("documents") or 1,
        concurrency=row.positive("concurrency") or 1,
        rates=read_rates(row),
    )


def _base_url(row: Table, wire: RerankWire) -> str | None:
    url = row.optional("base_url", str)
    if wire in _IN_PROCESS:
        if url is not None:
            raise row.error("base_url", "has no meaning for a model in this process")
        return None
    if url is None:
        raise row.error("base_url", "is missing (a string)")
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise row.error("base_url", f"must be an http or https address, not {url!r}")
    return url.rstrip("/")


def reranker(rows: Mapping[str, RerankerRow], name: str) -> RerankerRow:
    """Return the row of that name. Raises UsageError with the nearest names."""
    try:
        return rows[name]
    except KeyError:
        raise UsageError(f"no reranker is called {name!r}; {nearest(name, rows)}") from None
