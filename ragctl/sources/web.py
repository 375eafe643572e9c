"""A kind of source: pages of the web, from a sitemap or a file with addresses.

Each page is asked for its ETag, its time and its type (HEAD), unless the sitemap has its time, and
is fetched only if they changed. 404 and 410 mean that a page is gone; after any other error it is
kept.
"""

import gzip
import io
import threading
import time
import unicodedata
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO, NamedTuple
from urllib.parse import quote, unquote, urljoin, urlsplit, urlunsplit
from urllib.robotparser import RobotFileParser

from ragctl.errors import RagctlError, UsageError
from ragctl.loaders import format_of
from ragctl.sources.base import Found, incomplete, reason_of
from ragctl.sources.choice import Choice
from ragctl.sources.found import FoundFile, UnreadablePath
from ragctl.sources.http import USER_AGENT, WebClient, exact_stamp, http_time
from ragctl.sources.ignore import Rules
from ragctl.sources.remote_file import RemoteFile
from ragctl.sources.retry import Refused, with_retries
from ragctl.sources.skipped import LINK_OUT, ROBOTS

MAX_SITEMAP = 100_000_000  # bytes, unpacked
MAX_SITEMAPS = 1_000
MAX_ROBOTS = 500_000  # bytes; RFC 9309 asks for at least this
MAX_DELAY = 60.0  # seconds between requests that a robots.txt may ask for
_SUFFIXES = {
    "text/html": ".html",
    "application/xhtml+xml": ".html",
    "application/pdf": ".pdf",
    "text/plain": ".txt",
    "text/markdown": ".md",
    "text/csv": ".csv",
    "application/vnd.openxmlformats-officedocument.wordprocessingml.document": ".docx",
}
_ACCEPT = {"Accept": "text/html, application/pdf, text/*;q=0.8, */*;q=0.1"}


class Page(NamedTuple):
    """An address, and the time of its last change in nanoseconds if the sitemap has it, else 0."""

    url: str
    mtime_ns: int = 0


