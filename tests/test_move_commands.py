"""`ragctl migrate`, `rollback`, `prune-generations`, `copy` and `rebuild`, run as commands."""

import json
import re
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ragctl.stores import open_store
from ragctl.stores.base import Batch
from tests.servers.jina import JinaServer
from tests.servers.qdrant import QdrantFacade
from tests.test_cli import Shell
from tests.waiting import PROCESS_SECONDS, until
from tests.world import KEY, paragraphs

pytestmark = pytest.mark.slow

SAMPLE = Path(__file__).parents[1] / "sample_docs"
QUESTIONS = Path(__file__).parents[1] / "benchmarks" / "questions.jsonl"


@pytest.fixture
def shell(tmp_path: Path) -> Shell:
    made = Shell(tmp_path)
    for number in range(4):
        text = paragraphs(*(f"part {number} {each}" for each in range(3)), "shared")
        (made.docs / f"{number}.md").write_text(text)
    return made


@pytest.fixture
def filled(shell: Shell) -> Shell:
    assert shell("ingest", "docs", "--dim", "128", "--chunk-size", "64").returncode == 0
    return shell


@pytest.fixture
def jina() -> Iterator[JinaServer]:
    with JinaServer(KEY) as server:
        yield server


def line_of(done: subprocess.CompletedProcess[str], code: int = 0) -> str:
    """Return the one line that a command prints, on the stream that belongs to its exit code."""
    assert done.returncode == code, done.stdout + done.stderr
    text, other = (done.stderr, done.stdout) if code else (done.stdout, done.stderr)
    assert other == ""
    assert text.count("\n") == 1, text
    return text.rstrip("\n")


def points(store: Path | str, name: str = "docs") -> dict[str, Any]:
    """Return the points of a collection, with their vectors bit by bit."""
    with closing(open_store(str(store), environ={})) as opened:
        found = opened.open(name)
        assert found is not None
        with closing(found):
            return {
                point.id: (
                    point.payload,
                    None if point.dense is None else np.asarray(point.dense).tobytes(),
                )
                for point in found.scroll(vectors=True)
            }


def fresh(shell: Shell, *flags: str, **environ: str) -> dict[str, Any]:
    """Return the points that an ingest with these flags into an empty store makes."""
    store = shell.home / "fresh"
    shutil.rmtree(store, ignore_errors=True)
    done = shell("ingest", "docs", "--store", str(store), *flags, **environ)
    assert done.returncode == 0, done.stderr
    return points(store)


def advice(done: subprocess.CompletedProcess[str]) -> list[str]:
    """Return the words of the command that a refusal ends with, without `ragctl`."""
    found = re.search(r": (ragctl .*)$", done.stderr.strip())
    assert found is not None, done.stderr
    program, *words = shlex.split(found[1])
    assert program == "ragctl"
    return words


def test_migrate_by_name(filled: Shell) -> None:
    line = line_of(filled("migrate", "docs", "--dim", "64"))
    assert re.fullmatch(
        r"docs: builtin 128d → builtin 64d: generation 2 is current; 13 chunks embedded "
        r"\([\d,]+ tokens\), 3 chunks reused; \d+\.\d s",
        line,
    )
    store = filled.home / "store"
    assert points(store) == fresh(filled, "--dim", "64", "--chunk-size", "64")
    again = line_of(filled("migrate", "docs", "--dim", "64"))
    assert again == "docs: nothing to migrate: it has these settings already"
    assert filled.json("ingest", "docs")["documents"]["unchanged"] == 4


