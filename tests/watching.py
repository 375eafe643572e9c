"""A process of `ragctl watch`, for tests."""

import json
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from ragctl.stores import open_store
from tests.waiting import PROCESS_SECONDS, until, within

OUTCOME_SECONDS = 10.0


class Watching:
    """`ragctl watch` over folders of `root`, with a store there. Ends with the `with` block."""

    def __init__(
        self,
        root: Path,
        *options: str,
        sources: tuple[str, ...] = ("docs",),
        more: str = "",
        environ: Mapping[str, str],
    ) -> None:
        self.root = root
        self.pipeline = root / "watched.toml"
        tables = "".join(f"[[sources]]\npath = {str(root / each)!r}\n" for each in sources)
        head, _, rest = more.partition("[")
        self.pipeline.write_text(
            f'store = {str(root / "store")!r}\ncollection = "docs"\n{head}'
            f'bm25.languages = ["en"]\nparsing.workers = 1\n{tables}' + (f"[{rest}" if rest else "")
        )
        self._options = options
        self._environ = dict(environ)
        self._lines: queue.SimpleQueue[str] = queue.SimpleQueue()
        self.errors: list[str] = []

    def __enter__(self) -> Self:
        self.process = subprocess.Popen(
            [
                *(sys.executable, "-m", "ragctl", "watch", str(self.pipeline), "--json"),
                *self._options,
            ],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=self.root,
            env=self._environ,
        )
        self._threads = [
            threading.Thread(target=self._read_outcomes),
            threading.Thread(target=self._read_errors),
        ]
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.process.kill()
        self.process.wait()
        for thread in self._threads:
            thread.join()
        for stream in (self.process.stdout, self.process.stderr):
            assert stream is not None
            stream.close()

    def outcome(self) -> dict[str, Any]:
        """Return the next outcome that it prints."""
        line = self._lines.get(timeout=within(OUTCOME_SECONDS))
        assert line, f"it has ended: {self.errors}"
        body = json.loads(line)
        assert isinstance(body, dict)
        return body

    def is_silent(self) -> bool:
        """Return whether it has printed no further outcome."""
        return self._lines.empty()

    def says(self, text: str) -> None:
        """Wait for a text on standard error."""
        until(lambda: any(text in line for line in self.errors), within(OUTCOME_SECONDS))

    def end(self, number: int = signal.SIGTERM) -> int:
        """Send a signal, and return the exit code."""
        self.process.send_signal(number)
        return self.process.wait(PROCESS_SECONDS)

    def write(self, path: str, text: str) -> Path:
        """Write a file below the root."""
        file = self.root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        return file

    def documents(self) -> set[str]:
        """Return the names of the documents in the collection."""
        with closing(open_store(str(self.root / "store"), environ={})) as store:
            collection = store.open("docs")
            assert collection is not None
            with closing(collection):
                return set(collection.facet("source"))

    def _read_outcomes(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self._lines.put(line)
        self._lines.put("")

    def _read_errors(self) -> None:
        assert self.process.stderr is not None
        self.errors.extend(iter(self.process.stderr.readline, ""))


def counts(outcome: Mapping[str, Any]) -> dict[str, int]:
    """Return the document counts of an outcome that are not zero."""
    return {name: count for name, count in outcome["documents"].items() if count}
