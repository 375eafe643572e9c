"""A kind of source: a program that prints documents as JSON Lines.

Each line is an object with `id`; with `text`, or `path` of a file below the folder of the pipeline;
and, as needed, `title`, `meta`, `version` and `format`; or with `id` and `deleted`. A program that
ends with an error, takes too long or prints something else has not printed all, so nothing is
changed.
"""

import hashlib
import json
import os
import signal
import stat
import subprocess
import threading
import unicodedata
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from ragctl.errors import DocumentError
from ragctl.loaders import FORMATS, format_of
from ragctl.loaders.metadata import json_object
from ragctl.records import Json
from ragctl.sources.base import Found, incomplete
from ragctl.sources.choice import Choice
from ragctl.sources.found import FoundFile, UnreadablePath
from ragctl.sources.ignore import Rules
from ragctl.sources.local_file import LocalFile
from ragctl.sources.remote_file import RemoteFile, too_large
from ragctl.sources.spool import Spool
from ragctl.text import collapse_whitespace

MAX_NAME = 512
"""Characters of an id."""
SHOWN_LINES = 3
"""Last lines of the standard error that a message repeats."""
_KEYS = frozenset({"id", "text", "path", "title", "meta", "version", "format", "deleted"})
_ESCAPED = 6
"""Bytes that JSON may need for one byte of a text."""


class Command:
    """A program, run in `folder`. `name`: of the source. `complete`: it prints all documents.

    `seconds`: its time limit. `limit`: bytes of a document. `environ`: variables added to those of
    this process.
    """

    def __init__(
        self,
        argv: Sequence[str],
        folder: Path,
        rules: Rules,
        *,
        name: str,
        complete: bool,
        seconds: float,
        limit: int,
        environ: Mapping[str, str],
    ) -> None:
        self._argv = list(argv)
        self._folder = folder.absolute()
        self._rules = rules
        self._shown = f"the command of {name}"
        self._complete = complete
        self._seconds = seconds
        self._limit = limit
        self._environ = environ
        self._spool = Spool()

    def list_files(self) -> Found:
        """Run the program and return what it printed. Raises PruneRefused."""
        found, choice = Found(whole=self._complete), Choice(self._rules)
        files: dict[str, FoundFile] = {}
        ids: dict[str, str] = {}
        deleted: set[str] = set()
        failed: dict[str, str] = {}
        for number, record in self._records():
            ident = self._ident(record, number)
            if record.get("deleted") is True:
                names = _possible_names(ident)
                deleted |= names
                for name in names & files.keys():
                    del files[name]
                continue
            try:
                file = self._file(ident, record)
            except DocumentError as error:
                failed[ident] = str(error)
                continue
            if ids.setdefault(file.source, ident) != ident:
                failed[ident] = f"has the name of the document {ids[file.source]!r}"
                continue
            failed.pop(ident, None)
            deleted.discard(file.source)
            if choice.chooses(file.source, found):
                files[file.source] = file
        found.files = list(files.values())
        found.deleted = sorted(deleted)
        for ident, problem in failed.items():
            found.failures.append(UnreadablePath(ident, problem))
            found.kept += sorted(_possible_names(ident))  # whatever its format was
        return found

    def _records(self) -> Iterator[tuple[int, dict[str, Any]]]:
        """Yield each record with its line number; raise PruneRefused at the end if it failed."""
        try:
            process = subprocess.Popen(  # noqa: S603 - the user's own program, without a shell
                self._argv,
                cwd=self._folder,
                env={**os.environ, **self._environ},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                start_new_session=True,
            )
        except (OSError, ValueError) as error:  # ValueError: a NUL in the command
            problem = getattr(error, "strerror", None) or error
            raise incomplete(self._shown, f"cannot be run: {problem}") from error
        assert process.stdout is not None
        assert process.stderr is not None
        last: deque[bytes] = deque(maxlen=SHOWN_LINES)
        reader = threading.Thread(target=_drain, args=(process.stderr, last), daemon=True)
        expired = threading.Event()

        def expire() -> None:
            expired.set()
            _kill(process)

        timer = threading.Timer(self._seconds, expire)
        reader.start()
        timer.start()
        try:
            for number, line in enumerate(self._lines(process.stdout), 1):
                if not line.isspace():
                    yield number, self._record(line, number)
            process.wait()
        finally:
            timer.cancel()
            _kill(process)
            process.wait()
            reader.join(1)
            process.stdout.close()
            process.stderr.close()
        if expired.is_set():
            raise incomplete(self._shown, f"did not end within {self._seconds:g} s")
        if process.returncode != 0:
            said = b"; ".join(last).decode("utf-8", "replace").strip()
            problem = f"ended with status {process.returncode}{f': {said}' if said else ''}"
            raise incomplete(self._shown, problem)

    def _lines(self, stream: Any) -> Iterator[bytes]:
        longest = _ESCAPED * self._limit + 1_000_000
        while line := stream.readline(longest):
            if len(line) >= longest:
                raise incomplete(self._shown, f"printed a line of over {longest:,} bytes")
            yield line

    def _record(self, line: bytes, number: int) -> dict[str, Any]:
        try:
            record = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise incomplete(self._shown, f"line {number} is not JSON") from error
        if not isinstance(record, dict):
            raise incomplete(self._shown, f"line {number} is not a JSON object")
        unknown = sorted(record.keys() - _KEYS)
        if unknown:
            raise incomplete(
                self._shown,
                f"line {number} has the unknown key {unknown[0]!r}; put such values into meta",
            )
        return record

    def _ident(self, record: Mapping[str, Any], number: int) -> str:
        ident = record.get("id")
        if isinstance(ident, bool) or not isinstance(ident, str | int):
            raise incomplete(self._shown, f"line {number} has no id: a string or an integer")
        name = unicodedata.normalize("NFC", str(ident))
        parts = name.split("/")
        if (
            not name.isprintable()
            or len(name) > MAX_NAME
            or any(part.strip() in ("", ".", "..") for part in parts)
        ):
            raise incomplete(
                self._shown, f"line {number}: {name[:MAX_NAME]!r} cannot be the name of a document"
            )
        return name

    def _file(self, ident: str, record: Mapping[str, Any]) -> FoundFile:
        """Return a document. Raises DocumentError for one that is wrong."""
        text, path, version = record.get("text"), record.get("path"), record.get("version")
        title, meta = record.get("title", ""), record.get("meta", {})
        if (text is None) == (path is None):
            raise DocumentError("must have either text or path")
        if not isinstance(title, str | None) or not isinstance(meta, dict | None):
            raise DocumentError("title must be a string, and meta an object")
        if isinstance(version, bool) or not isinstance(version, str | int | float | None):
            raise DocumentError("version must be a string or a number")
        values = {
            name: value
            for name, value in json_object(meta or {}).items()
            if not isinstance(value, dict | list)
        }
        given: tuple[tuple[str, Json], ...] = tuple(sorted(values.items()))
        shown = collapse_whitespace(title or "")
        if path is not None:
            name, local, size, mtime_ns, stamp = self._of_path(ident, path, record)
            if version is not None:
                stamp, mtime_ns = f"version:{version}", 0
            return FoundFile(name, local, size, mtime_ns, stamp, version is not None, shown, given)
        if not isinstance(text, str):
            raise DocumentError("text must be a string")
        data = text.encode("utf-8", "replace")
        if len(data) > self._limit:
            raise too_large(len(data), self._limit)
        name = _named(ident, record.get("format"), ".txt")
        stamp = hashlib.blake2b(data, digest_size=16).hexdigest()
        if version is not None:
            stamp = f"version:{version}"
        key = self._spool.add(data)
        location = RemoteFile(self._spool, key, name.rpartition("/")[2], len(data), self._limit)
        return FoundFile(name, location, len(data), 0, stamp, True, shown, given)

    def _of_path(
        self, ident: str, path: Any, record: Mapping[str, Any]
    ) -> tuple[str, LocalFile, int, int, str]:
        """Return name, location, size, time and stamp of a file. Raises DocumentError."""
        if not isinstance(path, str) or "\0" in path:
            raise DocumentError("path must be a string")
        below = Path(path)
        if below.is_absolute():
            with suppress(ValueError):
                below = below.relative_to(self._folder)
        if below.is_absolute() or ".." in below.parts:
            raise DocumentError(f"the path {path!r} is not below {self._folder}")
        suffix = below.suffix.lower()
        name = _named(ident, record.get("format"), suffix)
        location = LocalFile(os.path.realpath(self._folder), str(below))
        try:
            with location.open():  # refuses links on the way
                status = (self._folder / below).stat()
        except OSError as error:
            raise DocumentError(f"{path} cannot be read: {error.strerror}") from error
        assert stat.S_ISREG(status.st_mode), "checked when it was opened"
        return name, location, status.st_size, status.st_mtime_ns, str(status.st_ctime_ns)


