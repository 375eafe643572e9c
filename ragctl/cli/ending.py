"""The exit code and the message of an error that ends the program."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import typer

from ragctl.errors import Interrupted, OptionError, RagctlError


@dataclass(frozen=True, slots=True)
class Ending:
    """The exit code and message of an error. `expected`: it is one of ours, or Ctrl-C."""

    exit_code: int
    message: str
    expected: bool = True


@contextmanager
def sigterm_as_interrupt() -> Iterator[None]:
    """Let SIGTERM raise KeyboardInterrupt, so that temporary files are removed."""
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def ending_of(error: BaseException) -> Ending:
    """Return how `error` ends the program."""
    if isinstance(error, OptionError):  # the library names parameters, the command its flags
        flag = f"--{error.option.replace('_', '-')}"
        return Ending(error.exit_code, f"{flag}: {error.problem}")
    if isinstance(error, RagctlError):
        return Ending(error.exit_code, str(error))
    if isinstance(error, typer.Abort | KeyboardInterrupt):
        return Ending(Interrupted.exit_code, "interrupted")
    text = f"unexpected failure: {type(error).__name__}: {error}"
    return Ending(RagctlError.exit_code, text, expected=False)


def usage_problem(error: typer.TyperException) -> str:
    """Return what is wrong in a command line, and the command whose help says more.

    Returns "" if the error has no message.
    """
    message = error.format_message().strip().rstrip(".")
    if not message:
        return ""
    # Attributes of some of typer's errors; it does not export their classes.
    possible: list[str] | None = getattr(error, "possibilities", None)
    if possible is not None:
        message = f"{error.args[0]}{_similar_option(getattr(error, 'option_name', ''), possible)}"
    context = getattr(error, "ctx", None)
    command = context.command_path if context else "ragctl"
    return f"{message} (see {command} --help)"


def _similar_option(unknown: str, possible: list[str]) -> str:
    """Return a suggestion; "" if none of the possible options is similar without its dashes."""
    import difflib

    names = {option.lstrip("-"): option for option in possible}
    close = difflib.get_close_matches(unknown.lstrip("-"), names, n=1)
    return f"; did you mean {names[close[0]]}?" if close else ""
