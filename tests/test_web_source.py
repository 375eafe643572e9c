"""The web source: pages of a sitemap or a list, fetched politely and only if they changed."""

import http.server
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from ragctl.errors import PruneRefused
from ragctl.pipeline import Source
from ragctl.sources import retry
from tests.world import World, counts, paragraphs


@dataclass
class Site:
    """A web server. `pages`: (status, headers, body) by path; others are 404."""

    url: str = ""
    pages: dict[str, tuple[int, dict[str, str], bytes]] = field(default_factory=dict)
    requests: list[tuple[float, str]] = field(default_factory=list)

    def page(self, path: str, text: str, etag: str = "") -> None:
        headers = {"Content-Type": "text/html; charset=utf-8"}
        if etag:
            headers["ETag"] = f'"{etag}"'
        body = f"<html><body><h1>{text}</h1><p>{paragraphs(text)}</p></body></html>"
        self.pages[path] = (200, headers, body.encode())

    def sitemap(self, *paths: str) -> None:
        urls = "".join(
            f"<url><loc>{path if '://' in path else self.url + path}</loc></url>" for path in paths
        )
        body = f'<urlset xmlns="http://www.sitemaps.org/schemas/sitemap/0.9">{urls}</urlset>'
        self.pages["/sitemap.xml"] = (200, {}, body.encode())

    def asked(self, method: str) -> list[str]:
        """Return the paths of requests with a method since the last call, and forget all."""
        found = [each[1].split()[1] for each in self.requests if each[1].startswith(method)]
        self.requests.clear()
        return found


@pytest.fixture
def site(monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    monkeypatch.setattr(retry, "FIRST_PAUSE_SECONDS", 0.0)
    site = Site()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            site.requests.append((time.monotonic(), self.requestline))
            status, headers, body = site.pages.get(self.path, (404, {}, b""))
            self.send_response(status)
            for name, value in {"Content-Length": str(len(body)), **headers}.items():
                self.send_header(name, value)
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(body)

        do_HEAD = do_GET

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    site.url = f"http://127.0.0.1:{server.server_address[1]}"
    try:
        yield site
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def web(site: Site, rate: float = 1000.0) -> Source:
    return Source(sitemap=f"{site.url}/sitemap.xml", name="site", rate=rate)


def test_pages_of_a_sitemap(edge_world: World, site: Site) -> None:
    world = edge_world
    site.page("/", "Start", "s1")
    site.page("/guide/a", "Guide", "g1")
    site.page("/b.html", "Bravo")
    site.sitemap("/", "/guide/a", "/b.html", "/guide/a#part", "http://other.example/x")
    report = world.ingest(sources=(web(site),))
    assert counts(report) == {"added": 3}
    assert set(world.sources()) == {"site/index.html", "site/guide/a.html", "site/b.html"}
    payload = next(p for p, *_ in world.state().values() if p["source"] == "site/guide/a.html")
    assert payload["meta"] == {"url": f"{site.url}/guide/a"}
    site.asked("GET")
    site.page("/guide/a", "Guide, second edition", "g2")
    del site.pages["/"]  # 404: it is gone
    site.pages["/b.html"] = (403, {}, b"")  # anything else: it is kept
    report = world.ingest(sources=(web(site),))
    assert counts(report) == {"updated": 1, "removed": 1, "failed": 1}
    assert [failure.source for failure in report.failures] == ["site/b.html"]
    assert set(world.sources()) == {"site/guide/a.html", "site/b.html"}
    assert "/guide/a" in site.asked("GET")
    site.page("/b.html", "Bravo")
    assert counts(world.ingest(sources=(web(site),), retry_failed=True)) == {"unchanged": 2}
    fetched = site.asked("GET")
    assert "/guide/a" not in fetched  # its ETag is the same
    assert "/b.html" in fetched  # it has neither ETag nor time: its content is compared


@pytest.mark.parametrize(
    ("path", "answer"),
    [
        ("/sitemap.xml", (403, {}, b"")),
        ("/sitemap.xml", (404, {}, b"")),
        ("/sitemap.xml", (500, {}, b"")),
        ("/sitemap.xml", (200, {}, b"<urlset><url><loc>http://127.0.0.1/a</loc></url>")),
        ("/sitemap.xml", (200, {}, b"<html/>")),
        ("/sitemap.xml", (301, {"Location": "http://127.0.0.2/sitemap.xml"}, b"")),
        ("/robots.txt", (500, {}, b"")),
        ("/robots.txt", (403, {}, b"")),
    ],
)
def test_what_cannot_be_listed_is_refused(
    edge_world: World, site: Site, path: str, answer: tuple[int, dict[str, str], bytes]
) -> None:
    site.page("/a", "Alpha", "1")
    site.page("/b", "Bravo", "1")
    site.sitemap("/a", "/b")
    edge_world.ingest(sources=(web(site),))
    before = edge_world.state()
    site.pages[path] = answer
    with pytest.raises(PruneRefused, match="nothing was changed"):
        edge_world.ingest(sources=(web(site),))
    assert edge_world.state() == before


def test_robots_and_the_rate_are_honoured(edge_world: World, site: Site) -> None:
    site.pages["/robots.txt"] = (200, {}, b"User-agent: *\nDisallow: /private/\n")
    for name in ("/a", "/b", "/private/c"):
        site.page(name, name, "1")
    site.sitemap("/a", "/b", "/private/c")
    report = edge_world.ingest(sources=(web(site, rate=10),))
    assert counts(report) == {"added": 2}
    assert all("private" not in request for _, request in site.requests)
    times = sorted(when for when, _ in site.requests)
    assert len(times) == 6  # the sitemap, robots.txt, HEAD and GET of two pages
    assert times[-1] - times[0] > 0.45  # five pauses of 0.1 s


def test_a_page_that_leads_to_another_host_is_kept(edge_world: World, site: Site) -> None:
    site.page("/a", "Alpha", "a1")
    site.page("/b", "Bravo", "b1")
    site.sitemap("/a", "/b")
    edge_world.ingest(sources=(web(site),))
    site.pages["/b"] = (302, {"Location": "http://169.254.169.254/latest/meta-data"}, b"")
    report = edge_world.ingest(sources=(web(site),))
    assert counts(report) == {"unchanged": 1, "failed": 1}
    assert "redirects to another host" in report.failures[0].error
    site.pages["/b"] = (302, {"Location": "/a"}, b"")
    assert counts(edge_world.ingest(sources=(web(site),), retry_failed=True))["updated"] == 1


def test_a_list_of_addresses(edge_world: World, site: Site, tmp_path: Path) -> None:
    site.page("/a?page=2", "Alpha", "1")
    site.pages["/notes"] = (200, {"Content-Type": "text/plain"}, b"Just text\n")
    file = tmp_path / "urls.txt"
    file.write_text(f"# pages\n{site.url}/a?page=2\n\n{site.url}/notes\n")
    source = Source(urls=file, name="pages", rate=1000)
    assert counts(edge_world.ingest(sources=(source,))) == {"added": 2}
    host = site.url.removeprefix("http://")
    assert set(edge_world.sources()) == {
        f"pages/{host}/a?page=2.html",
        f"pages/{host}/notes.txt",
    }
