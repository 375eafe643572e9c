"""PDF files made with reportlab and by hand."""

from pathlib import Path

import pypdf
import pypdfium2
import pytest
from pypdf.constants import PageLabelStyle
from reportlab.lib.pagesizes import A5
from reportlab.pdfgen.canvas import Canvas

from ragctl.loaders import LoadOptions
from ragctl.loaders.pdf_text import join_pages, pdfium_texts
from ragctl.records import Page
from tests.loading import check, failure, load_one


def write_pages(canvas: Canvas, pages: list[list[str]]) -> None:
    """Write a page per list of lines; "!title" also goes into the outline, a level per "!"."""
    for lines in pages:
        for number, line in enumerate(lines):
            title = line.lstrip("!")
            if depth := len(line) - len(title):
                canvas.bookmarkPage(title)
                canvas.addOutlineEntry(title, title, depth - 1)
            canvas.drawString(40, 500 - 14 * number, title)
        canvas.showPage()


def make(path: Path, pages: list[list[str]], **metadata: str) -> Path:
    canvas = Canvas(str(path), pagesize=A5, invariant=True)
    for name, value in metadata.items():
        getattr(canvas, f"set{name.capitalize()}")(value)
    write_pages(canvas, pages)
    canvas.save()
    return path


PAGES = [
    ["!Manual", "About this manual and what it covers."],
    [],
    ["running header", "!!2.1 Setup", "First of all,", "the !", "!!!Network", "Cables."],
]


def test_text_pages_outline_and_metadata_are_read(tmp_path: Path) -> None:
    path = make(tmp_path / "a.pdf", PAGES, title="The manual", author="Service", subject="")
    document = load_one(path)
    check(document)
    assert document.kind == "text"
    assert document.text == (
        "Manual\nAbout this manual and what it covers.\n\n"
        "running header\n2.1 Setup\nFirst of all,\nthe !\nNetwork\nCables.\n"
    )
    assert [document.text[page.start : page.end].split("\n")[0] for page in document.pages] == [
        "Manual",
        "",
        "running header",
    ]
    assert document.title == "The manual"
    assert document.meta == {"author": "Service"}
    assert [(h.level, h.title) for h in document.headings] == [
        (1, "Manual"),
        (2, "2.1 Setup"),
        (3, "Network"),
    ]
    for heading in document.headings:
        assert document.text.startswith(heading.title, heading.start)
    assert document.warnings == ("1 of 3 pages has no text; scanned pages need OCR first",)


def test_an_outline_title_not_on_its_page_is_placed_at_the_start_of_the_page(
    tmp_path: Path,
) -> None:
    path = tmp_path / "a.pdf"
    canvas = Canvas(str(path), pagesize=A5)
    write_pages(canvas, [["first page"]])
    canvas.bookmarkPage("x")
    canvas.addOutlineEntry("Elsewhere", "x", 0)
    write_pages(canvas, [["second page"]])
    canvas.save()
    document = load_one(path)
    [heading] = document.headings
    assert heading.start == document.pages[1].start == document.text.index("second")


def test_a_pdf_of_scans_has_no_text_and_a_warning(tmp_path: Path) -> None:
    document = load_one(make(tmp_path / "a.pdf", [[], []]))
    check(document)
    assert document.text == ""
    assert len(document.pages) == 2
    assert document.warnings == ("2 of 2 pages have no text; scanned pages need OCR first",)


def test_page_labels_are_read(tmp_path: Path) -> None:
    path = make(tmp_path / "a.pdf", [["preface"], ["one"], ["two"]])
    writer = pypdf.PdfWriter(path)
    writer.set_page_label(0, 0, style=PageLabelStyle.LOWERCASE_ROMAN)
    writer.set_page_label(1, 2, style=PageLabelStyle.DECIMAL)
    writer.write(path)
    assert [page.label for page in load_one(path).pages] == ["i", "1", "2"]


