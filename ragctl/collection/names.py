"""Which names a collection may have."""

import re

from ragctl.errors import UsageError

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")


def is_name(name: str) -> bool:
    return _NAME.fullmatch(name) is not None


def check_name(name: str) -> None:
    """Raises UsageError unless a collection may be called so, in every store."""
    if not is_name(name):
        raise UsageError(
            f"collection name {name!r}: use letters, digits, '.', '_' and '-', "
            "128 at most, a letter or digit first"
        )
