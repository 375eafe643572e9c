"""The command source: what a program prints becomes documents; a failed one changes nothing."""

import json
import sys
from pathlib import Path

import pytest

from ragctl.errors import PruneRefused, UsageError
from ragctl.pipeline import Source, read_pipeline
from tests.world import World, counts, paragraphs


def export(world: World, *records: object, after: str = "") -> Source:
    """Return a source whose program prints records, and then runs `after`."""
    lines = [r if isinstance(r, str) else json.dumps(r, ensure_ascii=False) for r in records]
    script = world.root.parent / "export.py"
    script.write_text(
        "import sys, time\n"
        f"sys.stdout.reconfigure(encoding='utf-8')\n"
        f"for line in {lines!r}:\n    print(line, flush=True)\n{after}\n",
        encoding="utf-8",
    )
    return Source(
        command=(sys.executable, str(script)), name="wiki", base=world.root.parent, timeout=60
    )


def record(ident: str, text: str = "", **more: object) -> dict[str, object]:
    return {"id": ident, "text": text or paragraphs(ident), **more}


def test_records_become_documents_and_follow_their_versions(edge_world: World) -> None:
    world = edge_world
    first = export(
        world,
        record("SPACE/1", title="One", meta={"url": "https://x/1", "tags": ["a"]}, version=1),
        record("2", format="markdown", version="a"),
        record("3", "<p>Größe</p>", format="html"),
    )
    assert counts(world.ingest(sources=(first,))) == {"added": 3}
    assert set(world.sources()) == {"wiki/SPACE/1.txt", "wiki/2.md", "wiki/3.html"}
    payload = next(p for p, *_ in world.state().values() if p["source"] == "wiki/SPACE/1.txt")
    assert payload["title"] == "One"
    assert payload["meta"] == {"url": "https://x/1"}
    assert payload["stamp"] == "version:1"
    assert counts(world.ingest(sources=(first,))) == {"unchanged": 3}
    world.forget()
    second = export(
        world,
        record("SPACE/1", title="One", meta={"url": "https://x/moved"}, version=1),
        record("2", format="markdown", version="b", text=paragraphs("two", "new")),
    )
    report = world.ingest(sources=(second,))
    assert counts(report) == {"updated": 2, "removed": 1}
    assert len(world.embedded()) == 2  # new metadata embeds nothing
    payload = next(p for p, *_ in world.state().values() if p["source"] == "wiki/SPACE/1.txt")
    assert payload["meta"] == {"url": "https://x/moved"}


def test_an_incremental_export_removes_only_what_it_says(edge_world: World) -> None:
    world = edge_world
    world.ingest(sources=(export(world, record("1"), record("2"), record("3", format="html")),))
    changes = export(world, {"id": "3", "deleted": True}, record("4"))
    part = Source(
        command=changes.command, name="wiki", base=changes.base, complete=False, timeout=60
    )
    assert counts(world.ingest(sources=(part,))) == {"added": 1, "removed": 1}
    assert set(world.sources()) == {"wiki/1.txt", "wiki/2.txt", "wiki/4.txt"}
    export(world)  # nothing has changed
    assert counts(world.ingest(sources=(part,))) == {}
    assert len(world.sources()) == 3


@pytest.mark.parametrize(
    ("bad", "after", "problem"),
    [
        ((), "sys.exit('no access')", "ended with status 1: no access"),
        (('{"id": "2", "text": "cut of',), "", "line 2 is not JSON"),
        (("[1]",), "", "line 2 is not a JSON object"),
        (('{"text": "x"}',), "", "line 2 has no id"),
        (('{"id": "../x", "text": "x"}',), "", "cannot be the name of a document"),
        (('{"id": "2", "txt": "x"}',), "", "unknown key 'txt'"),
        ((), "time.sleep(60)", "did not end within 2 s"),
        ((), "import os; os.kill(os.getpid(), 9)", "ended with status -9"),
    ],
)
def test_a_program_that_fails_changes_nothing(
    edge_world: World, bad: tuple[str, ...], after: str, problem: str
) -> None:
    world = edge_world
    world.ingest(sources=(export(world, record("1"), record("2")),))
    before = world.state()
    broken = export(world, record("1", "changed"), *bad, after=after)
    source = Source(command=broken.command, name="wiki", base=broken.base, timeout=2)
    with pytest.raises(PruneRefused, match=problem) as refused:
        world.ingest(sources=(source,))
    assert "nothing was changed" in str(refused.value)
    assert world.state() == before


def test_a_wrong_record_fails_alone_and_its_document_is_kept(edge_world: World) -> None:
    world = edge_world
    (world.root.parent / "a.md").write_text(paragraphs("a"))
    (world.root.parent / "out.md").symlink_to("/etc/hostname")
    world.ingest(sources=(export(world, record("1"), record("2")),))
    source = export(
        world,
        record("1"),
        {"id": "2"},
        {"id": "file", "path": "a.md"},
        {"id": "outside", "path": "../a.md"},
        {"id": "link", "path": "out.md"},
        {"id": "gone", "path": "b.md"},
        record("form", format="pptx"),
    )
    report = world.ingest(sources=(source,))
    assert counts(report) == {"added": 1, "unchanged": 1, "failed": 5}
    errors = {failure.source: failure.error for failure in report.failures}
    assert "either text or path" in errors["wiki/2"]
    assert "is not below" in errors["wiki/outside"]
    assert "link" in errors["wiki/link"]
    assert "cannot be read" in errors["wiki/gone"]
    assert "format must be one of" in errors["wiki/form"]
    assert set(world.sources()) == {"wiki/1.txt", "wiki/2.txt", "wiki/file.md"}


@pytest.mark.parametrize(
    ("keys", "problem"),
    [
        ('command = ["x"]', "needs a name"),
        ('name = "w"\ncommand = []', "must begin with a program"),
        ('name = "w"\ncommand = ["x"]\npath = "docs"', "cannot be combined with"),
        ('sitemap = "ftp://x/sitemap.xml"', "must begin with http"),
        ('name = "w"\nsitemap = "https://me:hunter2@x/s.xml"', "has credentials"),
        ('name = "w"\nurls = "u.txt"\nrate = 0', "must be above 0"),
    ],
)
def test_wrong_keys_are_refused(tmp_path: Path, keys: str, problem: str) -> None:
    file = tmp_path / "p.toml"
    file.write_text(f"[[sources]]\n{keys}\n")
    with pytest.raises(UsageError, match=problem) as refused:
        read_pipeline(file, {})
    assert "hunter2" not in str(refused.value)
