"""The files of a WebDAV server, such as Nextcloud or SharePoint (RFC 4918)."""

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, BinaryIO
from urllib.parse import unquote, urljoin, urlsplit

from ragctl.sources.http import WebClient, address_of, exact_stamp, http_time
from ragctl.sources.retry import Refused
from ragctl.sources.tree import RemoteEntry

if TYPE_CHECKING:
    from lxml.etree import _Element as Element

MAX_ANSWER = 200_000_000  # bytes
_ASKED = b"""<?xml version="1.0" encoding="utf-8"?>
<propfind xmlns="DAV:"><prop><resourcetype/><getcontentlength/><getlastmodified/><getetag/></prop>
</propfind>"""


class WebdavTree:
    """The files below a URL of WebDAV."""

    def __init__(self, url: str) -> None:
        """Send nothing yet. `url` begins with webdav:// or webdavs://."""
        self._root = address_of(f"http{url[len('webdav') :]}")
        self._client = WebClient()

    def files(self, enter: Callable[[str], bool]) -> Iterator[RemoteEntry]:
        """Yield all files. See Tree.files."""
        root = unquote(urlsplit(self._root).path)
        folders = [self._root]
        seen = {root}
        while folders:
            folder = folders.pop()
            for address, properties in self._children(folder):
                path = unquote(urlsplit(address).path)
                if path in seen:
                    continue
                seen.add(path)
                if not path.startswith(root):
                    raise Refused(f"{folder} lists a path that is not below it")
                name = path[len(root) :]
                if properties.find(".//{DAV:}collection") is None:
                    yield _entry(name, address, properties)
                elif enter(name.rstrip("/")):
                    folders.append(f"{address.rstrip('/')}/")

    def fetch(self, key: str, to: BinaryIO, limit: int) -> None:
        """Write the content of a file. See Content.fetch."""
        self._client.fetch(key, to)

    def _children(self, folder: str) -> Iterator[tuple[str, "Element"]]:
        """Yield address and properties of what is in a folder, one level deep."""
        from lxml import etree

        headers = {"Depth": "1", "Content-Type": "application/xml"}
        body = self._client.body("PROPFIND", folder, MAX_ANSWER, headers=headers, content=_ASKED)
        parser = etree.XMLParser(resolve_entities=False, no_network=True, huge_tree=True)
        try:
            answer = etree.fromstring(body, parser)
        except etree.XMLSyntaxError as error:
            raise OSError(0, f"{folder}: the server's answer is no complete XML") from error
        own = unquote(urlsplit(folder).path).rstrip("/")
        listed = False
        for response in answer.iter("{DAV:}response"):
            href = response.findtext("{DAV:}href")
            if not href:
                raise Refused(f"{folder}: the server's answer has an entry without an address")
            address = urljoin(folder, href.strip())
            properties = _found(response, address)
            if unquote(urlsplit(address).path).rstrip("/") == own:
                listed = True
                if properties.find(".//{DAV:}collection") is None:
                    raise Refused(f"{folder} is no folder")
            else:
                yield address, properties
        if not listed:
            raise Refused(f"{folder}: the server does not list it")


def _found(response: Any, address: str) -> "Element":
    """Return the properties that were found of a resource. Raises Refused if there are none."""
    for found in response.iter("{DAV:}propstat"):
        if " 200" in (found.findtext("{DAV:}status") or ""):
            properties: Element = found
            return properties
    status = response.findtext("{DAV:}status") or "no status"
    raise Refused(f"{address}: its properties are not readable ({status})")


def _entry(path: str, address: str, properties: "Element") -> RemoteEntry:
    size = (properties.findtext(".//{DAV:}getcontentlength") or "").strip()
    stamp = (properties.findtext(".//{DAV:}getetag") or "").strip()
    return RemoteEntry(
        path,
        address,
        int(size) if size.isdigit() else None,
        http_time(properties.findtext(".//{DAV:}getlastmodified")),
        stamp.strip('"'),
        exact_stamp(stamp, size),
    )
