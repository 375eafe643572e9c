"""The catalogue: which models there are and who runs them. Facts only, no network.

A model is a table in models.toml, a provider a table in providers.toml. Both
are read strictly: an unknown key, a wrong type or a name that nobody knows is
a UsageError that names the file, the table, the key, and the nearest right name.
"""

from collections.abc import Mapping
from functools import cache
from importlib.resources import files

from ragctl.catalog.model_table import Distance, Model, Side, load_models
from ragctl.catalog.provider_table import Limits, Provider, Served, load_providers
from ragctl.catalog.strict import nearest
from ragctl.errors import UsageError

__all__ = [
    "Distance",
    "Limits",
    "Model",
    "Provider",
    "Served",
    "Side",
    "check",
    "load_models",
    "load_providers",
    "model",
    "models",
    "nearest",
    "provider",
    "providers",
]


@cache
def models() -> Mapping[str, Model]:
    """Return every model by name."""
    return load_models(_own("models.toml"), "models.toml")


@cache
def providers() -> Mapping[str, Provider]:
    """Return every provider by name."""
    found = load_providers(_own("providers.toml"), "providers.toml")
    check(models(), found)
    return found


def model(name: str) -> Model:
    """Return the model of that name. Raises UsageError with the nearest names."""
    try:
        return models()[name]
    except KeyError:
        raise UsageError(f"no model is called {name!r}; {nearest(name, models())}") from None


def provider(name: str) -> Provider:
    """Return the provider of that name. Raises UsageError with the nearest names."""
    try:
        return providers()[name]
    except KeyError:
        raise UsageError(f"no backend is called {name!r}; {nearest(name, providers())}") from None


def check(models: Mapping[str, Model], providers: Mapping[str, Provider]) -> None:
    """Raise UsageError where the two tables do not fit each other."""
    for provider in providers.values():
        for name in provider.models:
            where = f"backend {provider.name}, model {name!r}"
            if name not in models:
                raise UsageError(f"{where}: no such model; {nearest(name, models)}")
            sides = (models[name].document, models[name].query)
            if provider.wire == "openai" and any(side.prompt is None for side in sides):
                raise UsageError(
                    f"{where}: the openai wire has no task, and the model's prompts are not known"
                )
    for model in models.values():
        if model.backend not in providers:
            raise UsageError(
                f"model {model.name}: no backend is called {model.backend!r}; "
                f"{nearest(model.backend, providers)}"
            )
        if model.name not in providers[model.backend].models:
            raise UsageError(f"model {model.name}: its backend {model.backend} does not serve it")


def _own(name: str) -> str:
    return files("ragctl.catalog").joinpath(name).read_text(encoding="utf-8")