def test_generations_are_shown_rolled_back_and_removed(filled: Shell) -> None:
    filled("migrate", "docs", "--dim", "64")
    filled("migrate", "docs", "--dim", "32", "--keep", "2")
    status = filled.json("status")
    assert [each["number"] for each in status["generations"]] == [1, 2, 3]
    assert [each["current"] for each in status["generations"]] == [False, False, True]
    assert "generations   3 is current; kept: 1 (builtin, 128d), 2 (builtin, 64d)" in (
        filled("status").stdout
    )
    (row,) = filled.json("collections")["collections"]
    assert row["generations"] == 3
    assert line_of(filled("collections")).endswith("  2 kept generations")
    assert line_of(filled("rollback", "docs")) == "docs: generation 2 is current (it was 3)"
    assert filled.json("status")["identity"]["dimension"] == 64
    done = filled("rollback", "docs", "--to", "1", "--json")
    assert json.loads(done.stdout) == {"collection": "docs", "from": 2, "to": 1}
    assert filled.json("ingest", "docs")["documents"]["unchanged"] == 4
    error = line_of(filled("rollback", "docs", "--to", "7"), 2)
    assert "no generation 7 to go back to (earlier ones: 2, 3)" in error
    assert line_of(filled("prune-generations", "docs", "--keep", "0")) == (
        "docs: generations deleted: 2, 3; left: 1"
    )
    assert "no earlier generation" in line_of(filled("rollback", "docs"), 2)
    assert "generations  " not in filled("status").stdout
    for command in ("rollback", "prune-generations"):
        assert "nothing" in line_of(filled(command, "nothing"), 2)


def test_migrate_to_a_paid_model_and_its_dry_run(filled: Shell, jina: JinaServer) -> None:
    settings = ("--model", "jina-embeddings-v3", "--dim", "64", "--base-url", jina.url)
    words = ("migrate", "docs", *settings)
    planned = line_of(filled(*words, "--dry-run"))
    assert re.fullmatch(
        r"docs: planned: builtin 128d → jina-embeddings-v3 64d: the stored texts are embedded; "
        r"13 chunks to embed \([\d,]+ tokens, \$0\.\d+ at list price\), 3 chunks reused; "
        r"[\d.]+ MB of disk",
        planned,
    ), planned
    report = json.loads(filled(*words, "--dry-run", "--json").stdout)
    assert (report["how"], report["switched"], report["generation"]) == ("embed", False, None)
    assert report["chunks"]["embedded"] == 13
    lines = ("model = 'jina-embeddings-v3'", "backend = 'jina'", "rates = { tokens = 100 }")
    file = pipeline_file(filled, "p.toml", "[embedding]", *lines, "[chunking]", "size = 64")
    assert re.search(
        r"; at least \d{3} s at its rate limits;", line_of(filled("migrate", file, "--dry-run"))
    )
    assert jina.texts == []
    assert len(filled.json("status")["generations"]) == 1
    done = filled(*words, "--json", JINA_API_KEY=KEY)
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert (report["switched"], report["generation"], report["removed_generations"]) == (
        True,
        2,
        [],
    )
    assert report["chunks"]["embedded"] == 13
    texts = [text.text for text in jina.texts if "valve" in text.text]
    assert len(texts) == len(set(texts)) == 13
    jina.texts.clear()
    cut = ("migrate", "docs", "--dim", "32")
    assert "vectors are cut, no document text is sent" in line_of(filled(*cut, "--dry-run"))
    assert jina.texts == []
    assert "generation 3 is current; 0 chunks embedded" in (
        line_of(filled(*cut, "--base-url", jina.url, JINA_API_KEY=KEY))
    )
    assert not [text for text in jina.texts if "valve" in text.text]


def test_migrate_needs_the_key_of_the_new_model(filled: Shell) -> None:
    error = line_of(filled("migrate", "docs", "--model", "jina-embeddings-v3"), 4)
    assert "JINA_API_KEY" in error
    assert filled.json("status")["identity"]["model"] == "builtin"


