"""Watching: seconds from saving a file until it is found.

RAGCTL_BENCHMARK_WATCHED: number of small documents in an embedded store, 100,000 if it is not set.
RAGCTL_BENCHMARK_WATCH_FOLDER: keep the documents and the collection there, and use them again.
"""

import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from benchmarks.measure import WrongResult, spread
from benchmarks.table import Section, versions
from ragctl import Searcher, open_collection

_RAGCTL = str(Path(sys.executable).with_name("ragctl"))
FILES_PER_FOLDER = 100
WORDS = 40
PAUSE_SECONDS = 2.0  # between two changes: the engine has closed its files, as usual by then
SEARCH_AFTER = 0.5
HEADER = ("change", "reported, s", "found, s")


def run(runs: int) -> Section:
    count = int(os.environ.get("RAGCTL_BENCHMARK_WATCHED", "100000"))
    kept = os.environ.get("RAGCTL_BENCHMARK_WATCH_FOLDER")
    with ExitStack() as stack:
        root = Path(
            kept or stack.enter_context(tempfile.TemporaryDirectory(prefix="ragctl-benchmark-"))
        )
        if not (root / "docs").exists():
            _write_files(root / "docs", count)
        pipeline = root / "watched.toml"
        pipeline.write_text(
            f'store = "{root / "store"}"\ncollection = "docs"\n[[sources]]\n'
            f'path = "{root / "docs"}"\n[bm25]\nlanguages = ["en"]\n'
        )
        process = stack.enter_context(
            subprocess.Popen(
                [_RAGCTL, "watch", str(pipeline), "--json", "--every", "600"],
                stdout=subprocess.PIPE,
                text=True,
            )
        )
        stack.callback(process.terminate)
        first = _outcome(process)["documents"]
        if first["added"] + first["unchanged"] != count:
            raise WrongResult(f"{first} of {count} files")
        rows = _rows(process, root, runs)
    return Section(
        HEADER,
        rows,
        before=[
            f"{count:,} generated documents of {WORDS} words in folders of {FILES_PER_FOLDER}, the "
            f"built-in model, an embedded store; {runs} changes of each kind, {PAUSE_SECONDS:g} s "
            "apart. Reported: from the change until `ragctl watch` has printed its outcome, while "
            "nobody searches. Found: until another process, which searches from "
            f"{SEARCH_AFTER:g} s after the change on without a pause, has got the new answer; the "
            "two processes take turns at the engine's files."
        ],
        versions=versions("qdrant-edge-py", "watchfiles"),
    )


def _write_files(folder: Path, count: int) -> None:
    dice = random.Random(1)
    words = [f"word{number}" for number in range(5_000)]
    for number in range(count):
        if number % FILES_PER_FOLDER == 0:
            (folder / f"{number // FILES_PER_FOLDER:05}").mkdir(parents=True)
        _path(folder, number).write_text(" ".join(dice.choices(words, k=WORDS)))


def _path(folder: Path, number: int) -> Path:
    return folder / f"{number // FILES_PER_FOLDER:05}" / f"{number}.txt"


def _outcome(process: "subprocess.Popen[str]") -> dict[str, Any]:
    assert process.stdout is not None
    line = process.stdout.readline()
    if not line:
        raise WrongResult("ragctl watch has ended")
    outcome: dict[str, Any] = json.loads(line)
    return outcome


def _rows(process: "subprocess.Popen[str]", root: Path, runs: int) -> list[list[str]]:
    """Measure new files, changed files and deleted files."""
    kinds: dict[str, tuple[str, Callable[[Path, str], object], bool]] = {
        "a new file": ("added", _save, True),
        "a changed file": ("updated", _save, True),
        "a deleted file": ("removed", lambda path, _: path.unlink(), False),
    }
    reported: dict[str, list[float]] = {kind: [] for kind in kinds}
    found: dict[str, list[float]] = {kind: [] for kind in kinds}
    with open_collection("docs", store=root / "store") as searcher:
        # First those without a search: it takes the engine's files from the watcher.
        for number in range(2 * runs):
            path = root / f"docs/{number:05}/new.md"
            path.parent.mkdir(exist_ok=True)
            word = ""
            for kind, (counted, change, present) in kinds.items():
                time.sleep(PAUSE_SECONDS)
                word = f"{counted}x{number}" if present else word
                began = time.monotonic()
                change(path, word)
                if number >= runs:
                    _search_until(searcher, word, present)
                    found[kind].append(time.monotonic() - began)
                outcome = _outcome(process)
                if number < runs:
                    reported[kind].append(time.monotonic() - began)
                if outcome["documents"][counted] != 1:
                    raise WrongResult(f"{kind}: {outcome['documents']}")
    return [[kind, f"{spread(reported[kind]):.2f}", f"{spread(found[kind]):.2f}"] for kind in kinds]


def _save(path: Path, word: str) -> None:
    """Save as editors do: write another file, and let it take the place."""
    draft = path.with_suffix(".tmp")
    draft.write_text(f"This page is about {word}.")
    draft.replace(path)


def _search_until(searcher: Searcher, word: str, present: bool) -> None:
    time.sleep(SEARCH_AFTER)
    while any(word in hit.text for hit in searcher.search(word, mode="sparse")) != present:
        pass
