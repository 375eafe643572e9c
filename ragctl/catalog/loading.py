"""Loading the catalogue: the package's own files, a user's files, and rows of a pipeline file."""

from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from pathlib import Path

from ragctl.catalog.catalog import Catalog, Layer, merge_layers
from ragctl.catalog.reranker_table import RerankerRow, read_reranker
from ragctl.catalog.strict import ConfigSource, parse
from ragctl.catalog.wires import KnownWires
from ragctl.environment import CONFIG
from ragctl.errors import UsageError

MODELS, BACKENDS, RERANKERS = "models.toml", "backends.toml", "rerankers.toml"


@cache
def _package_layer() -> Layer:
    models, backends = (
        files("ragctl.catalog").joinpath(name).read_text("utf-8") for name in (MODELS, BACKENDS)
    )
    return Layer(MODELS, parse(models, MODELS), BACKENDS, parse(backends, BACKENDS))


@cache
def package_catalog(wires: KnownWires) -> Catalog:
    """Return the package's own catalogue."""
    return merge_layers([_package_layer()], wires)


def config_folder(environ: Mapping[str, str]) -> Path:
    """Return the folder of a user's own rows: RAGCTL_CONFIG, else the platform's config folder."""
    if configured := CONFIG.value(environ):
        return Path(configured)
    from platformdirs import user_config_path

    return Path(user_config_path("ragctl", appauthor=False))


def user_catalog(
    environ: Mapping[str, str], wires: KnownWires, rows: Layer | None = None
) -> Catalog:
    """Return the package's catalogue, overridden by the user's files and by a pipeline's `rows`.

    Raises UsageError for a file in the configuration folder that cannot be read or is wrong.
    """
    folder = config_folder(environ)
    layers = [_package_layer()]
    texts = [(str(folder / name), _read_text(folder / name)) for name in (MODELS, BACKENDS)]
    if any(text for _, text in texts):
        models, backends = ((ConfigSource(name, text), parse(text, name)) for name, text in texts)
        layers.append(Layer(*models, *backends))
    if rows is not None and (rows.models or rows.backends):
        layers.append(rows)
    return package_catalog(wires) if len(layers) == 1 else merge_layers(layers, wires)


def rerankers(
    environ: Mapping[str, str],
    wires: KnownWires,
    rows: Mapping[str, object] | None = None,
    source: ConfigSource | str = "",
) -> dict[str, RerankerRow]:
    """Return the package's rerankers, overridden by the user's file and by a pipeline's `rows`.

    `source` names the pipeline in errors. A row with a known name replaces the keys it
    has and keeps the others. Raises UsageError as `user_catalog` does.
    """
    own = files("ragctl.catalog").joinpath(RERANKERS).read_text("utf-8")
    path = config_folder(environ) / RERANKERS
    text = _read_text(path)
    layers: list[tuple[ConfigSource | str, Mapping[str, object]]] = [
        (RERANKERS, parse(own, RERANKERS)),
        (ConfigSource(str(path), text), parse(text, str(path))),
        (source, rows or {}),
    ]
    merged: dict[str, tuple[ConfigSource | str, object]] = {}
    for layer_source, layer in layers:
        for name, row in layer.items():
            old = merged.get(name, ("", {}))[1]
            if isinstance(row, dict) and isinstance(old, dict):
                merged[name] = (layer_source, {**old, **row})
            else:
                merged[name] = (layer_source, row)
    return {name: read_reranker(name, row, origin, wires) for name, (origin, row) in merged.items()}


def _read_text(path: Path) -> str:
    """Return the text of a file; "" if there is none."""
    try:
        return path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        return ""
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{path}: cannot be read ({error})") from error
