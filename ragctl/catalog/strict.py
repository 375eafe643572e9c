"""Reading TOML tables strictly: every key known, every type right, or one clear error."""

import difflib
import re
import tomllib
from collections.abc import Collection, Iterable
from typing import TypeVar

from ragctl.errors import UsageError

T = TypeVar("T")


def parse(text: str, source: str) -> dict[str, object]:
    """Parse TOML. Raises UsageError naming `source` and the line (duplicate tables, syntax)."""
    try:
        return dict(tomllib.loads(text))
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"{source} is not valid TOML: {error}") from error


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


class Table:
    """One TOML table, read key by key. Raises UsageError on any key not in `keys`."""

    def __init__(self, source: str, path: str, data: object, keys: Collection[str] | None) -> None:
        """`keys` None allows any key (a table from names to values)."""
        self._where = f"{source}, table [{path}]"
        self._source = source
        self._path = path
        if not isinstance(data, dict):
            raise UsageError(f"{source}: {path} must be a table, not {_kind(data)}")
        self._data: dict[str, object] = data
        for key in self._data:
            if keys is not None and key not in keys:
                raise UsageError(f"{self._where}: unknown key {key!r}; {nearest(key, keys)}")

    def names(self) -> list[str]:
        return list(self._data)

    def has(self, key: str) -> bool:
        return key in self._data

    def error(self, key: str, problem: str) -> UsageError:
        """Return (not raise) the error for a key whose value is wrong in some further way."""
        return UsageError(f"{self._where}: {key} {problem}")

    def optional(self, key: str, kind: type[T]) -> T | None:
        """Return the value of `key`, None if absent. An int serves where a float is asked."""
        if key not in self._data:
            return None
        value = self._data[key]
        if kind is float and type(value) is int:
            value = float(value)
        # type(), not isinstance: true and false are no integers here.
        if type(value) is not kind:
            raise self.error(key, f"must be {_WORDS[kind]}, not {_kind(value)}")
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
        return Table(self._source, f"{self._path}.{key}", self._data.get(key, {}), keys)

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
