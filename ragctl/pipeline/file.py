"""A pipeline file, and flags of the command line that override it."""

from collections.abc import Mapping
from pathlib import Path
from shlex import quote
from typing import Any

from ragctl.catalog.lines import KeyPath
from ragctl.catalog.strict import ConfigSource, parse
from ragctl.errors import UsageError
from ragctl.pipeline.pipeline import Pipeline, by_path
from ragctl.pipeline.read import pipeline_from_tables
from ragctl.pipeline.recognise import is_pipeline

Tables = Mapping[str, Any]
"""Nested tables, as a TOML file with the same content gives them."""


class Flags(ConfigSource):
    """The command line: an error names the flag.

    `tables`: the values that were given, as the tables of a file.
    """

    def __init__(self, tables: Tables) -> None:
        super().__init__("the flags")
        self.tables = tables

    def child(self, *path: str | int) -> ConfigSource:
        """Return itself: flags have no nested tables."""
        return self

    def location(self, path: KeyPath) -> str:
        """Return the flag that stands for the key at `path`."""
        key = by_path().get(tuple(step for step in path if isinstance(step, str)))
        return (key and key.flag) or self.name

    def table_location(self, path: KeyPath) -> str:
        """Return the flag that stands for the key at `path`."""
        return self.location(path)

    def describe_key(self, path: KeyPath) -> str:
        """Return the flag that stands for the key at `path`."""
        return self.location(path)


class Overlaid(ConfigSource):
    """A file overridden by flags: an error names where its value came from."""

    def __init__(self, file: ConfigSource, flags: Tables) -> None:
        super().__init__(file.name, is_file=file.is_file)
        self._file = file
        self._flags = flags

    def child(self, *path: str | int) -> ConfigSource:
        """Return the source of tables at `path` of the file."""
        return self._file.child(*path)

    def location(self, path: KeyPath) -> str:
        """Return the flag, or the file and line, of the key at `path`."""
        return self._source_of(path).location(path)

    def table_location(self, path: KeyPath) -> str:
        """Return the flag, or the file, line and table, of the key at `path`."""
        return self._source_of(path).table_location(path)

    def describe_key(self, path: KeyPath) -> str:
        """Return how a sentence about the key at `path` begins."""
        return self._source_of(path).describe_key(path)

    def _source_of(self, path: KeyPath) -> ConfigSource:
        value: Any = self._flags
        for step in path:
            if not isinstance(value, Mapping) or step not in value:
                return self._file
            value = value[step]
        return Flags(self._flags)


def read_pipeline(path: Path, environ: Mapping[str, str], flags: Tables | None = None) -> Pipeline:
    """Return the pipeline in a TOML file, overridden by `flags`.

    Relative paths start from the folder of the file. Raises UsageError that names file, line,
    table and key of a mistake.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except IsADirectoryError as error:
        raise UsageError(
            f"{path} is a folder, not a pipeline file; to index it, run ragctl ingest "
            f"{quote(str(path))} (with --dry-run to see what that would do)"
        ) from error
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise UsageError(f"{path}: cannot read the pipeline ({reason})") from error
    data = parse(text, str(path))
    source = ConfigSource(str(path), text, is_file=True)
    if flags:
        data, source = _merged(data, flags), Overlaid(source, flags)
    return pipeline_from_tables(data, source, base=path.absolute().parent, environ=environ)


def from_flags(tables: Tables, environ: Mapping[str, str]) -> Pipeline:
    """Return the pipeline that flags describe, given as the tables of a file.

    Raises UsageError, also for a pipeline file in place of a document.
    """
    for source in tables.get("sources", ()):
        path = str(source.get("path", "")) if isinstance(source, Mapping) else ""
        if is_pipeline(Path(path)):
            raise UsageError(
                f"{path} is a pipeline file, not a document; to run it: ragctl run {quote(path)}"
            )
    return pipeline_from_tables(
        tables, Flags(tables), base=Path(), environ=environ, variables=False
    )


def _merged(file: Mapping[str, Any], flags: Tables) -> dict[str, Any]:
    merged = dict(file)
    for name, value in flags.items():
        below = merged.get(name)
        if isinstance(value, Mapping) and isinstance(below, Mapping):
            merged[name] = _merged(below, value)
        elif below is None or not isinstance(value, Mapping):  # else the reader refuses `below`
            merged[name] = value
    return merged
