"""The files that a web server lists: pages with links to files and to folders below."""

from collections.abc import Callable, Iterator
from typing import BinaryIO
from urllib.parse import unquote, urljoin, urlsplit, urlunsplit

from ragctl.loaders import format_of
from ragctl.sources.http import WebClient, address_of, exact_stamp, http_time
from ragctl.sources.retry import Refused
from ragctl.sources.tree import RemoteEntry

MAX_PAGE = 50_000_000  # bytes
MAX_FOLDERS = 100_000


class HttpTree:
    """The files below a URL, as the listings of Apache, nginx, Caddy and Python show them."""

    def __init__(self, url: str) -> None:
        """Send nothing yet. `url`: with or without "/" at the end."""
        self._root = address_of(url)
        self._client = WebClient()

    def files(self, enter: Callable[[str], bool]) -> Iterator[RemoteEntry]:
        """Yield all files. See Tree.files."""
        folders, seen = [self._root], {self._root}
        while folders:
            folder = folders.pop()
            for url in _links(self._client.body("GET", folder, MAX_PAGE), folder):
                if url in seen:
                    continue
                seen.add(url)
                path = unquote(url[len(self._root) :])
                if not url.endswith("/"):
                    yield self._entry(url, path)
                elif enter(path.rstrip("/")):
                    folders.append(url)
                    if len(seen) > MAX_FOLDERS and len(folders) > MAX_FOLDERS:
                        raise Refused(f"has more than {MAX_FOLDERS:,} folders")

    def fetch(self, key: str, to: BinaryIO, limit: int) -> None:
        """Write the content of a file. See Content.fetch."""
        self._client.fetch(key, to)

    def _entry(self, url: str, path: str) -> RemoteEntry:
        """Return a file with its size, time and ETag; only those with a loader are asked for."""
        if format_of(path) is None:
            return RemoteEntry(path, url)
        try:
            with self._client.request("HEAD", url) as response:
                headers = response.headers
        except FileNotFoundError:  # deleted since the listing was made, or listed by mistake
            return RemoteEntry(path, url, problem="is listed, but not there")
        except Refused:  # HEAD is not allowed, or the file is not: fetching it will show
            return RemoteEntry(path, url)
        size, stamp = headers.get("content-length", ""), headers.get("etag", "")
        if "content-encoding" in headers:
            size = ""  # of the compressed content
        return RemoteEntry(
            path,
            url,
            int(size) if size.isdigit() else None,
            http_time(headers.get("last-modified")),
            stamp.strip('"'),
            exact_stamp(stamp, size),
        )


def _links(page: bytes, folder: str) -> Iterator[str]:
    """Yield the addresses one level below a folder that its page links to.

    Raises Refused for what is no listing.
    """
    from lxml import html
    from lxml.etree import LxmlError

    if not page.rstrip().lower().endswith(b"</html>"):
        raise Refused(f"{folder} is no complete listing: it does not end with </html>")
    try:
        document = html.document_fromstring(page)
    except (LxmlError, ValueError) as error:
        raise Refused(f"{folder} is no listing of files") from error
    for link in document.iter("a"):
        target = link.get("href")
        if not target:
            continue
        parts = urlsplit(urljoin(folder, target.strip()))
        url = urlunsplit((*parts[:3], "", ""))
        below = url[len(folder) :]
        if url.startswith(folder) and below and "/" not in below.rstrip("/") and not parts.query:
            yield url
