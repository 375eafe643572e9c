"""Sources with their own patterns and settings, several under one root; on both stores."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from ragctl import chunking, loaders
from ragctl.collection.points import digest
from ragctl.collection.state import State
from ragctl.collection.text import CONTEXT_VERSION
from ragctl.errors import PruneRefused, UsageError
from ragctl.index.naming import name_sources
from ragctl.index.prepared import FileStat
from ragctl.index.recipe import Recipe, SourceOptions, recipe_digests
from ragctl.index.scan import scan
from ragctl.loaders import LoadOptions
from ragctl.pipeline import Parsing, Pipeline, Source
from ragctl.sources import walk
from tests.world import World, counts, paragraphs


def write_files(root: Path, *names: str) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(name)
    return root


@pytest.mark.parametrize(
    ("within", "found"),
    [
        (None, ["a/handbook/x.md", "a/x.md", "b/handbook/deep/y.md", "handbook/z.md", "top.md"]),
        ("/*/handbook", ["a/handbook/x.md", "b/handbook/deep/y.md"]),
        ("/**/handbook", ["a/handbook/x.md", "b/handbook/deep/y.md", "handbook/z.md"]),
        ("/*.md", ["top.md"]),
        ("/**/x.md", ["a/handbook/x.md", "a/x.md"]),
        ("/?/*.md", ["a/x.md"]),
        ("/[ab]/handbook", ["a/handbook/x.md", "b/handbook/deep/y.md"]),
        ("/**", ["a/handbook/x.md", "a/x.md", "b/handbook/deep/y.md", "handbook/z.md", "top.md"]),
        ("/none/*", []),
    ],
)
def test_a_pattern_is_anchored_at_the_root(
    tmp_path: Path, within: str | None, found: list[str]
) -> None:
    names = ["a/handbook/x.md", "a/x.md", "b/handbook/deep/y.md", "handbook/z.md", "top.md"]
    assert [f.source for f in walk(write_files(tmp_path, *names), within=within)] == found


def test_include_and_exclude_narrow_a_pattern(tmp_path: Path) -> None:
    write_files(tmp_path, "a/h/x.md", "a/h/x.txt", "a/h/old/y.md", "b/x.md")
    found = walk(tmp_path, ["*.md"], ["old/"], "/*/h")
    assert [file.source for file in found] == ["a/h/x.md"]


def test_folders_that_cannot_match_are_not_listed(tmp_path: Path) -> None:
    """Such as other users' home folders, which may be unreadable."""
    write_files(tmp_path, "a/handbook/x.md", "a/private/y.md", "b/z.md")
    for name in ("a/private", "b", "a/handbook/deep"):
        (tmp_path / name / ".ragctlignore").mkdir(parents=True)  # cannot be read as a file
    found = walk(tmp_path, within="/a/hand*")
    assert [file.source for file in found] == ["a/handbook/x.md"]
    assert [failure.source for failure in found.failures] == ["a/handbook/deep"]


def pipeline_of(*sources: Source, **changes: object) -> Pipeline:
    return replace(Pipeline(sources=sources, store="nowhere"), **changes)  # type: ignore[arg-type]


def test_a_file_of_two_sources_belongs_to_the_first(tmp_path: Path) -> None:
    write_files(tmp_path, "a.md", "b.md", "c.txt")
    sources = (
        Source(tmp_path, ("a.*",)),
        Source(tmp_path, ("*.md",)),
        Source(tmp_path / "a.md"),
        Source(tmp_path / "." / "c.txt"),
    )
    found = name_sources(scan(pipeline_of(*sources)), {}, State())
    name = tmp_path.name
    assert sorted((file.file, file.source_number) for file in found.files) == [
        *((f"{name}/a.md", 0), (f"{name}/b.md", 1), (f"{name}/c.txt", 3))
    ]


def test_a_folder_inside_another_one_is_a_part_of_it(tmp_path: Path) -> None:
    outer = write_files(tmp_path / "docs", "a.md", "en/b.md", "en/c.md")
    names = ["docs/a.md", "docs/en/b.md", "docs/en/c.md"]
    for sources in (
        (Source(outer), Source(outer / "en")),
        (Source(outer, exclude=("en/",)), Source(outer / "en")),
    ):
        found = name_sources(scan(pipeline_of(*sources)), {}, State())
        assert sorted(file.file for file in found.files) == names


