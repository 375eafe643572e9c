"""Helpers of the loader tests: load one file and check its documents."""

import json
import re
from pathlib import Path

from ragctl.loaders import LoadOptions, load
from ragctl.records import Document
from ragctl.sources import LocalFile

CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f]")


def local_file(path: Path) -> LocalFile:
    return LocalFile(str(path.parent), path.name)


def load_all(path: Path, options: LoadOptions | None = None) -> list[Document | Exception]:
    return list(load(local_file(path), path.name, options))


def load_one(path: Path, options: LoadOptions | None = None) -> Document:
    [document] = load_all(path, options)
    assert isinstance(document, Document), document
    return document


def failure(path: Path, options: LoadOptions | None = None) -> str:
    """Return the message of a file's only failure."""
    [error] = load_all(path, options)
    assert isinstance(error, Exception), error
    return str(error)


def check(document: Document) -> None:
    """Check what must hold for every document of any format."""
    text = document.text
    text.encode()
    assert not CONTROL.search(text)
    metadata = json.dumps(
        [document.title, dict(document.meta)], ensure_ascii=False, allow_nan=False
    )
    assert not CONTROL.search(metadata)
    metadata.encode()
    for heading in document.headings:
        assert 0 <= heading.start <= len(text)
        assert 1 <= heading.level <= 6
        assert heading.title == " ".join(heading.title.split()) != ""
    starts = [heading.start for heading in document.headings]
    assert starts == sorted(starts)
    if document.pages:
        edges = [0, *(page.end for page in document.pages)]
        assert [page.start for page in document.pages] == edges[:-1]
        assert edges[-1] == len(text)
        assert [page.number for page in document.pages] == list(range(1, len(edges)))
