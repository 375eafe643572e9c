"""A signal handler can print while another line is being printed."""

import io
import os
import signal
import sys
from pathlib import Path

import pytest

from ragctl.cli import console


class InterruptedFile(io.FileIO):
    """A file whose first write is interrupted by a signal."""

    writes = 0

    def write(self, data: object) -> int:
        self.writes += 1
        if self.writes == 1:
            signal.raise_signal(signal.SIGINT)
        return super().write(data)  # type: ignore[arg-type]


def test_a_signal_handler_can_print(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = signal.signal(signal.SIGINT, lambda *_: console.warn("from the handler"))
    path = tmp_path / "log"
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    try:
        with io.TextIOWrapper(io.BufferedWriter(InterruptedFile(descriptor, "w"))) as log:
            monkeypatch.setattr(sys, "stderr", log)
            console.warn("a line")
            console.warn("another")
    finally:
        signal.signal(signal.SIGINT, before)
    assert sorted(path.read_text().split("\n")) == ["", "a line", "another", "from the handler"]
