"""Damages to an embedded collection, and a collection to be damaged.

A damage is a function that is given the collection's folder. `damages` lists them for the files
that a collection has: each kind of file and folder once.
"""

import os
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

import pytest

from ragctl.index.run import Run
from ragctl.pipeline import Embedding, Parsing, Pipeline, Source
from ragctl.stores import open_store, segments
from ragctl.stores.edge_copy import _copy_file, _extents
from tests.world import paragraphs

DOCUMENTS = 40
FLIPPED_BYTES = 20
SEAL_BYTES = 1 << 18


class Damage(NamedTuple):
    """`title`: what is damaged, and how; the same for every collection."""

    title: str
    apply: Callable[[Path], None]


def pipeline(folder: Path, store: Path) -> Pipeline:
    """Return the pipeline of the collection: documents in `folder`, the built-in model."""
    return Pipeline(
        sources=(Source(folder),),
        store=str(store),
        collection="docs",
        embedding=Embedding("builtin", 64),
        chunk_size=64,
        languages=("en",),
        parsing=Parsing(workers=1),
    )


def run(folder: Path, store: Path) -> Run:
    """Ingest the documents, and return the run."""
    with closing(open_store(str(store), environ={})) as opened:
        done = Run(pipeline(folder, store), opened, {})
        done.ingest()
    return done


def make_collection(folder: Path, store: Path) -> None:
    """Make a collection of sealed and unsealed segments, with changed and deleted documents."""
    folder.mkdir(parents=True, exist_ok=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(segments, "SEAL_BYTES", SEAL_BYTES)
        patch.setattr(segments, "MAX_SMALL_SEGMENTS", 1000)
        patch.setattr(segments, "MAX_SMALL_SEGMENTS_AT_END", 1000)
        for number in range(DOCUMENTS):
            parts = [f"part {number} {part}" for part in range(8)]
            (folder / f"{number}.md").write_text(paragraphs(*parts, words=30 + number % 7))
        run(folder, store)
        (folder / "0.md").unlink()
        (folder / "1.md").write_text(paragraphs("changed", "part 1 2", words=31))
        run(folder, store)


def copy_store(source: Path, target: Path) -> None:
    """Copy a store without the holes of its files."""
    for folder, _, files in os.walk(source):
        made = target / Path(folder).relative_to(source)
        made.mkdir(parents=True)
        for name in files:
            _copy_file(Path(folder, name), made / name)


def damages(collection: Path) -> list[Damage]:
    """Return every damage that a collection with these files can have."""
    found: list[Damage] = []
    for kind, path in sorted(_kinds(collection).items()):
        relative = path.relative_to(collection)
        if path.is_dir():
            actions: dict[str, Callable[[Path], None]] = {
                "removed": shutil.rmtree,
                "a file in its place": _file_in_place,
            }
        else:
            actions = {"removed": Path.unlink, "empty": _empty, "half": _half}
            if path.stat().st_size:
                actions["flipped"] = _flipped
                actions["rubbish"] = _rubbish
                actions["a folder in its place"] = _folder_in_place
        for how, action in actions.items():
            found.append(Damage(f"{kind}: {how}", _at(relative, action)))
    return found


def _at(relative: Path, action: Callable[[Path], None]) -> Callable[[Path], None]:
    return lambda collection: action(collection / relative)


def _kinds(collection: Path) -> dict[str, Path]:
    """Return one path of each kind: a segment and an index have no name."""
    kinds: dict[str, Path] = {}
    for path in sorted(collection.rglob("*")):
        parts = list(path.relative_to(collection).parts)
        for number, part in enumerate(parts):
            if part.count("-") == 4:
                sealed = (
                    collection.joinpath(*parts[: number + 1]) / "vector_storage-dense/matrix.dat"
                ).exists()
                parts[number] = "SEALED" if sealed else "UNSEALED"
            if re.search(r"-(map|null)$", part):
                parts[number] = part.rsplit("-", 1)[1]
        kinds.setdefault("/".join(parts), path)
    return kinds


def _empty(path: Path) -> None:
    os.truncate(path, 0)


def _half(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def _rubbish(path: Path) -> None:
    size = path.stat().st_size
    path.write_bytes((b"rubbish \xff\x00" * 7)[: min(size, 64)])
    os.truncate(path, size)


def _file_in_place(path: Path) -> None:
    shutil.rmtree(path)
    path.write_bytes(b"no folder")


def _folder_in_place(path: Path) -> None:
    path.unlink()
    path.mkdir()


def _flipped(path: Path) -> None:
    """Invert some bytes of what the file holds, evenly spread over its data."""
    with path.open("r+b") as file:
        offsets = list(_data(file.fileno(), path.stat().st_size))
        for number in range(min(FLIPPED_BYTES, len(offsets))):
            offset = offsets[number * len(offsets) // FLIPPED_BYTES]
            file.seek(offset)
            (value,) = file.read(1)
            file.seek(offset)
            file.write(bytes([value ^ 0xFF]))


def _data(descriptor: int, size: int) -> Iterator[int]:
    """Yield the offsets of the bytes of a file that are not zero; of one without, all of them."""
    nothing = True
    for start, end in _extents(descriptor, size):
        block = os.pread(descriptor, end - start, start)
        for offset, value in enumerate(block):
            if value:
                nothing = False
                yield start + offset
    if nothing:
        yield from range(min(size, 4096))