@pytest.mark.parametrize(
    ("flags", "code"),
    [
        (["--dim", "64"], 6),
        (["--language", "en"], 6),
        (["--quantization", "scalar"], 2),
        (["--dim", "64", "--quantization", "turbo1", "--language", "en", "--meta", "a=b c"], 6),
    ],
)
@pytest.mark.parametrize("dry", [[], ["--dry-run"]])
def test_a_refused_ingest_prints_the_command_that_migrates(
    filled: Shell, flags: list[str], code: int, dry: list[str]
) -> None:
    words = ["ingest", "docs", "--chunk-size", "64", *flags]
    refused = filled(*words, *dry)
    assert refused.returncode == code
    command = advice(refused)
    assert command[:2] == ["migrate", "docs"]
    moved = filled(*command)
    assert moved.returncode == 0, moved.stderr
    assert "generation 2 is current" in moved.stdout
    assert filled.json(*words)["documents"]["unchanged"] == 4
    dim = [] if "--dim" in flags else ["--dim", "128"]
    assert points(filled.home / "store") == fresh(filled, *words[2:], *dim)


def test_a_refused_ingest_of_a_paid_model_names_backend_address_and_key_file(
    filled: Shell, jina: JinaServer
) -> None:
    (filled.home / "my keys.env").write_text(f"JINA_API_KEY={KEY}\n")
    refused = filled(
        *("--env-file", "my keys.env", "ingest", "docs", "--store", str(filled.home / "store")),
        *("--model", "jina-embeddings-v3", "--dim", "64", "--base-url", jina.url),
        *("--backend", "jina"),
    )
    assert refused.returncode == 6
    command = advice(refused)
    assert command[:4] == ["--env-file", "my keys.env", "migrate", "docs"]
    assert jina.texts == []
    moved = filled(*command)
    assert moved.returncode == 0, moved.stderr
    assert filled.json("status")["identity"]["model"] == "jina-embeddings-v3"


def pipeline_file(shell: Shell, name: str, *lines: str) -> str:
    text = "\n".join(["[[sources]]", 'path = "docs"', *lines, ""])
    (shell.home / name).write_text(text)
    return name


@pytest.mark.parametrize("command", [["run"], ["run", "--dry-run"], ["plan"]])
def test_a_refused_pipeline_prints_the_command_that_migrates(
    shell: Shell, command: list[str]
) -> None:
    name = "my nightly.toml"
    pipeline_file(shell, name, "[embedding]", "dimension = 128", "[chunking]", "size = 64")
    assert shell("run", name).returncode == 0
    pipeline_file(shell, name, "[embedding]", "dimension = 64", "[chunking]", "size = 48")
    refused = shell(command[0], name, *command[1:])
    assert refused.returncode == 6
    assert refused.stderr.rstrip().endswith("ragctl migrate 'my nightly.toml'")
    moved = shell(*advice(refused))
    assert moved.returncode == 0, moved.stderr
    assert shell.json("run", name)["documents"]["unchanged"] == 4
    expected = fresh(shell, "--dim", "64", "--chunk-size", "48")
    assert points(shell.home / "store") == expected


def test_a_change_that_reads_the_sources_needs_all_of_them(filled: Shell) -> None:
    other = filled.home / "more"
    other.mkdir()
    (other / "more.md").write_text(paragraphs("part more"))
    assert filled("ingest", "more").returncode == 0
    size = ("migrate", "docs", "--chunk-size", "48")
    assert "give the pipeline file of the collection instead of its name" in (
        line_of(filled(*size), 2)
    )
    error = line_of(filled(*size, "--source", "docs"), 7)
    assert "1 document of the collection came from more, which is not" in error
    error = line_of(filled(*size, "--source", "nowhere"), 7)
    assert "nowhere" in error
    line = line_of(filled(*size, "--source", "docs", "--source", "more"))
    assert "generation 2 is current" in line
    assert filled.json("status")["documents"] == 5
    for name in ("docs", pipeline_file(filled, "p.toml")):
        assert line_of(filled("migrate", name, "--include", "*.md"), 2)


@pytest.mark.parametrize("target", ["nothing", "absent.toml"])
def test_migrate_of_what_is_not_there(filled: Shell, target: str) -> None:
    error = line_of(filled("migrate", target, "--dim", "64"), 2)
    assert target in error


