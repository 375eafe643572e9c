"""Models and backends together: the package's own, with a user's rows laid over them."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from ragctl.catalog.backend_table import TASKED, Backend, read_backend
from ragctl.catalog.lines import KeyPath
from ragctl.catalog.model_table import RETRIEVAL, Instruction, Model, read_model
from ragctl.catalog.strict import ConfigSource, nearest
from ragctl.errors import UsageError

Rows = Mapping[str, Any]
"""Tables as TOML gives them, by name."""


@dataclass(frozen=True, slots=True)
class Layer:
    """Rows of one origin, which errors name; a text is the name of one without lines."""

    models_source: ConfigSource | str
    models: Rows
    backends_source: ConfigSource | str
    backends: Rows


@dataclass(frozen=True, slots=True)
class Catalog:
    """Every model and every backend by name."""

    models: Mapping[str, Model]
    backends: Mapping[str, Backend]

    def model(self, name: str) -> Model:
        """Return the model of that name. Raises UsageError with the nearest names."""
        try:
            return self.models[name]
        except KeyError:
            known = nearest(name, self.models, "ragctl models lists all")
            raise UsageError(f"no model is called {name!r}; {known}") from None

    def backend(self, name: str) -> Backend:
        """Return the backend of that name. Raises UsageError with the nearest names."""
        try:
            return self.backends[name]
        except KeyError:
            known = nearest(name, self.backends, "ragctl backends lists all")
            raise UsageError(f"no backend is called {name!r}; {known}") from None

    def serving(self, model: str) -> list[str]:
        """Return the names of the backends that serve a model."""
        return [row.name for row in self.backends.values() if model in row.models]


def stack(layers: list[Layer]) -> Catalog:
    """Return the catalogue in which each layer's rows lie over those before it.

    A row whose name is known changes the keys that it has and keeps the others;
    a backend's `models` are added to. Raises UsageError naming the layer in
    which the faulty row was last touched.
    """
    models: dict[str, tuple[ConfigSource | str, dict[str, Any]]] = {}
    backends: dict[str, tuple[ConfigSource | str, dict[str, Any]]] = {}
    for layer in layers:
        _lay(models, layer.models, layer.models_source)
        _lay(backends, layer.backends, layer.backends_source)
    found = Catalog(
        {name: read_model(name, row, source) for name, (source, row) in models.items()},
        {name: read_backend(name, row, source) for name, (source, row) in backends.items()},
    )
    own = {layers[0].models_source, layers[0].backends_source}
    check(
        found,
        {name: source for name, (source, _) in models.items() if source not in own},
        {name: source for name, (source, _) in backends.items() if source not in own},
    )
    return found


def _lay(
    rows: dict[str, tuple[ConfigSource | str, dict[str, Any]]],
    over: Rows,
    source: ConfigSource | str,
) -> None:
    for name, row in over.items():
        under = rows[name][1] if name in rows else {}
        if isinstance(row, dict):
            merged = {**under, **row}
            before, after = under.get("models"), row.get("models")
            if isinstance(before, dict) and isinstance(after, dict):
                merged["models"] = {**before, **after}
        else:
            merged = row  # refused by the reader, in its words
        rows[name] = (source, merged)


def check(
    catalog: Catalog,
    models_from: Mapping[str, ConfigSource | str] = MappingProxyType({}),
    backends_from: Mapping[str, ConfigSource | str] = MappingProxyType({}),
) -> None:
    """Raise UsageError where the two tables do not fit each other.

    The sources of rows that are not the package's own are named in it.
    """
    for backend in catalog.backends.values():
        for name in backend.models:
            problem = _misfit(catalog, backend, name)
            if problem:
                where = f"backend {backend.name}, model {name!r}"
                told = _told(
                    (backends_from.get(backend.name), (backend.name, "models", name)),
                    (models_from.get(name), (name,)),
                )
                raise UsageError(f"{told}{where}: {problem}")
    for model in catalog.models.values():
        source = models_from.get(model.name)
        where = f"{_told((source, (model.name, 'backend')))}model {model.name}"
        if model.backend not in catalog.backends:
            known = nearest(model.backend, catalog.backends)
            raise UsageError(f"{where}: no backend is called {model.backend!r}; {known}")
        if model.name not in catalog.backends[model.backend].models:
            raise UsageError(f"{where}: its backend {model.backend} does not serve it")


def _told(*rows: tuple[ConfigSource | str | None, KeyPath]) -> str:
    """Return how an error begins that is about keys of these origins."""
    spots = [ConfigSource.of(source).spot(path) for source, path in rows if source is not None]
    return f"{' and '.join(dict.fromkeys(spots))}: " if spots else ""


def _misfit(catalog: Catalog, backend: Backend, name: str) -> str | None:
    """Return why a backend cannot serve the model of that name as its row says; None if it can."""
    if name not in catalog.models:
        return f"no such model; {nearest(name, catalog.models)}"
    model, served = catalog.models[name], backend.models[name]
    for size in served.dims or ():
        if size not in model.dims:
            return f"dims holds {size}; the model has {model.sizes()}"
    if served.context and model.context and served.context > model.context:
        return f"context {served.context} is above the model's {model.context}"
    if backend.wire == "fastembed" and model.pooling == "unknown":
        return "the fastembed wire must know the model's pooling"
    return _unsayable(model.document, backend) or _unsayable(model.query, backend)


def check_task(model: Model, backend: Backend, task: str | None) -> None:
    """Raise UsageError where a backend cannot be told of one of the model's other tasks.

    A wire without a task field says a task by its prompts alone. That is not
    enough for a model whose own code is told the task beside them: there it
    selects other weights, and such a host serves those for retrieval.
    """
    if task is None or task == RETRIEVAL:
        return
    sides, served = model.for_task(task), f"{backend.name} serves {model.name}"
    for side, own in ((sides.document, model.document), (sides.query, model.query)):
        missing = _unsayable(side, backend)
        if missing:
            raise UsageError(f"{served}, but not for {task}: {missing}")
        if side.library.task != own.library.task and not _holds_every_task(backend, model):
            raise UsageError(f"{served}, but for retrieval: {task} needs other weights")


def _holds_every_task(backend: Backend, model: Model) -> bool:
    """Whether a backend can switch between a model's adapters, rather than hold one merged in."""
    if backend.wire == "fastembed":  # an export described by a row is one of a single task
        return backend.models[model.name].onnx is None
    return backend.wire in (*TASKED, "sentence-transformers")


def _unsayable(side: Instruction, backend: Backend) -> str | None:
    """Return why this backend cannot be told which side a text is of; None if it can."""
    wire = backend.wire
    if wire in ("cohere", "voyage", "gemini"):
        return None if side.task else f"the {wire} wire needs the task of each side"
    if wire in TASKED or wire == "builtin" or side.prompt is not None:
        return None
    if wire == "sentence-transformers" and side.library.prompt_name:
        return None
    return f"the {wire} wire has no task, and the model's prompts are not known"
