"""Run a command in this process, and return its output and exit code.

Starting a process takes longer than most commands. Tests of the process itself (signals, broken
pipes, terminals, imports, the real exit code) start one.
"""

import contextlib
import io
import logging
import os
import subprocess
import sys
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path

from ragctl.cli import console
from ragctl.cli.main import main


def call(
    *words: str,
    environ: Mapping[str, str],
    cwd: Path,
    data: bytes = b"",
    terminal: bool = False,
) -> "subprocess.CompletedProcess[str]":
    """Run the command like subprocess.run, with `data` on standard input.

    `terminal`: its output says that it is one, and `stdout` has what is written to both streams.
    `tests/terminal.py` shows it on a screen.
    """
    out, err = _pipe(), _pipe()
    if terminal:
        out = err = _TerminalStream(io.BytesIO(), encoding="utf-8", write_through=True)
    code: object = 0
    with _isolated_process_state(environ, cwd):
        sys.stdin, sys.stdout, sys.stderr = _pipe(data), out, err
        try:
            main(list(words))
        except SystemExit as exit_request:
            code = exit_request.code
    assert isinstance(code, int)
    errors = "" if terminal else _text(err)
    return subprocess.CompletedProcess(["ragctl", *words], code, _text(out), errors)


class _TerminalStream(io.TextIOWrapper):
    def isatty(self) -> bool:
        return True


def _pipe(data: bytes = b"") -> io.TextIOWrapper:
    return io.TextIOWrapper(io.BytesIO(data), encoding="utf-8", write_through=True)


def _text(stream: io.TextIOWrapper) -> str:
    buffer = stream.buffer
    assert isinstance(buffer, io.BytesIO)
    return buffer.getvalue().decode("utf-8")


@contextlib.contextmanager
def _isolated_process_state(environ: Mapping[str, str], cwd: Path) -> Iterator[None]:
    """Set up the process state that a command changes, and restore it afterwards."""
    streams = (sys.stdin, sys.stdout, sys.stderr)
    working_folder, variables = Path.cwd(), dict(os.environ)
    root = logging.getLogger()
    handlers, disabled = root.handlers[:], root.manager.disable
    with warnings.catch_warnings():
        warnings.resetwarnings()  # pytest turns warnings into errors; a user sees a line
        for kind in (DeprecationWarning, PendingDeprecationWarning, ImportWarning, ResourceWarning):
            warnings.simplefilter("ignore", kind)
        root.handlers[:] = []
        os.chdir(cwd)
        _set(environ)
        try:
            yield
        finally:
            _set(variables)
            os.chdir(working_folder)
            root.handlers[:] = handlers
            logging.disable(disabled)
            console.log_as("text")
            sys.stdin, sys.stdout, sys.stderr = streams


def _set(environ: Mapping[str, str]) -> None:
    os.environ.clear()
    os.environ.update(environ)
