"""Models and providers together: the package's own, with a user's rows laid over them."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from ragctl.catalog.lines import KeyPath
from ragctl.catalog.model_table import RETRIEVAL, Model, Side, read_model
from ragctl.catalog.provider_table import TASKED, Provider, read_provider
from ragctl.catalog.strict import Origin, nearest
from ragctl.errors import UsageError

Rows = Mapping[str, Any]
"""Tables as TOML gives them, by name."""


@dataclass(frozen=True, slots=True)
class Layer:
    """Rows of one origin, which errors name; a text is the name of one without lines."""

    models_source: Origin | str
    models: Rows
    providers_source: Origin | str
    providers: Rows


@dataclass(frozen=True, slots=True)
class Catalog:
    """Every model and every provider by name."""

    models: Mapping[str, Model]
    providers: Mapping[str, Provider]

    def model(self, name: str) -> Model:
        """Return the model of that name. Raises UsageError with the nearest names."""
        try:
            return self.models[name]
        except KeyError:
            known = nearest(name, self.models, "ragctl models lists all")
            raise UsageError(f"no model is called {name!r}; {known}") from None

    def provider(self, name: str) -> Provider:
        """Return the provider of that name. Raises UsageError with the nearest names."""
        try:
            return self.providers[name]
        except KeyError:
            known = nearest(name, self.providers, "ragctl backends lists all")
            raise UsageError(f"no backend is called {name!r}; {known}") from None

    def serving(self, model: str) -> list[str]:
        """Return the names of the providers that serve a model."""
        return [row.name for row in self.providers.values() if model in row.models]


def stack(layers: list[Layer]) -> Catalog:
    """Return the catalogue in which each layer's rows lie over those before it.

    A row whose name is known changes the keys that it has and keeps the others;
    a provider's `models` are added to. Raises UsageError naming the layer in
    which the faulty row was last touched.
    """
    models: dict[str, tuple[Origin | str, dict[str, Any]]] = {}
    providers: dict[str, tuple[Origin | str, dict[str, Any]]] = {}
    for layer in layers:
        _lay(models, layer.models, layer.models_source)
        _lay(providers, layer.providers, layer.providers_source)
    found = Catalog(
        {name: read_model(name, row, source) for name, (source, row) in models.items()},
        {name: read_provider(name, row, source) for name, (source, row) in providers.items()},
    )
    own = {layers[0].models_source, layers[0].providers_source}
    check(
        found,
        {name: source for name, (source, _) in models.items() if source not in own},
        {name: source for name, (source, _) in providers.items() if source not in own},
    )
    return found


def _lay(
    rows: dict[str, tuple[Origin | str, dict[str, Any]]], over: Rows, source: Origin | str
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
    models_from: Mapping[str, Origin | str] = MappingProxyType({}),
    providers_from: Mapping[str, Origin | str] = MappingProxyType({}),
) -> None:
    """Raise UsageError where the two tables do not fit each other.

    The sources of rows that are not the package's own are named in it.
    """
    for provider in catalog.providers.values():
        for name in provider.models:
            problem = _misfit(catalog, provider, name)
            if problem:
                where = f"backend {provider.name}, model {name!r}"
                told = _told(
                    (providers_from.get(provider.name), (provider.name, "models", name)),
                    (models_from.get(name), (name,)),
                )
                raise UsageError(f"{told}{where}: {problem}")
    for model in catalog.models.values():
        source = models_from.get(model.name)
        where = f"{_told((source, (model.name, 'backend')))}model {model.name}"
        if model.backend not in catalog.providers:
            known = nearest(model.backend, catalog.providers)
            raise UsageError(f"{where}: no backend is called {model.backend!r}; {known}")
        if model.name not in catalog.providers[model.backend].models:
            raise UsageError(f"{where}: its backend {model.backend} does not serve it")


def _told(*rows: tuple[Origin | str | None, KeyPath]) -> str:
    """Return how an error begins that is about keys of these origins."""
    spots = [Origin.of(source).spot(path) for source, path in rows if source is not None]
    return f"{' and '.join(dict.fromkeys(spots))}: " if spots else ""


def _misfit(catalog: Catalog, provider: Provider, name: str) -> str | None:
    """Return why a provider cannot serve the model of that name as its row says; None if it can."""
    if name not in catalog.models:
        return f"no such model; {nearest(name, catalog.models)}"
    model, served = catalog.models[name], provider.models[name]
    for size in served.dims or ():
        if size not in model.dims:
            return f"dims holds {size}; the model has {model.sizes()}"
    if served.context and model.context and served.context > model.context:
        return f"context {served.context} is above the model's {model.context}"
    if provider.wire == "fastembed" and model.pooling == "unknown":
        return "the fastembed wire must know the model's pooling"
    return _unsayable(model.document, provider) or _unsayable(model.query, provider)


def check_task(model: Model, provider: Provider, task: str | None) -> None:
    """Raise UsageError where a provider cannot be told of one of the model's other tasks.

    A wire without a task field says a task by its prompts alone. That is not
    enough for a model whose own code is told the task beside them: there it
    selects other weights, and such a host serves those for retrieval.
    """
    if task is None or task == RETRIEVAL:
        return
    sides, served = model.for_task(task), f"{provider.name} serves {model.name}"
    for side, own in ((sides.document, model.document), (sides.query, model.query)):
        missing = _unsayable(side, provider)
        if missing:
            raise UsageError(f"{served}, but not for {task}: {missing}")
        if side.library.task != own.library.task and not _holds_every_task(provider, model):
            raise UsageError(f"{served}, but for retrieval: {task} needs other weights")


def _holds_every_task(provider: Provider, model: Model) -> bool:
    """Whether a provider can switch between a model's adapters, rather than hold one merged in."""
    if provider.wire == "fastembed":  # an export described by a row is one of a single task
        return provider.models[model.name].onnx is None
    return provider.wire in (*TASKED, "sentence-transformers")


def _unsayable(side: Side, provider: Provider) -> str | None:
    """Return why this provider cannot be told which side a text is of; None if it can."""
    wire = provider.wire
    if wire in ("cohere", "voyage", "gemini"):
        return None if side.task else f"the {wire} wire needs the task of each side"
    if wire in TASKED or wire == "builtin" or side.prompt is not None:
        return None
    if wire == "sentence-transformers" and side.library.prompt_name:
        return None
    return f"the {wire} wire has no task, and the model's prompts are not known"
