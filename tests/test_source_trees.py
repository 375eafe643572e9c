"""A tree of files elsewhere: looks that differ, ignore files, names that clash."""

from collections.abc import Callable, Iterable, Sequence
from typing import BinaryIO

import pytest

from ragctl.errors import DocumentError, PruneRefused
from ragctl.sources import retry
from ragctl.sources.base import Found
from ragctl.sources.ignore import Rules
from ragctl.sources.remote_file import RemoteFile
from ragctl.sources.tree import RemoteEntry, TreeSource


class Tree:
    """A tree in memory. `looks`: its paths at each look; the last one stays."""

    def __init__(self, *looks: Sequence[str], contents: dict[str, bytes] | None = None) -> None:
        self.looks = list(looks)
        self.contents = contents or {}
        self.entered: list[str] = []

    def files(self, enter: Callable[[str], bool]) -> Iterable[RemoteEntry]:
        look = self.looks.pop(0) if len(self.looks) > 1 else self.looks[0]
        self.entered = [each for each in ("docs", "docs/drafts", ".git") if enter(each)]
        return [RemoteEntry(path, path, len(self.contents.get(path, b""))) for path in look]

    def fetch(self, key: str, to: BinaryIO, limit: int) -> None:
        to.write(self.contents[key])


def listed(tree: Tree, **rules: Sequence[str]) -> Found:
    chosen = Rules(rules.get("include", ()), rules.get("exclude", ()))
    return TreeSource(tree, chosen, "s3://bucket", 1_000).list_files()


def test_a_name_that_vanishes_between_two_looks_is_looked_for_again() -> None:
    tree = Tree(["a.md", "b.md"], ["a.md"], ["a.md", "b.md"])
    assert [file.source for file in listed(tree).files] == ["a.md", "b.md"]
    # gone for good: two looks agree
    tree = Tree(["a.md", "b.md"], ["a.md"])
    assert [file.source for file in listed(tree).files] == ["a.md"]
    # new ones are welcome
    tree = Tree(["a.md"], ["a.md", "b.md"])
    assert [file.source for file in listed(tree).files] == ["a.md", "b.md"]


def test_a_listing_that_never_rests_is_refused() -> None:
    looks = [["a.md", f"{number}.md"] for number in range(9)]
    with pytest.raises(PruneRefused, match="changes from one look to the next"):
        listed(Tree(*looks))


def test_ignore_files_of_the_tree_apply_and_one_that_cannot_be_read_refuses() -> None:
    paths = [".ragctlignore", "a.md", "docs/.ragctlignore", "docs/b.md", "docs/c.md", "tmp/d.md"]
    contents = {".ragctlignore": b"tmp/\nb.md\n", "docs/.ragctlignore": b"!b.md\nc.md\n"}
    tree = Tree(paths, contents=contents)
    assert [file.source for file in listed(tree).files] == ["a.md", "docs/b.md"]
    del contents[".ragctlignore"]
    with pytest.raises(PruneRefused, match=r"\.ragctlignore cannot be fetched"):
        listed(Tree(paths, contents=contents))


def test_folders_that_a_rule_leaves_out_are_not_entered() -> None:
    tree = Tree(["docs/a.md"])
    listed(tree, exclude=["drafts/"])
    assert tree.entered == ["docs"]


def test_names_that_cannot_be_documents_are_failures() -> None:
    found = listed(Tree(["a\u0308.md", "\u00e4.md", "b/../../c.md", "/d.md", "e\n.md", "x//y.md"]))
    assert [file.source for file in found.files] == ["\u00e4.md"]
    assert [failure.source for failure in found.failures] == [
        *("\u00e4.md", "b/../../c.md", "/d.md", "e\n.md", "x//y.md")
    ]


@pytest.mark.usefixtures("quick")
def test_a_file_that_is_cut_off_or_longer_than_announced_fails() -> None:
    tree = Tree(["a.md"], contents={"a.md": b"12345"})
    with pytest.raises(DocumentError, match="5 of 9 bytes came"):
        RemoteFile(tree, "a.md", "a.md", 9, 1_000).open()
    with pytest.raises(DocumentError, match="raise --max-file"):
        RemoteFile(tree, "a.md", "a.md", None, 4).open()


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retry, "FIRST_PAUSE_SECONDS", 0.0)
