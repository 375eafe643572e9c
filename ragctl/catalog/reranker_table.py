"""Rerankers: one table of rerankers.toml each."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from ragctl.catalog.backend_table import Rates, no_secret, read_rates
from ragctl.catalog.strict import ConfigSource, Table, nearest
from ragctl.catalog.wires import KnownWires
from ragctl.errors import UsageError

_UNLIMITED = Rates()

_KEYS = (
    *("wire", "base_url", "keys", "key_required", "key_command"),
    *("model", "model_required", "models", "documents", "concurrency", "rates"),
)


@dataclass(frozen=True, slots=True)
class RerankerRow:
    """A row of rerankers.toml, whose first lines explain each key.

    `in_process`: the model runs in this process, so the row has no address and no key.
    """

    name: str
    wire: str
    in_process: bool
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


def read_reranker(
    name: str, data: object, source: ConfigSource | str, wires: KnownWires
) -> RerankerRow:
    """Read one table. Raises UsageError, naming `source` and the faulty key."""
    no_secret(name, data, source)
    row = Table(source, (name,), data, _KEYS)
    wire = row.choice("wire", wires.names)
    in_process = wires.traits(wire).in_process
    keys = row.sequence("keys", str)
    command = row.strings("key_command")
    required = row.optional("key_required", bool)
    if required and not (keys or command):
        raise row.error("key_required", "needs the variables of the key in keys")
    return RerankerRow(
        name=name,
        wire=wire,
        in_process=in_process,
        base_url=_base_url(row, in_process),
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


def _base_url(row: Table, in_process: bool) -> str | None:
    url = row.optional("base_url", str)
    if in_process:
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
    """Return the row called `name`. Raises UsageError with the nearest names."""
    try:
        return rows[name]
    except KeyError:
        raise UsageError(f"no reranker is called {name!r}; {nearest(name, rows)}") from None
