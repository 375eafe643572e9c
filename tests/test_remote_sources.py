"""Runs with sources that are not on this machine: what is fetched, kept, removed and refused."""

import socket
import sys
import zipfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from ragctl.errors import PruneRefused, UsageError
from ragctl.pipeline import Source, from_flags
from ragctl.pipeline.globs import named_source
from ragctl.sources import retry
from tests.servers.fault_proxy import FaultProxy
from tests.servers.places import http_server
from tests.world import World, counts, paragraphs


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, FaultProxy]]:
    root = tmp_path_factory.mktemp("site")
    with http_server(root) as port, FaultProxy(port) as proxy:
        yield root, proxy


@pytest.fixture
def world(
    edge_world: World, site: tuple[Path, FaultProxy], monkeypatch: pytest.MonkeyPatch
) -> World:
    """Return a world whose folder is served over HTTP."""
    monkeypatch.setattr(retry, "FIRST_PAUSE_SECONDS", 0.0)
    edge_world.root = site[0] / edge_world.root.parent.name / "docs"
    edge_world.root.mkdir(parents=True)
    for name in ("a", "b", "c"):
        edge_world.write(f"{name}.md", paragraphs(name))
    return edge_world


def source(world: World, proxy: FaultProxy) -> Source:
    path = world.root.relative_to(world.root.parents[1]).as_posix()
    return Source(url=f"http://127.0.0.1:{proxy.port}/{path}")


def fetched(proxy: FaultProxy) -> list[str]:
    """Return the files that were fetched since the last call."""
    names = [r.split()[1].rpartition("/")[2] for r in proxy.requests if r.startswith("GET")]
    proxy.requests.clear()
    return [name for name in names if name]


def of_file(name: str, fault: str, request: str) -> str:
    """Return the fault of a request for a file."""
    return fault if request.startswith("GET") and name in request else ""


def test_only_what_changed_is_fetched_and_what_is_gone_is_removed(
    world: World, site: tuple[Path, FaultProxy]
) -> None:
    proxy = site[1]
    sources = (source(world, proxy),)
    assert counts(world.ingest(sources=sources)) == {"added": 3}
    assert sorted(fetched(proxy)) == ["a.md", "b.md", "c.md"]
    assert set(world.sources()) == {"docs/a.md", "docs/b.md", "docs/c.md"}
    world.write("b.md", paragraphs("b", "changed"))
    (world.root / "c.md").unlink()
    assert counts(world.ingest(sources=sources)) == {"updated": 1, "unchanged": 1, "removed": 1}
    assert fetched(proxy) == ["b.md"]
    assert counts(world.ingest(sources=sources)) == {"unchanged": 2}
    assert fetched(proxy) == []


def test_a_file_that_cannot_be_fetched_fails_alone_and_keeps_its_document(
    world: World, site: tuple[Path, FaultProxy]
) -> None:
    proxy = site[1]
    sources = (source(world, proxy),)
    world.ingest(sources=sources)
    world.write("b.md", paragraphs("b", "changed"))
    for fault in ("403", "500", "truncate", "reset"):
        proxy.fault = partial(of_file, "b.md", fault)
        try:
            report = world.ingest(sources=sources, retry_failed=True)
        finally:
            proxy.fault = lambda request: ""
        assert counts(report) == {"unchanged": 2, "failed": 1}
        [failure] = report.failures
        assert failure.source == "docs/b.md"
        assert "cannot be fetched" in failure.error
        assert "docs/b.md" in world.sources()
    assert counts(world.ingest(sources=sources, retry_failed=True))["updated"] == 1


@pytest.mark.parametrize("fault", ["403", "500", "truncate", "disconnect", "404", "garbage"])
def test_a_listing_that_fails_is_refused_before_anything_is_written(
    world: World, site: tuple[Path, FaultProxy], fault: str
) -> None:
    proxy = site[1]
    sources = (source(world, proxy),)
    world.write("deep/d.md", paragraphs("d"))
    world.ingest(sources=sources)
    before = world.state()
    proxy.fault = lambda request: fault if "deep/ " in request else ""
    try:
        with pytest.raises(PruneRefused, match="nothing was changed"):
            world.ingest(sources=sources)
    finally:
        proxy.fault = lambda request: ""
    assert world.state() == before


