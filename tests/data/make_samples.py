"""Make the sample documents that are not written by hand, from the texts in `sources/`.

    python -m tests.data.make_samples [--into sample_docs] [--font DejaVuSans.ttf]

Run it in the root of the repository. It needs the test extra (reportlab, Pillow) and, for the
PDFs, a TrueType font with Cyrillic letters (Debian: fonts-dejavu-core). The output is committed; a
rerun gives the same bytes with the same library versions. The encrypted PDF is the exception: AES
draws fresh random keys, so an existing one is left alone; delete it to make a new one.
"""

import argparse
import io
import json
import random
import zipfile
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tests.data import fault_reference

SOURCES = Path(__file__).parent / "sources"
FONT = Path("/usr/share/fonts/truetype/dejavu/DejaVuSans.ttf")
CONTRACTS_PASSWORD = "heat-and-air"  # the owner password; reading needs none
EPOCH = (2024, 1, 17, 9, 0, 0)

Block = tuple[str, list[str]]  # "h1" to "h3", "p", "li" or "row", with its cells


def blocks(markdown: str) -> Iterator[Block]:
    """Yield the blocks of a source; only the Markdown forms used there are recognised."""
    for line in markdown.splitlines():
        if line.startswith("#"):
            marks, _, title = line.partition(" ")
            yield f"h{len(marks)}", [title]
        elif line.startswith("- "):
            yield "li", [line[2:]]
        elif line.startswith("|"):
            if not line.startswith("|---"):
                yield "row", [cell.strip() for cell in line.strip("|").split("|")]
        elif line:
            yield "p", [line]


def write_texts(into: Path) -> None:
    """Write the long Markdown file and the two plain texts in legacy encodings."""
    (into / "en/fault-code-reference.md").write_text(fault_reference.render(), encoding="utf-8")
    for name, target, encoding in [
        ("kadry-otpuska.txt", "ru/kadry-otpuska.txt", "cp1251"),
        ("shouhou-guanli.txt", "zh/shouhou-guanli.txt", "gb18030"),
    ]:
        text = (SOURCES / name).read_text(encoding="utf-8")
        (into / target).write_bytes(text.encode(encoding))


def write_docx(into: Path) -> None:
    """Write the service rules: headings, a list, tables."""
    from docx import Document

    document = Document()
    stamp = datetime(*EPOCH, tzinfo=UTC)
    properties = document.core_properties
    properties.title = "Регламент сервисного обслуживания"
    properties.author = "Сервисный отдел"
    properties.created = properties.modified = stamp
    table = None
    for kind, cells in blocks((SOURCES / "reglament-servisa.md").read_text(encoding="utf-8")):
        if kind == "row":
            table = table or document.add_table(rows=0, cols=len(cells), style="Table Grid")
            for cell, text in zip(table.add_row().cells, cells, strict=True):
                cell.text = text
            continue
        table = None
        if kind == "li":
            document.add_paragraph(cells[0], style="List Bullet")
        elif kind == "p":
            document.add_paragraph(cells[0])
        else:
            document.add_heading(cells[0], level=int(kind[1]))
    raw = io.BytesIO()
    document.save(raw)
    (into / "ru/reglament-servisa.docx").write_bytes(_with_fixed_dates(raw.getvalue()))


def _with_fixed_dates(archive: bytes) -> bytes:
    """Return the zip archive with all members dated EPOCH, so that reruns give the same bytes."""
    out = io.BytesIO()
    with (
        zipfile.ZipFile(io.BytesIO(archive)) as old,
        zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as new,
    ):
        for name in old.namelist():
            new.writestr(
                zipfile.ZipInfo(name, EPOCH), old.read(name), compress_type=zipfile.ZIP_DEFLATED
            )
    return out.getvalue()


def write_notebook(into: Path) -> None:
    """Write `sources/field-efficiency.txt` as a notebook, with cells split at lines of `%%`."""
    cells: list[dict[str, object]] = []
    source = (SOURCES / "field-efficiency.txt").read_text(encoding="utf-8")
    for number, cell in enumerate(source.split("\n%% ")[1:], start=1):
        kind, _, body = cell.partition("\n")
        code, _, output = body.strip("\n").partition("\n=> output\n")
        made: dict[str, object] = {
            "cell_type": kind,
            "id": f"cell-{number:02}",
            "metadata": {},
            "source": code.splitlines(keepends=True),
        }
        if kind == "code":
            made["execution_count"] = number
            made["outputs"] = (
                [{"name": "stdout", "output_type": "stream", "text": output.splitlines(True)}]
                if output
                else []
            )
        cells.append(made)
    notebook = {
        "cells": cells,
        "metadata": {
            "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
            "language_info": {"name": "python", "version": "3.11"},
        },
        "nbformat": 4,
        "nbformat_minor": 5,
    }
    text = json.dumps(notebook, ensure_ascii=False, indent=1) + "\n"
    (into / "en/field-efficiency.ipynb").write_text(text, encoding="utf-8")


def scan(font: Path) -> bytes:
    """Return a grey PNG of a filled-in form, with text that no parser can read."""
    from PIL import Image, ImageDraw, ImageFilter, ImageFont

    rng = random.Random(7)
    page = Image.new("L", (1000, 1414), 243)
    draw = ImageDraw.Draw(page)
    face = ImageFont.truetype(str(font), 26)
    for row, line in enumerate((SOURCES / "akt-vvoda-scan.txt").read_text("utf-8").splitlines()):
        draw.text((110, 130 + 52 * row), line, font=face, fill=45)
    for _ in range(500):
        x, y = rng.randrange(1000), rng.randrange(1414)
        draw.point((x, y), fill=rng.randrange(90, 200))
    page = page.rotate(0.7, fillcolor=236).filter(ImageFilter.GaussianBlur(0.8))
    out = io.BytesIO()
    page.quantize(16).save(out, "PNG", optimize=True)
    return out.getvalue()


