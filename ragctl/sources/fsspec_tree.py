"""A folder that a library of fsspec reads: a bucket, an SFTP server, an archive there.

Credentials come from where the library takes them: its environment variables and files, and the
settings of fsspec (FSSPEC_* and ~/.config/fsspec).
"""

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import nullcontext
from datetime import UTC, datetime
from importlib.util import find_spec
from typing import Any, BinaryIO

from ragctl.errors import UsageError
from ragctl.installation import install_command
from ragctl.sources.base import CONNECT_SECONDS, READ_SECONDS, reason_of
from ragctl.sources.remote_file import PIECE_BYTES
from ragctl.sources.tree import RemoteEntry

_LIBRARIES = {
    "s3": ("s3", "s3fs"),
    "s3a": ("s3", "s3fs"),
    "gs": ("gcs", "gcsfs"),
    "gcs": ("gcs", "gcsfs"),
    "az": ("azure", "adlfs"),
    "abfs": ("azure", "adlfs"),
    "abfss": ("azure", "adlfs"),
    "sftp": ("sftp", "paramiko"),
    "ssh": ("sftp", "paramiko"),
}
"""Extra and module for each scheme; other schemes need only fsspec."""
_FLAT = frozenset({"s3", "s3a", "gs", "gcs"})
"""Schemes whose library lists all objects in pages, and raises if a page is missing."""
_STAMPS = ("ETag", "etag", "generation", "md5Hash", "content_md5", "CRC")
_TIMES = ("LastModified", "last_modified", "mtime", "modified", "updated")


class FsspecTree:
    """The files below a URL. Raises UsageError for a scheme or an extra that is not there."""

    def __init__(self, url: str) -> None:
        """Connect; some libraries do that only at the first request."""
        self._url = url
        scheme = url.partition("://")[0].lower().rpartition("::")[2]
        last = url.rpartition("::")[2].partition("://")[0].lower()
        for each in {scheme, last}:
            _require(each)
        self._scheme = scheme
        self._fs, self._root = _filesystem(url, scheme)
        # The archives of fsspec are read through one file.
        self._lock = threading.Lock() if scheme in ("zip", "tar") else nullcontext()

    def files(self, enter: Callable[[str], bool]) -> Iterator[RemoteEntry]:
        """Yield all files. See Tree.files."""
        self._fs.invalidate_cache()
        if self._scheme in _FLAT:
            # Not `walk` or the general `find`, which leave out what they cannot list.
            for info in self._fs.find(self._root, detail=True).values():
                yield from self._entry(info)
            return
        folders = [self._root]
        while folders:
            folder = folders.pop()
            for info in self._fs.ls(folder, detail=True):
                name = str(info["name"]).rstrip("/")
                if name == folder.rstrip("/"):
                    if info["type"] == "file":
                        raise _single_file(self._url)
                    continue
                if info["type"] == "directory":
                    if enter(self._path(name)):
                        folders.append(name)
                else:
                    yield from self._entry(info)

    def fetch(self, key: str, to: BinaryIO, limit: int) -> None:
        """Write the content of a file. See Content.fetch."""
        with self._lock, self._fs.open(key, "rb", **self._read_options) as file:
            while piece := file.read(PIECE_BYTES):
                to.write(piece)

    @property
    def _read_options(self) -> dict[str, Any]:
        if self._scheme in ("zip", "tar"):
            return {}
        return {"block_size": 8 * PIECE_BYTES, "cache_type": "readahead"}

    def _path(self, name: str) -> str:
        """Return the path below the root of a name in the file system."""
        root = self._root.strip("/")
        name = name.lstrip("/") if not self._root.startswith("/") else name.strip("/")
        return name[len(root) :].removeprefix("/") if root else name

    def _entry(self, info: Mapping[str, Any]) -> Iterator[RemoteEntry]:
        name = str(info["name"])
        if info["type"] == "directory" or name.endswith("/"):  # a placeholder of a folder
            return
        path = self._path(name)
        if not path:
            raise _single_file(self._url)
        stamp = next((str(info[key]) for key in _STAMPS if info.get(key)), "")
        size = info.get("size")
        yield RemoteEntry(
            path,
            name,
            None if size is None else int(size),
            _nanoseconds(next((info[key] for key in _TIMES if info.get(key)), None)),
            stamp.strip('"'),
            exact=bool(stamp) and not stamp.startswith("W/") and size is not None,
            problem="" if info["type"] == "file" else "is a link or no regular file",
        )


def _single_file(url: str) -> UsageError:
    return UsageError(f"{url} is a file: name its folder, and choose the file with --include")


def _filesystem(url: str, scheme: str) -> tuple[Any, str]:
    """Return the file system of a URL, and the path of its folder there."""
    from fsspec.core import url_to_fs

    common = {"skip_instance_cache": True, "use_listings_cache": False}
    try:
        if scheme in ("s3", "s3a"):
            timeouts = {"connect_timeout": CONNECT_SECONDS, "read_timeout": READ_SECONDS}
            fs, root = url_to_fs(url, config_kwargs=timeouts, **common)
            fs.retries = 2  # botocore has its own, and so has with_retries
        elif scheme in ("sftp", "ssh"):
            fs, root = url_to_fs(
                url, host_key_policy=_known_hosts_only(), timeout=CONNECT_SECONDS, **common
            )
        else:
            fs, root = url_to_fs(url, skip_instance_cache=True)
    except (ValueError, ImportError) as error:  # no such scheme; a library is missing
        raise UsageError(f"{url}: {reason_of(error)}") from error
    return fs, str(root).rstrip("/")


def _known_hosts_only() -> Any:
    """Return a policy that accepts the keys in ~/.ssh/known_hosts only; fsspec accepts any."""
    from pathlib import Path

    import paramiko

    class KnownHosts(paramiko.MissingHostKeyPolicy):  # type: ignore[misc]
        def missing_host_key(self, client: Any, hostname: str, key: Any) -> None:
            known = paramiko.HostKeys()
            file = Path("~/.ssh/known_hosts").expanduser()
            if file.is_file():
                known.load(str(file))
            if not known.check(hostname, key):
                raise paramiko.SSHException(f"the key of {hostname} is not in {file}")

    return KnownHosts()


def _require(scheme: str) -> None:
    """Raise UsageError if the libraries of a scheme are not installed."""
    extra, module = _LIBRARIES.get(scheme, ("remote", "fsspec"))
    if find_spec("fsspec") is None or find_spec(module) is None:
        raise UsageError(
            f"{scheme}:// needs {module}, which is not installed: {install_command(extra)}"
        )


def _nanoseconds(time: Any) -> int:
    """Return a time of a listing in nanoseconds since 1970; 0 if there is none."""
    if isinstance(time, datetime):
        aware = time if time.tzinfo else time.replace(tzinfo=UTC)
        return int(aware.timestamp()) * 1_000_000_000 + aware.microsecond * 1_000
    if isinstance(time, int | float):
        return int(time * 1_000_000_000)
    if isinstance(time, str):
        try:
            return _nanoseconds(datetime.fromisoformat(time))
        except ValueError:
            return 0
    return 0
