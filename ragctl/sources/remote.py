"""Which kind of source a URL or an archive is. Imports the libraries of that kind only."""

import re
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

from ragctl.errors import RagctlError, UsageError
from ragctl.sources.base import Kind, incomplete, reason_of
from ragctl.sources.ignore import Rules
from ragctl.sources.tree import Tree, TreeSource

_CHAIN = re.compile(r"::(?=[a-zA-Z][a-zA-Z0-9+.-]*(?:://|::|$))")
_USER_ALLOWED = frozenset({"sftp", "ssh", "abfs", "abfss"})
"""Schemes whose user is no credential: a name of an account or a container."""


def check_url(url: str) -> None:
    """Raise UsageError for a URL that is no source. A password is not repeated."""
    for scheme, rest in _parts(url):
        if scheme == "file":
            raise UsageError(f"is a file:// URL; write the path alone: {rest or '/'}")
        try:
            parts = urlsplit(f"{scheme}://{rest}")
            user, password = parts.username, parts.password
            _ = parts.port
        except ValueError:
            raise UsageError("is no URL") from None
        if password is not None or (user is not None and scheme not in _USER_ALLOWED):
            raise UsageError(
                "has credentials in the URL; give them in the way of the library instead, such as "
                "environment variables or ~/.netrc (docs/sources.md)"
            )
        if scheme in ("http", "https", "webdav", "webdavs") and not parts.hostname:
            raise UsageError("is no URL: it has no host")
    if re.search(r"[*?#]", url):
        raise UsageError("takes no pattern and no query in a URL; choose files with include")


def check_page(url: str) -> None:
    """Raise UsageError for what is no address of a web page, or has credentials."""
    if not url.lower().startswith(("http://", "https://")):
        raise UsageError("must begin with http:// or https://")
    check_url(url.partition("?")[0])


def _parts(url: str) -> Iterator[tuple[str, str]]:
    """Yield scheme and rest of each part of a URL, which may be chained: zip://a::s3://b."""
    for part in _CHAIN.split(url):
        scheme, _, rest = part.partition("://")
        yield scheme.lower(), rest


def connect(url: str, rules: Rules, limit: int) -> Kind:
    """Return the source at a URL. `limit`: bytes of a file.

    Raises UsageError for a scheme that is not known, or whose libraries are not installed, and
    PruneRefused for a server that cannot be reached: some libraries connect at once.
    """
    try:
        tree = _tree(url)
    except RagctlError:
        raise
    except Exception as error:
        raise incomplete(url, f"cannot be reached: {reason_of(error)}") from error
    return TreeSource(tree, rules, url, limit)


def _tree(url: str) -> Tree:
    if url.lower().startswith(("http://", "https://")):
        from ragctl.sources.http_tree import HttpTree

        return HttpTree(url)
    if url.lower().startswith(("webdav://", "webdavs://")):
        from ragctl.sources.webdav_tree import WebdavTree

        return WebdavTree(url)
    from ragctl.sources.fsspec_tree import FsspecTree

    return FsspecTree(url)


def open_archive(path: Path, rules: Rules, limit: int) -> Kind:
    """Return the source in an archive. `limit`: bytes of a file."""
    from ragctl.sources.archive import ArchiveTree

    return TreeSource(ArchiveTree(path), rules, str(path), limit)
