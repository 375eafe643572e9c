"""Some paths below a root, for a walk that looks at nothing else."""

import unicodedata
from collections import defaultdict
from collections.abc import Collection, Iterable


class Selection:
    """Paths relative to a root, each with all that is below it."""

    def __init__(self, paths: Iterable[str]) -> None:
        self._names: defaultdict[str, set[str]] = defaultdict(set)  # by the folder's prefix
        self._whole: set[str] = set()  # prefixes of the paths themselves
        for path in paths:
            prefix = ""
            for name in unicodedata.normalize("NFC", path).split("/"):
                self._names[prefix].add(name)
                prefix += f"{name}/"
            self._whole.add(prefix)

    def names(self, prefix: str) -> Collection[str] | None:
        """Return the names, in NFC, to look at in a folder; None: all.

        `prefix`: the folder's path in NFC with "/" at the end; "" for the root.
        """
        return None if is_below(prefix, self._whole) else self._names.get(prefix, ())


def is_below(path: str, prefixes: Collection[str]) -> bool:
    """Return whether a path begins with one of the prefixes, which end with "/"."""
    end = path.find("/") + 1
    while end:
        if path[:end] in prefixes:
            return True
        end = path.find("/", end) + 1
    return False
