"""The folder walk: rules, links, unusual names, and folders that cannot be read."""

import os
import socket
import unicodedata
from pathlib import Path

import pytest

from ragctl.errors import PruneRefused, UsageError
from ragctl.sources import FoundFile, LocalFile, UnreadablePath, walk
from ragctl.sources.walk import MAX_OPEN_FOLDERS

NOT_ENTERED = "folders are not entered through links"
INDEXED = "indexed_by_itself"


def local(file: FoundFile) -> LocalFile:
    assert isinstance(file.location, LocalFile)
    return file.location


def write_files(root: Path, *names: str) -> Path:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
    return root


def sources(root: Path, include: tuple[str, ...] = (), exclude: tuple[str, ...] = ()) -> list[str]:
    found = walk(root, include, exclude)
    names = [file.source for file in found]
    assert found.failures == []
    assert found.complete
    return names


def test_files_are_listed_in_order_with_size_and_time(tmp_path: Path) -> None:
    write_files(tmp_path, "b.md", "a/z.txt", "a/b/c.py", "a.txt", "README", "c/Makefile")
    os.utime(tmp_path / "a.txt", ns=(5, 1_700_000_000_123_456_789))
    found = list(walk(tmp_path))
    names = ["README", "a/b/c.py", "a/z.txt", "a.txt", "b.md", "c/Makefile"]
    assert [file.source for file in found] == names
    stamp = str((tmp_path / "a.txt").stat().st_ctime_ns)
    location = LocalFile(str(tmp_path), "a.txt")
    assert found[3] == FoundFile("a.txt", location, 5, 1_700_000_000_123_456_789, stamp)
    assert [file.source for file in walk(tmp_path)] == names


def test_hidden_files_and_folders_are_skipped(tmp_path: Path) -> None:
    write_files(tmp_path, ".hidden.md", ".git/a.md", "a/.b/c.md", "a/d.md")
    assert sources(tmp_path) == ["a/d.md"]


def test_unknown_formats_are_counted(tmp_path: Path) -> None:
    write_files(tmp_path, "a.exe", "b.EXE", "c.md", "d/noname", "e.tar.gz", "skip/f.exe")
    found = walk(tmp_path, exclude=["skip/"])
    assert [file.source for file in found] == ["c.md"]
    assert found.skipped.suffixes == {".exe": 2, "noname": 1, ".gz": 1}
    files = [(each.source, each.kind, each.reason) for each in found.skipped.files]
    assert files == [
        ("a.exe", "no_loader", "no loader for .exe"),
        ("b.EXE", "no_loader", "no loader for .exe"),
        ("d/noname", "no_loader", "no loader for noname"),
        ("e.tar.gz", "no_loader", "no loader for .gz"),
        ("skip/", "exclude", "ignored by --exclude"),
    ]
    assert (found.skipped.unasked, found.skipped.ignored) == (4, 1)


def test_a_root_can_be_a_file(tmp_path: Path) -> None:
    write_files(tmp_path, "a.md", "b.md", "c.exe")
    [found] = walk(tmp_path / "a.md")
    assert (found.source, found.location, found.size) == (
        "a.md",
        LocalFile(str(tmp_path), "a.md"),
        4,
    )
    unknown = walk(tmp_path / "c.exe")
    assert list(unknown) == []
    assert unknown.skipped.suffixes == {".exe": 1}


def test_a_missing_root_is_refused_at_once(tmp_path: Path) -> None:
    with pytest.raises(PruneRefused, match=r"gone: no such file or folder; nothing was changed"):
        walk(tmp_path / "gone")


def test_an_empty_root_is_not_an_error(tmp_path: Path) -> None:
    assert sources(tmp_path) == []


# Rules


def test_a_ragctlignore_applies_to_its_folder_and_below(tmp_path: Path) -> None:
    names = ["a.txt", "a.log", "keep.log", "build/x.md", "sub/build/y.md", "sub/a.log", "sub/b.md"]
    write_files(tmp_path, *names)
    (tmp_path / ".ragctlignore").write_text("# comment\n*.log\n!keep.log\n/build/\n")
    assert sources(tmp_path) == ["a.txt", "keep.log", "sub/b.md", "sub/build/y.md"]


def test_a_nested_ragctlignore_takes_precedence(tmp_path: Path) -> None:
    write_files(tmp_path, "a.log", "sub/a.log", "sub/b.md", "sub/deep/b.md", "other/b.md")
    (tmp_path / ".ragctlignore").write_text("*.log\n")
    (tmp_path / "sub/.ragctlignore").write_text("!a.log\n/b.md\n")
    assert sources(tmp_path) == ["other/b.md", "sub/a.log", "sub/deep/b.md"]


def test_nothing_below_an_ignored_folder_is_included_again(tmp_path: Path) -> None:
    write_files(tmp_path, "out/a.md", "b.md")
    (tmp_path / ".ragctlignore").write_text("out/\n!out/a.md\n")
    (tmp_path / "out/.ragctlignore").write_text("!a.md\n")
    assert sources(tmp_path) == ["b.md"]


