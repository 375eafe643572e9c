"""The other collections of a store: for a command that was not told which one to use."""

from pathlib import Path

from ragctl.text import one_line

MAX_NAMES_SHOWN = 4


def other_collections(location: str, name: str) -> list[str]:
    """Return the names of the other collections in a folder; none for a server, which is not asked.

    A server needs a request for each name.
    """
    from ragctl.errors import StoreError
    from ragctl.stores import is_server
    from ragctl.stores.edge_layout import Layout

    if is_server(location):
        return []
    try:
        return [each for each in Layout(Path(location)).names() if each != name]
    except (StoreError, OSError):
        return []


def listed(names: list[str]) -> str:
    """Return the first names as text: "a, b, c, d and 2 more"."""
    more = f" and {len(names) - MAX_NAMES_SHOWN} more" if len(names) > MAX_NAMES_SHOWN else ""
    return f"{', '.join(map(one_line, names[:MAX_NAMES_SHOWN]))}{more}"


def default_note(location: str, name: str) -> str:
    """Return a line about a collection that was used by default; "" if it is the only one."""
    others = other_collections(location, name)
    return f"searched {name} (choose with -c); also here: {listed(others)}" if others else ""
