"""A pipeline file, and what flags of the command line lay over it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ragctl.catalog.lines import KeyPath
from ragctl.catalog.strict import ConfigSource, parse
from ragctl.errors import UsageError
from ragctl.pipeline.keys import by_path
from ragctl.pipeline.pipeline import Pipeline
from ragctl.pipeline.read import read

Tables = Mapping[str, Any]
"""What a TOML file with the same content would give."""


class Flags(ConfigSource):
    """The command line: an error names the flag."""

    def __init__(self) -> None:
        super().__init__("the flags")

    def child(self, *path: str | int) -> ConfigSource:
        return self

    def location(self, path: KeyPath) -> str:
        key = by_path().get(tuple(step for step in path if isinstance(step, str)))
        return (key and key.flag) or self.name

    def table_location(self, path: KeyPath) -> str:
        return self.location(path)

    def describe_key(self, path: KeyPath) -> str:
        return self.location(path)


class Overlaid(ConfigSource):
    """A file with flags laid over it: each error names where its value came from."""

    def __init__(self, file: ConfigSource, over: Tables) -> None:
        super().__init__(file.name)
        self._file = file
        self._over = over

    def child(self, *path: str | int) -> ConfigSource:
        return self._file.child(*path)

    def location(self, path: KeyPath) -> str:
        return self._of(path).location(path)

    def table_location(self, path: KeyPath) -> str:
        return self._of(path).table_location(path)

    def describe_key(self, path: KeyPath) -> str:
        return self._of(path).describe_key(path)

    def _of(self, path: KeyPath) -> ConfigSource:
        value: Any = self._over
        for step in path:
            if not isinstance(value, Mapping) or step not in value:
                return self._file
            value = value[step]
        return Flags()


def read_pipeline(path: Path, environ: Mapping[str, str], over: Tables | None = None) -> Pipeline:
    """The pipeline in a TOML file, `over` laid over it; its paths are relative to the file.

    Raises UsageError naming file, line, table and key for what is wrong in it.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise UsageError(f"{path}: cannot read the pipeline ({reason})") from error
    data = parse(text, str(path))
    origin = ConfigSource(str(path), text)
    if over:
        data, origin = _laid(data, over), Overlaid(origin, over)
    return read(data, origin, base=path.absolute().parent, environ=environ)


def from_flags(tables: Tables, environ: Mapping[str, str]) -> Pipeline:
    """The pipeline that flags describe, as the tables of a file would. Raises UsageError."""
    return read(tables, Flags(), base=Path(), environ=environ, variables=False)


def _laid(under: Mapping[str, Any], over: Tables) -> dict[str, Any]:
    laid = dict(under)
    for name, value in over.items():
        below = laid.get(name)
        if isinstance(value, Mapping) and isinstance(below, Mapping):
            laid[name] = _laid(below, value)
        elif not (isinstance(value, Mapping) and below is not None):  # else refused by the reader
            laid[name] = value
    return laid
