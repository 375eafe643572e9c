"""DOCX files made with python-docx, and broken ones."""

import os
import zipfile
from pathlib import Path

import docx
import pytest
from docx.oxml import parse_xml
from docx.oxml.ns import nsdecls

from ragctl.records import Heading
from tests.loading import check, failure, load_one

pytestmark = pytest.mark.slow

TEXT = """# Handbook

## Leave

Everyone has 30 days.\twell-known
A second line.

- bullet one
  - nested bullet
- bullet two
1. step one
2. step two

| Year | Days |
| --- | --- |
| 1 | 30 inner cell |

### Details

inside a control

inserted words

\\# no heading
"""


def make(path: Path) -> None:
    document = docx.Document()
    document.core_properties.title = "The handbook"
    document.core_properties.author = "HR department"
    document.add_heading("Handbook", 0)
    document.add_heading("Leave", 1)
    paragraph = document.add_paragraph("Everyone has ")
    paragraph.add_run("30").bold = True
    paragraph.add_run(" days.\twell")
    hyphen = parse_xml(f"<w:r {nsdecls('w')}><w:noBreakHyphen/><w:t>known</w:t></w:r>")
    paragraph._p.append(hyphen)
    paragraph.add_run().add_break()
    paragraph.add_run("A second line.")
    document.add_paragraph("bullet one", "List Bullet")
    nested = document.add_paragraph("nested bullet", "List Bullet")
    numbering = document.styles["List Bullet"].element.pPr.numPr.numId.val
    nested._p.get_or_add_pPr().append(
        parse_xml(
            f"<w:numPr {nsdecls('w')}><w:ilvl w:val='1'/><w:numId w:val='{numbering}'/></w:numPr>"
        )
    )
    document.add_paragraph("bullet two", "List Bullet")
    document.add_paragraph("step one", "List Number")
    document.add_paragraph("step two", "List Number")
    table = document.add_table(2, 2)
    for cell, text in zip(table._cells, ("Year", "Days", "1", "30"), strict=True):
        cell.text = text
    inner = table.cell(1, 1).add_table(1, 1)
    inner.cell(0, 0).text = "inner cell"
    document.add_heading("Details", 2)
    body = document.element.body
    control = (
        "<w:sdt {}><w:sdtContent><w:p><w:r><w:t>inside a control</w:t></w:r></w:p>"
        "</w:sdtContent></w:sdt>"
    )
    body.insert(len(body) - 1, parse_xml(control.format(nsdecls("w"))))
    changes = document.add_paragraph()
    changes._p.append(
        parse_xml(f"<w:ins {nsdecls('w')}><w:r><w:t>inserted words</w:t></w:r></w:ins>")
    )
    changes._p.append(
        parse_xml(f"<w:del {nsdecls('w')}><w:r><w:delText>gone</w:delText></w:r></w:del>")
    )
    document.add_paragraph("# no heading")
    document.save(str(path))


def test_a_docx_document_is_read(tmp_path: Path) -> None:
    path = tmp_path / "handbook.docx"
    make(path)
    document = load_one(path)
    check(document)
    assert document.kind == "markdown"
    assert document.text == TEXT
    assert document.title == "The handbook"
    assert document.meta == {"author": "HR department"}
    assert document.headings == tuple(
        Heading(document.text.index(line), level, line.lstrip("# "))
        for level, line in ((1, "# Handbook"), (2, "## Leave"), (3, "### Details"))
    )


FOOTNOTES = "http://schemas.openxmlformats.org/officeDocument/2006/relationships/footnotes"


def test_footnotes_follow_the_text(tmp_path: Path) -> None:
    from docx.opc.packuri import PackURI
    from docx.opc.part import Part

    path = tmp_path / "notes.docx"
    document = docx.Document()
    paragraph = document.add_paragraph("A claim")
    paragraph._p.append(parse_xml(f"<w:r {nsdecls('w')}><w:footnoteReference w:id='2'/></w:r>"))
    blob = (
        f"<w:footnotes {nsdecls('w')}><w:footnote w:id='2'><w:p><w:r><w:t>Its source.</w:t></w:r>"
        "</w:p></w:footnote></w:footnotes>"
    ).encode()
    kind = "application/vnd.openxmlformats-officedocument.wordprocessingml.footnotes+xml"
    part = Part(PackURI("/word/footnotes.xml"), kind, blob, document.part.package)
    document.part.relate_to(part, FOOTNOTES)
    document.save(str(path))
    assert load_one(path).text == "A claim[1]\n\n[1] Its source.\n"


