"""The catalogue: models and backends of the package, overridden by a user's own rows."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from ragctl.catalog.backend_table import Backend, read_backend
from ragctl.catalog.instructions import missing_instruction
from ragctl.catalog.lines import KeyPath
from ragctl.catalog.model_table import Model, read_model
from ragctl.catalog.strict import ConfigSource, nearest
from ragctl.catalog.wires import KnownWires
from ragctl.errors import UsageError

Rows = Mapping[str, Any]
"""Tables by name, as parsed from TOML."""
Sources = Mapping[str, ConfigSource | str]
"""Row name -> the source that last changed the row."""
_MergedRows = dict[str, tuple[ConfigSource | str, Any]]
"""Row name -> the source that last changed the row, and the row."""


@dataclass(frozen=True, slots=True)
class Layer:
    """Rows of models.toml and backends.toml from one place, such as a user's folder.

    A source is a ConfigSource, or a plain name when line numbers are unknown.
    """

    models_source: ConfigSource | str
    models: Rows
    backends_source: ConfigSource | str
    backends: Rows


@dataclass(frozen=True, slots=True)
class Catalog:
    """All models and all backends by name."""

    models: Mapping[str, Model]
    backends: Mapping[str, Backend]

    def model(self, name: str) -> Model:
        """Return the model called `name`, here, at a backend or on the Hugging Face hub.

        Raises UsageError with the nearest names.
        """
        if name in self.models:
            return self.models[name]
        rows = {each: {"hub": model.hub} for each, model in self.models.items()}
        served = [
            {each: served.id for each, served in backend.models.items()}
            for backend in self.backends.values()
        ]
        row = _other_names(rows, served).get(_folded(name))
        if row is None:
            known = nearest(name, self.models, "ragctl models lists all")
            raise UsageError(f"no model is called {name!r}; {known}")
        return self.models[row]

    def backend(self, name: str) -> Backend:
        """Return the backend called `name`. Raises UsageError with the nearest names."""
        try:
            return self.backends[name]
        except KeyError:
            known = nearest(name, self.backends, "ragctl backends lists all")
            raise UsageError(f"no backend is called {name!r}; {known}") from None

    def serving(self, model: str) -> list[str]:
        """Return the names of the backends that serve `model`."""
        return [row.name for row in self.backends.values() if model in row.models]


def merge_layers(layers: list[Layer], wires: KnownWires) -> Catalog:
    """Return the catalogue of these layers; rows of later layers override earlier ones.

    A row with a known name replaces the keys it has and keeps the others; a backend's
    `models` are added to those it had. The first layer is the package's own: its rows
    are checked against each other by the tests, not at every start, which would import
    every wire. Raises UsageError, naming the source that last changed the faulty row.
    """
    models: _MergedRows = {}
    backends: _MergedRows = {}
    for layer in layers:
        _override(models, layer.models, layer.models_source)
        rows = (
            layer.backends
            if layer is layers[0]
            else _with_row_names(layer.backends, models, backends)
        )
        _override(backends, rows, layer.backends_source)
    catalog = Catalog(
        {name: read_model(name, row, source) for name, (source, row) in models.items()},
        {name: read_backend(name, row, source, wires) for name, (source, row) in backends.items()},
    )
    package = {layers[0].models_source, layers[0].backends_source}
    check_rows(
        catalog,
        {name: source for name, (source, _) in models.items() if source not in package},
        {name: source for name, (source, _) in backends.items() if source not in package},
    )
    return catalog


_HUB_ADDRESSES = ("https://huggingface.co/", "huggingface.co/", "hf.co/")


def _folded(name: str) -> str:
    """Return another name of a model in the form in which names are compared."""
    folded = name.strip().lower()
    for address in _HUB_ADDRESSES:
        folded = folded.removeprefix(address)
    return folded.rstrip("/")


def _other_names(models: Rows, served: Iterable[Rows]) -> dict[str, str]:
    """Return the row of each other name of a model, folded.

    Other names are those in any case, those of backends, and those on the Hugging Face hub.
    `models`: tables with `hub`. `served`: the `models` of each backend. A name that belongs to
    two rows is left out.
    """
    rows: dict[str, set[str]] = {}
    for name, row in models.items():
        rows.setdefault(_folded(name), set()).add(name)
        if isinstance(row, Mapping) and isinstance(hub := row.get("hub"), str):
            rows.setdefault(_folded(hub), set()).add(name)
    for table in served:
        for name, value in table.items():
            given = value.get("id") if isinstance(value, Mapping) else value
            if isinstance(given, str) and name in models:
                rows.setdefault(_folded(given), set()).add(name)
    return {other: names.pop() for other, names in rows.items() if len(names) == 1}


def _with_row_names(own: Rows, models: _MergedRows, backends: _MergedRows) -> Rows:
    """Return a user's rows of backends, in which each model has the name of its row."""
    known = {name: row for name, (_, row) in models.items()}
    others = _other_names(known, (_served(row) for _, row in backends.values()))
    return {
        name: {
            **row,
            "models": {
                each if each in known else others.get(_folded(each), each): value
                for each, value in _served(row).items()
            },
        }
        if _served(row)
        else row
        for name, row in own.items()
    }


