"""The memory of a run does not depend on the size of its batch jobs."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.servers.batch import OpenAIBatch

pytestmark = [pytest.mark.slow, pytest.mark.soak]

KEY = "sk-" + "k" * 40
SMALL, LARGE = 500, 12_000  # texts
MAX_GROWTH_MB = 40
"""Of the texts, 48 MB of UTF-8, and the results, 16 MB."""

SCRIPT = """
import hashlib, resource, sys
from ragctl.batch.connect import connect_batch
from ragctl.batch.job import Submission
from ragctl.batch.jobs import Jobs
from ragctl.batch.spool import SpooledText
from ragctl.catalog import BackendConfig
from ragctl.embedding import Options, Patience, Usage
from ragctl.embedding.catalogs import package_catalog

class Notes:
    name = "docs"
    def __init__(self): self.kept = {}
    def notes(self): return dict(self.kept)
    def note(self, notes): self.kept |= notes

url, key, count = sys.argv[1], sys.argv[2], int(sys.argv[3])
catalog = package_catalog()
row = BackendConfig("openai", base_url=url).resolve(catalog, "text-embedding-3-small")
model = catalog.model("text-embedding-3-small")
def connect(note=None):
    environ = {"OPENAI_API_KEY": key}
    return connect_batch(row, model, 256, Options(), Usage(), environ, Patience())
notes = Notes()
def jobs():
    send = Submission(connect(), "openai", Usage(), (), lambda: None)
    return Jobs(notes, "i", None, 0.99, connect, lambda *said: print(said), lambda: 1e9,
                Patience(), send)
hashes = [hashlib.md5(str(n).encode()).hexdigest() for n in range(count)]
own = jobs()
for n, each in enumerate(hashes):
    own.add(SpooledText(each, f"{n:08}" + "x" * 3_992, 10))
own.submit()
own.close()
print("submitted", flush=True)
sys.stdin.readline()
own = jobs()
own.refresh()
found = 0
for first in range(0, count, 128):
    found += len(own.results(hashes[first:first + 128]))
assert found == count, found
own.forget((), unread=False)
own.close()
assert not notes.kept["batches"]
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)
"""


def peak(host: OpenAIBatch, texts: int) -> int:
    """Return the peak memory in MB of a process that submits and collects so many texts."""
    process = subprocess.Popen(
        [sys.executable, "-c", SCRIPT, host.url, KEY, str(texts)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd=Path(__file__).parents[1],
        env={**os.environ},
        text=True,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    with process:
        assert process.stdout.readline() == "submitted\n"
        host.work()
        process.stdin.write("go\n")
        process.stdin.flush()
        return int(process.stdout.read())


def test_memory_does_not_grow_with_the_texts_of_a_job() -> None:
    with OpenAIBatch(KEY) as host:
        small = peak(host, SMALL)
        large = peak(host, LARGE)
        assert len(host.submitted) == SMALL + LARGE
    print(f"peak memory: {SMALL:,} texts {small} MB, {LARGE:,} texts {large} MB")
    assert large - small < MAX_GROWTH_MB
