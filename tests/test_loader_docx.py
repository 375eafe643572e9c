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
    assert failure(path).startswith("a.docx: is a zip archive without a Word document")


def test_a_truncated_docx_is_a_failure(tmp_path: Path) -> None:
    path = tmp_path / "a.docx"
    make(path)
    path.write_bytes(path.read_bytes()[:-100])
    assert failure(path).startswith("a.docx: is not a DOCX file, or is damaged")


WORD = "http://schemas.openxmlformats.org/wordprocessingml/2006/main"
MATH = "http://schemas.openxmlformats.org/officeDocument/2006/math"
OFFICE = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
PACKAGE = "http://schemas.openxmlformats.org/package/2006/relationships"
NAMES = f'xmlns:w="{WORD}" xmlns:m="{MATH}"'


def bare(path: Path, body: str, strict: bool = False, **parts: str) -> Path:
    """Write a DOCX of nothing but XML; `parts` are further parts by kind, without their root."""
    relations = "".join(
        f'<Relationship Id="r{n}" Type="{OFFICE}/{kind.rstrip("0123456789")}" Target="{kind}.xml"/>'
        for n, kind in enumerate(parts)
    )
    files = {
        "_rels/.rels": f'<Relationships xmlns="{PACKAGE}"><Relationship Id="r" '
        f'Type="{OFFICE}/officeDocument" Target="word/document.xml"/></Relationships>',
        "word/document.xml": f"<w:document {NAMES}><w:body>{body}</w:body></w:document>",
        "word/_rels/document.xml.rels": f'<Relationships xmlns="{PACKAGE}">{relations}'
        "</Relationships>",
        **{f"word/{kind}.xml": f"<w:{kind} {NAMES}>{x}</w:{kind}>" for kind, x in parts.items()},
    }
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, xml in files.items():
            if strict:
                xml = xml.replace(WORD, "http://purl.oclc.org/ooxml/wordprocessingml/main")
                xml = xml.replace(MATH, "http://purl.oclc.org/ooxml/officeDocument/math")
                xml = xml.replace(OFFICE, "http://purl.oclc.org/ooxml/officeDocument/relationships")
            archive.writestr(name, xml)
    return path


def p(text: str, properties: str = "") -> str:
    return f"<w:p><w:pPr>{properties}</w:pPr><w:r><w:t>{text}</w:t></w:r></w:p>"


def in_list(level: int, number: int = 1) -> str:
    return f'<w:numPr><w:ilvl w:val="{level}"/><w:numId w:val="{number}"/></w:numPr>'


def level(depth: int, form: str, text: str, more: str = "", start: int = 1) -> str:
    return (
        f'<w:lvl w:ilvl="{depth}"><w:start w:val="{start}"/><w:numFmt w:val="{form}"/>{more}'
        f'<w:lvlText w:val="{text}"/></w:lvl>'
    )


def numbering(levels: str, override: str = "") -> str:
    return (
        f'<w:abstractNum w:abstractNumId="7">{levels}</w:abstractNum>'
        '<w:num w:numId="1"><w:abstractNumId w:val="7"/></w:num>'
        f'<w:num w:numId="2"><w:abstractNumId w:val="7"/>{override}</w:num>'
    )


def markers(tmp_path: Path, levels: str, where: list[tuple[int, int]], override: str = "") -> str:
    """Return the numbers of paragraphs in these lists and levels."""
    body = "".join(p("x", in_list(depth, number)) for depth, number in where)
    path = bare(tmp_path / "a.docx", body, numbering=numbering(levels, override))
    return " ".join(line.strip().removesuffix(" x") for line in load_one(path).text.splitlines())


LEGAL = level(0, "upperRoman", "Part %1") + level(1, "decimal", "%1.%2", "<w:isLgl/>")
RESTART = (
    level(0, "decimal", "%1.")
    + level(1, "lowerLetter", "%2)", '<w:lvlRestart w:val="0"/>')
    + level(2, "lowerRoman", "(%3)")
)


