"""A run in a process of its own, which a test kills, suspends, resumes and lets write.

python -m tests.writer_process URL STATE SECONDS    # prints "held" when it has the lock
Then each line of standard input is a number: a point with it is written, and "written"
printed, or the error's class and text, and the process ends with its exit code.
"""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import IO, Any

from ragctl.errors import RagctlError
from ragctl.stores.base import Batch
from ragctl.stores.server import ServerStore


class WriterProcess:
    """The process, seen from a test."""

    def __init__(self, url: str, state: Path, seconds: float) -> None:
        command = [sys.executable, "-m", "tests.writer_process", url, str(state), str(seconds)]
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert self.answer() == "held"

    def answer(self) -> str:
        return str(_pipe(self.process.stdout).readline()).strip()

    def write(self, number: int) -> str:
        """Write a point and return the answer."""
        stdin = _pipe(self.process.stdin)
        stdin.write(f"{number}\n")
        stdin.flush()
        return self.answer()

    def end(self) -> int:
        """End the process normally and return its exit code."""
        _pipe(self.process.stdin).close()
        return self.process.wait(30)


@contextmanager
def writing(url: str, state: Path, seconds: float) -> Iterator[WriterProcess]:
    writer = WriterProcess(url, state, seconds)
    try:
        yield writer
    finally:
        with writer.process:  # its pipes too
            writer.process.kill()


def _pipe(pipe: IO[Any] | None) -> IO[Any]:
    assert pipe is not None
    return pipe


def main(url: str, state: str, seconds: str) -> int:
    from tests.store_contract import point

    with closing(ServerStore(url, state=Path(state), lease=float(seconds))) as store:
        try:
            with store.lock("docs"):
                print("held", flush=True)
                docs = store.open("docs")
                assert docs is not None
                for line in sys.stdin:
                    docs.apply(Batch(upserts=[point(int(line))]))
                    print("written", flush=True)
        except RagctlError as error:
            print(f"{type(error).__name__}: {error}", flush=True)
            return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
