"""Examine several parts at once, each bounded in time, so that no broken one hides the others."""

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from ragctl.check.machine.lines import Line, failed
from ragctl.errors import RagctlError, StoreError


@dataclass(frozen=True, slots=True)
class Part:
    """Something to examine in a thread of its own.

    Attributes:
        subject, name: as in a Line, for the line about a part that fails or does not answer.
        examine: yields lines, and further parts.
        advice: what to do if it fails; errors of the store say it themselves.
        slots: limits how many parts that share it run at a time.
    """

    subject: str
    name: str
    examine: Callable[[], Iterator["Line | Part"]]
    advice: str | None = None
    slots: threading.Semaphore = field(default_factory=threading.Semaphore)


class _Task:
    """A part that is being examined, and what it has yielded so far."""

    def __init__(self, part: Part) -> None:
        self.part = part
        self.items: list[Line | _Task] = []
        self.began = False
        self.done = False


class Examination:
    """Examines parts for at most so many seconds.

    A thread cannot be ended: one that waits for a dead mount or a silent server is left behind,
    and ends with the process.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._changed = threading.Condition()
        self._pending = 0

    def run(self, parts: Sequence[Part]) -> tuple[Line, ...]:
        """Return the lines of all parts, in their order."""
        deadline = time.monotonic() + self._seconds
        tasks = [self._start(part) for part in parts]
        with self._changed:
            self._changed.wait_for(lambda: not self._pending, deadline - time.monotonic())
            return tuple(line for task in tasks for line in self._lines(task))

    def _start(self, part: Part) -> _Task:
        task = _Task(part)
        with self._changed:
            self._pending += 1
        threading.Thread(target=self._examine, args=(task,), daemon=True).start()
        return task

    def _examine(self, task: _Task) -> None:
        with task.part.slots:
            task.began = True
            try:
                for item in task.part.examine():
                    found = self._start(item) if isinstance(item, Part) else item
                    with self._changed:
                        task.items.append(found)
            except Exception as error:  # noqa: BLE001 - whatever is broken is one line
                with self._changed:
                    task.items.append(_failure(task.part, error))
        with self._changed:
            task.done = True
            self._pending -= 1
            self._changed.notify_all()

    def _lines(self, task: _Task) -> Iterator[Line]:
        for item in task.items:
            if isinstance(item, Line):
                yield item
            else:
                yield from self._lines(item)
        part = task.part
        if not task.done:
            waited = f"{self._seconds:g} s"
            text = (
                f"no answer within {waited}"
                if task.began
                else f"not examined within {waited}: others took all the time"
            )
            yield failed(part.subject, part.name, text, part.advice, code=StoreError.exit_code)


def _failure(part: Part, error: Exception) -> Line:
    if isinstance(error, RagctlError):
        text, code = str(error), error.exit_code
    elif isinstance(error, OSError):
        text, code = f"cannot be read: {error.strerror or error}", RagctlError.exit_code
    else:
        text, code = f"{type(error).__name__}: {error}", RagctlError.exit_code
    return failed(part.subject, part.name, text, part.advice, code=code)