def _served(row: object) -> Rows:
    """Return the table `models` of a backend's row; empty if it has none."""
    served = row.get("models") if isinstance(row, Mapping) else None
    return served if isinstance(served, Mapping) else {}


def _override(
    rows: _MergedRows,
    changes: Rows,
    source: ConfigSource | str,
) -> None:
    for name, row in changes.items():
        old = rows[name][1] if name in rows else {}
        if isinstance(row, dict):
            merged = {**old, **row}
            before, after = old.get("models"), row.get("models")
            if isinstance(before, dict) and isinstance(after, dict):
                merged["models"] = {**before, **after}
        else:
            merged = row  # not a table: the reader raises the error
        rows[name] = (source, merged)


def check_rows(catalog: Catalog, models: Sources, backends: Sources) -> None:
    """Raise UsageError if one of these rows does not fit its wire, or the rows it refers to.

    `models` and `backends` give the rows to check and the source of each, for the message.
    """
    for name, source in backends.items():
        _check_address(catalog.backends[name], source)
    for backend in catalog.backends.values():
        for name in backend.models:
            if backend.name not in backends and name not in models:
                continue
            problem = _misfit(catalog, backend, name)
            if problem:
                places = _locations(
                    (backends.get(backend.name), (backend.name, "models", name)),
                    (models.get(name), (name,)),
                )
                raise UsageError(f"{places}backend {backend.name}, model {name!r}: {problem}")
    for name, source in models.items():
        model = catalog.models[name]
        subject = f"{_locations((source, (name, 'backend')))}model {name}"
        if model.backend not in catalog.backends:
            known = nearest(model.backend, catalog.backends)
            raise UsageError(f"{subject}: no backend is called {model.backend!r}; {known}")
        if name not in catalog.backends[model.backend].models:
            raise UsageError(f"{subject}: its backend {model.backend} does not serve it")


def _check_address(backend: Backend, source: ConfigSource | str) -> None:
    key = ConfigSource.of(source).describe_key((backend.name, "base_url"))
    if backend.in_process and backend.base_url is not None:
        raise UsageError(f"{key} has no meaning for a wire without a network")
    if not backend.in_process and backend.base_url is None:
        raise UsageError(f"{key} is missing (a string)")


def _locations(*keys: tuple[ConfigSource | str | None, KeyPath]) -> str:
    """Return the "file, line N: " prefix for an error about these keys; "" without sources."""
    found = [ConfigSource.of(source).location(path) for source, path in keys if source is not None]
    return f"{' and '.join(dict.fromkeys(found))}: " if found else ""


def _misfit(catalog: Catalog, backend: Backend, name: str) -> str | None:
    """Return why the backend cannot serve the model as its row says; None if it can."""
    if name not in catalog.models:
        return f"no such model; {nearest(name, catalog.models)}"
    model, served = catalog.models[name], backend.models[name]
    for size in served.dims or ():
        if size not in model.dims:
            return f"dims holds {size}; the model has {model.sizes()}"
    if served.context and model.context and served.context > model.context:
        return f"context {served.context} is above the model's {model.context}"
    if backend.traits.onnx and model.pooling == "unknown":
        return f"the {backend.wire} wire must know the model's pooling"
    return missing_instruction(model.document, backend) or missing_instruction(model.query, backend)
