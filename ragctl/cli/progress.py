"""A progress bar on a terminal: the stage, what is done of how much, tokens, and the clock."""

import contextlib
import os
import sys
import threading
import time
from collections.abc import Iterator
from types import TracebackType

from ragctl.cli import console
from ragctl.progress import Progress
from ragctl.text import counted

FIRST_SECONDS = 0.5
"""Work that takes less shows no bar."""
INTERVAL_SECONDS = 1.0
MIN_BAR_COLUMNS = 10
"""Numbers are left out to draw a bar of this width; without room for it there is none."""


class ProgressBar(Progress):
    """One line at the end of the terminal, drawn once a second by a thread of its own.

    So the clock also runs while the work waits, and counting costs nothing. Prints nothing unless
    `shown` and standard error is a terminal. Close it, or use it as a context manager.
    """

    def __init__(self, *, shown: bool = True) -> None:
        self._stage, self._unit = "", ""
        self._done = 0
        self._total: int | None = None
        self._tokens = 0
        self._since = self._part_since = time.monotonic()
        self._drawn = 0  # characters on the terminal
        self._closed = threading.Event()
        self._lock = threading.RLock()  # reentrant: a signal handler may print a line
        self._thread: threading.Thread | None = None
        terminal = sys.stderr.isatty() and os.environ.get("TERM") != "dumb"
        self._shown = shown and terminal and not console.logs_json()

    def begin(self, stage: str, unit: str = "", total: int | None = None) -> None:
        """See Progress.begin."""
        self._stage, self._unit, self._done, self._total = stage, unit, 0, total
        self._part_since = time.monotonic()
        if self._shown and self._thread is None:
            console.set_bar(self)
            self._thread = threading.Thread(target=self._draw_regularly, daemon=True)
            self._thread.start()

    def stage(self, name: str) -> str:
        """See Progress.stage."""
        before, self._stage = self._stage, name
        return before

    def advance(self, count: int = 1) -> None:
        """See Progress.advance."""
        self._done += count

    def grow(self, count: int) -> None:
        """See Progress.grow."""
        self._total = (self._total or 0) + count

    def tokens(self, count: int) -> None:
        """See Progress.tokens."""
        self._tokens += count

    def hide(self) -> None:
        """Remove the bar from the terminal, to print a line. It is drawn again within a second."""
        with self._lock:
            if self._drawn:
                self._write("\r" + " " * self._drawn + "\r")
                self._drawn = 0

    def close(self) -> None:
        """Remove the bar for good."""
        self._closed.set()
        if self._thread is not None:
            self._thread.join()
            self._thread = None
            console.set_bar(None)
            self.hide()

    def __enter__(self) -> "ProgressBar":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _draw_regularly(self) -> None:
        pause = FIRST_SECONDS
        while not self._closed.wait(pause):
            line = self.line(console.columns_of(sys.stderr))
            with self._lock:
                gap = " " * max(0, self._drawn - len(line))
                self._write(f"\r{line}{gap}")
                self._drawn = len(line)
            pause = INTERVAL_SECONDS

    def _write(self, text: str) -> None:
        # The terminal may be gone, or the stream in use by the code that a signal interrupted.
        with contextlib.suppress(OSError, ValueError, RuntimeError):
            sys.stderr.write(text)
            sys.stderr.flush()

    def line(self, columns: int) -> str:
        """Return the bar as it is now, for a terminal of so many columns."""
        from tqdm import tqdm

        now, width = time.monotonic(), columns - 1
        clock = tqdm.format_interval(now - self._since)
        done, total = self._done, self._total
        if not total:
            count = f": {counted(done, self._unit)}" if self._unit and done else ""
            return f"{self._stage}{count} [{clock}]"[:width]

        def meter(form: str, columns: int | None = None) -> str:
            seconds = now - self._part_since
            line: str = tqdm.format_meter(
                min(done, total), total, seconds, columns, f"{self._stage}:", bar_format=form
            )
            return line

        start, end = "{desc} {percentage:3.0f}%", f"[{clock}, {{remaining}} left]"
        documents = f"{done:,}/{counted(total, self._unit)}"
        for numbers in (*self._with_tokens(documents, now - self._since), documents):
            if len(meter(f"{start}|| {numbers} {end}")) + MIN_BAR_COLUMNS <= width:
                return meter(f"{start}|{{bar}}| {numbers} {end}", width)
        without_bar = meter(f"{start} {documents} {end}")
        if len(without_bar) > width:
            without_bar = meter(f"{start} {done:,}/{total:,} [{clock}]")
        return without_bar[:width]

    def _with_tokens(self, documents: str, seconds: float) -> Iterator[str]:
        """Yield the numbers with tokens and their rate, then without the rate."""
        if self._tokens:
            tokens = f"{documents}, {counted(self._tokens, 'token')}"
            yield f"{tokens} ({self._tokens / max(seconds, 0.001):,.0f}/s)"
            yield tokens
