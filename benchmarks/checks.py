"""Checks that a store holds what the folder holds, made after each run."""

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks import corpus
from benchmarks.embedding_server import row_of, table
from benchmarks.measure import WrongResult

_BLANK = re.compile(r"\s+")
MIN_COVERED_SHARE = (
    0.99  # of each file's characters that are not blank; loaders leave a little markup out
)


@dataclass(frozen=True)
class Stored:
    """A point: its source, its text, the hash of the text that was embedded, its vector."""

    source: str
    text: str
    sent: str
    vector: NDArray[np.float32]


def check(folder: Path, points: Iterable[Stored]) -> int:
    """Check all points of a store and return their number.

    Raises WrongResult if a file is not covered, a point is stored twice or is stale, or a vector is
    not that of the text.
    """
    texts: dict[str, list[str]] = defaultdict(list)
    count = 0
    for point in points:
        _check_vector(point)
        texts[point.source].append(point.text)
        count += 1
    there = {path.relative_to(folder).as_posix(): path for path in corpus.files(folder)}
    if left := texts.keys() - there.keys():
        raise WrongResult(f"{len(left)} files are gone and still stored, such as {min(left)}")
    for name, path in there.items():
        _check_text(name, path.read_bytes().decode("utf-8", "replace"), texts[name])
    return count


def _check_vector(point: Stored) -> None:
    expected = np.asarray(table()[row_of(point.sent)])
    if expected @ point.vector < 0.999 * np.linalg.norm(point.vector):
        raise WrongResult(f"{point.source}: a point's vector is not that of its text")


def _check_text(name: str, whole: str, chunks: Iterable[str]) -> None:
    """Check that every chunk is in the file as often as it is stored, and that they cover it."""
    text = _BLANK.sub("", whole)
    covered = np.zeros(len(text), bool)
    for chunk, times in Counter(_BLANK.sub("", chunk) for chunk in chunks).items():
        starts = list(_occurrences(text, chunk))
        if len(starts) < times:
            problem = "is not in the file" if not starts else f"is stored {times} times"
            raise WrongResult(f"{name}: a chunk {problem}: {chunk[:60]!r}")
        for start in starts:
            covered[start : start + len(chunk)] = True
    missing = len(text) - int(covered.sum())
    if missing > (1 - MIN_COVERED_SHARE) * len(text):
        raise WrongResult(f"{name}: {missing} of its {len(text)} characters are not stored")


def _occurrences(text: str, part: str) -> Iterator[int]:
    at = text.find(part)
    while at >= 0:
        yield at
        at = text.find(part, at + 1)


@dataclass(frozen=True)
class SentTexts:
    """The texts and requests that a run sent, and the smallest numbers that were necessary."""

    texts: int
    needed: int
    requests: int
    fewest: int


def check_sent(sent: list[str], sizes: list[int], needed: set[str], batch: int) -> SentTexts:
    """Compare the texts sent with the new ones. Raises WrongResult if a new one was not sent."""
    if lacking := needed - set(sent):
        raise WrongResult(f"{len(lacking)} texts that are new were not sent")
    return SentTexts(len(sent), len(needed), len(sizes), -(-len(needed) // batch))