class Sheets:
    """PDF pages, filled from the top; headings go into the outline."""

    margin = 62.0
    bottom = 70.0

    def __init__(self, title: str, font: Path) -> None:
        from reportlab.lib.pagesizes import A4
        from reportlab.lib.styles import ParagraphStyle
        from reportlab.pdfbase import pdfmetrics
        from reportlab.pdfbase.ttfonts import TTFont
        from reportlab.pdfgen.canvas import Canvas

        pdfmetrics.registerFont(TTFont("Sample", str(font)))
        self.body = ParagraphStyle("body", fontName="Sample", fontSize=10, leading=15)
        self.width, self.height = A4
        self.out = io.BytesIO()
        self.canvas = Canvas(self.out, pagesize=A4, invariant=True)
        self.canvas.setTitle(title)
        self.canvas.setAuthor("Tervanta")
        self.number = 0
        self.y = self.height - self.margin

    def new_page(self) -> None:
        """Start the next page."""
        self.canvas.showPage()
        self.number += 1
        self.y = self.height - self.margin

    def draw(self, flowable: Any, gap: float) -> None:
        _, tall = flowable.wrap(self.width - 2 * self.margin, self.height)
        if self.y - gap - tall < self.bottom:
            self.new_page()
        self.y -= gap + tall
        flowable.drawOn(self.canvas, self.margin, self.y)

    def paragraph(self, text: str) -> None:
        from reportlab.platypus import Paragraph

        self.draw(Paragraph(text, self.body), 8)

    def heading(self, text: str, level: int) -> None:
        """Draw a heading of `level` 0 to 2, never alone at the foot of a page."""
        from reportlab.lib.styles import ParagraphStyle
        from reportlab.platypus import Paragraph

        size = (20, 15, 12)[level]
        style = ParagraphStyle("heading", parent=self.body, fontSize=size, leading=size * 1.4)
        if self.y < self.bottom + 110:
            self.new_page()
        self.draw(Paragraph(text, style), 16)
        self.canvas.bookmarkHorizontal(text, 0, self.y + size)
        self.canvas.addOutlineEntry(text, text, level=level)

    def table(self, rows: list[list[str]]) -> None:
        from reportlab.platypus import Table

        grid = [("FONT", (0, 0), (-1, -1), "Sample", 9), ("GRID", (0, 0), (-1, -1), 0.4, 0)]
        self.draw(Table(rows, style=grid, hAlign="LEFT"), 10)

    def picture(self, png: bytes) -> None:
        """Draw an image as a page of its own."""
        from reportlab.lib.utils import ImageReader

        self.new_page()
        self.canvas.drawImage(ImageReader(io.BytesIO(png)), 0, 0, self.width, self.height)

    def finish(self) -> bytes:
        self.canvas.showPage()
        self.canvas.save()
        return self.out.getvalue()


def pdf(markdown: str, title: str, font: Path, scanned: bytes | None = None) -> bytes:
    """Return a PDF with an outline and page labels: cover "i", pages 1, 2, …, scan "A-1"."""
    sheets = Sheets(title, font)
    sheets.canvas.addPageLabel(0, "ROMAN_LOWER", 1)
    sheets.canvas.addPageLabel(1, "ARABIC", 1)
    rows: list[list[str]] = []
    for kind, cells in blocks(markdown):
        if kind == "row":
            rows.append(cells)
            continue
        if rows:
            sheets.table(rows)
            rows = []
        if kind.startswith("h"):
            level = int(kind[1]) - 1
            if level == 1 and sheets.number == 0:
                sheets.new_page()  # the cover has only the title and the preface
            sheets.heading(cells[0], level)
        else:
            sheets.paragraph(cells[0])
    if rows:
        sheets.table(rows)
    if scanned is not None:
        sheets.picture(scanned)
        sheets.canvas.addPageLabel(sheets.number, None, 1, "A-1")
    return sheets.finish()


def write_pdfs(into: Path, font: Path) -> None:
    """Write the installation manual with its scanned page, and the encrypted contracts."""
    from pypdf import PdfReader, PdfWriter

    manual = (SOURCES / "terrin-montazh.md").read_text(encoding="utf-8")
    made = pdf(manual, "Тепловой насос Terrin B10: руководство по монтажу", font, scan(font))
    (into / "ru/terrin-montazh.pdf").write_bytes(made)

    locked = into / "en/contracts-encrypted.pdf"
    if locked.exists():
        return
    terms = (SOURCES / "contracts.md").read_text(encoding="utf-8")
    writer = PdfWriter(PdfReader(io.BytesIO(pdf(terms, "Supplier contracts", font))))
    writer.encrypt("", owner_password=CONTRACTS_PASSWORD, algorithm="AES-256")
    writer.write(locked)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    root = Path(__file__).parents[2]
    parser.add_argument("--into", type=Path, default=root / "sample_docs")
    parser.add_argument("--font", type=Path, default=FONT)
    options = parser.parse_args()
    for language in ("en", "ru", "zh"):
        (options.into / language).mkdir(parents=True, exist_ok=True)
    write_texts(options.into)
    write_docx(options.into)
    write_notebook(options.into)
    write_pdfs(options.into, options.font)


if __name__ == "__main__":
    main()
