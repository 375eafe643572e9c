"""Adding a key to pipeline files takes one declaration; shown in a copy of the package."""

import json
from pathlib import Path

import pytest

from tests.scratch import copy_package, run_python

pytestmark = pytest.mark.slow

BEFORE = "    overlap: int | None = key(\n"
NEW_KEY = """\
    colour: str | None = key(
        "chunking.colour",
        "string",
        "colour of the chunks",
        default_text="green",
        options=("--chunk-colour",),
        metavar="NAME",
        choices=("green", "blue"),
    )
"""
CODE = """
import json
from pathlib import Path
from ragctl.cli import ingest
from ragctl.check.validate import validate_file
from ragctl.cli.commands import load_command
from ragctl.pipeline import read_pipeline
from ragctl.pipeline.schema import pipeline_schema

environ = {"RAGCTL_HOME": "home"}
command = load_command("ingest")
flags = []
ingest.run_pipeline = lambda pipeline, **options: flags.append(pipeline.colour) or 0
command.main(["docs", "--chunk-colour", "blue"], standalone_mode=False)
print(json.dumps({
    "file": read_pipeline(Path("right.toml"), environ).colour,
    "default": read_pipeline(Path("plain.toml"), environ).colour,
    "flag": flags,
    "schema": pipeline_schema()["properties"]["chunking"]["properties"]["colour"],
    "right": [finding.status for finding in validate_file(Path("right.toml"), environ)],
    "wrong": [finding.text for finding in validate_file(Path("wrong.toml"), environ)],
}))
"""
HELP = "from ragctl.cli.main import main; main(['ingest', '--help'])"
SOURCES = '[[sources]]\npath = "docs"\n'


def test_a_key_with_a_flag_is_added_in_one_place(tmp_path: Path) -> None:
    package = copy_package(tmp_path / "copy")
    file = package / "pipeline" / "pipeline.py"
    text = file.read_text(encoding="utf-8")
    assert text.count(BEFORE) == 1
    file.write_text(text.replace(BEFORE, NEW_KEY + BEFORE), encoding="utf-8")
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "a.md").write_text("# A\n")
    (tmp_path / "plain.toml").write_text(SOURCES)
    (tmp_path / "right.toml").write_text(f'{SOURCES}[chunking]\ncolour = "blue"\n')
    (tmp_path / "wrong.toml").write_text(f'{SOURCES}[chunking]\ncolour = "red"\n')

    done = run_python(package, CODE, cwd=tmp_path)

    assert done.returncode == 0, done.stderr
    shown = json.loads(done.stdout)
    assert shown["file"] == "blue"
    assert shown["default"] is None
    assert shown["flag"] == ["blue"]
    assert shown["schema"] == {
        "description": "Colour of the chunks. Default: green.",
        "enum": ["green", "blue"],
    }
    assert "fail" not in shown["right"]
    assert shown["wrong"][0].startswith("wrong.toml, line 4, table [chunking]: colour cannot be")
    assert run_python(package, HELP, cwd=tmp_path).stdout.count("--chunk-colour") == 1
