"""Opening a file of a folder after it, or a folder above it, was replaced."""

import os
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from ragctl.errors import DocumentError
from ragctl.loaders import LoadOptions, load
from ragctl.records import Document
from ragctl.sources import LocalFile, local_file, walk

REPLACED = "was replaced after its folder was listed"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for name in ("root/a/b/page.md", "secret/page.md"):
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).write_text(name)
    return tmp_path / "root"


def read(file: LocalFile) -> bytes:
    with file.open() as content:
        return content.read(1_000)


def test_a_file_is_opened_below_its_root(root: Path) -> None:
    [found] = walk(root)
    with found.location.open() as content:
        assert (content.name, content.size) == ("page.md", 16)
        assert content.read(16) == b"root/a/b/page.md"
        assert content.read(16) == content.open().read()


@pytest.mark.parametrize("replaced", ["a/b/page.md", "a/b", "a"])
def test_what_was_replaced_by_a_link_is_not_read(root: Path, replaced: str) -> None:
    [found] = walk(root)
    target = {"a/b/page.md": "secret/page.md", "a/b": "secret", "a": "other"}[replaced]
    (root.parent / "other/b").mkdir(parents=True)
    (root.parent / "other/b/page.md").write_text("other")
    (root / replaced).rename(root.parent / "moved")
    (root / replaced).symlink_to(root.parent / target)
    with pytest.raises(DocumentError, match=REPLACED):
        found.location.open()
    assert isinstance(found.location, LocalFile)
    with pytest.raises(DocumentError, match=REPLACED):  # where nothing can be opened below a folder
        local_file.open_checked(*found.location)


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir])
def test_what_was_replaced_by_something_else_fails_at_once(
    root: Path, make: Callable[[Path], None]
) -> None:
    [found] = walk(root)
    (root / "a/b/page.md").unlink()
    make(root / "a/b/page.md")
    with pytest.raises(DocumentError, match="it is not a regular file"):
        found.location.open()


def test_a_link_to_a_device_is_not_opened(root: Path) -> None:
    [found] = walk(root)
    (root / "a/b/page.md").unlink()
    (root / "a/b/page.md").symlink_to("/dev/zero")
    with pytest.raises(DocumentError, match=REPLACED):
        found.location.open()


def test_a_file_of_a_system_without_descriptors_of_folders_is_read(root: Path) -> None:
    [found] = walk(root)
    assert isinstance(found.location, LocalFile)
    descriptor = local_file.open_checked(*found.location)
    with os.fdopen(descriptor, "rb") as file:
        assert file.read() == b"root/a/b/page.md"


def test_a_folder_that_may_not_be_listed_can_lie_above_a_file(root: Path) -> None:
    if os.geteuid() == 0 or not hasattr(os, "O_PATH"):
        pytest.skip("root reads everything; only Linux opens such a folder")
    (root / "a").chmod(0o100)
    assert read(LocalFile(str(root), "a/b/page.md")) == b"root/a/b/page.md"
    (root / "a").chmod(0o700)


def test_a_file_exchanged_all_the_time_is_never_read_through_a_link(root: Path) -> None:
    (root / "a/b/page.md").write_text("public")
    page, secret = root / "a/b/page.md", root.parent / "secret/page.md"
    stop = threading.Event()

    def exchange() -> None:
        while not stop.is_set():
            (root / "new").symlink_to(secret)
            (root / "new").replace(page)
            (root / "new").write_text("public")
            (root / "new").replace(page)

    thread = threading.Thread(target=exchange)
    thread.start()
    refused = 0
    try:
        for _ in range(2_000):
            [item] = load(LocalFile(str(root), "a/b/page.md"), "page.md", LoadOptions())
            refused += isinstance(item, DocumentError)
            assert not isinstance(item, Document) or item.text == "public"
    finally:
        stop.set()
        thread.join()
    assert 0 < refused < 2_000
