"""`ragctl watch`: real processes, files and engine."""

import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from ragctl.stores import open_store
from tests.command import call
from tests.servers.jina import JinaServer
from tests.watching import Watching, counts
from tests.world import KEY

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parents[1]
Start = Callable[..., Watching]


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    return {**os.environ, "HOME": str(tmp_path), "JINA_API_KEY": KEY}


@pytest.fixture
def watch(tmp_path: Path, environ: dict[str, str]) -> Iterator[Start]:
    """Start a watcher over documents a.md and b.md, or over other sources."""
    started: list[Watching] = []

    def start(*options: str, sources: tuple[str, ...] = ("docs",), more: str = "") -> Watching:
        for source in sources:
            for name in ("a", "b"):
                path = tmp_path / source / f"{name}.md"
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(f"# {source} {name}\n\nText of {name} in {source}.\n")
        watching = Watching(tmp_path, *options, sources=sources, more=more, environ=environ)
        watching.__enter__()
        started.append(watching)
        return watching

    yield start
    for watching in started:
        watching.__exit__(None, None, None)


def test_documents_follow_their_files(
    watch: Start, tmp_path: Path, environ: dict[str, str]
) -> None:
    report = tmp_path / "report.json"
    watching = watch("--report-file", str(report))
    assert counts(watching.outcome()) == {"added": 2}

    watching.write("docs/c.md", "A zebra crosses.")
    assert counts(watching.outcome()) == {"added": 1}
    store = ("--store", str(tmp_path / "store"), "-c", "docs")
    found = call("search", "zebra", *store, "--json", environ=environ, cwd=tmp_path)
    assert json.loads(found.stdout)["hits"][0]["source"] == "docs/c.md", found.stdout
    assert json.loads(report.read_text())["documents"]["added"] == 1

    # As editors save: the new content takes the file's place.
    watching.write("docs/.c.md.swp", "hidden")
    watching.write("docs/c.md.tmp", "A giraffe crosses.").rename(tmp_path / "docs/c.md")
    assert counts(watching.outcome()) == {"updated": 1}

    watching.write("docs/deep/d.md", "One.")
    assert counts(watching.outcome()) == {"added": 1}
    (tmp_path / "docs/deep").rename(tmp_path / "docs/moved")
    moved = watching.outcome()
    assert counts(moved) == {"renamed": 1}
    assert moved["chunks"]["embedded"] == 0
    (tmp_path / "docs/moved").rename(tmp_path / "elsewhere")  # one event for the whole folder
    assert counts(watching.outcome()) == {"removed": 1}

    watching.write("docs/records.jsonl", '{"id": "1", "text": "one"}\n{"id": "2", "text": "two"}\n')
    assert counts(watching.outcome()) == {"added": 2}
    (tmp_path / "docs/records.jsonl").unlink()
    assert counts(watching.outcome()) == {"removed": 2}

    watching.write("docs/.ragctlignore", "b.md\n")
    assert counts(watching.outcome())["removed"] == 1
    assert watching.documents() == {"docs/a.md", "docs/c.md"}
    assert watching.is_silent()
    assert watching.end(signal.SIGTERM) == 0


def test_it_holds_the_lock_only_while_it_writes(
    watch: Start, tmp_path: Path, environ: dict[str, str]
) -> None:
    watching = watch()
    watching.outcome()
    run = call("run", str(watching.pipeline), environ=environ, cwd=tmp_path)
    assert run.returncode == 0, run.stderr
    with (
        closing(open_store(str(tmp_path / "store"), environ={})) as store,
        store.lock("docs"),
    ):
        watching.write("docs/c.md", "Three.")
        watching.says("waiting until it ends")
        assert "docs/c.md" not in watching.documents()
    assert counts(watching.outcome()) == {"added": 1}

    # A batch that waits is written before the end.
    watching.write("docs/d.md", "Four.")
    assert watching.end(signal.SIGINT) == 130
    assert "docs/d.md" in watching.documents()


