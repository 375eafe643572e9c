"""The small files of an embedded collection are kept twice: one damaged copy loses nothing."""

import shutil
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from ragctl.collection.notes import Notes
from ragctl.errors import StoreError, UnreadableCollection
from ragctl.stores.base import Batch
from ragctl.stores.edge import EdgeCollection, EdgeStore
from ragctl.stores.edge_layout import NOTES_FILES, POINTERS, SETTINGS_FILES
from tests.store_contract import SETTINGS, point

NOTES: Notes = {"spent": {"2026-01-01": {"tokens": 5, "cost": 0.25}}, "verified": 7}


def _empty(path: Path) -> None:
    path.write_bytes(b"")


def _half(path: Path) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])


def _changed(path: Path) -> None:
    path.write_bytes(path.read_bytes().replace(b"5", b"6").replace(b"1", b"x"))


def _folder(path: Path) -> None:
    path.unlink()
    path.mkdir()
    (path / "file").touch()


DAMAGES = [Path.unlink, _empty, _half, _changed, _folder]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with a collection that has notes, and two generations; the first is current."""
    store = EdgeStore(tmp_path_factory.mktemp("whole"))
    with closing(store.create("docs", SETTINGS)) as collection:
        collection.note(NOTES)
    store.create_generation("docs", replace(SETTINGS, quantization="scalar")).close()
    return Path(store.location)


@pytest.fixture
def folder(whole: Path, tmp_path: Path) -> Path:
    shutil.copytree(whole, tmp_path / "store")
    return tmp_path / "store" / "collections" / "docs"


def store_of(folder: Path) -> EdgeStore:
    return EdgeStore(folder.parent.parent)


def opened_from(folder: Path) -> EdgeCollection:
    opened = store_of(folder).open("docs")
    assert opened is not None
    return opened


def check(folder: Path) -> None:
    with closing(opened_from(folder)) as opened:
        assert (opened.settings.generation, opened.settings) == (1, SETTINGS)
        assert opened.notes() == NOTES


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("copy", [0, 1])
def test_one_damaged_copy_of_each_file_loses_nothing(
    folder: Path, damage: Callable[[Path], None], copy: int
) -> None:
    for files in (POINTERS, SETTINGS_FILES, NOTES_FILES):
        damage(folder / files[copy])
    check(folder)
    with closing(opened_from(folder)) as opened:
        opened.apply(Batch(upserts=[point(1)]))
        opened.finish()
    store_of(folder).switch("docs", 1)
    for files in (POINTERS, SETTINGS_FILES, NOTES_FILES):
        (folder / files[1 - copy]).unlink()
    check(folder)


def test_notes_without_a_readable_copy_are_reported(folder: Path) -> None:
    for name in NOTES_FILES:
        _half(folder / name)
    with closing(opened_from(folder)) as opened:
        with pytest.raises(UnreadableCollection, match=r"notes.*ragctl rebuild docs") as error:
            opened.notes()
        assert "\n" not in str(error.value)
        with pytest.raises(UnreadableCollection):
            opened.note({"verified": 8})


def test_a_creation_that_fails_leaves_nothing(tmp_path: Path) -> None:
    store = EdgeStore(tmp_path)
    broken = replace(SETTINGS, identity=replace(SETTINGS.identity, dimension=0))
    with pytest.raises(StoreError):
        store.create("docs", broken)
    assert list((tmp_path / "collections").iterdir()) == []
    store.create("docs", SETTINGS).close()
