"""The command, in this process: what it prints and how it ends, without the start of another.

A start takes longer than most commands. What is about the process itself (a signal, a pipe
that breaks, a terminal, what is imported, its real exit code) starts one.
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
    *words: str, environ: Mapping[str, str], cwd: Path, data: bytes = b""
) -> "subprocess.CompletedProcess[str]":
    """Like subprocess.run of the command with `data` on its standard input, no terminal."""
    out, err = _pipe(), _pipe()
    code: object = 0
    with _as_a_process(environ, cwd):
        sys.stdin, sys.stdout, sys.stderr = _pipe(data), out, err
        try:
            main(list(words))
        except SystemExit as ended:
            code = ended.code
    assert isinstance(code, int)
    return subprocess.CompletedProcess(["ragctl", *words], code, _text(out), _text(err))


def _pipe(data: bytes = b"") -> io.TextIOWrapper:
    return io.TextIOWrapper(io.BytesIO(data), encoding="utf-8", write_through=True)


def _text(stream: io.TextIOWrapper) -> str:
    kept = stream.buffer
    assert isinstance(kept, io.BytesIO)
    return kept.getvalue().decode("utf-8")


@contextlib.contextmanager
def _as_a_process(environ: Mapping[str, str], cwd: Path) -> Iterator[None]:
    """What a process has of its own and the command changes is as it was, before and after."""
    streams, here, variables = (sys.stdin, sys.stdout, sys.stderr), Path.cwd(), dict(os.environ)
    root = logging.getLogger()
    handlers, disabled = root.handlers[:], root.manager.disable
    with warnings.catch_warnings():
        warnings.resetwarnings()  # the tests make errors of them; a user is shown a line
        for kind in (DeprecationWarning, PendingDeprecationWarning, ImportWarning, ResourceWarning):
            warnings.simplefilter("ignore", kind)
        root.handlers[:] = []
        os.chdir(cwd)
        _set(environ)
        try:
            yield
        finally:
            _set(variables)
            os.chdir(here)
            root.handlers[:] = handlers
            logging.disable(disabled)
            console.log_as("text")
            sys.stdin, sys.stdout, sys.stderr = streams


def _set(environ: Mapping[str, str]) -> None:
    os.environ.clear()
    os.environ.update(environ)
