"""Canary texts within a job: they show which model works behind a host's batch API.

They are spread over the job, so that one that ended early has some too.
"""

import numpy as np

from ragctl.batch.service import Result
from ragctl.embedding.canary import DOCUMENTS, Canary

EVERY = 1_000
"""One canary text for so many texts; a job has at least one of each."""
_PREFIX = "canary-"


def canary_lines(texts: int) -> dict[int, tuple[str, str]]:
    """Return the canary texts of a job: key and text, by the position of the text they precede."""
    count = max(len(DOCUMENTS), texts // EVERY)
    places = np.linspace(0, max(texts - 1, 0), count).astype(int)
    lines: dict[int, tuple[str, str]] = {}
    for number in range(count):
        kind = number % len(DOCUMENTS)
        place = int(places[number])
        while place in lines:
            place += 1
        lines[place] = (f"{_PREFIX}{kind}-{number}", DOCUMENTS[kind])
    return lines


def is_canary(key: str) -> bool:
    """Return whether a result is that of a canary text."""
    return key.startswith(_PREFIX)


class CanaryCheck:
    """Compares a job's canary texts with the collection's. Give it each of their results."""

    def __init__(self, canary: Canary | None) -> None:
        """`canary`: the collection's; without one nothing is compared."""
        self._canary = canary
        self._lowest: float | None = None
        self._error: str | None = None

    def add(self, result: Result) -> None:
        """Take the result of a canary text."""
        if result.vector is None:
            self._error = self._error or result.error
            return
        if self._canary is None:
            return
        kind = result.key.removeprefix(_PREFIX).partition("-")[0]
        own = self._canary.documents[int(kind)] if kind in ("0", "1", "2") else None
        if own is None:
            return
        same = own.shape == result.vector.shape
        cosine = float(own.astype(np.float64) @ result.vector) if same else 0.0
        self._lowest = cosine if self._lowest is None else min(self._lowest, cosine)

    def problem(self, threshold: float) -> str | None:
        """Return why the job's vectors may not be used, or None."""
        if self._canary is None:
            return None
        if self._lowest is None:
            return f"no canary text has a vector{f': {self._error}' if self._error else ''}"
        if not self._lowest >= threshold:
            return (
                f"the canary texts have a cosine of {self._lowest:.4f} with those of this "
                f"collection, and {threshold:g} is the minimum: another model works there"
            )
        return None
