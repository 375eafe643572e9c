"""Options that say what a key of a pipeline file says: its help, its default, one parser."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import typer

from ragctl.errors import UsageError
from ragctl.pipeline.keys import key_at


def setting(dotted: str, metavar: str, *names: str) -> Any:
    """The option for a key such as "chunking.size"; `names` instead of the flag alone."""
    key = key_at(dotted)
    assert key.flag is not None
    shown = f" Default: {key.shown}." if key.shown and key.kind != "switch" else ""
    sentence = f"{key.help[0].upper()}{key.help[1:]}.{shown}"
    return typer.Option(*(names or (key.flag,)), metavar=metavar or None, help=sentence)


def tables(given: Mapping[str, Any]) -> dict[str, Any]:
    """The tables of a pipeline file that say the same as options do, by parameter name.

    What was not given is left out. Raises UsageError for what no file could say.
    """
    from ragctl.pipeline.keys import every

    told: dict[str, Any] = {}
    for path, key in every():
        name = (key.flag or "").removeprefix("--").replace("-", "_")
        value = given.get(name)
        if value in (None, []) or key.keys or path[:1] == ("sources",) or "backends" in path:
            continue
        table = told
        for step in path[:-1]:
            table = table.setdefault(step, {})
        table[path[-1]] = str(value) if isinstance(value, Path) else value
    if "meta" in told:
        told["meta"] = parse_pairs(told["meta"], "--meta")
    if "backend" in told.get("embedding", {}):
        told["embedding"].update(_backends(told["embedding"], told["embedding"].pop("backend")))
    return told


def sources(given: Mapping[str, Any], paths: Sequence[Path]) -> list[dict[str, Any]]:
    """The [[sources]] of folders and files, all with the same patterns."""
    patterns = {name: given[name] for name in ("include", "exclude") if given.get(name)}
    return [{"path": str(path), **patterns} for path in paths]


def _backends(embedding: Mapping[str, Any], names: list[str]) -> dict[str, Any]:
    if len(names) == 1:
        return {"backend": names[0]}
    if "base_url" in embedding or "weights" in embedding:
        raise UsageError("--base-url and --weights go with one --backend; use a pipeline file")
    return {"backends": [{"backend": name} for name in names]}


def parse_pairs(pairs: list[str], option: str) -> dict[str, str]:
    values = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not equals or not key.strip():
            raise UsageError(f"{option} {pair!r}: write key=value")
        values[key.strip()] = value
    return values
