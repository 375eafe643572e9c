"""A time limit on a blocking call."""

import threading
from collections.abc import Callable
from queue import Empty, SimpleQueue
from typing import TypeVar

T = TypeVar("T")


def within(seconds: float, work: Callable[[], T]) -> T:
    """Run `work` in a daemon thread and return its result, or raise its exception.

    Raises TimeoutError after `seconds`; the thread then runs on and its result is dropped.
    HTTP clients need this: their own timeouts restart with every byte received, and bound
    neither the name lookup nor an answer that trickles in.

    The exception is raised without its traceback and context, because the frames of `work`
    may hold an API key.
    """
    outcome: SimpleQueue[tuple[T | None, BaseException | None]] = SimpleQueue()

    def run() -> None:
        try:
            outcome.put((work(), None))
        except BaseException as error:  # noqa: BLE001 - raised again by the waiting thread
            error.__context__ = error.__cause__ = None
            outcome.put((None, error.with_traceback(None)))

    threading.Thread(target=run, name="request", daemon=True).start()
    try:
        result, error = outcome.get(timeout=seconds)
    except Empty:
        raise TimeoutError(f"no result within {seconds:g} s") from None
    if error is not None:
        raise error
    return result  # type: ignore[return-value] # None only if `work` returned it