def test_a_pattern_without_matches_is_refused_and_named(tmp_path: Path) -> None:
    write_files(tmp_path, "a.md")
    with pytest.raises(PruneRefused, match=r"/\*/x: no documents found there"):
        scan(pipeline_of(Source(tmp_path, within="/*/x")))
    with pytest.raises(PruneRefused, match=r"a\.md is not a folder"):
        scan(pipeline_of(Source(tmp_path / "a.md", within="/*")))
    with pytest.raises(PruneRefused, match="gone"):
        scan(pipeline_of(Source(tmp_path / "gone", within="/*")))


def test_a_file_in_an_unknown_format_lists_the_formats(tmp_path: Path) -> None:
    write_files(tmp_path, "a.xlsx", "b.xlsx")
    with pytest.raises(UsageError) as info:
        scan(pipeline_of(Source(tmp_path / "a.xlsx")))
    text = str(info.value)
    assert "a.xlsx: not a file that ragctl reads; it reads " in text
    for form in loaders.FORMATS:
        assert f"{form.name} ({form.suffixes[0]}" in text
    with pytest.raises(PruneRefused, match="found there, only 2 files in formats that ragctl"):
        scan(pipeline_of(Source(tmp_path)))


def test_sources_without_settings_of_their_own_keep_the_recipe_digest() -> None:
    """Otherwise every indexed document would be chunked again."""
    options, meta = LoadOptions(jsonl_text="body"), {"team": "ops"}
    recipe = Recipe((SourceOptions(options, meta),) * 2, 300, 30, ("de",))
    whole = {
        "chunks": chunking.recipe(300, 30),
        "context": CONTEXT_VERSION,
        "meta": meta,
        "languages": ["de"],
        "loader": loaders.recipe("a.jsonl", options),
    }
    expected = digest(json.dumps(whole, sort_keys=True).encode())
    digests = recipe_digests(recipe)
    assert digests(FileStat("docs/a.jsonl", "docs", 1, 1)) == expected
    assert digests(FileStat("docs/b.jsonl", "docs", 1, 1, source_number=1)) == expected
    assert digests(FileStat("docs/b.md", "docs", 1, 1)) != expected


def metadata_by_source(world: World) -> dict[str, object]:
    return {str(payload["source"]): payload["meta"] for payload, _, _ in world.state().values()}


def test_changed_metadata_of_one_source_updates_only_its_files(world: World) -> None:
    for name in ("a/one", "a/two", "b/one"):
        world.write(f"{name}.md", paragraphs(name, name + " more"))
    one, other = Source(world.root, within="/a"), Source(world.root, within="/b")
    report = world.ingest(sources=(one, other), meta={"team": "all", "level": 1})
    assert counts(report) == {"added": 3}
    assert world.ingest(sources=(one, other), meta={"team": "all", "level": 1}).requests == 0
    world.forget()

    sources = (replace(one, meta={"team": "a"}), other)
    report = world.ingest(sources=sources, meta={"team": "all", "level": 1})
    assert counts(report) == {"updated": 2, "unchanged": 1}
    assert world.embedded() == []
    assert metadata_by_source(world) == {
        "docs/a/one.md": {"team": "a", "level": 1},
        "docs/a/two.md": {"team": "a", "level": 1},
        "docs/b/one.md": {"team": "all", "level": 1},
    }
    report = world.ingest(sources=sources, meta={"team": "all", "level": 1})
    assert counts(report) == {"unchanged": 3}


def test_a_source_has_its_own_loader_options(edge_world: World) -> None:
    world = edge_world
    world.write("new/a.txt", "Grüße aus München".encode())
    world.write("old/b.txt", "Привет, мир".encode("cp1251"))
    world.write("old/c.jsonl", json.dumps({"body": "valve", "key": "k1", "text": "no", "x": 1}))
    world.write("new/d.jsonl", json.dumps({"text": "pump", "id": "i1", "x": 1}))
    old = Source(
        world.root,
        within="/old",
        encoding="cp1251",
        jsonl_text="body",
        jsonl_id="key",
        jsonl_metadata=(),
    )
    parsing = Parsing(workers=1, encoding="utf-8")
    world.ingest(sources=(old, Source(world.root)), parsing=parsing)
    texts = {
        str(payload["source"]): (payload["text"], payload["meta"])
        for payload, _, _ in world.state().values()
    }
    assert texts == {
        "docs/new/a.txt": ("Grüße aus München", {}),
        "docs/old/b.txt": ("Привет, мир", {}),
        "docs/old/c.jsonl#k1": ("valve", {}),
        "docs/new/d.jsonl#i1": ("pump", {"x": 1}),
    }
