"""A format is added in one place: its loader, and its row in `loaders/registry.py`."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.scratch import copy_package, run_python

pytestmark = pytest.mark.slow

LOADER = '''
"""Mail: one document a message, with its subject as the title."""

from collections.abc import Iterator
from email import message_from_bytes, policy

from ragctl.loaders.content import FileContent
from ragctl.loaders.decode import clean
from ragctl.loaders.options import LoadOptions
from ragctl.records import Document


def load_mail(content: FileContent, source: str, options: LoadOptions) -> Iterator[Document]:
    message = message_from_bytes(content.read(options.max_bytes), policy=policy.default)
    yield Document(source, clean(message.get_content()), title=str(message["subject"]))
'''
ROW = 'FORMATS = (\n    Format("mail", 1, load_mail, suffixes=(".eml",)),\n'
IMPORT = "\nfrom ragctl.loaders.mail import load_mail\n\nT = "
MAIL = """Subject: Heating
From: a@example.com
Content-Type: text/plain; charset=utf-8

The boiler is descaled every November.
"""


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """A copy of the package with a loader for mail."""
    copy = copy_package(tmp_path)
    (copy / "loaders" / "mail.py").write_text(LOADER)
    edit(copy / "loaders" / "registry.py", "FORMATS = (\n", ROW)
    edit(copy / "loaders" / "registry.py", "\n\nT = ", IMPORT)
    return copy


def edit(file: Path, old: str, new: str) -> None:
    text = file.read_text()
    assert text.count(old) == 1
    file.write_text(text.replace(old, new))


def ragctl(copy: Path, folder: Path, *words: str) -> Any:
    """Run a command of the copied package and return its JSON."""
    code = f"from ragctl.cli.main import main; main({list(words)})"
    done = run_python(copy, code, cwd=folder)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_a_file_of_the_new_format_is_ingested_and_found(copy: Path, tmp_path: Path) -> None:
    (tmp_path / "mails").mkdir()
    (tmp_path / "mails" / "boiler.eml").write_text(MAIL)
    (tmp_path / "mails" / "other.txt").write_text("The bicycle shed is painted in green.")
    report = ragctl(copy, tmp_path, "ingest", "mails", "--json")
    assert report["documents"]["added"] == 2
    found = ragctl(copy, tmp_path, "search", "when is the boiler descaled", "--json")
    best = found["hits"][0]
    assert (best["source"], best["title"]) == ("mails/boiler.eml", "Heating")

    edit(copy / "loaders" / "registry.py", 'Format("mail", 1,', 'Format("mail", 2,')
    edit(copy / "loaders" / "mail.py", "clean(message.get_content())", "clean(message.as_string())")
    report = ragctl(copy, tmp_path, "ingest", "mails", "--json")
    assert (report["documents"]["updated"], report["documents"]["unchanged"]) == (1, 1)
