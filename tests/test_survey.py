"""What `ragctl init` finds in a folder, what models cost for it, and what it suggests."""

import json
import os
import tomllib
from pathlib import Path

import pytest

from ragctl import chunking
from ragctl.embedding.catalogs import package_catalog
from ragctl.index import survey as surveys
from ragctl.index.survey import Survey, survey
from ragctl.pipeline import Source
from ragctl.pipeline.suggestion import RELEVANT_MODELS, Offer, covers, offers, suggest
from ragctl.progress import Progress
from ragctl.workers import Pool
from tests import terminal
from tests.command import call

ENGLISH = "The pump was found open and it had run dry during the night. " * 20
CHINESE = "水泵在夜间被发现处于打开状态，并且已经干转了一段时间。" * 20
RUSSIAN = "Насос был найден открытым, и за ночь он успел поработать всухую. " * 20


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("survey")
    docs = home / "docs"
    (docs / "deep").mkdir(parents=True)
    (docs / "a.md").write_text(ENGLISH)
    (docs / "b.md").write_text(CHINESE)
    (docs / "deep" / "c.txt").write_text(RUSSIAN)
    (docs / "broken.pdf").write_bytes(b"%PDF-1.4 broken")
    (docs / "picture.png").write_bytes(b"\x89PNG")
    return home


class Stages(Progress):
    """Records each stage with the number of files so far."""

    def __init__(self) -> None:
        self.seen: list[str] = []
        self._stage, self._count = "", 0

    def begin(self, stage: str, unit: str = "", total: int | None = None) -> None:
        self._stage, self._count = stage, 0

    def advance(self, count: int = 1) -> None:
        self._count += count
        self.seen.append(f"{self._stage} {self._count}")


def look(folder: Path) -> tuple[Survey, list[str]]:
    stages = Stages()
    return survey([Source(folder / "docs")], stages), stages.seen


def environ(folder: Path, **more: str) -> dict[str, str]:
    clean = {k: v for k, v in os.environ.items() if not k.endswith(("_KEY", "_TOKEN"))}
    return {**clean, "RAGCTL_HOME": str(folder / "store"), "RAGCTL_CONFIG": "none", **more}


def test_a_folder_is_counted_and_a_sample_is_read(folder: Path) -> None:
    found, stages = look(folder)
    assert found.files == {"markdown": 2, "text": 1, "pdf": 1}
    assert found.bytes["text"] == len(RUSSIAN.encode())
    assert found.unread == {".png": 1}
    assert found.languages == {"en": 1, "zh": 1, "ru": 1}
    assert (found.sampled, [*found.failed], found.complete) == (3, ["broken.pdf"], True)
    exact = sum(map(chunking.count, (ENGLISH, CHINESE, RUSSIAN)))
    assert exact * 0.9 < found.tokens < exact * 1.1
    assert stages == [*(f"scan {n}" for n in range(1, 5)), *(f"read {n}" for n in range(1, 5))]


def test_records_without_a_text_field_name_their_fields_and_the_key(tmp_path: Path) -> None:
    """A file with some good records is read; one without any says why."""
    (tmp_path / "docs").mkdir()
    good = json.dumps({"text": ENGLISH})
    (tmp_path / "docs" / "some.jsonl").write_text(f'{good}\n{{"id": 1}}\n')
    (tmp_path / "docs" / "none.jsonl").write_text('{"body": "a", "id": 1}\n' * 3)
    found, _ = look(tmp_path)
    assert found.sampled == 1
    assert [*found.failed] == ["none.jsonl"]
    done = call("init", "a.toml", environ=environ(tmp_path), cwd=tmp_path)
    assert 'none.jsonl: 3 records (lines 1, 2, 3): no field "text"' in done.stdout
    assert "fields with text: body" in done.stdout
    assert "in a pipeline file jsonl_text" in done.stdout


