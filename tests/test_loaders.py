"""All loaders: the table of formats, real files, and hostile files in the worker pool."""

import json
import os
import subprocess
import sys
import sysconfig
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ragctl.errors import DocumentError
from ragctl.loaders import FORMATS, LoadOptions, format_of, recipe
from ragctl.records import Document
from ragctl.workers import Ended, Pool
from tests.loading import check, failure, load_one, local_file

pytestmark = pytest.mark.slow

SUFFIXES = sorted(suffix for each in FORMATS for suffix in each.suffixes)
PACKAGES = Path(pytest.__file__).parents[1]  # folder of the installed packages
STDLIB = Path(sysconfig.get_path("stdlib"))
SAMPLES = Path(__file__).parents[1] / "sample_docs"


@pytest.fixture(scope="module")
def pool() -> Iterator[Pool]:
    with Pool("ragctl.loaders:load_job", workers=2, seconds=15, memory=2**30) as made:
        yield made


@pytest.fixture(scope="module")
def short_timeout_pool() -> Iterator[Pool]:
    with Pool("ragctl.loaders:load_job", workers=1, seconds=3, memory=2**30) as made:
        yield made


def load_in_pool(pool: Pool, path: Path, options: LoadOptions | None = None) -> list[object]:
    """Load a file in the pool; return and check its documents, and its errors if any."""
    job = (local_file(path), path.name, options or LoadOptions())
    items: list[object] = []
    for _, item in pool.stream([job]):
        if isinstance(item, Ended):
            items += [item.error] if item.error else []
        else:
            items.append(item)
    for item in items:
        if isinstance(item, Document):
            check(item)
        else:
            assert isinstance(item, DocumentError)
    return items


@pytest.mark.parametrize(
    ("name", "format_name"),
    [
        ("a.md", "markdown"),
        ("dir.d/A.PDF", "pdf"),
        ("x/README", "text"),
        ("License", "text"),
        ("Makefile", "code"),
        ("archive.tar.md", "markdown"),
        ("a.exe", None),
        ("noname", None),
        (".md", None),
        ("dir.md/noname", None),
    ],
)
def test_the_format_follows_from_the_file_name(name: str, format_name: str | None) -> None:
    found = format_of(name)
    assert (found.name if found else None) == format_name


def test_each_suffix_and_file_name_belongs_to_one_format() -> None:
    suffixes = [suffix for each in FORMATS for suffix in each.suffixes]
    file_names = [name for each in FORMATS for name in each.file_names]
    assert len(suffixes) == len(set(suffixes))
    assert len(file_names) == len(set(file_names))
    for text in (*suffixes, *file_names):
        assert text == text.lower()
    assert all(suffix.startswith(".") for suffix in suffixes)
    assert len({each.name for each in FORMATS}) == len(FORMATS)


def test_a_recipe_has_everything_that_decides_the_text() -> None:
    options = LoadOptions(jsonl_metadata=("a",), pdf_password="hunter2")
    pdf = recipe("x/a.pdf", options)
    assert pdf["format"] == "pdf"
    assert isinstance(pdf["engines"], dict)
    assert set(pdf["engines"]) == {"pypdf", "pypdfium2"}
    jsonl = recipe("a.jsonl", options)
    assert jsonl["jsonl_metadata"] == ["a"]
    assert recipe("a.jsonl", LoadOptions()) != jsonl
    assert recipe("a.md", options) == recipe("b.markdown", LoadOptions(max_bytes=5))
    assert recipe("a.md", LoadOptions(encoding="cp1251")) != recipe("a.md", LoadOptions())
    assert recipe("a.exe", options) == {}
    for suffix in SUFFIXES:
        assert "hunter2" not in json.dumps(recipe(f"a{suffix}", options))


def test_text_and_code_are_read_as_they_are(tmp_path: Path) -> None:
    for name, kind in (("a.txt", "text"), ("a.py", "code"), ("LICENSE", "text")):
        path = tmp_path / name
        path.write_bytes(b"line\r\n  indented\t\n")
        document = load_one(path)
        assert (document.text, document.kind) == ("line\n  indented\t\n", kind)
        assert document.source == name


def test_files_that_cannot_be_read_are_failures(tmp_path: Path) -> None:
    assert failure(tmp_path / "gone.md") == "gone.md: cannot be read: No such file or directory"
    (tmp_path / "folder.md").mkdir()
    assert failure(tmp_path / "folder.md") == "folder.md: cannot be read: it is not a regular file"
    (tmp_path / "a.exe").touch()
    assert failure(tmp_path / "a.exe") == "a.exe: is not in a supported format"


# Real files


