"""The catalogue: which models there are and who runs them. Facts only, no network.

A model is a table in models.toml, a backend a table in backends.toml, a reranker
a table in rerankers.toml. A user's
own rows, in files of the same names in the configuration folder or in a pipeline
file, are laid over them. All are read strictly: an unknown key, a wrong type or
a name that nobody knows is a UsageError that names the file, the table, the key,
and the nearest right name.
"""

from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from pathlib import Path

from ragctl.catalog.backend_config import BackendConfig
from ragctl.catalog.backend_table import (
    IN_PROCESS,
    TASKED,
    Backend,
    Onnx,
    Rates,
    RequestLimits,
    Runtime,
    Served,
    load_backends,
)
from ragctl.catalog.catalog import Catalog, Layer, check, stack
from ragctl.catalog.model_table import (
    RETRIEVAL,
    Distance,
    Instruction,
    Instructions,
    Library,
    Model,
    load_models,
)
from ragctl.catalog.reranker_table import RerankerRow, read_reranker, reranker
from ragctl.catalog.strict import ConfigSource, nearest, parse
from ragctl.environment import CONFIG
from ragctl.errors import UsageError

__all__ = [
    "IN_PROCESS",
    "RETRIEVAL",
    "TASKED",
    "Backend",
    "BackendConfig",
    "Catalog",
    "Distance",
    "Instruction",
    "Instructions",
    "Layer",
    "Library",
    "Model",
    "Onnx",
    "Rates",
    "RequestLimits",
    "RerankerRow",
    "Runtime",
    "Served",
    "builtin",
    "check",
    "config_folder",
    "load_backends",
    "load_models",
    "nearest",
    "of_user",
    "reranker",
    "rerankers",
    "stack",
]

MODELS, BACKENDS, RERANKERS = "models.toml", "backends.toml", "rerankers.toml"


@cache
def _own_layer() -> Layer:
    texts = [
        files("ragctl.catalog").joinpath(name).read_text("utf-8") for name in (MODELS, BACKENDS)
    ]
    return Layer(MODELS, parse(texts[0], MODELS), BACKENDS, parse(texts[1], BACKENDS))


@cache
def builtin() -> Catalog:
    """Return the package's own catalogue."""
    return stack([_own_layer()])


def config_folder(environ: Mapping[str, str]) -> Path:
    """RAGCTL_CONFIG, else the platform's folder for a user's configuration."""
    if configured := CONFIG.value(environ):
        return Path(configured)
    from platformdirs import user_config_path

    return Path(user_config_path("ragctl", appauthor=False))


def of_user(environ: Mapping[str, str], rows: Layer | None = None) -> Catalog:
    """Return the package's catalogue under the user's own rows, and under `rows` of a pipeline.

    Raises UsageError for a file in the configuration folder that cannot be read or is wrong.
    """
    folder = config_folder(environ)
    layers = [_own_layer()]
    texts = [(str(folder / name), _text(folder / name)) for name in (MODELS, BACKENDS)]
    if any(text for _, text in texts):
        models, backends = ((ConfigSource(name, text), parse(text, name)) for name, text in texts)
        layers.append(Layer(*models, *backends))
    if rows is not None and (rows.models or rows.backends):
        layers.append(rows)
    return builtin() if len(layers) == 1 else stack(layers)


def rerankers(
    environ: Mapping[str, str],
    rows: Mapping[str, object] | None = None,
    source: ConfigSource | str = "",
) -> dict[str, RerankerRow]:
    """Return the package's rerankers, under those of the user's configuration folder, under `rows`.

    `source`: of the rows, which are a pipeline's. A row whose name is known changes the
    keys that it has. Raises UsageError as `of_user`.
    """
    own = files("ragctl.catalog").joinpath(RERANKERS).read_text("utf-8")
    path = config_folder(environ) / RERANKERS
    text = _text(path)
    layers: list[tuple[ConfigSource | str, Mapping[str, object]]] = [
        (RERANKERS, parse(own, RERANKERS)),
        (ConfigSource(str(path), text), parse(text, str(path))),
        (source, rows or {}),
    ]
    laid: dict[str, tuple[ConfigSource | str, object]] = {}
    for origin, layer in layers:
        for name, row in layer.items():
            under = laid.get(name, ("", {}))[1]
            both = isinstance(row, dict) and isinstance(under, dict)
            laid[name] = (origin, {**under, **row} if both else row)  # type: ignore[dict-item]
    return {name: read_reranker(name, row, origin) for name, (origin, row) in laid.items()}


def _text(path: Path) -> str:
    """Return what stands in a file; nothing where there is none."""
    try:
        return path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        return ""
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{path}: cannot be read ({error})") from error
