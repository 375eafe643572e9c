"""Strict reading of TOML tables: an unknown key or a wrong type is one clear error."""

import difflib
import math
import re
import tomllib
from collections.abc import Collection, Iterable, Sequence
from typing import TypeVar

from ragctl.catalog.lines import KeyPath, line_of
from ragctl.errors import UsageError

T = TypeVar("T")

MAX_INTEGER = 2**63 - 1
"""The largest integer that every store can hold."""
MAX_SUGGESTIONS = 3  # names in one "did you mean …?"
_TOML_ERROR_POSITION = re.compile(r" \(at (?:line (\d+), column (\d+)|end of document)\)$")

_UNQUOTED = re.compile(r"""\s*([\w.-]+)\s*=\s*([^\s"'\[{#=][^"'#\[\]{}]*?)\s*(?:#.*)?$""")


def parse(text: str, source: str) -> dict[str, object]:
    """Return the top-level table of a TOML text.

    Raises UsageError, naming `source` and the line, for wrong syntax or a duplicate key.
    """
    try:
        return dict(tomllib.loads(text))
    except tomllib.TOMLDecodeError as error:
        message = str(error)
        position = _TOML_ERROR_POSITION.search(message)
        line = (position[1] if position else None) or text.rstrip().count("\n") + 1
        column = f" (column {position[2]})" if position and position[2] else ""
        problem = message[: position.start()] if position else message
        hint = _quotes_hint(text.splitlines()[int(line) - 1 : int(line)])
        raise UsageError(
            f"{source}, line {line}: is not valid TOML: {problem}{column}{hint}"
        ) from error
    except RecursionError:
        raise UsageError(f"{source}: is not valid TOML: nested too deeply") from None


def _quotes_hint(lines: Sequence[str]) -> str:
    """Return a hint if a line of wrong syntax has a text without quotes after its `=`."""
    found = _UNQUOTED.match(lines[0]) if lines else None
    return f"; text needs quotes: {found[1]} = '{found[2]}'" if found else ""


def nearest(name: str, known: Iterable[str], fallback: str | None = None) -> str:
    """Return the end of an error about an unknown `name`: the nearest known names.

    If none is near, returns `fallback`, or a list of all known names without one.
    """
    names = sorted(known)
    wanted = name.lower().rpartition("/")[2]  # without the owner of a repository on the hub
    # "qwen3-8b" is similar to no name as a string, but one name contains all of its parts.
    parts = [part for part in re.split(r"[^a-z0-9]+", wanted) if part]
    close = [each for each in names if parts and all(part in each.lower() for part in parts)]
    close = close[:MAX_SUGGESTIONS] or difflib.get_close_matches(wanted, names, n=MAX_SUGGESTIONS)
    if close:
        return f"did you mean {' or '.join(close)}?"
    if fallback is not None:
        return fallback
    return f"known: {', '.join(names)}" if names else "there are none"


class ConfigSource:
    """The file that tables were read from, for error messages.

    `text` is its content, from which line numbers are found; None if unknown. `prefix` is
    the path inside the file that all other paths are relative to. `is_file`: `name` is the path
    of a file.
    """

    def __init__(
        self,
        name: str,
        text: str | None = None,
        prefix: KeyPath = (),
        *,
        is_file: bool = False,
    ) -> None:
        self.name = name
        self.is_file = is_file
        self._text = text
        self._prefix = prefix

    @classmethod
    def of(cls, source: "ConfigSource | str") -> "ConfigSource":
        """Return `source` itself, or a source of that name without line numbers."""
        return source if isinstance(source, ConfigSource) else ConfigSource(source)

    def child(self, *path: str | int) -> "ConfigSource":
        """Return the source of the tables at `path` inside this one."""
        return ConfigSource(self.name, self._text, (*self._prefix, *path))

    def location(self, path: KeyPath) -> str:
        """Return "file, line N" of the key at `path`."""
        line = None if self._text is None else line_of(self._text, (*self._prefix, *path))
        return self.name if line is None else f"{self.name}, line {line}"

    def table_location(self, path: KeyPath) -> str:
        """Return "file, line N, table [t]" of the key at `path`."""
        table, _ = _label((*self._prefix, *path))
        return f"{self.location(path)}, table [{table}]" if table else self.location(path)

    def describe_key(self, path: KeyPath) -> str:
        """Return "file, line N, table [t]: key", the start of an error about that key."""
        return f"{self.table_location(path)}: {_label((*self._prefix, *path))[1]}"


def _label(path: KeyPath) -> tuple[str, str]:
    """Return the table that `path` leads to, and the key in it. Array entries count from 1."""
    table, key = "", ""
    for step in path:
        if isinstance(step, int):
            key = f"{key} {step + 1}"
        else:
            table, key = (f"{table}.{key}" if table else key), step
    return table, key


