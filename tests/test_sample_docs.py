"""The sample documents are what they claim, and every question has its one answer in them."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pypdf
import pypdfium2
import pytest

from ragctl.errors import DocumentError
from ragctl.loaders import LoadOptions, load
from ragctl.records import Document
from ragctl.sources import walk
from tests.data import make_samples

QUESTIONS = Path(__file__).parents[1] / "benchmarks" / "questions.jsonl"
SAMPLES = Path(__file__).parents[1] / "sample_docs"
ENCRYPTED = "en/contracts-encrypted.pdf"
LANGUAGES = ("en", "ru", "zh", "de")


def questions() -> list[dict[str, Any]]:
    lines = QUESTIONS.read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines]


def files() -> list[str]:
    """Sources of the visible sample files, drafts left out."""
    found = (path.relative_to(SAMPLES) for path in SAMPLES.rglob("*") if path.is_file())
    shown = (path for path in found if path.parts[0] != "drafts" and path.name[0] != ".")
    return sorted(path.as_posix() for path in shown)


def squeezed(text: str) -> str:
    return " ".join(text.split())


@pytest.fixture(scope="module")
def loaded() -> dict[str, Document | DocumentError]:
    """What the loaders make of every sample file, by source."""
    results: dict[str, Document | DocumentError] = {}
    for found in walk(SAMPLES):
        for item in load(found.location, found.source, LoadOptions()):
            key = item.source if isinstance(item, Document) else found.source
            assert key not in results, key
            results[key] = item
    return results


def test_all_files_load(loaded: dict[str, Document | DocumentError]) -> None:
    failed = {source: item for source, item in loaded.items() if isinstance(item, DocumentError)}
    assert failed == {}


def test_every_answer_stands_once_in_its_source(
    loaded: dict[str, Document | DocumentError],
) -> None:
    texts = {
        source: squeezed(item.text) for source, item in loaded.items() if isinstance(item, Document)
    }
    wrong = {
        question["id"]: count
        for question in questions()
        if (count := texts[question["source"]].count(squeezed(question["answer"]))) != 1
    }
    assert wrong == {}


def test_every_file_is_asked_about() -> None:
    asked = {question["source"].partition("#")[0] for question in questions()}
    assert asked == set(files())


def test_questions_are_enough_and_distinct() -> None:
    rows = questions()
    counts = Counter(row["lang"] for row in rows if not row.get("cross"))
    assert set(counts) == set(LANGUAGES)
    assert min(counts.values()) >= 45
    assert sum(counts.values()) >= 180
    assert len({row["id"] for row in rows}) == len(rows)
    assert len({row["query"] for row in rows}) == len(rows)
    fields = {"id", "lang", "query", "source", "answer"}
    assert all(set(row) - {"cross"} == fields and all(row.values()) for row in rows)


def test_questions_ask_documents_in_their_own_language() -> None:
    for row in questions():
        folder = row["source"].split("/")[0]
        if row.get("cross"):
            assert folder != row["lang"], row["id"]
        else:
            assert folder in (row["lang"], "support"), row["id"]


@pytest.mark.parametrize(
    ("source", "encoding", "word"),
    [("ru/kadry-otpuska.txt", "cp1251", "отпуск"), ("zh/shouhou-guanli.txt", "gb18030", "仓库")],
)
def test_legacy_encodings_are_not_utf8(source: str, encoding: str, word: str) -> None:
    data = (SAMPLES / source).read_bytes()
    with pytest.raises(UnicodeDecodeError):
        data.decode("utf-8")
    assert word in data.decode(encoding)


def test_the_manual_has_outline_labels_and_a_scan() -> None:
    path = SAMPLES / "ru/terrin-montazh.pdf"
    reader = pypdf.PdfReader(path)
    assert reader.page_labels == ["i", "1", "2", "3", "A-1"]
    assert len(reader.outline) > 0
    with pypdfium2.PdfDocument(path) as manual:
        lengths = [len(page.get_textpage().get_text_range()) for page in manual]
    assert lengths[-1] == 0
    assert min(lengths[:-1]) > 200
    assert len(reader.pages[-1].images) == 1


def test_the_encrypted_pdf_may_be_read_but_not_changed() -> None:
    reader = pypdf.PdfReader(SAMPLES / ENCRYPTED)
    assert reader.is_encrypted
    assert reader.decrypt(make_samples.CONTRACTS_PASSWORD) == pypdf.PasswordType.OWNER_PASSWORD
    assert reader.decrypt("") == pypdf.PasswordType.USER_PASSWORD
    assert "Confidential" in reader.pages[0].extract_text()


def test_the_long_document_is_long() -> None:
    text = (SAMPLES / "en/fault-code-reference.md").read_text(encoding="utf-8")
    sections = text.split("\n#### ")[1:]
    assert len(sections) >= 320
    assert len({section.partition("\n")[0] for section in sections}) == len(sections)
    assert len(text) > 350_000


def test_the_ignored_draft_is_not_walked(loaded: dict[str, Document | DocumentError]) -> None:
    assert sorted(found.source for found in walk(SAMPLES)) == files()
    assert "Brisanta" in (SAMPLES / "drafts/roof-units-2026.md").read_text(encoding="utf-8")
    texts = [item.text for item in loaded.values() if isinstance(item, Document)]
    assert not any("Brisanta" in text for text in texts)


def test_everything_together_is_small() -> None:
    assert sum(path.stat().st_size for path in SAMPLES.rglob("*") if path.is_file()) < 1_500_000


def test_generated_texts_are_up_to_date(tmp_path: Path) -> None:
    """PDF and DOCX are left out: their bytes follow the installed libraries and the font."""
    for language in LANGUAGES:
        (tmp_path / language).mkdir()
    make_samples.write_texts(tmp_path)
    make_samples.write_notebook(tmp_path)
    made = [path.relative_to(tmp_path) for path in tmp_path.rglob("*") if path.is_file()]
    assert len(made) == 4
    for path in made:
        assert (tmp_path / path).read_bytes() == (SAMPLES / path).read_bytes(), path


@pytest.mark.parametrize(
    ("made", "written"),
    [
        ("ru/terrin-montazh.pdf", "terrin-montazh.md"),
        ("ru/reglament-servisa.docx", "reglament-servisa.md"),
    ],
)
def test_pdf_and_docx_hold_all_that_was_written(
    made: str, written: str, loaded: dict[str, Document | DocumentError]
) -> None:
    document = loaded[made]
    assert isinstance(document, Document)
    text = squeezed(document.text)
    source = (make_samples.SOURCES / written).read_text(encoding="utf-8")
    cells = [cell for _, cells in make_samples.blocks(source) for cell in cells]
    assert [cell for cell in cells if squeezed(cell) not in text] == []


def test_the_docx_generator_makes_the_same_bytes_twice(tmp_path: Path) -> None:
    made = []
    for run in ("first", "second"):
        (tmp_path / run / "ru").mkdir(parents=True)
        make_samples.write_docx(tmp_path / run)
        made.append((tmp_path / run / "ru/reglament-servisa.docx").read_bytes())
    assert made[0] == made[1]