def _named(ident: str, format_name: Any, otherwise: str) -> str:
    """Return the name of a document: its id, with the suffix of its format."""
    suffix = otherwise
    if format_name is not None:
        known = next((f for f in FORMATS if f.name == format_name), None)
        if known is None or known.many_documents:
            names = ", ".join(form.name for form in FORMATS if not form.many_documents)
            raise DocumentError(f"format must be one of {names}, not {format_name!r}")
        suffix = known.suffixes[0]
        if format_of(ident) is known:
            return ident
    return ident if ident.lower().endswith(suffix) else f"{ident}{suffix}"


def _possible_names(ident: str) -> set[str]:
    """Return the names that a document with this id may have."""
    suffixes = {suffix for form in FORMATS for suffix in form.suffixes}
    return {ident, *(f"{ident}{suffix}" for suffix in suffixes)}


def _drain(stream: Any, last: deque[bytes]) -> None:
    with suppress(ValueError, OSError):
        for line in stream:
            last.append(line.strip()[:500])


def _kill(process: "subprocess.Popen[bytes]") -> None:
    """Kill the program with everything that it started."""
    if process.returncode is not None:
        return
    with suppress(ProcessLookupError, PermissionError):
        if hasattr(os, "killpg"):
            os.killpg(process.pid, signal.SIGKILL)
        else:
            process.kill()