def test_an_empty_listing_is_refused(world: World, site: tuple[Path, FaultProxy]) -> None:
    sources = (source(world, site[1]),)
    world.ingest(sources=sources)
    for name in ("a", "b", "c"):
        (world.root / f"{name}.md").unlink()
    with pytest.raises(PruneRefused, match="no documents found there"):
        world.ingest(sources=sources)


def test_a_file_above_the_limit_fails(world: World, site: tuple[Path, FaultProxy]) -> None:
    sources = (source(world, site[1]),)
    world.write("big.txt", "x" * 1_000_001)
    parsing = world.pipeline().parsing.__class__(workers=1, max_file_mb=1)
    report = world.ingest(sources=sources, parsing=parsing)
    assert counts(report) == {"added": 3, "failed": 1}
    assert "raise --max-file" in report.failures[0].error
    assert "big.txt" not in fetched(site[1])


def test_a_link_and_a_path_out_of_an_archive_are_refused_by_name(
    edge_world: World, tmp_path: Path
) -> None:
    archive = tmp_path / "docs.zip"
    with zipfile.ZipFile(archive, "w") as made:
        made.writestr("a.md", paragraphs("a"))
        made.writestr("../b.md", "out")
        made.writestr("/c.md", "absolute")
        link = zipfile.ZipInfo("link.md")
        link.create_system, link.external_attr = 3, 0o120777 << 16
        made.writestr(link, "/etc/passwd")
        made.writestr("bomb.txt", b"0" * 2_000_000, zipfile.ZIP_DEFLATED)
    parsing = edge_world.pipeline().parsing.__class__(workers=1, max_file_mb=1)
    report = edge_world.ingest(sources=(Source(archive),), parsing=parsing)
    assert counts(report) == {"added": 1, "failed": 4}
    errors = {failure.source.rpartition("/")[2]: failure.error for failure in report.failures}
    assert "leads out of the source" in errors["b.md"]
    assert "leads out of the source" in errors["c.md"]
    assert "is a link" in errors["link.md"]
    assert "raise --max-file" in errors["bomb.txt"]


@pytest.mark.parametrize(
    ("url", "problem"),
    [
        ("https://me:hunter2@host/docs", "has credentials"),
        ("https://token@host/docs", "has credentials"),
        ("zip://x::https://me:hunter2@host/docs.zip", "has credentials"),
        ("sftp://me:hunter2@host/docs", "has credentials"),
        ("https:///docs", "has no host"),
        ("s3://bucket/docs/*.md", "takes no pattern"),
        ("https://host/docs?token=hunter2", "takes no pattern and no query"),
        ("file:///srv/docs", "write the path alone: /srv/docs"),
    ],
)
def test_a_wrong_url_is_refused_without_its_secret(url: str, problem: str) -> None:
    with pytest.raises(UsageError, match=problem) as refused:
        from_flags({"sources": [named_source(url)]}, {})
    assert "hunter2" not in str(refused.value)


def test_a_url_may_have_a_name() -> None:
    (named,) = from_flags({"sources": [named_source("wiki=s3://bucket/docs/")]}, {}).sources
    assert (named.name, named.url, named.path) == ("wiki", "s3://bucket/docs", None)


def test_a_missing_library_is_one_line_with_the_command(
    edge_world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "gcsfs", None)
    with pytest.raises(UsageError, match=r"gs:// needs gcsfs.*pip install .*gcs"):
        edge_world.ingest(sources=(Source(url="gs://bucket/docs"),))


@pytest.mark.parametrize("scheme", ["ftp", "http", "webdav"])
def test_a_server_that_cannot_be_reached_is_refused(
    edge_world: World, monkeypatch: pytest.MonkeyPatch, scheme: str
) -> None:
    pytest.importorskip("fsspec")
    monkeypatch.setattr(retry, "FIRST_PAUSE_SECONDS", 0.0)
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    with pytest.raises(PruneRefused, match="nothing was changed"):
        edge_world.ingest(sources=(Source(url=f"{scheme}://127.0.0.1:{port}/docs"),))


def test_a_saved_plan_of_another_content_is_refused(edge_world: World, tmp_path: Path) -> None:
    def archive(text: str) -> None:
        with zipfile.ZipFile(tmp_path / "docs.zip", "w") as made:
            made.writestr("a.md", text)

    sources = (Source(tmp_path / "docs.zip"),)
    archive("The price is 10.")
    _, saved = edge_world.run(sources=sources).plan()
    archive("The price is 20.")
    run = edge_world.run(sources=sources)
    run.saved = saved
    with pytest.raises(UsageError, match="out of date"):
        run.ingest()
