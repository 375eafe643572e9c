"""What an error means for the program: its exit code, and the line that says it."""

from dataclasses import dataclass

import typer

from ragctl.errors import Interrupted, RagctlError


@dataclass(frozen=True, slots=True)
class Ending:
    """`foreseen`: an error of ours, or the user's wish."""

    exit_code: int
    message: str
    foreseen: bool = True


def ending_of(error: BaseException) -> Ending:
    if isinstance(error, RagctlError):
        return Ending(error.exit_code, str(error))
    if isinstance(error, typer.Abort | KeyboardInterrupt):
        return Ending(Interrupted.exit_code, "interrupted; run again to go on from here")
    text = f"unexpected failure: {type(error).__name__}: {error}"
    return Ending(RagctlError.exit_code, text, foreseen=False)
