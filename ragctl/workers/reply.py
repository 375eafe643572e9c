"""A child's answers as the caller's thread meets them."""

import pickle
from dataclasses import dataclass
from typing import Any

from ragctl.errors import RagctlError
from ragctl.workers.frames import END, ERROR, ITEM, Frame


@dataclass(frozen=True, slots=True)
class Ended:
    """The end of one job of `Pool.stream`; `error` is None where every item came."""

    error: RagctlError | None = None


@dataclass(frozen=True, slots=True)
class Job:
    job: Any
    payload: bytes


@dataclass(frozen=True, slots=True)
class Reply:
    """One answer to a job: a child's frame, still pickled, or how the job ended without one."""

    job: Any
    frame: Frame | Ended

    @property
    def last(self) -> bool:
        return isinstance(self.frame, Ended) or self.frame[0] != ITEM

    def value(self) -> Any:
        """Opened in the caller's thread, so that what does not unpickle is raised there."""
        if isinstance(self.frame, Ended):
            return self.frame
        kind, payload = self.frame
        value = pickle.loads(payload)  # noqa: S301 - from our own child
        return Ended(value) if kind in (END, ERROR) else value