@pytest.mark.parametrize(
    ("levels", "where", "override", "expected"),
    [
        (level(0, "decimal", "Article %1.", "", 5), [(0, 1)] * 2, "", "Article 5. Article 6."),
        (LEGAL, [(0, 1), (1, 1), (1, 1), (0, 1), (1, 1)], "", "Part I 1.1 1.2 Part II 2.1"),
        (RESTART, [(0, 1), (1, 1), (2, 1), (0, 1), (1, 1), (2, 1)], "", "1. a) (i) 2. b) (i)"),
        (level(0, "decimal", "%1."), [(0, 1), (0, 1), (0, 2), (0, 1)], "", "1. 2. 3. 4."),
        (
            level(0, "decimal", "%1."),
            [(0, 1), (0, 1), (0, 2), (0, 2)],
            '<w:lvlOverride w:ilvl="0"><w:startOverride w:val="9"/></w:lvlOverride>',
            "1. 2. 9. 10.",
        ),
        (
            level(0, "decimal", "%1."),
            [(0, 1), (0, 2)],
            f'<w:lvlOverride w:ilvl="0">{level(0, "upperLetter", "%1)")}</w:lvlOverride>',
            "1. B)",
        ),
        (level(0, "lowerLetter", "%1)", "", 26), [(0, 1)] * 2, "", "z) aa)"),
        (level(0, "decimalZero", "%1"), [(0, 1)], "", "01"),
        (level(0, "ordinalText", "%1:"), [(0, 1)] * 3, "", "First: Second: Third:"),
        (level(0, "russianLower", "%1)"), [(0, 1)] * 2, "", "а) б)"),
        (level(0, "bullet", "o"), [(0, 1)], "", "-"),
        (level(0, "chineseCounting", "第%1条", "", 10), [(0, 1)] * 2, "", "第十条 第十一条"),
    ],
)
def test_numbers_are_those_of_word(
    tmp_path: Path, levels: str, where: list[tuple[int, int]], override: str, expected: str
) -> None:
    assert markers(tmp_path, levels, where, override) == expected


def test_headings_have_their_numbers_and_the_first_is_the_title(tmp_path: Path) -> None:
    styles = "".join(
        f'<w:style w:type="paragraph" w:styleId="H{n}"><w:name w:val="heading {n}"/>'
        f'<w:pPr><w:numPr><w:numId w:val="1"/></w:numPr></w:pPr></w:style>'
        for n in (1, 2)
    )
    levels = level(0, "decimal", "Article %1.", '<w:pStyle w:val="H1"/>', 5)
    levels += level(1, "decimal", "%1.%2", '<w:pStyle w:val="H2"/>')
    body = p("Scope", '<w:pStyle w:val="H1"/>') + p("Pumps", '<w:pStyle w:val="H2"/>')
    body += p("none", '<w:pStyle w:val="H2"/><w:numPr><w:numId w:val="0"/></w:numPr>')
    path = bare(tmp_path / "a.docx", body, styles=styles, numbering=numbering(levels))
    document = load_one(path)
    check(document)
    assert document.text == "# Article 5. Scope\n\n## 5.1 Pumps\n\n## none\n"
    assert document.title == "Article 5. Scope"


def r(text: str) -> str:
    return f"<m:r><m:t>{text}</m:t></m:r>"


@pytest.mark.parametrize(
    ("xml", "text"),
    [
        (f"{r('P')}{r('=U·I')}", "P=U·I"),
        (f"<m:f><m:num>{r('a+b')}</m:num><m:den>{r('2')}</m:den></m:f>", "(a+b)/2"),
        (f"<m:sSup><m:e>{r('c')}</m:e><m:sup>{r('2')}</m:sup></m:sSup>", "c²"),
        (f"<m:sSup><m:e>{r('10')}</m:e><m:sup>{r('-6')}</m:sup></m:sSup>", "10^(-6)"),
        (f"<m:sSub><m:e>{r('x')}</m:e><m:sub>{r('i')}</m:sub></m:sSub>", "x_i"),
        (f"<m:rad><m:deg/><m:e>{r('x+1')}</m:e></m:rad>", "√(x+1)"),
        (
            '<m:nary><m:naryPr><m:chr m:val="∑"/></m:naryPr>'
            f"<m:sub>{r('i=1')}</m:sub><m:sup>{r('n')}</m:sup><m:e>{r('i')}</m:e></m:nary>",
            "∑_(i=1)^n i",
        ),
        (f"<m:d><m:e>{r('x')}</m:e><m:e>{r('y')}</m:e></m:d>", "(x|y)"),
        (
            f"<m:m><m:mr><m:e>{r('1')}</m:e><m:e>{r('0')}</m:e></m:mr>"
            f"<m:mr><m:e>{r('0')}</m:e><m:e>{r('1')}</m:e></m:mr></m:m>",
            "1, 0; 0, 1",
        ),
    ],
)
def test_equations_are_text(tmp_path: Path, xml: str, text: str) -> None:
    body = f"<w:p><w:r><w:t>so </w:t></w:r><m:oMath>{xml}</m:oMath></w:p>"
    body += f"<m:oMathPara><m:oMath>{xml}</m:oMath></m:oMathPara>"
    assert load_one(bare(tmp_path / "a.docx", body)).text == f"so {text}\n\n{text}\n"