class Web:
    """The pages of a sitemap, or of the file `urls`. `rate`: requests per second to one host.

    `limit`: bytes of a page.
    """

    def __init__(
        self, sitemap: str | None, urls: Path | None, rules: Rules, *, rate: float, limit: int
    ) -> None:
        self._sitemap = sitemap
        self._urls = urls
        self._choice = Choice(rules)
        self._limit = limit
        self._client = WebClient()
        self._pauses = _Pauses(1 / rate)
        self._robots: dict[str, RobotFileParser] = {}
        self._shown = sitemap or str(urls)

    def list_files(self) -> Found:
        """Return its pages. Raises PruneRefused if the sitemap or a robots.txt cannot be read."""
        found = Found()
        host = urlsplit(self._sitemap).netloc.lower() if self._sitemap else None
        names: set[str] = set()
        for page in dict.fromkeys(self._pages()):
            parts = urlsplit(page.url)
            name = _name(page.url, with_host=host is None)
            if host is not None and parts.netloc != host:
                found.skipped.add(page.url, LINK_OUT, "is on another host than the sitemap")
            elif not self._robots_of(page.url).can_fetch(USER_AGENT, page.url):
                found.skipped.add(name, ROBOTS, "robots.txt does not allow it")
            else:
                self._add(page, name, names, found)
        return found

    def fetch(self, key: str, to: BinaryIO, limit: int) -> None:
        """Write a page to a file. See Content.fetch."""
        self._pauses.wait(key)
        self._client.fetch(key, to)

    def _add(self, page: Page, name: str, names: set[str], found: Found) -> None:
        expected = name if format_of(name) else f"{name}.html"
        if not self._choice.chooses(expected, found):
            return
        try:
            file = self._file(page, name)
        except FileNotFoundError:
            return  # it is gone
        except RagctlError:
            raise
        except Exception as error:  # noqa: BLE001 - whatever it is, the page may be there
            found.kept += sorted(_possible_names(name))
            found.failures.append(UnreadablePath(name, f"cannot be fetched: {reason_of(error)}"))
            return
        if format_of(file.source) is None:
            found.skipped.add_without_loader(file.source, file.source.rpartition("/")[2])
        elif file.source in names:
            error_text = "another address has the same name"
            found.failures.append(UnreadablePath(file.source, error_text))
        else:
            names.add(file.source)
            found.files.append(file)

    def _file(self, page: Page, name: str) -> FoundFile:
        """Return a page with what is known of its state. Raises FileNotFoundError if it is gone."""
        meta = (("url", page.url),)
        if page.mtime_ns:
            named = name if format_of(name) else f"{name}.html"
            location = RemoteFile(self, page.url, named.rpartition("/")[2], None, self._limit)
            return FoundFile(named, location, 0, page.mtime_ns, "", False, "", meta)

        def head() -> dict[str, str]:
            self._pauses.wait(page.url)
            with self._client.request("HEAD", page.url, headers=_ACCEPT) as response:
                return dict(response.headers)

        try:
            headers = with_retries(head)
        except Refused as error:
            if not str(error).endswith(("405", "501")):
                raise
            headers = {}  # such a server does not answer HEAD
        kind = headers.get("content-type", "text/html").partition(";")[0].strip().lower()
        suffix = _SUFFIXES.get(kind, "")
        form = format_of(name)
        named = name
        if form is None or (suffix and form is not format_of(f"x{suffix}")):
            named = f"{name}{suffix}"
        size = headers.get("content-length", "")
        if "content-encoding" in headers:
            size = ""
        etag = headers.get("etag", "")
        exact = exact_stamp(etag, size)
        known = int(size) if size.isdigit() and exact else None
        location = RemoteFile(self, page.url, named.rpartition("/")[2], known, self._limit)
        mtime_ns = 0 if exact else http_time(headers.get("last-modified"))
        return FoundFile(named, location, known or 0, mtime_ns, etag.strip('"'), exact, "", meta)

    def _pages(self) -> Iterator[Page]:
        if self._sitemap is not None:
            yield from self._pages_of_sitemap(self._sitemap)
            return
        assert self._urls is not None
        try:
            lines = self._urls.read_text(encoding="utf-8-sig").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise incomplete(self._shown, f"cannot be read: {reason_of(error)}") from error
        for number, line in enumerate(lines, 1):
            address = line.strip()
            if address and not address.startswith("#"):
                yield Page(_canonical(address, f"{self._shown}, line {number}"))

    def _pages_of_sitemap(self, first: str) -> Iterator[Page]:
        from lxml import etree

        host = urlsplit(first).netloc.lower()
        left, seen = [first], {first}
        while left:
            url = left.pop()
            data = self._get(url, MAX_SITEMAP)
            if data[:2] == b"\x1f\x8b":
                data = self._unpacked(data, url)
            parser = etree.XMLParser(resolve_entities=False, no_network=True, huge_tree=True)
            try:
                root = etree.fromstring(data, parser)
            except etree.XMLSyntaxError as error:
                raise incomplete(self._shown, f"{url} is no complete XML") from error
            kind = etree.QName(root).localname
            if kind not in ("urlset", "sitemapindex"):
                raise incomplete(self._shown, f"{url} is no sitemap")
            for entry in root:
                if not isinstance(entry.tag, str):
                    continue  # a comment
                values = {
                    etree.QName(each).localname: (each.text or "").strip()
                    for each in entry
                    if isinstance(each.tag, str)
                }
                address = values.get("loc", "")
                if not address:
                    raise incomplete(self._shown, f"{url} has an entry without an address")
                address = _canonical(urljoin(url, address), self._shown)
                if kind == "urlset":
                    yield Page(address, _nanoseconds(values.get("lastmod", "")))
                elif urlsplit(address).netloc != host:
                    raise incomplete(self._shown, f"{url} names a sitemap on another host")
                elif address not in seen:
                    seen.add(address)
                    left.append(address)
                    if len(seen) > MAX_SITEMAPS:
                        raise incomplete(self._shown, f"has more than {MAX_SITEMAPS:,} sitemaps")

    def _unpacked(self, data: bytes, url: str) -> bytes:
        try:
            with gzip.open(io.BytesIO(data)) as packed:
                unpacked = packed.read(MAX_SITEMAP + 1)
        except (OSError, EOFError) as error:
            raise incomplete(self._shown, f"{url} is damaged") from error
        if len(unpacked) > MAX_SITEMAP:
            raise incomplete(self._shown, f"{url} is larger than {MAX_SITEMAP:,} bytes")
        return unpacked

    def _robots_of(self, url: str) -> RobotFileParser:
        """Return the rules of a host. Without a robots.txt everything is allowed (RFC 9309)."""
        parts = urlsplit(url)
        base = f"{parts.scheme}://{parts.netloc}"
        if base not in self._robots:
            rules = RobotFileParser()
            try:
                text = self._get(f"{base}/robots.txt", MAX_ROBOTS).decode("utf-8", "replace")
            except FileNotFoundError:
                text = ""
            rules.parse(text.splitlines())
            delay = rules.crawl_delay(USER_AGENT)
            if delay is not None:
                self._pauses.at_least(base, min(float(delay), MAX_DELAY))
            self._robots[base] = rules
        return self._robots[base]

    def _get(self, url: str, limit: int) -> bytes:
        """Return a page that the listing depends on. Raises PruneRefused, FileNotFoundError.

        FileNotFoundError: only for a robots.txt.
        """

        def get() -> bytes:
            self._pauses.wait(url)
            return self._client.body("GET", url, limit)

        try:
            return with_retries(get)
        except FileNotFoundError as error:
            if url.endswith("/robots.txt"):
                raise
            raise incomplete(self._shown, f"{url}: {reason_of(error)}") from error
        except Exception as error:
            raise incomplete(self._shown, f"{url}: {reason_of(error)}") from error


