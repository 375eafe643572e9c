"""`ragctl status`, `collections` and `delete`, on each kind of store."""

import json
import os
from pathlib import Path
from typing import Any

import pytest

from ragctl.collection import settings
from tests.command import call
from tests.world import World, paragraphs

pytestmark = pytest.mark.slow


class Command:
    """The command on a world's store."""

    def __init__(self, world: World, home: Path) -> None:
        self._store = ("--store", world.store)
        self._home = home
        self._environ = {**os.environ, "RAGCTL_HOME": str(home)}

    def run(self, *words: str, code: int = 0) -> str:
        """Return standard output, or standard error when it is to fail."""
        done = call(*words, *self._store, environ=self._environ, cwd=self._home)
        assert done.returncode == code, done.stderr
        return done.stderr if code else done.stdout

    def json(self, *words: str) -> Any:
        return json.loads(self.run(*words, "--json"))


@pytest.fixture
def command(world: World, tmp_path: Path) -> Command:
    return Command(world, tmp_path)


def test_status_names_the_backend(world: World, command: Command) -> None:
    world.write("a.md", paragraphs("one"))
    world.ingest()
    backend = f"jina at {world.server.url}"
    facts, _, _ = command.run("status").partition("\n\n")  # charts follow
    lines = dict(line.split(maxsplit=1) for line in facts.splitlines())
    assert lines["backend"] == backend
    origin = command.json("status")["origin"]
    assert origin["backends"] == [
        {"backend": "jina", "base_url": world.server.url, "weights": None}
    ]
    assert (origin["task"], origin["chunk_size"]) == (None, world.chunk_size)


def test_a_collection_of_another_format_is_listed_and_deleted(
    world: World, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.write("a.md", paragraphs("one"))
    world.ingest(collection="new")
    with monkeypatch.context() as older:
        older.setattr(settings, "FORMAT", 1)
        world.ingest()
    for words in (("status",), ("search", "one"), ("delete", "a.md", "--yes")):
        error = command.run(*words, code=5)
        assert "'docs' has format 1, and this version of ragctl reads" in error
        assert f"reads format {settings.FORMAT};" in error
        assert "ragctl delete --all -c docs" in error
    old, new = command.json("collections")["collections"]
    assert (old["collection"], old["model"], old["points"]) == ("docs", None, None)
    assert "format 1" in old["error"]
    assert (new["collection"], new["documents"], new["error"]) == ("new", 1, None)
    assert "docs unreadable: " in command.run("collections")
    assert "--yes" in command.run("delete", "--all", code=2)
    assert command.run("delete", "--all", "--yes") == "docs: the whole collection was deleted\n"
    assert [row["collection"] for row in command.json("collections")["collections"]] == ["new"]
    world.ingest()
    assert command.json("status")["documents"] == 1
