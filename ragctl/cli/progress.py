"""A progress bar on a terminal: files, tokens, their rate, and the time left."""

import time
from typing import TYPE_CHECKING, Any

from ragctl.index.report import Progress
from ragctl.text import counted

if TYPE_CHECKING:
    from ragctl.index.plan import Plan
    from ragctl.index.scan import Scan


class ProgressBar(Progress):
    """A tqdm bar over the files of a plan. Prints nothing unless `shown`."""

    def __init__(self, *, shown: bool) -> None:
        self._shown = shown
        self._bar: Any = None
        self._tokens = 0
        self._since = time.monotonic()

    def start(self, plan: "Plan", scanned: "Scan") -> None:
        """Show the bar, now that the number of files is known."""
        if self._shown and plan.work_items:
            from tqdm import tqdm

            self._bar = tqdm(
                total=len(plan.work_items), unit="doc", dynamic_ncols=True, leave=False
            )
            self._since = time.monotonic()

    def file(self, size: int) -> None:
        """Advance by one file."""
        if self._bar is not None:
            self._bar.update(1)

    def tokens(self, count: int) -> None:
        """Add `count` embedded tokens, and show their rate."""
        self._tokens += count
        if self._bar is not None:
            rate = self._tokens / max(time.monotonic() - self._since, 0.001)
            self._bar.set_postfix_str(
                f"{counted(self._tokens, 'token')}, {rate:,.0f}/s", refresh=False
            )

    def close(self) -> None:
        """Remove the bar."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None
