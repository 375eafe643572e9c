"""Reading TOML tables strictly: every key known, every type right, or one clear error."""

import difflib
import math
import re
import tomllib
from collections.abc import Collection, Iterable
from typing import TypeVar

from ragctl.catalog.lines import KeyPath, line_of
from ragctl.errors import UsageError

T = TypeVar("T")

LARGE = 2**63  # from here on an integer fits no store
_WHERE = re.compile(r" \(at (?:line (\d+), column (\d+)|end of document)\)$")


def parse(text: str, source: str) -> dict[str, object]:
    """Parse TOML. Raises UsageError naming `source` and the line (duplicate tables, syntax)."""
    try:
        return dict(tomllib.loads(text))
    except tomllib.TOMLDecodeError as error:
        said = str(error)
        found = _WHERE.search(said)
        line = (found[1] if found else None) or text.rstrip().count("\n") + 1
        column = f" (column {found[2]})" if found and found[2] else ""
        problem = said[: found.start()] if found else said
        raise UsageError(f"{source}, line {line}: is not valid TOML: {problem}{column}") from error
    except RecursionError:
        raise UsageError(f"{source}: is not valid TOML: nested too deeply") from None


def nearest(name: str, known: Iterable[str], instead: str | None = None) -> str:
    """Return how an error about an unknown `name` ends: the nearest names, else all of them.

    `instead` is said instead of all, where they are too many for a line.
    """
    names = sorted(known)
    # "qwen3-8b" is near no name by its letters, but one name has all of its parts.
    parts = re.split(r"[^a-z0-9]+", name.lower())
    close = [known for known in names if all(part in known.lower() for part in parts)]
    close = close[:3] or difflib.get_close_matches(name, names, n=3)
    if close:
        return f"did you mean {' or '.join(close)}?"
    if instead is not None:
        return instead
    return f"known: {', '.join(names)}" if names else "none is known"


class ConfigSource:
    """Where tables come from, as errors name it: a file, whose `text` has their lines.

    `below` is the path in it at which the tables stand that are read.
    """

    def __init__(self, name: str, text: str | None = None, below: KeyPath = ()) -> None:
        self.name = name
        self._text = text
        self._below = below

    @classmethod
    def of(cls, origin: "ConfigSource | str") -> "ConfigSource":
        """Return an origin; a text is the name of one without lines."""
        return origin if isinstance(origin, ConfigSource) else ConfigSource(origin)

    def child(self, *path: str | int) -> "ConfigSource":
        """Return the origin of tables that stand at `path` in this one."""
        return ConfigSource(self.name, self._text, (*self._below, *path))

    def location(self, path: KeyPath) -> str:
        """Return the file, and the line of the key at `path`."""
        line = None if self._text is None else line_of(self._text, (*self._below, *path))
        return self.name if line is None else f"{self.name}, line {line}"

    def table_location(self, path: KeyPath) -> str:
        """Return the file, the line, and the table that the key at `path` is in."""
        table, _ = _label((*self._below, *path))
        return f"{self.location(path)}, table [{table}]" if table else self.location(path)

    def describe_key(self, path: KeyPath) -> str:
        """Return the beginning of a sentence about the key at `path`: its place and its name."""
        return f"{self.table_location(path)}: {_label((*self._below, *path))[1]}"


def _label(path: KeyPath) -> tuple[str, str]:
    """Return the table that a path leads into, and the key there; entries count from 1."""
    table, key = "", ""
    for step in path:
        if isinstance(step, int):
            key = f"{key} {step + 1}"
        else:
            table, key = (f"{table}.{key}" if table else key), step
    return table, key


