"""Chunking speed on one core, in MB/s: ragctl, tiktoken alone, and peers that count tokens.

RAGCTL_BENCHMARK_BYTES: maximum bytes of text per language (default 2,000,000).
"""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from benchmarks import corpus
from benchmarks.measure import Sample, Subject, WrongResult, call, cpus, interleave
from benchmarks.peers import environment
from benchmarks.table import Section, versions
from ragctl.chunking import DEFAULT_SIZE, count, split
from ragctl.chunking.tokens import count_edge, encode
from ragctl.records import Document

MAX_LANGUAGE_BYTES = 2_000_000
JOINED_BYTES = 50_000  # size of a document joined from several files
_LANGUAGES = ("en", "de", "fr", "ru", "ja", "zh")
_PEERS = {
    "semantic-text-splitter": "semantic",
    "LlamaIndex SentenceSplitter": "llama_index",
    "LangChain RecursiveCharacter": "langchain_recursive",
    "LangChain TokenTextSplitter": "langchain_token",
    "chonkie RecursiveChunker": "chonkie",
}
_SHOWN = ("semantic-text-splitter", "llama-index-core", "langchain-text-splitters", "chonkie")


def run(runs: int) -> Section:
    limit = int(os.environ.get("RAGCTL_BENCHMARK_BYTES", MAX_LANGUAGE_BYTES))
    with tempfile.TemporaryDirectory(prefix="ragctl-benchmark-") as folder, _chunkers() as ask:
        work = Path(folder)
        real = corpus.write_real(work / "real")
        rows: list[list[str]] = []
        faults: dict[str, list[str]] = {}
        for title, size in (
            ("files as they are", 0),
            (f"joined to {JOINED_BYTES // 1000} KB", JOINED_BYTES),
        ):
            cells: dict[str, list[str]] = {}
            for language in _LANGUAGES:
                prepared = _write_documents(
                    real / language, work / str(size) / language, limit, size
                )
                for name, cell in _measure(
                    prepared, ask, runs, faults, f"{language}, {title}"
                ).items():
                    cells.setdefault(name, []).append(cell)
            rows += [[title, name, *each] for name, each in cells.items()]
    notes = [f"{name}: {'; '.join(messages)}." for name, messages in faults.items()]
    return Section(
        ("documents", "", *_LANGUAGES),
        rows,
        before=[
            f"MB of UTF-8 per CPU second, and the ratio to tiktoken; chunks of "
            f"{DEFAULT_SIZE} tokens of o200k_base without overlap; texts and libraries in "
            f"memory; interleaved, medians of {runs} runs."
        ],
        after=notes,
        versions={**versions("ragctl", "tiktoken"), **environment.versions(_SHOWN)},
    )


@contextmanager
def _chunkers() -> Iterator[Callable[..., float]]:
    """Start the peers' process; yield a function that chunks a folder and returns CPU seconds."""
    script = Path(__file__).parent / "peers" / "chunkers.py"
    with subprocess.Popen(
        [str(environment.python()), str(script)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, **environment.variables()},
        text=True,
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        into, out = process.stdin, process.stdout

        def ask(*words: str) -> float:
            into.write(json.dumps(words) + "\n")
            into.flush()
            if not (line := out.readline()):
                raise WrongResult(f"{words[0]} ended; see its message above")
            return float(json.loads(line))

        yield ask


def _write_documents(source: Path, folder: Path, limit: int, size: int) -> Path:
    """Write documents of about `size` bytes from an even selection of files, `limit` bytes in all.

    With `size` 0 each file is a document of its own.
    """
    found = [path.read_bytes() for path in corpus.files(source)]
    step = max(1, -(-sum(map(len, found)) // limit))
    folder.mkdir(parents=True)
    part: list[bytes] = []
    written = 0
    picked = found[::step]
    for number, text in enumerate(picked, 1):
        part.append(text)
        if sum(map(len, part)) >= size or number == len(picked):
            (folder / f"{written:05}.txt").write_bytes(b"\n\n".join(part))
            part, written = [], written + 1
    return folder


def _measure(
    folder: Path, ask: Callable[..., float], runs: int, faults: dict[str, list[str]], title: str
) -> dict[str, str]:
    """Return the speed of each system in MB/s, as table cells; collect peers' faults."""
    texts = [path.read_bytes().decode("utf-8", "replace") for path in corpus.files(folder)]
    documents = [Document(str(number), text) for number, text in enumerate(texts)]
    if fault := _find_faults(texts, [[chunk.text for chunk in split(each)] for each in documents]):
        raise WrongResult(f"ragctl, {title}: {fault}")
    for name, peer in _PEERS.items():
        dump = folder.with_suffix(".json")
        ask(peer, str(folder), str(dump))
        if fault := _find_faults(texts, json.loads(dump.read_text("utf-8"))):
            faults.setdefault(name, []).append(f"{title}: {fault}")
    sides = [
        Subject("tiktoken alone", lambda: call(lambda: [encode(text) for text in texts])),
        Subject(
            "ragctl",
            lambda: call(lambda: [split(each) for each in documents]),
            prepare=count_edge.cache_clear,
        ),
        *(Subject(name, _asking(ask, peer, folder)) for name, peer in _PEERS.items()),
    ]
    print(title, file=sys.stderr, flush=True)
    found = interleave(sides, runs)
    size = sum(len(text.encode()) for text in texts) / 1e6
    rates = {name: size / cpus(samples).median for name, samples in found.items()}
    base = rates["tiktoken alone"]
    return {name: f"{rate:.1f} ({rate / base:.2f})" for name, rate in rates.items()}


def _asking(ask: Callable[..., float], peer: str, folder: Path) -> Callable[[], Sample]:
    def run() -> Sample:
        taken = ask(peer, str(folder))
        return Sample(taken, taken, 0)

    return run


def _find_faults(texts: Sequence[str], cut: Sequence[Sequence[str]]) -> str:
    """Describe lost text (ignoring white space) and chunks that are too large; "" if none."""
    lost = sum(
        "".join(text.split()) != "".join("".join(chunks).split())
        for text, chunks in zip(texts, cut, strict=True)
    )
    sizes = [count(chunk) for chunks in cut for chunk in chunks]
    over = [size for size in sizes if size > DEFAULT_SIZE]
    faults = []
    if lost:
        faults.append(f"{lost} of {len(texts)} texts are incomplete")
    if over:
        faults.append(f"{len(over)} of {len(sizes)} chunks too large, up to {max(over)} tokens")
    return ", ".join(faults)
