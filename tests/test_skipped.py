"""What a run says about files that it leaves out: summary, JSON, exit codes, `plan --skipped`."""

import json
from pathlib import Path

import pytest

from ragctl.cli.main import main
from ragctl.index.source_walk import list_skipped
from ragctl.pipeline import Pipeline, Source
from ragctl.sources import walk
from ragctl.sources.skipped import MAX_NAMED, MAX_SUFFIXES, OTHER_SUFFIXES, SkippedFiles
from tests.world import World, counts

SKIPPED = {"a.pptx": "no loader for .pptx", "b.pptx": "no loader for .pptx"}


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("RAGCTL_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    for name in ("page.md", *SKIPPED, "desktop.ini"):
        (tmp_path / "docs" / name).parent.mkdir(exist_ok=True)
        (tmp_path / "docs" / name).write_text("the pump is checked")
    (tmp_path / "p.toml").write_text('[[sources]]\npath = "docs"\n')
    return tmp_path


def call(*words: str) -> int:
    with pytest.raises(SystemExit) as ended:
        main(list(words))
    code = ended.value.code
    return code if isinstance(code, int) else 0


@pytest.mark.parametrize("words", [("ingest", "docs"), ("run", "p.toml")])
def test_a_run_fails_on_skipped_files_if_that_is_asked(
    home: Path, capsys: pytest.CaptureFixture[str], words: tuple[str, str]
) -> None:
    line = "docs: 2 files skipped (no loader: 2 .pptx)"
    assert call(*words, "--quiet") == 0
    assert capsys.readouterr() == ("", f"{line}\n")
    assert call(*words, "--quiet", "--fail-on-skipped") == 3
    assert "2 files skipped (no loader: 2 .pptx)" in capsys.readouterr().err
    for name in SKIPPED:
        (home / "docs" / name).unlink()
    assert call(*words, "--quiet", "--fail-on-skipped") == 0
    assert capsys.readouterr() == ("", "")


def test_a_report_names_what_was_left_out(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert call("ingest", "docs", "--json", "--dry-run") == 0
    report = json.loads(capsys.readouterr().out)
    assert (report["skipped"], report["ignored"]) == (2, 1)
    assert report["skipped_types"] == {".pptx": 2}
    files = {each["file"]: each["reason"] for each in report["skipped_files"]}
    assert files == {**SKIPPED, "desktop.ini": "ignored by default: desktop.ini"}


def test_plan_lists_what_is_left_out(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert call("plan", "p.toml", "--skipped") == 0
    assert capsys.readouterr().out.splitlines() == [
        *(f"{name}: {reason}" for name, reason in SKIPPED.items()),
        "desktop.ini: ignored by default: desktop.ini",
        "2 files skipped; 1 ignored by rules",
    ]
    (home / "p.toml").write_text(
        '[[sources]]\npath = "docs"\ndefault_ignores = false\n[policy]\nfail_on_skipped = true\n'
    )
    assert call("plan", "p.toml", "--skipped", "--json") == 3
    found = json.loads(capsys.readouterr().out)
    assert [each["file"] for each in found["skipped_files"]] == list(SKIPPED)


def test_the_names_kept_are_few_and_all_are_counted(tmp_path: Path) -> None:
    skipped, other = SkippedFiles(), SkippedFiles()
    seen: list[str] = []
    other.notify = lambda each: seen.append(each.source)
    for number in range(MAX_NAMED + 5):
        skipped.add_without_loader(f"{number}", f"a.{number}")
        other.add_without_loader(f"{number}", f"b.x{number}")
    skipped.update(other)
    assert skipped.counts["no_loader"] == 2 * (MAX_NAMED + 5)
    assert len(skipped.files) == MAX_NAMED
    assert len(skipped.suffixes) == MAX_SUFFIXES + 1
    assert skipped.suffixes[OTHER_SUFFIXES] == 2 * (MAX_NAMED + 5) - MAX_SUFFIXES
    assert len(seen) == MAX_NAMED + 5


def test_each_source_is_listed_with_its_folder(tmp_path: Path) -> None:
    for name in ("a/x.bin", "b/y.bin"):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).touch()
    pipeline = Pipeline(sources=(Source(tmp_path / "a"), Source(tmp_path / "b")), store="nowhere")
    listed: list[tuple[str, str]] = []
    found = list_skipped(pipeline, lambda path, each: listed.append((Path(path).name, each.source)))
    assert listed == [("a", "x.bin"), ("b", "y.bin")]
    assert found.unasked == 2
    assert list(walk(tmp_path)) == []


def test_a_file_named_as_a_record_is_refused_by_name(edge_world: World) -> None:
    world = edge_world
    world.write("x.jsonl", '{"id": "a.md", "text": "of the record"}\n')
    world.write("x.jsonl#a.md", "of the file")
    world.write("y#a.md", "of another file")
    for expected in ({"added": 2, "failed": 1}, {"unchanged": 2, "failed": 1}):
        report = world.ingest()
        assert counts(report) == expected
        [failure] = report.failures
        assert failure.source == "docs/x.jsonl#a.md"
        assert failure.error == "a record of docs/x.jsonl may have this name; rename the file"
    texts = {str(payload["source"]): payload["text"] for payload, _, _ in world.state().values()}
    assert texts == {"docs/x.jsonl#a.md": "of the record", "docs/y#a.md": "of another file"}
