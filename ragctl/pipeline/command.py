"""The `ragctl migrate` command that moves a collection to the settings of a pipeline."""

import shlex
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ragctl.pipeline.file import Flags, Tables
from ragctl.pipeline.keys import KeySpec
from ragctl.pipeline.pipeline import SOURCE_KEYS, STORED_KEYS, Pipeline, by_path

_NEED_SOURCES = (("chunking",), ("bm25",), ("embedding", "late_chunking"))


def migrate_command(pipeline: Pipeline, *, with_sources: bool = False) -> str:
    """Return the command that moves the pipeline's collection to its settings.

    It names the pipeline file if there is one, else it repeats the flags. It is quoted for a shell.
    `with_sources`: name the sources even if no flag says that they must be read again.
    """
    words = ["ragctl"]
    if pipeline.env_file is not None:
        words += ["--env-file", str(pipeline.env_file)]
    words.append("migrate")
    source = pipeline.config_source
    if isinstance(source, Flags):
        words += [pipeline.collection, *_flags(source.tables, with_sources)]
    elif source.is_file:
        words.append(source.name)
    else:
        words.append(pipeline.collection)
    return shlex.join(words)


def _flags(tables: Tables, with_sources: bool) -> Iterator[str]:
    """Yield the words of the flags that `migrate` takes, as they were given."""
    yield from _words(tables, STORED_KEYS)
    if with_sources or any(_value(tables, path) is not None for path in _NEED_SOURCES):
        sources = tables.get("sources") or [{}]
        for each in sources:
            if "path" in each:
                name = f"{each['name']}=" if "name" in each else ""
                yield from _pair("--source", f"{name}{each['path']}")
        yield from _words({**tables, "sources": sources[0]}, SOURCE_KEYS)


def _words(tables: Tables, keys: Sequence[str]) -> Iterator[str]:
    for path, spec in by_path().items():
        if "backends" in path or not (path[0] in keys or ".".join(path) in keys):
            continue
        if path == ("embedding", "backend"):
            for row in _value(tables, ("embedding", "backends")) or ():
                yield from _pair("--backend", row["backend"])
        value = _value(tables, path)
        if spec.options and value is not None:
            yield from _flag(spec, value)


def _value(tables: Tables, path: Sequence[str]) -> Any:
    value: Any = tables
    for step in path:
        if not isinstance(value, Mapping):
            return None
        value = value.get(step)
    return value


def _flag(spec: KeySpec, value: Any) -> Iterator[str]:
    on, _, off = spec.options[0].partition("/")
    if isinstance(value, bool):
        yield on if value else off
    elif isinstance(value, Mapping):
        for name, each in value.items():
            yield from _pair(on, f"{name}={each}")
    elif isinstance(value, list | tuple):
        for each in value:
            yield from _pair(on, each)
    else:
        yield from _pair(on, value)


def _pair(flag: str, value: object) -> tuple[str, ...]:
    """Return a flag and its value; as one word if the value looks like a flag."""
    text = str(value)
    return (f"{flag}={text}",) if text.startswith("-") else (flag, text)