def test_a_huge_folder_is_sampled(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(surveys, "MAX_FILES_PER_FORMAT", 1)
    found, _ = look(folder)
    assert (found.sampled + len(found.failed), found.complete) == (3, True)
    monkeypatch.setattr(surveys, "MAX_SAMPLED_BYTES", 1)
    found, _ = look(folder)
    assert (found.sampled, found.languages) == (0, {})
    assert found.tokens == round(0.25 * sum(found.bytes.values()))
    monkeypatch.setattr(surveys, "MAX_FILES", 2)
    found, _ = look(folder)
    assert (sum(found.files.values()), found.complete) == (2, False)
    monkeypatch.setattr(surveys, "MAX_WALK_SECONDS", -1.0)
    found, _ = look(folder)
    assert (sum(found.files.values()), found.complete) == (0, False)


def test_the_sample_ends_in_time(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(surveys, "MAX_SAMPLE_SECONDS", -1.0)
    monkeypatch.setattr(surveys, "Pool", Pool)  # its processes are killed
    found, _ = look(folder)
    assert found.sampled + len(found.failed) == 1
    assert found.tokens > 0


def test_prices_are_those_of_the_cheapest_backend_or_of_one_with_a_key() -> None:
    catalog = package_catalog()
    assert set(RELEVANT_MODELS) <= set(catalog.models)
    rows = {each.model: each for each in offers(catalog, 2_000_000, ["en", "zh"], {})}
    assert set(rows) == {"builtin", *RELEVANT_MODELS}
    assert rows["builtin"].cost == 0
    qwen = rows["qwen3-embedding-8b"]
    assert (qwen.price, qwen.cost, qwen.has_key) == (0.01, 0.02, False)
    chosen = offers(catalog, 2_000_000, ["en"], {"SILICONFLOW_API_KEY": "x"})
    (own,) = [each for each in chosen if each.model == "qwen3-embedding-8b"]
    assert (own.backend, own.has_key, own.price) == ("siliconflow", True, 0.02)


def test_the_rules_of_the_suggestion() -> None:
    offline = Offer("builtin", "builtin", 0, 0)
    dear = Offer("dear", "one", 1, 5.0, "ONE_KEY", False)
    cheap = Offer("cheap", "two", 1, 0.5, "TWO_KEY", False)
    keyed = Offer("keyed", "three", 1, 0.7, "THREE_KEY", True)
    english = Offer("english", "four", 1, 0.1, "FOUR_KEY", True, covers=False)
    rows = [offline, dear, cheap, keyed, english]
    assert suggest(rows, 0).offer == offline
    assert suggest(rows, 10).offer == keyed  # its key is set
    assert suggest([offline, dear, cheap], 10).offer == dear  # in the order of the table
    assert suggest([offline, dear, cheap], 1).offer == cheap  # within the budget
    assert suggest([offline, dear, english], 1).offer == offline
    assert covers("de, en", frozenset({"en"}))
    assert not covers("de, en", frozenset({"en", "ru"}))
    assert covers("89 languages", frozenset({"en", "ru"}))
    assert covers("any (lexical)", frozenset({"xx"}))


def test_init_shows_what_it_found_and_ends_with_the_next_two_commands(folder: Path) -> None:
    done = call("init", "it's.toml", environ=environ(folder), cwd=folder)
    assert (done.returncode, done.stderr) == (0, "")
    shown = done.stdout.splitlines()
    assert shown[0].startswith("documents  4 files, ")
    assert shown[1] == "left out   1 file of other kinds: .png 1"
    assert shown[2] == "formats    markdown 2, pdf 1, text 1"
    assert shown[3] == "languages  en 1, ru 1, zh 1 (in a sample of 3 files)"
    assert shown[4] == "unreadable 1 file of the sample"
    assert shown[5].startswith(f"{'':11}broken.pdf: is not a readable PDF")
    assert shown[6].strip() == "correct it, or add it to exclude in the pipeline file"
    assert shown[7].startswith("tokens     about ")
    assert "suggested: builtin (needs no key, server or download, and costs nothing)" in shown
    assert shown[-3] == "wrote it's.toml; next:"
    assert shown[-2] == "  ragctl run 'it'\"'\"'s.toml'"
    assert shown[-1] == "  ragctl search -p 'it'\"'\"'s.toml' \"a question\""
    assert tomllib.loads((folder / "it's.toml").read_text())["embedding"]["model"] == "builtin"


def test_a_budget_chooses_a_hosted_model_and_a_flag_wins(folder: Path) -> None:
    keyed = environ(folder, SILICONFLOW_API_KEY="x")
    done = call("init", "paid.toml", "--budget", "1", "--yes", environ=keyed, cwd=folder)
    assert done.returncode == 0, done.stderr
    assert (
        "suggested: qwen3-embedding-8b at siliconflow (covers these languages, and" in done.stdout
    )
    embedding = tomllib.loads((folder / "paid.toml").read_text())["embedding"]
    assert (embedding["model"], embedding["backend"]) == ("qwen3-embedding-8b", "siliconflow")
    assert "export" not in done.stdout
    words = ("init", "own.toml", "--budget", "1", "--model", "bge-m3")
    done = call(*words, environ=keyed, cwd=folder)
    embedding = tomllib.loads((folder / "own.toml").read_text())["embedding"]
    assert embedding["model"] == "bge-m3"
    assert "  export OPENROUTER_API_KEY=…\n  ragctl run own.toml\n" in done.stdout


def test_a_folder_without_documents(folder: Path) -> None:
    (folder / "empty").mkdir()
    done = call("init", "e.toml", "--source", "empty", environ=environ(folder), cwd=folder)
    assert (done.returncode, done.stdout.splitlines()[0]) == (0, "documents  0 files, 0 bytes")
    assert "suggested" not in done.stdout


@pytest.mark.parametrize("columns", [80, 60])
def test_a_terminal_shows_the_prices_in_its_width(folder: Path, columns: int) -> None:
    words = ("init", f"t{columns}.toml", "--yes")
    shown = terminal.render(*words, environ=environ(folder), cwd=folder, columns=columns, rows=50)
    assert shown.code == 0
    rows = shown.lines
    assert any("qwen3-embedding-8b" in row for row in rows)
    assert all(any(f"{key}_API_KEY" in row for row in rows) for key in ("JINA", "VOYAGE"))
    assert any(row.startswith(f"  ragctl run t{columns}.toml") for row in rows)