def real_files() -> list[Path]:
    """Return several hundred files from installed packages, of every suffix found there."""
    found: list[Path] = [path for path in SAMPLES.rglob("*") if path.is_file()]
    for suffix, max_files in (
        (".py", 150),
        (".md", 100),
        (".rst", 60),
        (".txt", 60),
        (".toml", 20),
    ):
        found += sorted(PACKAGES.rglob(f"*{suffix}"))[:max_files]
    for suffix in (".html", ".csv", ".c", ".h", ".js", ".cfg", ".jsonl", ".pdf", ".docx"):
        found += sorted(PACKAGES.rglob(f"*{suffix}"))[:10]
    found += sorted((STDLIB / "encodings").glob("*.py"))[:50]
    return [path for path in found if format_of(path.name) and path.stat().st_size < 300_000]


def letters(text: str) -> str:
    return "".join(filter(str.isalnum, text))


def test_real_files_are_read(pool: Pool) -> None:
    paths = real_files()
    assert len(paths) > 200
    failed = []
    documents = 0
    for _, item in pool.stream((local_file(path), str(path), LoadOptions()) for path in paths):
        if isinstance(item, Document):
            check(item)
            documents += 1
            for heading in item.headings if not item.pages else ():
                nearby = letters(item.text[heading.start : heading.start + 600])
                assert letters(heading.title)[:12] in nearby, (item.source, heading)
        elif isinstance(item, DocumentError):
            failed.append(str(item))
        else:
            assert isinstance(item, Ended)
            assert item.error is None
    assert documents > 200
    assert not [text for text in failed if "encrypted" not in text and "binary" not in text]


# Hostile files


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_empty_files_are_empty_documents_or_failures(
    pool: Pool, tmp_path: Path, suffix: str
) -> None:
    path = tmp_path / f"empty{suffix}"
    path.write_bytes(b"")
    items = load_in_pool(pool, path)
    if suffix == ".pdf":
        assert [str(item) for item in items] == ["empty.pdf: is empty: not a PDF"]
    else:
        assert [item.text for item in items if isinstance(item, Document)] in ([], [""])


PARSED = [each.suffixes[0] for each in FORMATS if each.name != "code"]
HEADS = (
    b"%PDF-1.7\n1 0 obj\n<</Type/Catalog/Pages 2 0 R>>\nendobj\n",
    b"PK\x03\x04",
    b'{"text": "',
    b'{"cells": [{"cell_type": ',
    b"<html><table><tr>",
    b"\xff\xfe",
    b"---\na: [",
    b"",
)


@settings(max_examples=60, derandomize=True)
@given(
    st.sampled_from(PARSED),
    st.sampled_from(HEADS),
    st.binary(max_size=400) | st.text(max_size=200).map(lambda text: text.encode()),
)
def test_random_bytes_under_any_suffix_do_no_harm(
    pool: Pool, tmp_path_factory: pytest.TempPathFactory, suffix: str, head: bytes, data: bytes
) -> None:
    path = tmp_path_factory.mktemp("random") / f"a{suffix}"
    path.write_bytes(head + data)
    load_in_pool(pool, path)


