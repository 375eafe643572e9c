"""Whether a store holds what the folder does: looked at after each run, before its time counts."""

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks import corpus
from benchmarks.embedding_server import row_of, table
from benchmarks.measure import Wrong

_BLANK = re.compile(r"\s+")
_COVERED = 0.99  # of each file's characters that are not blank; loaders leave a little markup out


@dataclass(frozen=True)
class Stored:
    """A point: whose text it is, the text, the hash of what was sent for it, its vector."""

    source: str
    text: str
    sent: str
    vector: NDArray[np.float32]


def check(folder: Path, points: Iterable[Stored]) -> int:
    """The number of points. Raises Wrong where a file is not covered, a point is twice or stale,
    or a vector is not that of the text.
    """
    texts: dict[str, list[str]] = defaultdict(list)
    count = 0
    for point in points:
        _check_vector(point)
        texts[point.source].append(point.text)
        count += 1
    there = {path.relative_to(folder).as_posix(): path for path in corpus.files(folder)}
    if left := texts.keys() - there.keys():
        raise Wrong(f"{len(left)} files are gone and still stored, such as {min(left)}")
    for name, path in there.items():
        _check_text(name, path.read_bytes().decode("utf-8", "replace"), texts[name])
    return count


def _check_vector(point: Stored) -> None:
    expected = np.asarray(table()[row_of(point.sent)])
    if expected @ point.vector < 0.999 * np.linalg.norm(point.vector):
        raise Wrong(f"{point.source}: a point's vector is not that of its text")


def _check_text(name: str, whole: str, chunks: Iterable[str]) -> None:
    """Every chunk stands in the file, as often as it is stored, and together they fill it."""
    text = _BLANK.sub("", whole)
    covered = np.zeros(len(text), bool)
    for chunk, times in Counter(_BLANK.sub("", chunk) for chunk in chunks).items():
        starts = list(_occurrences(text, chunk))
        if len(starts) < times:
            said = "is not in the file" if not starts else f"is stored {times} times"
            raise Wrong(f"{name}: a chunk {said}: {chunk[:60]!r}")
        for start in starts:
            covered[start : start + len(chunk)] = True
    missing = len(text) - int(covered.sum())
    if missing > (1 - _COVERED) * len(text):
        raise Wrong(f"{name}: {missing} of its {len(text)} characters are not stored")


def _occurrences(text: str, part: str) -> Iterator[int]:
    at = text.find(part)
    while at >= 0:
        yield at
        at = text.find(part, at + 1)


@dataclass(frozen=True)
class Sent:
    """What a run sent: how many texts and requests, and how many would have been enough."""

    texts: int
    needed: int
    requests: int
    fewest: int


def check_sent(sent: list[str], sizes: list[int], needed: set[str], batch: int) -> Sent:
    """What was sent for the texts that are new. Raises Wrong where one of them was not."""
    if lacking := needed - set(sent):
        raise Wrong(f"{len(lacking)} texts that are new were not sent")
    return Sent(len(sent), len(needed), len(sizes), -(-len(needed) // batch))
