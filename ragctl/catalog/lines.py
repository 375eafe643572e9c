"""Line numbers of keys in a TOML file, for error messages; the parser does not give them."""

import tomllib
from collections.abc import Iterator

KeyPath = tuple[str | int, ...]
"""Path from the top of a file: names of tables and keys, and indexes (from 0) into arrays."""

_CLOSING_TOKENS = ("]", "}", '"""', "'''")
"""The last line of a multi-line statement contains one of these."""

Statement = tuple[int, KeyPath, dict[str, object]]
"""Line number from 1, path of the enclosing table, and the keys set; {} for a table header."""


def line_of(text: str, path: KeyPath) -> int | None:
    """Return the line, from 1, of the statement that sets the key at `path`.

    Without such a key, returns the line of the nearest enclosing table, None if there is
    none. `text` must be valid TOML.
    """
    deepest, found = 0, None
    for line, table, keys in _statements(text):
        depth = _common_prefix_length(table, path)
        if keys:
            depth = depth + _existing_steps(keys, path[depth:]) if depth == len(table) else 0
        if depth > deepest:
            deepest, found = depth, line
    return found


def _statements(text: str) -> Iterator[Statement]:
    """Yield the statements of a file; one ends at the first line that makes it valid TOML."""
    table: KeyPath = ()
    last: dict[KeyPath, int] = {}  # array of tables -> index of its last entry so far
    pending: list[str] = []
    for number, line in enumerate(text.replace("\r\n", "\n").split("\n"), 1):
        pending.append(line)
        if len(pending) > 1 and not any(end in line for end in _CLOSING_TOKENS):
            continue  # parsing after every line would take quadratic time for a long list
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
    """Return the path of a header [a.b] or [[a.b]], parsed alone, with indexes into arrays."""
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


def _common_prefix_length(table: KeyPath, path: KeyPath) -> int:
    """Return the length of the common prefix of two paths."""
    count = 0
    for one, other in zip(table, path, strict=False):
        if one != other:
            break
        count += 1
    return count


def _existing_steps(value: object, path: KeyPath) -> int:
    """Return how many steps of `path` exist inside `value`."""
    for count, step in enumerate(path):
        if isinstance(value, dict) and step in value:
            value = value[step]
            continue
        if not (isinstance(value, list) and isinstance(step, int) and step < len(value)):
            return count
        value = value[step]
    return len(path)
