"""Pages per second of PDFs: ragctl with one and two worker processes, compared with pypdf.

RAGCTL_BENCHMARK_PAGES sets how many pages are made (320). It needs reportlab: the extra `test`.
"""

import logging
import os
import random
import tempfile
import textwrap
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks import corpus
from benchmarks.measure import Sample, Spread, Subject, WrongResult, call, interleave, spread
from benchmarks.table import Section, versions
from ragctl.errors import DocumentError
from ragctl.loaders import LoadOptions, load
from ragctl.pipeline import Parsing
from ragctl.records import Document
from ragctl.sources import LocalFile
from ragctl.workers import Pool

_PAGES, PAGES_PER_FILE = 320, 40
_LINES, _COLUMNS, _POINTS = 48, 80, 7.5  # of a page; so that no line runs over its edge

Draw = Callable[[Any, Sequence[str], bool], None]


@dataclass(frozen=True)
class GeneratedPdf:
    """A PDF, and the lines of each of its pages."""

    path: Path
    pages: list[list[str]]


@dataclass(frozen=True)
class Read:
    """What a worker returned for a file, and the processor seconds that it took."""

    document: Document
    cpu: float


def run(runs: int) -> Section:
    logging.getLogger("pypdf").setLevel(logging.ERROR)
    page_count = int(os.environ.get("RAGCTL_BENCHMARK_PAGES", _PAGES))
    rows: list[list[str]] = []
    faults: list[str] = []
    with tempfile.TemporaryDirectory(prefix="ragctl-benchmark-") as folder:
        source = corpus.write_real(Path(folder) / "real") / "en"
        for name, draw in (("a string a line", _draw_plain), ("kerned", _draw_kerned)):
            files = _make(Path(folder) / name, source, page_count, draw)
            rows += [[name, *row] for row in _rows(_measure(files, runs), page_count)]
            wrong = sum(_differs(made.pages, _pypdf(made.path)) for made in files)
            if wrong:
                faults.append(f"pypdf: {wrong} pages ({name}) do not read as they were written.")
    return Section(
        ("text", "", "pages per second", "÷ pypdf", "pages per CPU second", "÷ pypdf"),
        rows,
        before=[
            f"{page_count} pages in files of {PAGES_PER_FILE}, {_LINES} lines each, with outlines; "
            "once with each line as one string, in every other file in an embedded font; once with "
            "words set letter by letter with kerning, as by typesetting programs. Medians of "
            f"{runs} runs "
            "(minimum–maximum). ragctl reads them in processes that are already running, with "
            "its limits of time and memory, and returns whole documents; pypdf only extracts the "
            "text of each page, in one process.",
        ],
        after=faults,
        versions=versions("ragctl", "pypdfium2", "pypdf", "reportlab"),
    )


def _measure(files: Sequence[GeneratedPdf], runs: int) -> dict[str, list[Sample]]:
    workers = [_Workers(files, count) for count in (1, 2)]
    sides = [
        Subject("pypdf alone", lambda: call(lambda: [_pypdf(made.path) for made in files])),
        *(Subject(each.name, each.run, check=each.check) for each in workers),
    ]
    try:
        return interleave(sides, runs)
    finally:
        for each in workers:
            each.pool.close()


def read(path: str) -> Read:
    """Load one file; called in a worker."""
    began = time.process_time()
    file = Path(path)
    (document,) = load(LocalFile(str(file.parent), file.name), file.name, LoadOptions())
    if isinstance(document, DocumentError):
        raise document
    return Read(document, time.process_time() - began)


class _Workers:
    """ragctl's loader in `count` worker processes, which are kept between runs."""

    def __init__(self, files: Sequence[GeneratedPdf], count: int) -> None:
        self.name = f"ragctl, {count} process{'es' if count > 1 else ''}"
        limits = Parsing()
        self.pool = Pool(
            "benchmarks.pdf:read",
            workers=count,
            seconds=limits.timeout,
            memory=limits.memory_mb << 20,
        )
        self._files = {str(made.path): made for made in files}
        self._found: dict[str, Read | DocumentError] = {}

    def run(self) -> Sample:
        began = time.perf_counter()
        self._found = dict(self.pool.run(self._files))
        wall = time.perf_counter() - began
        done = [read for read in self._found.values() if isinstance(read, Read)]
        return Sample(wall, sum(read.cpu for read in done), 0)

    def check(self) -> None:
        for path, made in self._files.items():
            found = self._found[path]
            if not isinstance(found, Read):
                raise WrongResult(f"{self.name}: {found}")
            document = found.document
            texts = [document.text[page.start : page.end] for page in document.pages]
            if differ := _differs(made.pages, texts):
                raise WrongResult(f"{self.name}: {differ} pages do not read as they were written")
            if len(document.headings) != len(made.pages) // 10:
                raise WrongResult(f"{self.name}: {len(document.headings)} headings in the outline")