def truncations(path: Path) -> list[bytes]:
    data = path.read_bytes()
    return [data[: len(data) * part // 8] for part in range(1, 8)]


@pytest.mark.parametrize("suffix", [".pdf", ".docx", ".html", ".ipynb", ".csv", ".jsonl"])
def test_truncated_and_damaged_files_do_no_harm(pool: Pool, tmp_path: Path, suffix: str) -> None:
    original = next(iter(sorted(SAMPLES.rglob(f"*{suffix}"))))
    path = tmp_path / f"a{suffix}"
    variants = truncations(original)
    data = original.read_bytes()
    step = max(len(data) // 7, 1)
    for at in range(0, len(data), step):
        variants.append(data[:at] + b"\x00\xff<&{" + data[at + 5 :])
    for variant in variants:
        path.write_bytes(variant)
        assert load_in_pool(pool, path) or suffix == ".jsonl"


def test_a_huge_file_fails_before_it_is_read(pool: Pool, tmp_path: Path) -> None:
    for suffix in PARSED:
        path = tmp_path / f"huge{suffix}"
        path.touch()
        os.truncate(path, 2_000_000_000)
        [error] = load_in_pool(pool, path)
        assert str(error) == (
            f"huge{suffix}: is 2,000.0 MB, above the limit of 200.0 MB; raise --max-file"
        )


def test_a_file_that_exceeds_the_memory_limit_is_one_failure(tmp_path: Path) -> None:
    path = tmp_path / "large.txt"
    path.touch()
    os.truncate(path, 150_000_000)
    with Pool("ragctl.loaders:load_job", workers=1, seconds=15, memory=100 * 2**20) as small:
        [error] = load_in_pool(small, path)
    assert str(error) == "needs more than 100 MiB of memory to parse; raise --parse-memory"


def pdf(objects: dict[int, bytes]) -> bytes:
    """Return a PDF of the given objects, with a correct cross-reference table."""
    data = b"%PDF-1.7\n"
    offsets = {}
    for number, body in objects.items():
        offsets[number] = len(data)
        data += b"%d 0 obj\n%s\nendobj\n" % (number, body)
    table = len(data)
    data += b"xref\n0 %d\n0000000000 65535 f \n" % (len(objects) + 1)
    data += b"".join(b"%010d 00000 n \n" % offsets[number] for number in sorted(offsets))
    trailer = b"trailer\n<</Size %d/Root 1 0 R>>\nstartxref\n%d\n%%%%EOF\n"
    return data + trailer % (len(objects) + 1, table)


CATALOG = b"<</Type/Catalog/Pages 2 0 R/Outlines 4 0 R>>"
PAGE = b"<</Type/Page/Parent 2 0 R/MediaBox[0 0 9 9]/Contents 5 0 R>>"
CYCLIC_PDFS = {
    "pages that contain themselves": {
        2: b"<</Type/Pages/Count 9/Kids[3 0 R 2 0 R]>>",
        3: b"<</Type/Pages/Count 9/Kids[2 0 R 3 0 R]/Parent 2 0 R>>",
    },
    "a false page count": {2: b"<</Type/Pages/Count 2000000000/Kids[3 0 R]>>"},
    "a cyclic outline": {
        4: b"<</First 6 0 R/Last 6 0 R/Count 1>>",
        6: b"<</Title(a)/Next 6 0 R/First 6 0 R/Last 6 0 R/Parent 4 0 R/Dest[3 0 R/Fit]>>",
    },
    "a stream of its own length": {5: b"<</Length 5 0 R>>\nstream\nBT ET\nendstream"},
    "a form that draws itself": {
        3: PAGE[:-2] + b"/Resources<</XObject<</F 6 0 R>>>>>>",
        5: b"<</Length 5>>\nstream\n/F Do\nendstream",
        6: b"<</Type/XObject/Subtype/Form/BBox[0 0 9 9]/Resources<</XObject<</F 6 0 R>>>>"
        b"/Length 11>>\nstream\n/F Do /F Do\nendstream",
    },
    "deep arrays": {5: b"[" * 100_000 + b"]" * 100_000},
}


@pytest.mark.parametrize("what", CYCLIC_PDFS)
def test_cyclic_pdfs_are_handled(short_timeout_pool: Pool, tmp_path: Path, what: str) -> None:
    objects = {
        1: CATALOG,
        2: b"<</Type/Pages/Count 1/Kids[3 0 R]>>",
        3: PAGE,
        4: b"<</Count 0>>",
        5: b"<</Length 0>>\nstream\n\nendstream",
        6: b"null",
    }
    path = tmp_path / "loop.pdf"
    path.write_bytes(pdf({**objects, **CYCLIC_PDFS[what]}))
    assert load_in_pool(short_timeout_pool, path)


def test_a_docx_with_a_false_size_is_a_failure(pool: Pool, tmp_path: Path) -> None:
    name = "word/document.xml"
    path = tmp_path / "a.docx"
    with (
        zipfile.ZipFile(next(SAMPLES.rglob("*.docx"))) as old,
        zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as new,
    ):
        for part in old.infolist():
            new.writestr(part, old.read(part) + b" " * (part.filename == name) * 100_000_000)
        size = new.getinfo(name).file_size
    data = path.read_bytes()
    changed = data.replace(size.to_bytes(4, "little"), (70_000).to_bytes(4, "little"))
    assert changed != data
    path.write_bytes(changed)
    [error] = load_in_pool(pool, path)
    assert isinstance(error, DocumentError)


def test_deep_and_wide_files_are_loaded_in_time(pool: Pool, tmp_path: Path) -> None:
    files = {
        "deep.html": "<div>" * 10_000 + "x",
        "deep.md": "> " * 50_000 + "x\n" + "- " * 50_000 + "x\n" + "[" * 50_000,
        "wide.md": "# " + "[a](" * 100_000 + "\n# " + "*" * 100_000 + " a" * 1000,
        "spaces.md": "# a" + " " * 500_000 + "b\n" + "`" * 500_000,
        "rows.html": "<table>" * 3_000 + "<tr><td>x" * 1_000,
        "wide.rst": "a" * 1_000_000 + "\n" + "=" * 1_000_000,
        "quotes.csv": '"' * 1_000_001,
        "tags.html": "<" * 300_000,
        "entities.html": "&amp" * 300_000,
        "deep.ipynb": '{"cells":' * 50_000,
    }
    for name, text in files.items():
        path = tmp_path / name
        path.write_text(text)
        items = load_in_pool(pool, path)
        assert len(items) == 1
        assert not str(items[0]).startswith("took longer"), name


def test_importing_the_loaders_imports_no_parser() -> None:
    heavy = ["lxml", "docx", "pypdf", "pypdfium2", "pathspec", "charset_normalizer", "numpy"]
    code = f"import ragctl.loaders, sys; print([n for n in {heavy} if n in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