def test_exclude_overrides_ragctlignore_and_include_limits(tmp_path: Path) -> None:
    write_files(tmp_path, "a.md", "a.txt", "docs/b.md", "docs/b.txt", "docs/old/c.md", "x.log")
    (tmp_path / ".ragctlignore").write_text("*.log\n!a.md\n")
    assert sources(tmp_path, exclude=("a.md", "old/")) == ["a.txt", "docs/b.md", "docs/b.txt"]
    assert sources(tmp_path, include=("*.md",)) == ["a.md", "docs/b.md", "docs/old/c.md"]
    assert sources(tmp_path, include=("docs/",), exclude=("*.txt",)) == [
        "docs/b.md",
        "docs/old/c.md",
    ]
    assert sources(tmp_path, include=("*.log",)) == []
    assert sources(tmp_path, include=("*.log",), exclude=("!*.log",)) == ["x.log"]


def test_an_invalid_pattern_is_a_usage_error(tmp_path: Path) -> None:
    write_files(tmp_path, "a.md")
    with pytest.raises(UsageError, match="--exclude: "):
        walk(tmp_path, exclude=["!"])
    (tmp_path / ".ragctlignore").write_text("!\n")
    with pytest.raises(UsageError, match=r"\.ragctlignore: "):
        list(walk(tmp_path))


# Links and other kinds of file


def test_links_are_followed_only_to_files_within_the_root(tmp_path: Path) -> None:
    outside = write_files(tmp_path / "outside", "secret.md", "folder/x.md")
    root = write_files(tmp_path / "root", "a.md", "sub/b.md")
    (root / "sub/inside.md").symlink_to(root / "a.md")
    (root / "relative.md").symlink_to("sub/b.md")
    (root / "outside.md").symlink_to(outside / "secret.md")
    (root / "outside").symlink_to(outside)
    (root / "up").symlink_to(root)
    (root / "gone.md").symlink_to(root / "nowhere.md")
    (root / "loop.md").symlink_to(root / "loop.md")
    (root / "folder.md").symlink_to(root / "sub")
    found = walk(root)
    assert [file.source for file in found] == ["a.md", "sub/b.md"]
    assert found.failures == []
    assert {each.source: (each.kind, each.reason) for each in found.skipped.files} == {
        "folder.md": ("link_to_folder", f"a link to the folder {root}/sub; {NOT_ENTERED}"),
        "gone.md": ("broken_link", "a link that leads nowhere"),
        "loop.md": ("broken_link", "a link that leads nowhere"),
        "outside": ("link_to_folder", f"a link to the folder {outside}; {NOT_ENTERED}"),
        "outside.md": ("link_out", f"a link out of the folder, to {outside}/secret.md"),
        "relative.md": (INDEXED, "a link to sub/b.md, which is indexed by itself"),
        "sub/inside.md": (INDEXED, "a link to a.md, which is indexed by itself"),
        "up": ("link_to_folder", f"a link to the folder {root}; {NOT_ENTERED}"),
    }
    (tmp_path / "link").symlink_to(root)
    assert [file.source for file in walk(tmp_path / "link")] == ["a.md", "sub/b.md"]


def test_a_file_that_only_links_lead_to_is_found_once(tmp_path: Path) -> None:
    """As in a volume of Kubernetes: its files are links through the hidden link `..data`."""
    write_files(tmp_path, "..2026_01/conf.md", "..2026_01/page.md", "drafts/new.md")
    (tmp_path / "..data").symlink_to("..2026_01")
    (tmp_path / "conf.md").symlink_to("..data/conf.md")
    (tmp_path / "page.md").symlink_to("..data/page.md")
    (tmp_path / "same.md").symlink_to("..data/page.md")
    (tmp_path / "new.md").symlink_to("drafts/new.md")
    found = walk(tmp_path, exclude=["drafts/"])
    files = {file.source: local(file).path for file in found}
    assert files == {
        "conf.md": "..2026_01/conf.md",
        "new.md": "drafts/new.md",
        "page.md": "..2026_01/page.md",
    }
    assert [each.source for each in found.skipped.files if each.kind == INDEXED] == ["same.md"]


def test_a_link_into_a_folder_named_like_the_root_is_skipped(tmp_path: Path) -> None:
    root = write_files(tmp_path / "docs", "a.md")
    write_files(tmp_path / "docs-private", "secret.md")
    (root / "s.md").symlink_to(tmp_path / "docs-private/secret.md")
    assert sources(root) == ["a.md"]


def test_only_regular_files_are_listed(tmp_path: Path) -> None:
    write_files(tmp_path, "a.md")
    os.mkfifo(tmp_path / "fifo.md")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "s.md"))
        (tmp_path / "null.md").symlink_to("/dev/null")
        found = walk(tmp_path)
        assert [file.source for file in found] == ["a.md"]
        kinds = {each.source: each.kind for each in found.skipped.files}
        assert kinds == {"fifo.md": "not_regular", "null.md": "link_out", "s.md": "not_regular"}
        assert found.failures == []


# Names


