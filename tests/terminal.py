"""Terminals in tests: what is on the screen while a command runs, and when it has ended.

`run` starts the command in a process on a real pseudo-terminal; `render` runs it in this process,
which is faster and shows the same, if the process itself (signals, size, exit code) is not the
fact. Both return a `Screen`, and both end by printing the next prompt, which takes a line:

    shown = run("search", "pump", environ=environ, cwd=folder, columns=80, rows=24)
    assert shown.code == 0
    assert "pump.md" in shown.lines[0]

For a dialogue, or for what is shown meanwhile, use `Terminal`:

    with Terminal("init", environ=environ, cwd=folder) as terminal:
        terminal.wait_for("Folder:")
        terminal.type("docs\n")
        assert terminal.finish().code == 0
"""

import os
import pty
import select
import subprocess
import sys
import termios
from collections.abc import Mapping
from pathlib import Path

import pyte
from pyte.modes import LNM

from tests.command import call
from tests.waiting import PROCESS_SECONDS, until

RAGCTL = (sys.executable, "-m", "ragctl")
PROMPT = "$ "
MAX_HISTORY = 10_000  # lines that can be scrolled back to
SIZES = ((80, 24), (100, 40), (60, 20))  # columns, rows

# Of the machine that runs the tests: a test sets those that it is about.
_NOT_INHERITED = frozenset(
    {
        *("COLUMNS", "LINES", "TERM", "COLORTERM", "TERMINAL_WIDTH"),
        *("NO_COLOR", "FORCE_COLOR", "CLICOLOR", "CLICOLOR_FORCE", "PY_COLORS", "GITHUB_ACTIONS"),
        *("TTY_COMPATIBLE", "TTY_INTERACTIVE"),
    }
)


class Screen:
    """The screen of a terminal, and the exit code of the command that has ended on it."""

    def __init__(self, columns: int, rows: int) -> None:
        self.code: int | None = None
        self.raw = b""  # all that the command has written
        self._screen = pyte.HistoryScreen(columns, rows, history=MAX_HISTORY)
        self._screen.set_mode(LNM)
        self._stream = pyte.ByteStream(self._screen)

    def feed(self, data: bytes) -> None:
        """Show what was written to the terminal."""
        self.raw += data
        self._stream.feed(data)

    @property
    def lines(self) -> list[str]:
        """The lines on the screen, from its top, without blanks and empty lines at the ends."""
        lines = [line.rstrip() for line in self._screen.display]
        while lines and not lines[-1]:
            lines.pop()
        return lines

    @property
    def text(self) -> str:
        """The lines on the screen."""
        return "\n".join(self.lines)

    @property
    def scrolled(self) -> list[str]:
        """The lines that have left the screen at its top."""
        columns = range(self._screen.columns)
        return [
            "".join(row[column].data for column in columns).rstrip()
            for row in self._screen.history.top
        ]

    @property
    def all_text(self) -> str:
        """The lines that have left the screen, and those on it."""
        return "\n".join([*self.scrolled, *self.lines])

    @property
    def cursor(self) -> tuple[int, int]:
        """Column and row of the cursor, from 0."""
        return self._screen.cursor.x, self._screen.cursor.y

    def styled(self) -> list[str]:
        """Return the runs of characters on the screen that are coloured, bold or reversed."""
        runs, run = [], ""
        for row in range(self._screen.lines):
            for column in range(self._screen.columns):
                cell = self._screen.buffer[row][column]
                if cell.fg != "default" or cell.bg != "default" or cell.bold or cell.reverse:
                    run += cell.data
                elif run:
                    runs.append(run)
                    run = ""
        return [text for text in (*runs, run) if text]


class Terminal:
    """A command on a pseudo-terminal. Its variables are `environ`, without those of a terminal.

    The terminal has no COLUMNS and LINES, as in a shell; `variables` adds some. `command` replaces
    ragctl, for a shell for example.
    """

    def __init__(
        self,
        *words: str,
        environ: Mapping[str, str],
        cwd: Path,
        columns: int = 80,
        rows: int = 24,
        command: tuple[str, ...] = RAGCTL,
        **variables: str,
    ) -> None:
        self.screen = Screen(columns, rows)
        self._own_end, end = pty.openpty()
        termios.tcsetwinsize(end, (rows, columns))
        try:
            self.process = subprocess.Popen(
                [*command, *words],
                env=_terminal_variables(environ, variables),
                cwd=cwd,
                stdin=end,
                stdout=end,
                stderr=end,
                start_new_session=True,
            )
        finally:
            os.close(end)

    def __enter__(self) -> "Terminal":
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self._own_end)

    def type(self, keys: str) -> None:
        """Type keys; "\\n" is the Enter key, "\\x03" is Ctrl-C."""
        os.write(self._own_end, keys.encode())

    def wait_for(self, text: str) -> Screen:
        """Wait until a text is on the screen. Fail if the command ends without it."""

        def shown() -> bool:
            alive = self._read()
            found = text in self.screen.text
            assert alive or found, f"{text!r} was not shown:\n{self.screen.all_text}"
            return found

        until(shown)
        return self.screen

    def finish(self) -> Screen:
        """Wait for the end of the command, and return the screen with the next prompt."""
        until(lambda: not self._read())
        self.screen.code = self.process.wait(PROCESS_SECONDS)
        self.screen.feed(PROMPT.encode())
        return self.screen

    def _read(self) -> bool:
        """Show what was written since; return False once the command has ended and all is shown."""
        ended = self.process.poll() is not None  # before the read: nothing is written after it
        if not select.select([self._own_end], [], [], 0.05)[0]:
            return not ended
        try:
            data = os.read(self._own_end, 65536)
        except OSError:  # nobody has the other end open
            return False
        self.screen.feed(data)
        return bool(data)


def run(
    *words: str,
    environ: Mapping[str, str],
    cwd: Path,
    columns: int = 80,
    rows: int = 24,
    command: tuple[str, ...] = RAGCTL,
    **variables: str,
) -> Screen:
    """Run a command on a pseudo-terminal to its end. See `Terminal` for the arguments."""
    with Terminal(
        *words,
        environ=environ,
        cwd=cwd,
        columns=columns,
        rows=rows,
        command=command,
        **variables,
    ) as terminal:
        return terminal.finish()


def render(
    *words: str,
    environ: Mapping[str, str],
    cwd: Path,
    columns: int = 80,
    rows: int = 24,
    **variables: str,
) -> Screen:
    """Run ragctl in this process, with streams that say that they are a terminal of this size.

    Its standard input is no terminal, so it asks nothing.
    """
    size = {"COLUMNS": str(columns), "LINES": str(rows)}
    done = call(
        *words,
        environ={**_terminal_variables(environ, variables), **size},
        cwd=cwd,
        terminal=True,
    )
    screen = Screen(columns, rows)
    screen.code = done.returncode
    screen.feed(f"{done.stdout}{PROMPT}".encode())
    return screen


def _terminal_variables(environ: Mapping[str, str], variables: Mapping[str, str]) -> dict[str, str]:
    inherited = {name: value for name, value in environ.items() if name not in _NOT_INHERITED}
    return {**inherited, "TERM": "xterm-256color", **variables}
