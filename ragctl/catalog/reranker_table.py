"""Rerankers: one table of rerankers.toml each."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from ragctl.catalog.backend_table import (
    Rates,
    check_no_secret,
    read_base_url,
    read_key_settings,
    read_rates,
)
from ragctl.catalog.strict import ConfigSource, Table, nearest
from ragctl.catalog.wires import KnownWires
from ragctl.errors import UsageError

NO_RATES = Rates()

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
    rates: Rates = NO_RATES
    key_command: tuple[str, ...] = field(default=(), repr=False)


def read_reranker(
    name: str, data: object, source: ConfigSource | str, wires: KnownWires
) -> RerankerRow:
    """Read one table. Raises UsageError, naming `source` and the faulty key."""
    check_no_secret(name, data, source)
    row = Table(source, (name,), data, _KEYS)
    wire = row.choice("wire", wires.names)
    in_process = wires.traits(wire).in_process
    keys, required, command = read_key_settings(row)
    return RerankerRow(
        name=name,
        wire=wire,
        in_process=in_process,
        base_url=_base_url(row, in_process),
        keys=keys,
        key_required=required,
        key_command=command,
        model=row.optional("model", str),
        model_required=row.optional("model_required", bool) or False,
        models=row.sequence("models", str),
        documents=row.positive("documents") or 1,
        concurrency=row.positive("concurrency") or 1,
        rates=read_rates(row),
    )


def _base_url(row: Table, in_process: bool) -> str | None:
    if in_process and row.has("base_url"):
        raise row.error("base_url", "has no meaning for a model in this process")
    url = read_base_url(row)
    if url is None and not in_process:
        raise row.error("base_url", "is missing (a string)")
    return url


def reranker(rows: Mapping[str, RerankerRow], name: str) -> RerankerRow:
    """Return the row called `name`. Raises UsageError with the nearest names."""
    try:
        return rows[name]
    except KeyError:
        raise UsageError(f"no reranker is called {name!r}; {nearest(name, rows)}") from None
