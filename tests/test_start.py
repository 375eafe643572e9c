"""`ragctl` without a command: the commands needed most, and the next step for what there is."""

from pathlib import Path

import pytest

from ragctl.cli.start import NEEDED_MOST, find_pipelines
from tests.command import call

PIPELINE = 'collection = "kb"\n[[sources]]\npath = "docs"\n'


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "here").mkdir()
    return tmp_path / "here"


def shown(folder: Path, **environ: str) -> str:
    variables = {"RAGCTL_HOME": str(folder.parent / "store"), "PATH": "", **environ}
    done = call(environ=variables, cwd=folder)
    assert (done.returncode, done.stderr) == (0, "")
    assert max(map(len, done.stdout.splitlines()[:8])) <= 80
    for command in NEEDED_MOST:
        assert f"  {command}  " in done.stdout
    return done.stdout


def next_steps(text: str) -> list[str]:
    return text.partition("Next:\n")[2].partition("\n\n")[0].strip().split("\n  ")


def collections(folder: Path, *names: str) -> None:
    """Make what a look at the folder takes for collections: their folders."""
    for name in names:
        (folder.parent / "store" / "collections" / name).mkdir(parents=True)


def test_without_a_collection_ingest_is_next(folder: Path) -> None:
    text = shown(folder)
    assert "has no collection yet" in text
    assert next_steps(text) == ["ragctl ingest FOLDER"]


def test_with_one_collection_search_is_next(folder: Path) -> None:
    collections(folder, "docs")
    text = shown(folder)
    assert "has one collection: docs." in text
    assert next_steps(text) == ['ragctl search "QUESTION"']


def test_a_collection_of_another_name_is_named(folder: Path) -> None:
    collections(folder, "kb")
    assert next_steps(shown(folder)) == ['ragctl search "QUESTION" -c kb']


def test_several_collections_are_listed(folder: Path) -> None:
    collections(folder, *"abcdef")
    text = shown(folder)
    assert "has 6 collections: a, b, c, d and 2 more." in text
    assert next_steps(text) == ['ragctl search "QUESTION" -c NAME', "ragctl collections"]


def test_a_pipeline_file_is_run_next(folder: Path) -> None:
    (folder / "my file.toml").write_text(PIPELINE)
    collections(folder, "docs")
    text = shown(folder)
    assert "Pipeline files in this folder: my file.toml." in text
    assert next_steps(text) == [
        *("ragctl plan 'my file.toml'", "ragctl run 'my file.toml'", 'ragctl search "QUESTION"')
    ]


def test_a_server_is_named_and_not_asked(folder: Path) -> None:
    text = shown(folder, RAGCTL_HOME="http://user:secret@127.0.0.1:1/")
    assert "the Qdrant server http://127.0.0.1:1/." in text
    assert "secret" not in text
    assert next_steps(text) == ["ragctl check", "ragctl collections"]


def test_a_store_that_cannot_be_read_is_named(folder: Path) -> None:
    (folder.parent / "store").mkdir()
    (folder.parent / "store" / "collections").write_text("a file")
    text = shown(folder)
    assert "store cannot be read" in text
    assert next_steps(text) == ["ragctl check", "ragctl collections"]


def test_only_pipeline_files_count(folder: Path) -> None:
    (folder / "good.toml").write_text(PIPELINE)
    (folder / "pyproject.toml").write_text("[project]\nname = 'x'\n")
    (folder / "list.toml").write_text("sources = ['a', 'b']\n")
    (folder / "spelt.toml").write_text("colection = 'kb'\n[[sources]]\npath = 'docs'\n")
    (folder / "unquoted.toml").write_text("[[sources]]\npath = docs\n")
    (folder / "table.toml").write_text("sources = 3\n")
    (folder / "broken.toml").write_text("[[sources\n")
    (folder / "binary.toml").write_bytes(b"\xff\xfe\x00")
    (folder / "large.toml").write_text(PIPELINE + "#" * (1 << 18))
    (folder / "folder.toml").mkdir()
    (folder / "dangling.toml").symlink_to("nowhere")
    assert find_pipelines(folder) == ["good.toml", "spelt.toml", "unquoted.toml"]
    assert find_pipelines(folder / "none") == []