def test_only_if_better(shell: Shell) -> None:
    assert shell("ingest", str(SAMPLE), "--include", "en/", "--dim", "512").returncode == 0
    words = ("migrate", "docs", "--only-if-better", str(QUESTIONS))
    done = shell(*words, "--dim", "32")
    assert done.returncode == 10, done.stderr
    assert "not significantly better; not switched; generation 2 is kept for the next try" in (
        done.stdout
    )
    assert shell.json("status")["identity"]["dimension"] == 512
    assert shell("migrate", "docs", "--dim", "32").returncode == 0
    done = shell(*words, "--dim", "1024")
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"nDCG@10 0\.\d{4} → 0\.\d{4} over \d+ questions \(p = 0", done.stdout)
    assert "generation 3 is current" in done.stdout


def test_a_killed_migration_goes_on_where_it_ended(filled: Shell, jina: JinaServer) -> None:
    settings = ("--model", "jina-embeddings-v3", "--dim", "64", "--base-url", jina.url)
    words = ("migrate", "docs", *settings)
    environ = {**filled.environ, "JINA_API_KEY": KEY}
    process = subprocess.Popen([sys.executable, "-m", "ragctl", *words], env=environ)
    until(lambda: bool([t for t in jina.texts if "valve" in t.text]), PROCESS_SECONDS)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert filled.json("status")["identity"]["model"] == "builtin"
    assert "generation 2 is current" in line_of(filled(*words, JINA_API_KEY=KEY))
    expected = fresh(filled, *settings, "--chunk-size", "64", JINA_API_KEY=KEY)
    assert points(filled.home / "store") == expected


def test_copies_of_a_collection(filled: Shell) -> None:
    store = filled.home / "store"
    line = line_of(filled("copy", "docs", "./backup"))
    assert re.fullmatch(
        r"docs in backup: 4 added; 16 points written, 0 deleted; verified; "
        r"\d+\.\d s",
        line,
    )
    assert "4 unchanged; 0 points written" in line_of(filled("copy", "docs", "./backup"))
    filled("copy", "./backup#docs", "./two")
    filled("copy", "./backup", "./three", "-c", "docs")
    filled("copy", "docs", "other")
    expected = points(store)
    for place, name in (("backup", "docs"), ("two", "docs"), ("three", "docs"), ("store", "other")):
        assert points(filled.home / place, name) == expected
    assert filled.json("ingest", "docs", "-c", "other")["documents"]["unchanged"] == 4
    assert filled("copy", "docs", "./backup", "--quiet").stdout == ""
    with QdrantFacade() as facade:
        line = line_of(filled("copy", "docs", facade.url))
        assert line.startswith(f"docs in {facade.url}: 4 added; 16 points written")
        done = filled("copy", f"{facade.url}#docs", "#restored", "--json")
        assert json.loads(done.stdout)["documents"]["added"] == 4
    assert points(store, "restored") == expected


def test_refused_copies(filled: Shell) -> None:
    assert "there is no collection 'nothing'" in line_of(filled("copy", "nothing", "./b"), 2)
    error = line_of(filled("copy", "docs", "./store"), 2)
    assert "SRC and DST are the same collection 'docs'" in error
    assert "write STORE#NAME" in line_of(filled("copy", "docs", "./b#"), 2)
    assert "--collection says" in line_of(filled("copy", "./store#docs", "./b", "-c", "other"), 2)
    filled("ingest", "docs", "-c", "other", "--dim", "64")
    error = line_of(filled("copy", "docs", "other"), 6)
    assert "exists and is no copy of this one (dimension: 128 ≠ 64" in error
    (filled.home / "file").write_text("")
    assert "file" in line_of(filled("copy", "docs", "./file"), 5)


def test_a_copy_of_a_collection_that_lost_its_documents_is_refused(filled: Shell) -> None:
    for number in range(4, 40):
        (filled.docs / f"{number}.md").write_text(paragraphs(f"part {number}"))
    filled("ingest", "docs")
    filled("copy", "docs", "./backup")
    for number in range(35):
        (filled.docs / f"{number}.md").unlink()
    assert filled("ingest", "docs", "--prune-limit", "100").returncode == 0
    error = line_of(filled("copy", "docs", "./backup", "--quiet"), 7)
    assert "35 of 40 documents of docs (88%) would be removed" in error
    assert len(points(filled.home / "backup")) > 40
    assert filled("copy", "docs", "./backup", "--prune-limit", "100").returncode == 0
    assert points(filled.home / "backup") == points(filled.home / "store")