@pytest.mark.parametrize("strict", [False, True])
def test_parts_beside_the_body_are_read(tmp_path: Path, strict: bool) -> None:
    page = '<w:p><w:fldSimple w:instr=" PAGE "><w:r><w:t>7</w:t></w:r></w:fldSimple></w:p>'
    complex_field = (
        '<w:p><w:r><w:t>Page </w:t></w:r><w:r><w:fldChar w:fldCharType="begin"/></w:r><w:r>'
        "<w:instrText> PAGE </w:instrText></w:r><w:r><w:t>3</w:t></w:r><w:r>"
        '<w:fldChar w:fldCharType="end"/></w:r></w:p>'
    )
    path = bare(
        tmp_path / "a.docx",
        "<w:p><w:r><w:t>Claim</w:t><w:endnoteReference w:id='4'/></w:r></w:p>",
        strict,
        header1=p("Contract 17"),
        header2=p("Contract 17"),
        footer1=page,
        footer2=complex_field,
        footer3=p("ACME GmbH"),
        endnotes=f'<w:endnote w:id="4">{p("Its source.")}</w:endnote>',
        comments=f'<w:comment w:id="1" w:author="Ann">{p("Is this so?")}</w:comment>',
    )
    text = "Contract 17\n\nClaim[1]\n\n[1] Its source.\n\nComment by Ann: Is this so?\n\n"
    assert load_one(path).text == f"{text}ACME GmbH\n"


def test_text_boxes_come_once_and_hidden_text_not_at_all(tmp_path: Path) -> None:
    mc = "http://schemas.openxmlformats.org/markup-compatibility/2006"
    box = f"<w:txbxContent>{p('in a box')}</w:txbxContent>"
    shape = (
        f'<w:p><w:r><mc:AlternateContent xmlns:mc="{mc}"><mc:Choice>{box}</mc:Choice>'
        f"<mc:Fallback>{box}</mc:Fallback></mc:AlternateContent></w:r></w:p>"
    )
    hidden = "<w:p><w:r><w:rPr><w:vanish/></w:rPr><w:t>hidden</w:t></w:r></w:p>"
    cells = f"<w:tc>{shape}</w:tc><w:tc>{p('b')}{hidden}</w:tc>"
    body = f"{shape}{hidden}<w:tbl><w:tr>{cells}</w:tr></w:tbl>"
    lines = load_one(bare(tmp_path / "a.docx", body)).text.splitlines()
    assert lines == ["in a box", "", "| in a box | b |", "| --- | --- |"]


def test_a_default_title_is_none(tmp_path: Path) -> None:
    document = docx.Document()
    document.core_properties.title = "Word Document"
    document.add_heading("Warranty", 2)
    document.save(str(tmp_path / "a.docx"))
    assert load_one(tmp_path / "a.docx").title == "Warranty"


@pytest.mark.parametrize("part", ["document", "styles"])
def test_damaged_parts_are_named_in_plain_words(tmp_path: Path, part: str) -> None:
    path = bare(tmp_path / "a.docx", p("text " * 500), styles="<w:style/>" * 50)
    with zipfile.ZipFile(path) as archive:
        info = archive.getinfo(f"word/{part}.xml")
    data = bytearray(path.read_bytes())
    begin = info.header_offset + 30 + len(info.filename)
    for at in range(begin, begin + 8):
        data[at] ^= 0xFF
    path.write_bytes(data)
    message = f"is damaged: its part word/{part}.xml cannot be unpacked"
    if part == "document":
        assert failure(path) == f"a.docx: {message}"
    else:
        document = load_one(path)
        assert document.text.startswith("text text")
        assert document.warnings == (f"{message}; it was left out",)
