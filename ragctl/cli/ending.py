"""What an error means for the program: its exit code, and the line that says it."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import typer

from ragctl.errors import Interrupted, OptionError, RagctlError


@dataclass(frozen=True, slots=True)
class Ending:
    """`foreseen`: an error of ours, or the user's wish."""

    exit_code: int
    message: str
    foreseen: bool = True


@contextmanager
def ended_cleanly() -> Iterator[None]:
    """SIGTERM ends it as Ctrl-C does, so that what is temporary is removed."""
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def ending_of(error: BaseException) -> Ending:
    if isinstance(error, OptionError):  # the library names parameters, the command its flags
        flag = f"--{error.option.replace('_', '-')}"
        return Ending(error.exit_code, f"{flag}: {error.problem}")
    if isinstance(error, RagctlError):
        return Ending(error.exit_code, str(error))
    if isinstance(error, typer.Abort | KeyboardInterrupt):
        return Ending(Interrupted.exit_code, "interrupted; run again to go on from here")
    text = f"unexpected failure: {type(error).__name__}: {error}"
    return Ending(RagctlError.exit_code, text, foreseen=False)
