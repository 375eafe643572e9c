"""Valid names of collections."""

import re

from ragctl.errors import UsageError

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")


def is_name(name: str) -> bool:
    """Return whether every store accepts this name for a collection."""
    return _NAME.fullmatch(name) is not None


def check_name(name: str) -> None:
    """Raise UsageError unless every store accepts this name for a collection."""
    if not is_name(name):
        raise UsageError(
            f"collection name {name!r}: use at most 128 letters, digits, '.', '_' and '-', "
            "with a letter or digit first"
        )


def check_source_name(name: str) -> None:
    """Raise UsageError for a name that could be confused with a path."""
    if not name or name != name.strip() or "/" in name or "\\" in name or not name.isprintable():
        raise UsageError(
            f"{name!r} is no name of a source: it needs at least one character, and no slash or "
            "space at either end"
        )
