"""A source's path that is a pattern: its root, and what below it is meant."""

import os
import re
import unicodedata

_WILDCARD = re.compile(r"[*?]|\[[^\]]+\]")


def split(path: str) -> tuple[str, str | None]:
    """Return the part before the first name with a wildcard, and the rest as a pattern.

    The pattern is in gitignore syntax and begins with "/", at the root; None
    where there is no wildcard. What exists under its name, such as a folder
    "notes [old]", is no wildcard.
    """
    parts = path.split("/")
    for at, part in enumerate(parts):
        if _WILDCARD.search(part) and not os.path.lexists("/".join(parts[: at + 1])):
            root = "/".join(parts[:at]) or ("/" if path.startswith("/") else ".")
            # Sources are in NFC, see the walk.
            return root, unicodedata.normalize("NFC", "/" + "/".join(parts[at:]).rstrip("/"))
    return path, None
