"""Jobs and replies as they pass between the caller and the threads of a pool."""

import pickle
from dataclasses import dataclass
from typing import Any

from ragctl.errors import RagctlError
from ragctl.workers.frames import END, ERROR, ITEM, Frame


@dataclass(frozen=True, slots=True)
class Ended:
    """The end of one job of `Pool.stream`; `error` is None if all its items were yielded."""

    error: RagctlError | None = None


@dataclass(frozen=True, slots=True)
class Job:
    """One job: what the caller gave, and the same pickled for the child."""

    argument: Any
    payload: bytes


@dataclass(frozen=True, slots=True)
class Reply:
    """One reply to a job: a frame of the child, or how the job ended without one."""

    argument: Any
    frame: Frame | Ended

    @property
    def last(self) -> bool:
        """Whether no other reply to this job follows."""
        return isinstance(self.frame, Ended) or self.frame[0] != ITEM

    def value(self) -> Any:
        """Return the result, the item, or Ended.

        It is unpickled here, in the caller's thread, so that an error is raised there.
        """
        if isinstance(self.frame, Ended):
            return self.frame
        kind, payload = self.frame
        value = pickle.loads(payload)  # noqa: S301 - from our own child
        return Ended(value) if kind in (END, ERROR) else value
