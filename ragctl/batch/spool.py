"""Texts to be sent and results of jobs, in a temporary database on disk.

SQLite removes its file when it is opened, so a killed run leaves nothing behind.
"""

import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from ragctl.embedding.base import Vectors

MAX_NAMES = 500
"""Hashes in one query."""


class SpooledText(NamedTuple):
    """A text that waits to be sent. `tokens`: as o200k_base counts them."""

    hash: str
    text: str
    tokens: int


class Spool:
    """The texts and results of one run."""

    def __init__(self) -> None:
        self._database = sqlite3.connect("", isolation_level=None)  # "": a temporary file
        self._database.executescript(
            "PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF; PRAGMA cache_size = -8192;"
            "CREATE TABLE texts (hash TEXT PRIMARY KEY, text TEXT, tokens INTEGER);"
            "CREATE TABLE results (hash TEXT PRIMARY KEY, vector BLOB, error TEXT) WITHOUT ROWID;"
        )

    def add_text(self, text: SpooledText) -> None:
        """Add a text, unless its hash is there."""
        self._database.execute("INSERT OR IGNORE INTO texts VALUES (?, ?, ?)", text)

    def texts(self) -> Iterator[SpooledText]:
        """Yield all texts in the order in which they were added."""
        rows = self._database.execute("SELECT hash, text, tokens FROM texts ORDER BY rowid")
        yield from map(SpooledText._make, rows)

    def known_texts(self, hashes: Iterable[str]) -> set[str]:
        """Return those of the hashes whose texts were added."""
        return {row[0] for row in self._select("SELECT hash FROM texts", hashes)}

    def drop_texts(self, hashes: Sequence[str]) -> None:
        """Remove texts."""
        self._database.executemany("DELETE FROM texts WHERE hash = ?", ((h,) for h in hashes))

    @property
    def text_count(self) -> int:
        """The number of texts."""
        (count,) = self._database.execute("SELECT count(*) FROM texts").fetchone()
        return int(count)

    def add_result(self, text_hash: str, vector: Vectors | None, error: str | None) -> None:
        """Add a result. Of two for one hash, a vector is kept before an error."""
        kept = "REPLACE" if vector is not None else "IGNORE"
        blob = None if vector is None else vector.astype("<f4").tobytes()
        self._database.execute(
            f"INSERT OR {kept} INTO results VALUES (?, ?, ?)",  # noqa: S608 - one of two words
            (text_hash, blob, error),
        )

    def results(self, hashes: Iterable[str]) -> dict[str, Vectors | str]:
        """Return the vector, or the error, of each hash that has a result."""
        found: dict[str, Vectors | str] = {}
        for name, blob, error in self._select("SELECT hash, vector, error FROM results", hashes):
            found[name] = error if blob is None else np.frombuffer(blob, "<f4").astype(np.float32)
        return found

    def known_results(self, hashes: Iterable[str]) -> set[str]:
        """Return those of the hashes that have a result."""
        return {row[0] for row in self._select("SELECT hash FROM results", hashes)}

    def _select(self, query: str, hashes: Iterable[str]) -> Iterator[tuple[Any, ...]]:
        names = list(hashes)
        for first in range(0, len(names), MAX_NAMES):
            portion = names[first : first + MAX_NAMES]
            marks = ",".join("?" * len(portion))
            yield from self._database.execute(f"{query} WHERE hash IN ({marks})", portion)

    def close(self) -> None:
        """Remove everything."""
        self._database.close()
