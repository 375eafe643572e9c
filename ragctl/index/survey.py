"""What is in the folders of a new pipeline: formats, languages, sizes and tokens, from a sample.

Bounded on any folder: the walk ends after a number of files or seconds, and only a sample of the
files is parsed, in processes with limits.
"""

import random
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from ragctl import chunking
from ragctl.errors import DocumentError, RagctlError
from ragctl.index.source_walk import walk_source
from ragctl.lexical.languages import detect
from ragctl.loaders import LoadOptions, format_of, load
from ragctl.pipeline import Parsing, Source
from ragctl.progress import Progress
from ragctl.sources import FoundFile
from ragctl.workers import Pool

MAX_FILES = 200_000
MAX_WALK_SECONDS = 6.0
MAX_SAMPLED_FILES = 48
MAX_FILES_PER_FORMAT = 12
MAX_SAMPLED_BYTES = 4 << 20
"""Larger files are not parsed; their tokens are estimated from their size."""

MAX_SAMPLE_SECONDS = 8.0
MAX_FILE_SECONDS = 6.0
TOKENS_PER_BYTE = 0.25
"""Without a sample: about that of English text in o200k_base."""


@dataclass(frozen=True, slots=True)
class FileSample:
    """A parsed file: the tokens of its documents, and how many have which language."""

    tokens: int
    languages: Counter[str]


@dataclass(slots=True)
class Survey:
    """What was found.

    Attributes:
        files: by format.
        bytes: by format.
        unread: files that no loader reads, by suffix.
        languages: documents of the sample by language.
        sampled: files that were parsed.
        failed: files of the sample of which no document could be read: source and reason.
        ratios: tokens per byte of the sample, by format.
        complete: whether the walk reached every file.
    """

    files: Counter[str] = field(default_factory=Counter)
    bytes: Counter[str] = field(default_factory=Counter)
    unread: Counter[str] = field(default_factory=Counter)
    languages: Counter[str] = field(default_factory=Counter)
    sampled: int = 0
    failed: dict[str, str] = field(default_factory=dict)
    ratios: dict[str, float] = field(default_factory=dict)
    complete: bool = True

    @property
    def tokens(self) -> int:
        """Estimated tokens of all files, in o200k_base."""
        known = list(self.ratios.values())
        other = sum(known) / len(known) if known else TOKENS_PER_BYTE
        return round(sum(size * self.ratios.get(name, other) for name, size in self.bytes.items()))


def survey(sources: Iterable[Source], progress: Progress, *, seed: int = 1) -> Survey:
    """Return what is in some sources. Raises RagctlError if a root cannot be read."""
    found = Survey()
    chosen = _scan(sources, found, progress, random.Random(seed))  # noqa: S311 - a sample
    _read(chosen, found, progress)
    return found


def _scan(
    sources: Iterable[Source], found: Survey, progress: Progress, chance: random.Random
) -> list[FoundFile]:
    """Count all files, and return a random sample of those of each format."""
    progress.begin("scan", "file")
    deadline = time.monotonic() + MAX_WALK_SECONDS
    reservoirs: dict[str, list[FoundFile]] = {}
    small: Counter[str] = Counter()
    for source in sources:
        entries = walk_source(source, stop=lambda: time.monotonic() > deadline)
        for file in entries:
            total = sum(found.files.values())
            if total >= MAX_FILES or time.monotonic() > deadline:
                found.complete = False
                break
            progress.advance()
            form = format_of(file.source)
            assert form is not None, "the walk yields files with a loader"
            found.files[form.name] += 1
            found.bytes[form.name] += file.size
            if 0 < file.size <= MAX_SAMPLED_BYTES:
                small[form.name] += 1
                reservoir = reservoirs.setdefault(form.name, [])
                if len(reservoir) < MAX_FILES_PER_FORMAT:
                    reservoir.append(file)
                elif (place := chance.randrange(small[form.name])) < MAX_FILES_PER_FORMAT:
                    reservoir[place] = file
        found.unread += entries.skipped.suffixes
        found.complete &= entries.complete
    return list(_in_turn(list(reservoirs.values())))[:MAX_SAMPLED_FILES]


def _in_turn(lists: Sequence[list[FoundFile]]) -> Iterator[FoundFile]:
    """Yield the first of each list, then the second of each."""
    for position in range(MAX_FILES_PER_FORMAT):
        yield from (each[position] for each in lists if position < len(each))


def _read(files: Sequence[FoundFile], found: Survey, progress: Progress) -> None:
    """Parse the files of the sample, until the time is up."""
    if not files:
        return
    progress.begin("read", "file", len(files))
    deadline = time.monotonic() + MAX_SAMPLE_SECONDS
    sizes, tokens = Counter[str](), Counter[str]()
    limit = Parsing().memory_mb << 20
    with Pool(f"{__name__}:measure", workers=2, seconds=MAX_FILE_SECONDS, memory=limit) as pool:
        for file, result in pool.run(files):
            if isinstance(result, FileSample):
                form = format_of(file.source)
                assert form is not None
                found.sampled += 1
                found.languages += result.languages
                sizes[form.name] += file.size
                tokens[form.name] += result.tokens
            else:
                found.failed[file.source] = str(result).removeprefix(f"{file.source}: ")
            progress.advance()
            if time.monotonic() > deadline:
                break
    found.ratios = {name: tokens[name] / size for name, size in sizes.items()}


def measure(file: FoundFile) -> FileSample | RagctlError:
    """Parse one file, in a process of the pool; return the error if no document can be read."""
    tokens, languages = 0, Counter[str]()
    error: DocumentError | None = None
    for item in load(file.location, file.source, LoadOptions()):
        if isinstance(item, DocumentError):
            error = item
            continue
        tokens += chunking.count(item.text)
        languages[detect(item.text)] += 1
    return error if error is not None and not languages else FileSample(tokens, languages)