def test_a_missing_root_is_waited_for(watch: Start, tmp_path: Path) -> None:
    watching = watch("--every", "0.05", sources=("docs", "wiki"))
    assert counts(watching.outcome()) == {"added": 4}
    (tmp_path / "wiki").rename(tmp_path / "away")
    watching.says("wiki: not found; waiting until it is back")
    (tmp_path / "away/b.md").unlink()
    watching.write("docs/c.md", "Still indexed.")
    refused = watching.outcome()
    while refused["exit_code"] != 7:
        assert counts(refused) == {"added": 1}
        refused = watching.outcome()
    assert {"wiki/a.md", "wiki/b.md", "docs/c.md"} <= watching.documents() | {"docs/c.md"}
    (tmp_path / "away").rename(tmp_path / "wiki")
    while not (found := counts(watching.outcome())).get("removed"):
        assert not found.keys() - {"added", "unchanged"}
    assert watching.documents() == {"docs/a.md", "docs/b.md", "docs/c.md", "wiki/a.md"}


def test_a_root_that_is_a_link_is_followed_when_it_changes(watch: Start, tmp_path: Path) -> None:
    for release in "12":
        folder = tmp_path / release
        folder.mkdir()
        (folder / "a.md").write_text(f"Release {release}.")
    (tmp_path / "current").symlink_to("1")
    watching = watch(sources=("docs",), more='[[sources]]\npath = "current"\n')
    watching.outcome()
    (tmp_path / "next").symlink_to("2")
    (tmp_path / "next").rename(tmp_path / "current")
    assert counts(watching.outcome())["updated"] == 1
    watching.write("2/a.md", "Release 2, corrected.")
    assert counts(watching.outcome()) == {"updated": 1}


def test_the_prune_limit_holds_for_a_batch(watch: Start, tmp_path: Path) -> None:
    for number in range(20):
        path = tmp_path / f"docs/{number}.md"
        path.parent.mkdir(exist_ok=True)
        path.write_text(f"Number {number}.")
    watching = watch()
    watching.outcome()
    for number in range(15):
        (tmp_path / f"docs/{number}.md").unlink()
    refused = watching.outcome()
    assert refused["exit_code"] == 7
    assert "15 of 22 documents of docs" in refused["error"]
    assert len(watching.documents()) == 22
    (tmp_path / "docs/19.md").unlink()
    assert counts(watching.outcome()) == {"removed": 1}
    shutil.rmtree(tmp_path / "docs")
    watching.says("docs: not found")
    assert len(watching.documents()) == 21


def test_an_outage_does_not_end_it(watch: Start, host: JinaServer) -> None:
    model = (
        'embedding.model = "jina-embeddings-v3"\nembedding.dimension = 64\n'
        f'embedding.base_url = "{host.url}"\nembedding.patience = 0.1\n'
    )
    watching = watch("--every", "0.02", more=model)
    watching.outcome()
    host.forbidden["outage"] = 503
    watching.write("docs/c.md", "Written during the outage.")
    assert watching.outcome()["exit_code"] == 4
    host.forbidden.clear()
    assert counts(watching.outcome())["added"] == 1


def test_errors_of_the_settings_end_it(watch: Start) -> None:
    watching = watch(more="embedding.model = 'no-such-model'\n")
    assert watching.process.wait() == 2


def test_the_commands_of_the_page_work(tmp_path: Path, environ: dict[str, str]) -> None:
    page = (ROOT / "docs/watch.md").read_text()
    block = re.search(r"```sh\n(.*?)```", page, re.DOTALL)
    assert block is not None
    setup, watching = (shlex.split(line)[1:] for line in block[1].splitlines())
    (tmp_path / "sample_docs").mkdir()
    (tmp_path / "sample_docs/a.md").write_text("Words.")
    assert call(*setup, environ=environ, cwd=tmp_path).returncode == 0
    with subprocess.Popen(
        [sys.executable, "-m", "ragctl", *watching],
        cwd=tmp_path,
        env=environ,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert "wiki: 1 added" in process.stdout.readline()
        process.terminate()
    assert process.returncode == 0
