"""The exit code and the message of an error that ends the program."""

import re
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import typer

from ragctl.errors import Interrupted, OptionError, RagctlError

_EXTRA_ARGUMENT = re.compile(r"^Got unexpected extra argument\(s\) \((\S+)\)$")
_UNKNOWN_COLLECTION_OPTION = re.compile(r"^No such option: (?:-c|--collection)\b")


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
    hint = _collection_hint(message, context) if context else ""
    return f"{message}{hint} (see {command} --help)"


def _collection_hint(message: str, context: Any) -> str:
    """Return how the command names a collection, if the user wrote it the other way; or ""."""
    parameters = context.command.get_params(context)
    if (extra := _EXTRA_ARGUMENT.search(message)) and any("-c" in each.opts for each in parameters):
        return f"; did you mean -c {extra[1]}?"
    if _UNKNOWN_COLLECTION_OPTION.search(message):
        for each in parameters:
            if each.param_type_name == "argument" and str(each.metavar).startswith("NAME"):
                return f"; the collection is named without it: {context.command_path} NAME"
    return ""


def _similar_option(unknown: str, possible: list[str]) -> str:
    """Return a suggestion; "" if none of the possible options is similar without its dashes."""
    import difflib

    names = {option.lstrip("-"): option for option in possible}
    close = difflib.get_close_matches(unknown.lstrip("-"), names, n=1)
    return f"; did you mean {names[close[0]]}?" if close else ""