@pytest.mark.parametrize("algorithm", ["RC4-128", "AES-128", "AES-256"])
def test_encrypted_files_need_their_password(tmp_path: Path, algorithm: str) -> None:
    path = make(tmp_path / "a.pdf", [["!Secret", "words"]])
    writer = pypdf.PdfWriter(path)
    writer.encrypt("", "owner", algorithm=algorithm)
    writer.write(tmp_path / "open.pdf")
    opened = load_one(tmp_path / "open.pdf")
    assert opened.text == "Secret\nwords\n"
    assert [heading.title for heading in opened.headings] == ["Secret"]

    writer = pypdf.PdfWriter(path)
    writer.encrypt("пароль" if algorithm == "AES-256" else "user", algorithm=algorithm)
    writer.write(tmp_path / "locked.pdf")
    locked = tmp_path / "locked.pdf"
    assert failure(locked) == "locked.pdf: is encrypted; set RAGCTL_PDF_PASSWORD"
    wrong = failure(locked, LoadOptions(pdf_password="no"))
    assert wrong == "locked.pdf: the password does not open it; set RAGCTL_PDF_PASSWORD"
    password = "пароль" if algorithm == "AES-256" else "user"
    document = load_one(locked, LoadOptions(pdf_password=password))
    assert document.text == "Secret\nwords\n"
    assert [heading.title for heading in document.headings] == ["Secret"]


def test_the_password_is_not_in_the_repr() -> None:
    assert "hunter2" not in repr(LoadOptions(pdf_password="hunter2"))


@pytest.mark.parametrize(
    ("lines", "text"),
    [
        ("the manage-\nment of", "the management\nof"),
        ("the manage\x02ment\nof", "the management\nof"),
        ("a well-\nknown well-known", "a well-known\nwell-known"),
        ("a well\x02known well-known", "a well-known well-known"),
        ("das Debian\x02Paket", "das Debian-Paket"),
        ("COVID\x0219 and p1\x02Patch", "COVID-19 and p1-Patch"),
        ("MANAGE\x02MENT", "MANAGEMENT"),
        ("soft\u00ad\nly and so\u00adft", "softly\nand soft"),
        ("разработ-\nчика", "разработчика"),
        ("pages 3-\n4", "pages 3-\n4"),
        ("- a list\n- of dashes", "- a list\n- of dashes"),
        ("ﬁnd the ﬄow², ½", "find the fflow², ½"),
        ("trailing  \r\n  blanks \r\n", "trailing\n  blanks"),
    ],
)
def test_hyphens_and_ligatures_are_resolved(lines: str, text: str) -> None:
    joined, _ = join_pages([lines], [])
    assert joined == f"{text}\n"


def test_pages_cover_the_text_without_gaps() -> None:
    text, pages = join_pages(["", "one", "", "two", ""], ["i", "ii", "1", "2", "5"])
    assert text == "one\n\ntwo\n"
    assert pages == (
        Page(1, 0, 0, "i"),
        Page(2, 0, 5, "ii"),
        Page(3, 5, 5, "1"),
        Page(4, 5, 9, "2"),
        Page(5, 9, 9, None),
    )


def test_the_second_engine_reads_files_that_the_first_cannot_open(tmp_path: Path) -> None:
    path = make(tmp_path / "a.pdf", [["!Title", "words"], ["more"]])
    # PDFium looks for the header in the first 1,024 bytes.
    prefix = b"% a mail gateway was here\n" * 100
    path.write_bytes(prefix + path.read_bytes())
    with pytest.raises(pypdfium2.PdfiumError):
        pdfium_texts(path.read_bytes(), None)
    document = load_one(path)
    check(document)
    assert document.text == "Title\nwords\n\nmore\n"
    assert [heading.title for heading in document.headings] == ["Title"]


def test_a_broken_outline_is_ignored(tmp_path: Path) -> None:
    path = make(tmp_path / "a.pdf", [["!Title", "words"]])
    data = path.read_bytes()
    assert b"/Outlines" in data
    path.write_bytes(data.replace(b"/First", b"/Fxrst").replace(b"/Dest", b"/Dxst"))
    document = load_one(path)
    assert document.text == "Title\nwords\n"
    assert document.headings == ()


@pytest.mark.parametrize("data", [b"%PDF-1.7\n", b"no pdf", b"%PDF-1.4\n1 0 obj\n<<" * 50])
def test_a_file_that_is_not_a_pdf_is_a_failure(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "a.pdf"
    path.write_bytes(data)
    assert failure(path).startswith("a.pdf: is not a readable PDF: ")
    path.write_bytes(b"")
    assert failure(path) == "a.pdf: is empty: not a PDF"