class Table:
    """One TOML table, read key by key."""

    def __init__(
        self,
        source: ConfigSource | str,
        path: KeyPath,
        data: object,
        keys: Collection[str] | None,
    ) -> None:
        """Check that `data` is a table and has no key outside `keys` (None: any key).

        `path` leads to the table from the top of `source`. Raises UsageError.
        """
        self._source = ConfigSource.of(source)
        self._path = path
        if not isinstance(data, dict):
            raise UsageError(
                f"{self._source.describe_key(path)} must be a table, not {_kind(data)}"
            )
        self._data: dict[str, object] = data
        for key in self._data:
            if keys is not None and key not in keys:
                raise self.error_at(key, f"unknown key {key!r}; {nearest(key, keys)}")

    def names(self) -> list[str]:
        """Return the keys of the table."""
        return list(self._data)

    def has(self, key: str) -> bool:
        """Return whether the table has `key`."""
        return key in self._data

    def error(self, key: str, problem: str) -> UsageError:
        """Return an error that starts with the key's location and name, followed by `problem`."""
        return UsageError(f"{self._source.describe_key((*self._path, key))} {problem}")

    def error_at(self, key: str, sentence: str) -> UsageError:
        """Return an error that starts with the key's location, followed by a whole sentence."""
        return UsageError(f"{self._source.table_location((*self._path, key))}: {sentence}")

    def optional(self, key: str, kind: type[T]) -> T | None:
        """Return the value of `key`, None if absent. An int is accepted where a float is wanted."""
        if key not in self._data:
            return None
        value = self._data[key]
        if type(value) is int and abs(value) > MAX_INTEGER:
            raise self.error(key, "is too large")
        if kind is float and type(value) is int:
            value = float(value)
        # type(), not isinstance: True and False are not integers here.
        if type(value) is not kind:
            raise self.error(key, f"must be {_TYPE_NAMES[kind]}, not {_kind(value)}")
        if isinstance(value, float) and not math.isfinite(value):
            raise self.error(key, f"must be a number, not {value}")
        return value

    def raw_value(self, key: str) -> object:
        """Return the value of `key`, of any type; None if absent."""
        return self._data.get(key)

    def required(self, key: str, kind: type[T]) -> T:
        """Return the value of `key`. Raises UsageError if it is absent."""
        value = self.optional(key, kind)
        if value is None:
            raise self.error(key, f"is missing ({_TYPE_NAMES[kind]})")
        return value

    def sequence(self, key: str, kind: type[T]) -> tuple[T, ...]:
        """Return a list of distinct values of one type; empty if absent."""
        values: list[T] = []
        for item in self.optional(key, list) or []:
            if type(item) is not kind:
                expected = _TYPE_NAMES[kind]
                raise self.error(key, f"must be a list; each value {expected}, not {_kind(item)}")
            if item in values:
                raise self.error(key, f"names {item!r} twice")
            values.append(item)
        return tuple(values)

    def strings(self, key: str) -> tuple[str, ...]:
        """Return a list of strings, which may repeat; empty if absent."""
        values = self.optional(key, list) or []
        for value in values:
            if type(value) is not str:
                raise self.error(key, f"must be a list of strings, found {_kind(value)}")
        return tuple(values)

    def choice(self, key: str, choices: Collection[str], default: str | None = None) -> str:
        """Return a string that is one of `choices`. Without a default the key is required."""
        value = self.optional(key, str) if default is not None else self.required(key, str)
        if value is None:
            assert default is not None
            return default
        if value not in choices:
            raise self.error(key, f"cannot be {value!r}; {nearest(value, choices)}")
        return value

    def table(self, key: str, keys: Collection[str] | None) -> "Table":
        """Return the table under `key`; an empty one if absent."""
        return Table(self._source, (*self._path, key), self._data.get(key, {}), keys)

    def tables(self, key: str, keys: Collection[str] | None) -> list["Table"]:
        """Return the tables of the array under `key`; none if absent."""
        rows = self.optional(key, list) or []
        return [Table(self._source, (*self._path, key, n), row, keys) for n, row in enumerate(rows)]

    def positive(self, key: str) -> int | None:
        """Return an integer of 1 or more; None if absent."""
        value = self.optional(key, int)
        if value is not None and value < 1:
            raise self.error(key, f"must be 1 or more, not {value}")
        return value


_TYPE_NAMES: dict[type, str] = {
    str: "a string",
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    list: "a list",
    dict: "a table",
}


def _kind(value: object) -> str:
    return _TYPE_NAMES.get(type(value), type(value).__name__)