def test_sources_are_in_nfc_and_collisions_are_failures(tmp_path: Path) -> None:
    composed, decomposed = (unicodedata.normalize(form, "é.md") for form in ("NFC", "NFD"))
    folder = unicodedata.normalize("NFD", "Übung")
    write_files(tmp_path, decomposed, f"{folder}/a.md")
    assert sources(tmp_path) == ["Übung/a.md", "é.md"]
    write_files(tmp_path, composed)
    found = walk(tmp_path)
    assert [file.source for file in found] == ["Übung/a.md", "é.md"]
    clash = "another file has the same name after Unicode normalisation"
    assert found.failures == [UnreadablePath("é.md", clash)]
    assert found.complete


def test_names_that_are_not_utf8_are_failures(tmp_path: Path) -> None:
    write_files(tmp_path, "a.md")
    raw = os.fsencode(tmp_path)
    os.mkdir(raw + b"/d\xff")  # noqa: PTH102
    for name in (b"/caf\xe9.md", b"/d\xff/x.md", b"/caf\xe9.exe"):
        os.close(os.open(raw + name, os.O_CREAT))
    found = walk(tmp_path)
    assert [file.source for file in found] == ["a.md"]
    why = "its name is not valid UTF-8; rename it"
    assert found.failures == [
        UnreadablePath("caf\\xe9.md", why),
        UnreadablePath("d\\xff/x.md", why),
    ]
    assert found.complete


# Folders that cannot be read


def test_a_folder_that_disappears_leaves_the_walk_incomplete(tmp_path: Path) -> None:
    write_files(tmp_path, "a/x.md", "b/y.md", "c.md")
    found = walk(tmp_path)
    assert next(found).source == "a/x.md"
    (tmp_path / "b/y.md").unlink()
    (tmp_path / "b").rmdir()
    assert [file.source for file in found] == ["c.md"]
    assert not found.complete
    [failure] = found.failures
    assert (failure.source, failure.folder) == ("b", True)
    assert failure.error.startswith("the folder cannot be read: ")


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_a_folder_without_permission_leaves_the_walk_incomplete(tmp_path: Path) -> None:
    write_files(tmp_path, "a/x.md", "b.md")
    (tmp_path / "a").chmod(0)
    found = walk(tmp_path)
    assert [file.source for file in found] == ["b.md"]
    assert found.failures == [
        UnreadablePath("a", "the folder cannot be read: Permission denied", True)
    ]
    (tmp_path / "a").chmod(0o700)


def test_a_folder_whose_rules_cannot_be_read_is_skipped(tmp_path: Path) -> None:
    write_files(tmp_path, "a/secret.md", "b.md")
    (tmp_path / "a/.ragctlignore").mkdir()
    found = walk(tmp_path)
    assert [file.source for file in found] == ["b.md"]
    why = "its .ragctlignore cannot be read: is not a file"
    assert found.failures == [UnreadablePath("a", why, folder=True)]
    assert not found.complete


def test_a_root_replaced_during_the_walk_leaves_it_incomplete(tmp_path: Path) -> None:
    root = write_files(tmp_path / "root", "a.md", "b.md")
    found = walk(root)
    assert next(found).source == "a.md"
    root.rename(tmp_path / "moved")
    root.mkdir()
    assert [file.source for file in found] == ["b.md"]  # of the folder that was the root
    assert not found.complete
    assert (
        UnreadablePath("", "the root was replaced during the walk", folder=True) in found.failures
    )


def test_a_path_longer_than_the_system_takes_is_found_and_read(tmp_path: Path) -> None:
    """Of 100 folders, more than are kept open; its length is 8 kB, and the system takes 4."""
    names = [f"{number:02}{'d' * 80}" for number in range(MAX_OPEN_FOLDERS + 36)]
    here = os.open(tmp_path, os.O_RDONLY)
    for name in names:
        os.mkdir(name, dir_fd=here)
        for file in ("a.md", "z.md"):
            os.close(os.open(file, os.O_CREAT, dir_fd=here))
        below = os.open(name, os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = below
    with os.fdopen(os.open("deep.md", os.O_CREAT | os.O_WRONLY, dir_fd=here), "w") as deep:
        deep.write("deep")
    os.close(here)
    found = walk(tmp_path)
    files = {file.source: file.location for file in found}
    assert found.complete
    assert len(files) == 2 * len(names) + 1
    deepest = max(files, key=len)
    assert deepest == "/".join([*names, "deep.md"])
    with files[deepest].open() as content:
        assert content.read(10) == b"deep"


def test_a_deep_folder_replaced_during_the_walk_leaves_it_incomplete(tmp_path: Path) -> None:
    deep = "/".join(["d"] * (MAX_OPEN_FOLDERS + 5))
    write_files(tmp_path, f"{deep}/a.md", "d/d/z.md", "d/z.md")
    found = walk(tmp_path)
    assert next(found).source == f"{deep}/a.md"
    (tmp_path / "d/d").rename(tmp_path / "moved")
    write_files(tmp_path, "d/d/z.md")
    assert [file.source for file in found] == ["d/z.md"]
    assert UnreadablePath("d/d", "the folder was replaced during the walk", True) in found.failures
