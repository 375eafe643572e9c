"""Flags that stand for keys of a pipeline file, made from the declarations of the keys.

`@pipeline_flags()` gives a command one parameter for each key with a flag, and passes their values
as the tables of a pipeline file. A flag exists because its key names it; no command repeats
its name.
"""

import inspect
from collections.abc import Callable, Mapping, Sequence
from functools import wraps
from typing import Annotated, Any

import typer

from ragctl.cli import help as panels
from ragctl.cli.completion import completer
from ragctl.errors import UsageError
from ragctl.pipeline.globs import named_source
from ragctl.pipeline.keys import KeyNames
from ragctl.pipeline.pipeline import by_path, key_at

Command = Callable[..., int]

_TYPES: Mapping[str, Any] = {
    "string": str | None,
    "address": str | None,
    "path": str | None,
    "location": str | None,
    "integer": int | None,
    "number": float | None,
    "boolean": bool | None,
    "strings": list[str],
    "scalars": list[str],
}
_REPEATED = ("sources.path", "embedding.backend")
"""Keys with one value whose flag may be given several times, once for each table."""

_COMMON = frozenset(
    {
        *("store", "collection", "sources.include", "sources.exclude"),
        *("embedding.model", "embedding.dimension", "embedding.backend"),
    }
)
"""Keys whose flags are in the panel of common options."""
_PANELS: Mapping[str, str] = {
    "sources": panels.DOCUMENTS,
    "meta": panels.DOCUMENTS,
    "embedding": panels.MODEL,
    "chunking": panels.CHUNKS,
    "bm25": panels.CHUNKS,
    "prune": panels.POLICY,
    "policy": panels.POLICY,
    "budget": panels.POLICY,
    "quantization": panels.STORAGE,
    "server": panels.STORAGE,
    "parsing": panels.PARSING,
    "report": panels.REPORT,
}
"""The panel of the other flags, by the first name of the key."""


def flag_option(dotted: str, panel: str | None = None) -> Any:
    """Return the typer option for a key such as "chunking.size".

    `panel`: its panel in the help; None: the one of its table.
    """
    key = key_at(dotted)
    default: Any = key.shown_default
    if key.kind == "boolean":  # a flag without an opposite has no default to show
        default = {"true": "yes", "false": "no"}[default] if "/" in key.options[0] else False
    text = key.sentence
    if not key.options[0].startswith("-"):
        return typer.Argument(metavar=key.metavar, help=text, show_default=default)
    if dotted in _REPEATED:
        text += " Repeat it for failover."
    if panel is None:
        panel = panels.COMMON if dotted in _COMMON else _PANELS.get(dotted.partition(".")[0])
    return typer.Option(
        *key.options,
        metavar=key.metavar or None,
        help=text,
        show_default=default,
        rich_help_panel=panel,
        autocompletion=completer(key.name, key.choices),
    )


def pipeline_flags(*chosen: str) -> Callable[[Command], Command]:
    """Return a decorator that gives a command the flags of keys.

    The command takes a parameter `flags`: a mapping of nested tables, as in a pipeline file
    with the same content; flags that were not given are left out.

    Args:
        chosen: dotted paths of keys, or of tables for all their keys; all keys if there is none.
    """
    paths = [path for path, key in by_path().items() if key.options and "backends" not in path]
    if chosen:
        paths = [path for path in paths if ".".join(path) in chosen or path[0] in chosen]

    def decorate(command: Command) -> Command:
        @wraps(command)
        def with_flags(**given: Any) -> int:
            values = {path: given.pop(_parameter_name(path)) for path in paths}
            return command(flags=flag_tables(values), **given)

        own = dict(inspect.signature(command).parameters)
        del own["flags"]
        parameters = [
            *map(_parameter, paths),
            *(each.replace(kind=inspect.Parameter.KEYWORD_ONLY) for each in own.values()),
        ]
        with_flags.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
            parameters, return_annotation=int
        )
        with_flags.__annotations__ = {each.name: each.annotation for each in parameters}
        return with_flags

    return decorate


def _parameter(path: KeyNames) -> inspect.Parameter:
    dotted = ".".join(path)
    key = key_at(dotted)
    annotation = list[str] if dotted in _REPEATED else _TYPES[key.kind]
    argument = not key.options[0].startswith("-")
    default: Any = [] if annotation == list[str] else None
    return inspect.Parameter(
        _parameter_name(path),
        inspect.Parameter.KEYWORD_ONLY,
        default=inspect.Parameter.empty if argument else default,
        annotation=Annotated[annotation, flag_option(dotted)],
    )


def _parameter_name(path: KeyNames) -> str:
    """Return the name of the Python parameter of a flag: "chunk_size" for "--chunk-size"."""
    flag = by_path()[path].flag
    assert flag is not None
    return flag.removeprefix("--").replace("-", "_").lower()


def flag_tables(values: Mapping[KeyNames, Any]) -> dict[str, Any]:
    """Return the values of flags, by key, as the tables of a pipeline file.

    None and empty lists come from flags that were not given, and are left out. Raises UsageError
    for combinations that no file could contain.
    """
    tables: dict[str, Any] = {}
    for path, value in values.items():
        if value in (None, []):
            continue
        table = tables
        for step in path[:-1]:
            table = table.setdefault(step, {})
        is_scalars = by_path()[path].kind == "scalars"
        table[path[-1]] = parse_pairs(value, _flag(path)) if is_scalars else value
    if "path" in tables.get("sources", {}):
        shared = tables["sources"]
        tables["sources"] = [{**shared, **named_source(path)} for path in shared.pop("path")]
    if "backend" in tables.get("embedding", {}):
        names = tables["embedding"].pop("backend")
        tables["embedding"].update(_backends(tables["embedding"], names))
    return tables


def _flag(path: KeyNames) -> str:
    return by_path()[path].flag or ""


def _backends(embedding: Mapping[str, Any], names: Sequence[str]) -> dict[str, Any]:
    if len(names) == 1:
        return {"backend": names[0]}
    if "base_url" in embedding or "weights" in embedding:
        raise UsageError("--base-url and --weights need exactly one --backend; use a pipeline file")
    return {"backends": [{"backend": name} for name in names]}


def parse_pairs(pairs: Sequence[str], option: str) -> dict[str, str]:
    """Return key=value pairs as a mapping. Raises UsageError that names the option."""
    values = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals or not name.strip():
            raise UsageError(f"{option} {pair!r}: write key=value")
        values[name.strip()] = value
    return values
