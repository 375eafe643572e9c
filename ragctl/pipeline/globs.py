"""The path of a source that is a pattern: its root folder and the pattern below it."""

import os
import re
import unicodedata

_NAMED = re.compile(r"([^/=:]+)=(.+)", re.DOTALL)
_WILDCARD = re.compile(r"[*?]|\[[^\]]+\]")


def is_url(path: str) -> bool:
    """Return whether the path of a source is a URL."""
    return "://" in path


def split_pattern(path: str) -> tuple[str, str | None]:
    """Return the part before the first name with a wildcard, and the rest as a pattern.

    The pattern is in gitignore syntax and begins with "/", the root; it is None if there is no
    wildcard. A name that exists, such as a folder "notes [old]", is no wildcard.
    """
    parts = path.split("/")
    for at, part in enumerate(parts):
        if _WILDCARD.search(part) and not os.path.lexists("/".join(parts[: at + 1])):
            root = "/".join(parts[:at]) or ("/" if path.startswith("/") else ".")
            # The walk lists names in NFC, so the pattern has to be in NFC too.
            return root, unicodedata.normalize("NFC", "/" + "/".join(parts[at:]).rstrip("/"))
    return path, None


def split_name(argument: str) -> tuple[str | None, str]:
    """Return the name and the path of an argument NAME=PATH; the name is None if there is none.

    A path that exists is taken as it is, such as a folder "a=b".
    """
    found = _NAMED.fullmatch(argument)
    if found is None or os.path.lexists(argument):
        return None, argument
    return found[1], found[2]


def named_source(argument: str) -> dict[str, str]:
    """Return an argument as the table of a source: `path`, and `name` if it has one."""
    name, path = split_name(argument)
    return {"path": path} if name is None else {"name": name, "path": path}