def damage(shell: Shell) -> None:
    """Delete a segment of the collection, as a failing disk does."""
    segments = sorted(shell.home.glob("store/collections/docs/**/segments/*"))
    shutil.rmtree(segments[0])


def test_rebuild_by_name_and_by_pipeline(shell: Shell) -> None:
    name = pipeline_file(shell, "p.toml", "[embedding]", "dimension = 64")
    for target in ("docs", name):
        shutil.rmtree(shell.home / "store", ignore_errors=True)
        assert shell("run", name).returncode == 0
        expected = points(shell.home / "store")
        damage(shell)
        done = shell("rebuild", target)
        assert done.returncode == 0, done.stderr
        first, second = done.stdout.splitlines()
        assert first.startswith("docs: rebuilt as generation 2: ")
        assert second.startswith("docs: ")
        assert points(shell.home / "store") == expected
    report = json.loads(shell("rebuild", "docs", "--json").stdout)
    assert (report["documents"], report["lost"]) == ({"complete": 4, "incomplete": 0}, [])
    (run,) = report["runs"]
    assert (run["chunks"]["embedded"], report["advice"]) == (0, []), "nothing was missing"
    for target in ("nothing", "absent.toml"):
        assert target in line_of(shell("rebuild", target), 2)


def test_a_rebuild_reads_the_sources_of_ingest_as_they_were_given(shell: Shell) -> None:
    (shell.docs / "secret.md").write_text(paragraphs("secret"))
    other = shell.home / "other"
    other.mkdir()
    (other / "z.md").write_text(paragraphs("z 1", "z 2"))
    options = ("--chunk-size", "64", "--exclude", "secret.md", "--meta", "team=ops")
    assert shell("ingest", "docs", *options).returncode == 0
    assert shell("ingest", "other").returncode == 0
    assert shell("delete", "z.md", "--yes").returncode == 0
    assert shell("ingest", "docs", *options).returncode == 0
    expected = points(shell.home / "store")
    with closing(open_store(str(shell.home / "store"), environ={})) as store:
        collection = store.open("docs")
        assert collection is not None
        with closing(collection):
            lost = next(p.id for p in collection.scroll() if "part 1 1" in p.payload["text"])
            collection.apply(Batch(deletes=[lost]))
    done = shell("rebuild", "docs")
    assert done.returncode == 3, "nothing of the other folder is left"
    assert "1 incomplete" in done.stdout
    assert "1 chunk embedded" in done.stdout
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"{other}: no document of it was kept; if it belongs to the collection")
    assert points(shell.home / "store") == expected


def test_a_rebuild_without_its_sources_names_the_command(shell: Shell) -> None:
    name = pipeline_file(shell, "p.toml", "[embedding]", "dimension = 64")
    assert shell("ingest", "docs", "--chunk-size", "64", "--dim", "64").returncode == 0
    expected = points(shell.home / "store")
    shell.docs.rename(shell.home / "away")
    damage(shell)
    line = shell("rebuild", "docs").stderr
    command = f"ragctl ingest {shell.docs} -c docs --store {shell.home / 'store'}\n"
    assert line == (
        f"{shell.docs}: it is not on this machine; what is missing is embedded by: {command}"
    )
    (shell.home / "away").rename(shell.docs)
    assert shell(*shlex.split(command)[1:]).returncode == 0
    assert points(shell.home / "store") == expected
    assert shell("run", name).returncode == 0
    damage(shell)
    (shell.home / name).unlink()
    done = shell("rebuild", "docs", "--json")
    assert done.returncode == 3
    (line,) = json.loads(done.stdout)["advice"]
    assert line.endswith(f"embedded by: ragctl run {shell.home / name}")
