"""Names that are ignored by default, and how to index them all the same."""

from pathlib import Path

import pytest

from ragctl.sources import walk
from ragctl.sources.noise import DEFAULT_IGNORES

NOISE = (
    *("~$Contract.docx", "desktop.ini", "Thumbs.db", "Icon\r", "a.md~", "#a.md#", "a.md.bak"),
    *("a.swp", "~WRL0001.tmp", "a.pdf.part", "a.pdf.crdownload", "ehthumbs.db", "THUMBS.DB"),
    *("__pycache__/a.py", "node_modules/a/readme.md", "__MACOSX/a.md", "$RECYCLE.BIN/a.md"),
    *("@eaDir/a.md", "#recycle/a.md", "lost+found/a.md", "x.egg-info/SOURCES.txt"),
    *("System Volume Information/a.txt", "venv/pyvenv.cfg", "venv/lib/a.py"),
)
DOCUMENTS = ("a.md", "desktop.md", "node_modules.md", "a~b.md", "bak.md", "tmp/a.md", "part.txt")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for name in (*NOISE, *DOCUMENTS):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("x")
    return tmp_path


def test_noise_is_left_out_with_its_rule(root: Path) -> None:
    found = walk(root)
    assert sorted(file.source for file in found) == sorted(DOCUMENTS)
    tops = {name if "/" not in name else f"{name.split('/')[0]}/" for name in NOISE}
    assert {each.source for each in found.skipped.files} == tops
    assert {each.kind for each in found.skipped.files} == {"default"}
    assert found.skipped.unasked == 0
    reasons = {each.source: each.reason for each in found.skipped.files}
    assert reasons["~$Contract.docx"] == "ignored by default: ~$*"
    assert reasons["venv/"] == "ignored by default: a virtual environment of Python"


def test_one_setting_switches_it_off(root: Path) -> None:
    found = [file.source for file in walk(root, default_ignores=False)]
    assert {"desktop.ini", "~$Contract.docx", "venv/lib/a.py", "__pycache__/a.py"} <= set(found)


def test_rules_of_the_user_include_noise_again(root: Path) -> None:
    (root / ".ragctlignore").write_text("!venv/\n!desktop.ini\n")
    found = [file.source for file in walk(root, exclude=["!__pycache__/"])]
    assert {"venv/lib/a.py", "desktop.ini", "__pycache__/a.py"} <= set(found)
    assert "node_modules/a/readme.md" not in found


@pytest.mark.parametrize("name", ["node_modules", "venv"])
def test_a_root_is_never_noise(root: Path, name: str) -> None:
    assert list(walk(root / name)) != []


def test_the_page_lists_every_pattern() -> None:
    page = (Path(__file__).parents[1] / "docs/sources.md").read_text(encoding="utf-8")
    for pattern in DEFAULT_IGNORES:
        shown = pattern.replace("\\", "").replace("[\r]", "")
        assert f"`{shown}`" in page or shown.lower() in ("desktop.ini", "thumbs.db"), pattern