class Table:
    """One TOML table, read key by key. Raises UsageError on any key not in `keys`."""

    def __init__(
        self,
        origin: ConfigSource | str,
        path: KeyPath,
        data: object,
        keys: Collection[str] | None,
    ) -> None:
        """`path` leads to the table from the top. `keys` None allows any key (names to values)."""
        self._origin = ConfigSource.of(origin)
        self._path = path
        if not isinstance(data, dict):
            raise UsageError(
                f"{self._origin.describe_key(path)} must be a table, not {_kind(data)}"
            )
        self._data: dict[str, object] = data
        for key in self._data:
            if keys is not None and key not in keys:
                raise self.wrong(key, f"unknown key {key!r}; {nearest(key, keys)}")

    def names(self) -> list[str]:
        return list(self._data)

    def has(self, key: str) -> bool:
        return key in self._data

    def error(self, key: str, problem: str) -> UsageError:
        """Return (not raise) the error for a key whose value is wrong in some further way."""
        return UsageError(f"{self._origin.describe_key((*self._path, key))} {problem}")

    def wrong(self, key: str, sentence: str) -> UsageError:
        """Return the error that a whole sentence states, at the place of a key."""
        return UsageError(f"{self._origin.table_location((*self._path, key))}: {sentence}")

    def optional(self, key: str, kind: type[T]) -> T | None:
        """Return the value of `key`, None if absent. An int serves where a float is asked."""
        if key not in self._data:
            return None
        value = self._data[key]
        if type(value) is int and abs(value) >= LARGE:
            raise self.error(key, "is a number too large")
        if kind is float and type(value) is int:
            value = float(value)
        # type(), not isinstance: true and false are no integers here.
        if type(value) is not kind:
            raise self.error(key, f"must be {_WORDS[kind]}, not {_kind(value)}")
        if isinstance(value, float) and not math.isfinite(value):
            raise self.error(key, f"must be a number, not {value}")
        return value

    def value(self, key: str) -> object:
        """Return what stands under `key`, whatever its type; None if absent."""
        return self._data.get(key)

    def required(self, key: str, kind: type[T]) -> T:
        value = self.optional(key, kind)
        if value is None:
            raise self.error(key, f"is missing ({_WORDS[kind]})")
        return value

    def sequence(self, key: str, kind: type[T]) -> tuple[T, ...]:
        """Return a list of values of one kind, without repeats; empty if absent."""
        values: list[T] = []
        for item in self.optional(key, list) or []:
            if type(item) is not kind:
                raise self.error(key, f"must be a list of {_WORDS[kind]} each, found {_kind(item)}")
            if item in values:
                raise self.error(key, f"names {item!r} twice")
            values.append(item)
        return tuple(values)

    def words(self, key: str) -> tuple[str, ...]:
        """Return a list of texts, which may repeat; empty if absent."""
        words = self.optional(key, list) or []
        for word in words:
            if type(word) is not str:
                raise self.error(key, f"must be a list of texts, found {_kind(word)}")
        return tuple(words)

    def choice(self, key: str, choices: Collection[str], default: str | None = None) -> str:
        """Return a text that is one of `choices`. Without a default the key is required."""
        value = self.optional(key, str) if default is not None else self.required(key, str)
        if value is None:
            assert default is not None
            return default
        if value not in choices:
            raise self.error(key, f"cannot be {value!r}; {nearest(value, choices)}")
        return value

    def table(self, key: str, keys: Collection[str] | None) -> "Table":
        """Return the table under `key`; an absent one reads as empty."""
        return Table(self._origin, (*self._path, key), self._data.get(key, {}), keys)

    def tables(self, key: str, keys: Collection[str] | None) -> list["Table"]:
        """Return the tables of the array under `key`; none if absent."""
        rows = self.optional(key, list) or []
        return [Table(self._origin, (*self._path, key, n), row, keys) for n, row in enumerate(rows)]

    def positive(self, key: str) -> int | None:
        value = self.optional(key, int)
        if value is not None and value < 1:
            raise self.error(key, f"must be 1 or more, not {value}")
        return value


_WORDS: dict[type, str] = {
    str: "a text",
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    list: "a list",
    dict: "a table",
}


def _kind(value: object) -> str:
    return _WORDS.get(type(value), type(value).__name__)