def _pypdf(path: Path) -> list[str]:
    import pypdf

    return [page.extract_text() for page in pypdf.PdfReader(path).pages]


def _differs(pages: Sequence[Sequence[str]], texts: Sequence[str]) -> int:
    """Return how many pages differ from what was written, ignoring hyphens and white space."""
    if len(pages) != len(texts):
        return len(pages)
    return sum(
        _plain(" ".join(lines)) != _plain(text) for lines, text in zip(pages, texts, strict=True)
    )


def _plain(text: str) -> str:
    return "".join(text.replace("-", "").split())


def _rows(found: dict[str, list[Sample]], pages: int) -> Iterator[list[str]]:
    rates = {
        name: (
            spread([pages / sample.wall for sample in samples]),
            spread([pages / sample.cpu for sample in samples]),
        )
        for name, samples in found.items()
    }
    base = rates["pypdf alone"]
    for name, each in rates.items():
        yield [name, *(cell for both in zip(each, base, strict=True) for cell in _cells(*both))]


def _cells(rate: Spread, base: Spread) -> list[str]:
    return [f"{rate:.0f}", f"{rate.median / base.median:.1f}"]


def _make(folder: Path, source: Path, page_count: int, draw: Draw) -> list[GeneratedPdf]:
    """Write PDFs of English prose in which each tenth page begins a chapter."""
    from reportlab.lib.pagesizes import A4
    from reportlab.pdfbase import pdfmetrics
    from reportlab.pdfbase.ttfonts import TTFont
    from reportlab.pdfgen.canvas import Canvas

    pdfmetrics.registerFont(TTFont("Vera", "Vera.ttf"))  # part of reportlab
    folder.mkdir()
    lines = _lines(source)
    files = []
    for start in range(0, page_count, PAGES_PER_FILE):
        path = folder / f"{start:06}.pdf"
        canvas = Canvas(str(path), pagesize=A4, invariant=True)
        pages = []
        for number in range(start, min(start + PAGES_PER_FILE, page_count)):
            pages.append([next(lines) for _ in range(_LINES)] + [f"Page {number}"])
            if number % 10 == 0:
                canvas.bookmarkPage(str(number))
                canvas.addOutlineEntry(f"Chapter {number // 10 + 1}", str(number))
            draw(canvas, pages[-1], start // PAGES_PER_FILE % 2 == 1)
            canvas.showPage()
        canvas.save()
        files.append(GeneratedPdf(path, pages))
    return files


def _lines(source: Path) -> Iterator[str]:
    while True:
        for path in corpus.files(source):
            text = path.read_bytes().decode("utf-8", "replace").encode("ascii", "ignore").decode()
            for paragraph in text.split("\n\n"):
                yield from textwrap.wrap(" ".join(paragraph.split()), _COLUMNS)


def _draw_plain(canvas: Any, lines: Sequence[str], odd: bool) -> None:
    canvas.setFont("Vera" if odd else "Helvetica", _POINTS)
    for row, line in enumerate(lines):
        canvas.drawString(60, 790 - 15 * row, line)


def _draw_kerned(canvas: Any, lines: Sequence[str], odd: bool) -> None:
    """Draw gaps in place of spaces, and kerning after every few letters."""
    text = canvas.beginText(60, 790)
    text.setFont("Times-Roman" if odd else "Helvetica", _POINTS)
    chance = random.Random(lines[0])
    for line in lines:
        words = [_kerned(word, chance) for word in line.split()]
        text._code += [f"[{' -333 '.join(words)}] TJ", "0 -15 Td"]  # textOut cannot write it
    canvas.drawText(text)


def _kerned(word: str, chance: random.Random) -> str:
    step, kern = chance.randint(2, 4), chance.choice((-12, 15, 20))
    runs = (word[at : at + step] for at in range(0, len(word), step))
    return f" {kern} ".join(f"<{run.encode('ascii').hex()}>" for run in runs)