class _Pauses:
    """Pauses between the requests to one host, also those of several threads."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._least: dict[str, float] = {}
        self._next: dict[str, float] = {}
        self._lock = threading.Lock()

    def at_least(self, base: str, seconds: float) -> None:
        """Set the pause that a host asks for."""
        self._least[urlsplit(base).netloc] = seconds

    def wait(self, url: str) -> None:
        """Wait until the next request to the host of `url` may be sent."""
        host = urlsplit(url).netloc
        pause = max(self._seconds, self._least.get(host, 0.0))
        with self._lock:
            now = time.monotonic()
            start = max(now, self._next.get(host, 0.0))
            self._next[host] = start + pause
        time.sleep(start - now)


def _canonical(address: str, shown: str) -> str:
    """Return an address without its fragment, and with a host in lower case. Raises UsageError."""
    try:
        parts = urlsplit(address)
        port = parts.port
    except ValueError:
        raise UsageError(f"{shown}: not an address of a page") from None
    scheme = parts.scheme.lower()
    if scheme not in ("http", "https") or not parts.hostname:
        raise UsageError(f"{shown}: not an address of a page; it begins with https://")
    if parts.username is not None:
        raise UsageError(f"{shown}: has credentials in an address; put them into ~/.netrc")
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    if port is not None and port != {"http": 80, "https": 443}[scheme]:
        host = f"{host}:{port}"
    path = quote(parts.path or "/", safe="/%:@!$&'()*+,;=~-._")
    return urlunsplit((scheme, host, path, parts.query, ""))


def _name(url: str, *, with_host: bool) -> str:
    """Return the path of a page's document, without the suffix for its type."""
    parts = urlsplit(url)
    path = unquote(parts.path)
    if path.endswith("/"):
        path += "index"
    if parts.query:
        path += f"?{parts.query}"
    path = "/".join(p if p not in ("", ".", "..") else "_" for p in path[1:].split("/"))
    path = "".join(c if c.isprintable() else "_" for c in unicodedata.normalize("NFC", path))
    return f"{parts.netloc}/{path}" if with_host else path


def _possible_names(name: str) -> set[str]:
    """Return the names that a page may have had, whatever its type was."""
    return {name, *(f"{name}{suffix}" for suffix in _SUFFIXES.values())}


def _nanoseconds(text: str) -> int:
    """Return a time of a sitemap (W3C datetime) in nanoseconds since 1970; 0 if there is none."""
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        return 0
    aware = found if found.tzinfo else found.replace(tzinfo=UTC)
    return int(aware.timestamp()) * 1_000_000_000