def word_table(rows: str) -> str:
    """Return table XML from rows such as "a b/2 | c/restart": text/columns or /vMerge."""
    xml = []
    for row in rows.split("|"):
        cells = []
        for cell in row.split():
            text, _, span = cell.partition("/")
            merge = f'<w:vMerge w:val="{span}"/>' if span.isalpha() else ""
            columns = f'<w:gridSpan w:val="{span}"/>' if span.isdecimal() else ""
            run = f"<w:p><w:r><w:t>{text.strip('-')}</w:t></w:r></w:p>"
            cells.append(f"<w:tc><w:tcPr>{columns}{merge}</w:tcPr>{run}</w:tc>")
        xml.append(f"<w:tr>{''.join(cells)}</w:tr>")
    return f"<w:tbl>{''.join(xml)}</w:tbl>"


def written(tmp_path: Path, xml: str) -> str:
    """Return the text of a document with this body."""
    document = docx.Document()
    for element in parse_xml(f"<w:body {nsdecls('w')}>{xml}</w:body>"):
        document.element.body.insert(len(document.element.body) - 1, element)
    document.save(str(tmp_path / "a.docx"))
    return load_one(tmp_path / "a.docx").text


@pytest.mark.parametrize(
    ("rows", "text"),
    [
        ("a b/2 c | 1 2 3 4", "a b b c | 1 2 3 4"),
        ("h x | a/restart 1 | -/continue 2 | b 3", "h x | a 1 | a 2 | b 3"),
        ("h x | -/continue 1 | b 2", "h x | 1 | b 2"),  # merged with nothing
        ("h x y | a/restart 1 2 | b/3 | -/continue 3 4", "h x y | a 1 2 | b | 3 4"),
        ("a/1000000 b | 1 2", "a a b | 1 2"),
        ("a/-3 b | 1/x 2", "a b | 1 2"),
    ],
)
def test_merged_cells_stand_in_each_place(tmp_path: Path, rows: str, text: str) -> None:
    lines = written(tmp_path, word_table(rows)).splitlines()
    del lines[1]
    assert " | ".join(" ".join(line.replace("|", "").split()) for line in lines) == text


def test_skipped_columns_and_deleted_rows_of_a_table(tmp_path: Path) -> None:
    table = word_table("a b c | 2 3 | gone gone gone")
    table = table.replace("<w:tr>", '<w:tr><w:trPr><w:gridBefore w:val="1"/></w:trPr>', 2)
    table = table.replace('<w:trPr><w:gridBefore w:val="1"/></w:trPr>', "", 1)
    head, sep, last = table.rpartition("<w:tr>")
    table = f"{head}{sep}<w:trPr><w:del/></w:trPr>{last}"
    assert written(tmp_path, table).splitlines()[2:] == ["|  | 2 | 3 |"]


@pytest.mark.parametrize("media", [0, 2_000_000])
def test_a_zip_bomb_is_refused_before_it_is_unpacked(tmp_path: Path, media: int) -> None:
    path = tmp_path / "bomb.docx"
    make(path)
    with zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("word/media/a.png", os.urandom(media))
        archive.writestr("word/bomb.xml", bytes(200_000_000))
    assert failure(path).startswith("bomb.docx: would unpack from ")
    assert failure(path).endswith(" MB: a zip bomb?")


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"not a zip", "is not a DOCX file, or is damaged: not a zip archive"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(512), "is encrypted, or an old .doc"),
    ],
)
def test_files_of_another_format_are_failures(tmp_path: Path, data: bytes, message: str) -> None:
    path = tmp_path / "a.docx"
    path.write_bytes(data)
    assert failure(path).startswith(f"a.docx: {message}")


def test_a_zip_without_a_document_is_a_failure(tmp_path: Path) -> None:
    path = tmp_path / "a.docx"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("hello.txt", "hello")
    assert failure(path).startswith("a.docx: is not a readable DOCX file: ")


def test_a_truncated_docx_is_a_failure(tmp_path: Path) -> None:
    path = tmp_path / "a.docx"
    make(path)
    path.write_bytes(path.read_bytes()[:-100])
    assert failure(path).startswith("a.docx: is not a DOCX file, or is damaged")
