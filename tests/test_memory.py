"""Memory does not grow with the corpus: many times the documents, at most 1.2 times the peak.

Peaks are of the ingesting process (VmHWM), read by itself at its end.
"""

import json
import os
import random
import subprocess
import sys
from pathlib import Path

import pytest

from tests.servers.qdrant import QdrantFacade

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads the peak from /proc"),
]

_RUN = """
import re, sys
from ragctl.cli.main import _run
code = _run(sys.argv[1:])
peak = re.search(r"VmHWM:\\s+(\\d+)", open("/proc/self/status").read()).group(1)
print(peak, file=sys.stderr)
sys.exit(code)
"""


def corpus(folder: Path, documents: int, paragraphs: int) -> Path:
    """Write documents of invented words, all different."""
    dice = random.Random(documents)
    words = [
        "".join(dice.choices("aeioubcdfglmnprst", k=dice.randrange(2, 9))) for _ in range(5000)
    ]
    folder.mkdir()
    for number in range(documents):
        text = "\n\n".join(" ".join(dice.choices(words, k=60)) for _ in range(paragraphs))
        (folder / f"{number}.md").write_text(f"# Document {number}\n\n{text}\n")
    return folder


def peak(folder: Path, store: str, *flags: str) -> int:
    """Return the peak memory of ingesting `folder`, in kilobytes."""
    done = subprocess.run(
        [
            *(sys.executable, "-c", _RUN, "ingest", str(folder), "--store", store, "--json"),
            *("--workers", "1", *flags),
        ],
        env={**os.environ, "MALLOC_ARENA_MAX": "2"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert json.loads(done.stdout)["documents"]["failed"] == 0
    return int(done.stderr.split()[-1])


def test_memory_of_a_run_does_not_grow(tmp_path: Path) -> None:
    """With a server as the store, so that no data stays in this process."""
    few, many = corpus(tmp_path / "few", 120, 2), corpus(tmp_path / "many", 1200, 2)
    with QdrantFacade() as one, QdrantFacade() as two:
        small = peak(few, one.url, "--dim", "64")
        large = peak(many, two.url, "--dim", "64")
    assert large < 1.2 * small, f"{small:,} kB → {large:,} kB"


@pytest.mark.soak
def test_memory_with_the_embedded_engine_does_not_grow(tmp_path: Path) -> None:
    # Few enough would not yet fill what the engine always keeps mapped (its log, a segment), nor
    # have segments joined, which maps some 250 MB for a moment.
    few, many = corpus(tmp_path / "few", 3000, 10), corpus(tmp_path / "many", 12_000, 10)
    small = peak(few, str(tmp_path / "one"), "--dim", "4096")
    large = peak(many, str(tmp_path / "two"), "--dim", "4096")
    assert large < 1.2 * small, f"{small:,} kB → {large:,} kB"
