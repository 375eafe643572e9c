"""What every kind of source has in common: it lists files, and each can be opened.

A kind is a folder (walk.py), a tree of files elsewhere (tree.py: a bucket, a server, an archive), a
program (command.py) or pages of the web (web.py). `tests/source_contract.py` checks every kind.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import BinaryIO, Protocol

from ragctl.errors import PruneRefused
from ragctl.sources.found import FoundFile, UnreadablePath
from ragctl.sources.skipped import SkippedFiles

CONNECT_SECONDS = 20.0
READ_SECONDS = 60.0
"""Time limits of a request: to connect, and between two pieces of the answer."""
MAX_REASON = 300
"""Characters of a library's message that are shown."""
_SECRETS = re.compile(r"(://)[^/@\s]*@|\?[^\s'\")]*")


@dataclass(slots=True)
class Found:
    """What a source has.

    `whole`: a document that is not among the files is gone; if false, only those in `deleted`
    (paths below the root) are. `failures`: what could not be read. `kept`: further paths whose
    documents stay, because it is not certain that they are gone. `skipped`: what was left out.
    """

    files: list[FoundFile] = field(default_factory=list)
    whole: bool = True
    deleted: list[str] = field(default_factory=list)
    failures: list[UnreadablePath] = field(default_factory=list)
    kept: list[str] = field(default_factory=list)
    skipped: SkippedFiles = field(default_factory=SkippedFiles)


class Kind(Protocol):
    """A kind of source."""

    def list_files(self) -> Found:
        """Return all its files; each can be opened at its location.

        Raises PruneRefused if it is not certain that the list is complete.
        """
        ...


class Content(Protocol):
    """Where the contents of listed files come from. Used by several threads."""

    def fetch(self, key: str, to: BinaryIO, limit: int) -> None:
        """Write the content of the file `key` to `to`.

        Raises DocumentError for more than `limit` bytes or a file that is gone, and any other
        error of its library. What is written is complete unless it raises.
        """
        ...


@dataclass(frozen=True, slots=True)
class Listing:
    """The files of one source of a pipeline; their `source` is their path below `location`.

    `number`: position of the source in its pipeline. `name`: given by the user; None: none.
    `location`: absolute path of its folder as typed, or a URL. `real`: the same without links.
    `whole`: all of it was listed, not a single file. `deleted` and `kept`: see Found.
    `failures` (path, error): what could not be listed; "" is the folder itself.
    """

    number: int
    name: str | None
    location: str
    real: str
    whole: bool
    files: Sequence[FoundFile]
    failures: Sequence[tuple[str, str]] = ()
    deleted: Sequence[str] = ()
    kept: Sequence[str] = ()


def reason_of(error: BaseException) -> str:
    """Return the message of an error of a library in one line, without credentials of URLs."""
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    line = " ".join(_SECRETS.sub(lambda found: found[1] or "", text).split())
    return line if len(line) <= MAX_REASON else f"{line[:MAX_REASON]}…"


def incomplete(shown: str, problem: str) -> PruneRefused:
    """Return the error of a source that could not be listed completely."""
    return PruneRefused(f"{shown}: {problem}; nothing was changed")
