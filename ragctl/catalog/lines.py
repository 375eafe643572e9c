"""Where in a TOML file a key stands. The parser does not say; it is asked only for an error."""

import tomllib
from collections.abc import Iterator

KeyPath = tuple[str | int, ...]
"""Names of tables and keys from the top; numbers, from 0, of entries in arrays."""

_ENDS = ("]", "}", '"""', "'''")
"""One of them is in the last line of a statement that has several."""

Statement = tuple[int, KeyPath, dict[str, object]]
"""A line from 1, the table that a statement is in, and its keys; none for a table's header."""


def line_of(text: str, path: KeyPath) -> int | None:
    """Return the line, from 1, of the statement that has the key at `path`.

    Where there is no such key, that of the nearest table around it; None where
    there is none. `text` is valid TOML.
    """
    deepest, found = 0, None
    for line, table, keys in _statements(text):
        depth = _shared(table, path)
        if keys:
            depth = depth + _descended(keys, path[depth:]) if depth == len(table) else 0
        if depth > deepest:
            deepest, found = depth, line
    return found


def _statements(text: str) -> Iterator[Statement]:
    """Take a file apart: a statement ends with the first line that makes it valid by itself."""
    table: KeyPath = ()
    last: dict[KeyPath, int] = {}  # of each array of tables
    pending: list[str] = []
    for number, line in enumerate(text.replace("\r\n", "\n").split("\n"), 1):
        pending.append(line)
        if len(pending) > 1 and not any(end in line for end in _ENDS):
            continue  # parsing at every line would take the square of a long list's time
        try:
            keys = tomllib.loads("\n".join(pending))
        except tomllib.TOMLDecodeError:
            continue
        first = number - len(pending) + 1
        if keys and pending[0].lstrip().startswith("["):
            table = _header(keys, last)
            yield first, table, {}
        elif keys:
            yield first, table, keys
        pending = []


def _header(nested: dict[str, object], last: dict[KeyPath, int]) -> KeyPath:
    """Return the path of [a.b] or [[a.b]], parsed alone, with the numbers of array entries."""
    path: KeyPath = ()
    node: object = nested
    while isinstance(node, dict) and node:
        name, node = next(iter(node.items()))
        path = (*path, name)
        if isinstance(node, list):
            last[path] = last.get(path, -1) + 1
        if path in last and node:
            path = (*path, last[path])
    return path


def _shared(table: KeyPath, path: KeyPath) -> int:
    count = 0
    for one, other in zip(table, path, strict=False):
        if one != other:
            break
        count += 1
    return count


def _descended(value: object, path: KeyPath) -> int:
    """Return how many steps of `path` lead into a value."""
    for count, step in enumerate(path):
        if isinstance(value, dict) and step in value:
            value = value[step]
            continue
        if not (isinstance(value, list) and isinstance(step, int) and step < len(value)):
            return count
        value = value[step]
    return len(path)
