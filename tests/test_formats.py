"""Collections of every format number that a release has written are read, or migrated."""

import tarfile
from pathlib import Path
from typing import Any

import pytest

from ragctl import open_collection
from ragctl.collection.settings import FORMAT
from tests.command import call
from tests.data.make_collection import FOLDER, packed

PACKED = sorted(FOLDER.glob("format-*.tar.xz"))


@pytest.fixture(params=PACKED, ids=lambda path: path.name)
def home(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A store with the collection of one format."""
    with tarfile.open(request.param) as archive:
        # Python before 3.11.4 has no filters; the archive is ours.
        options: dict[str, Any] = {"filter": "data"} if hasattr(tarfile, "data_filter") else {}
        archive.extractall(tmp_path / "home", **options)
    return tmp_path / "home"


def test_there_is_one_of_the_current_format() -> None:
    assert packed(FORMAT).is_file(), "make it: python -m tests.data.make_collection"


def test_a_stored_collection_is_searched_and_continued(home: Path, tmp_path: Path) -> None:
    environ = {"RAGCTL_HOME": str(home)}
    with open_collection("docs", environ=environ) as docs:
        hits = docs.search("how often is the pump checked?")
        assert hits[0].source == "docs/guide.md"
        assert hits[0].text.startswith("# Guide")
        assert hits[0].line == 1
    verified = call("verify", "--collection", "docs", environ=environ, cwd=tmp_path)
    assert verified.returncode == 0, verified.stdout + verified.stderr
    (tmp_path / "more").mkdir()
    (tmp_path / "more" / "fan.md").write_text("The fan is replaced every five years.")
    ingested = call("ingest", "more", environ=environ, cwd=tmp_path)
    assert ingested.returncode == 0, ingested.stderr
    assert "1 added" in ingested.stdout
    with open_collection("docs", environ=environ) as docs:
        assert docs.search("when is the fan replaced?")[0].source == "more/fan.md"
        assert docs.search("Ventil")[0].source == "docs/ventil.txt"
