"""One field of `SearchOptions` declares a search option for the command, the library and eval.

What the option does is written where it takes effect, which is not shown here.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.scratch import copy_package, run_python

pytestmark = pytest.mark.slow

FIELD = """
    boost: float | None = option(
        None,
        "Boost recent documents.",
        default_text="none",
        metavar="X",
        minimum=0,
        maximum=10,
        only_with={"mode": ("hybrid",)},
        tunable=True,
    )
    limit: int = option("""

LIBRARY = """
import asyncio, json
from ragctl.evaluate.variant import Variant, expand_sweeps, parse_variant
from ragctl.search.find import search_many
from ragctl.search import library
seen = []
def listening(collection, texts, *, options, **others):
    seen.append(options.boost)
    return search_many(collection, texts, options=options, **others)
library.search_many = listening
from ragctl import open_collection, open_collection_async
from ragctl.cli.main import _run

with open_collection("docs") as docs:
    docs.search("pump", boost=2.5)
    list(docs.search_many(["pump"], boost=3))
async def later():
    async with await open_collection_async("docs") as docs:
        await docs.search("pump", boost=4)
        [_ async for _ in docs.search_many(["pump"], boost=5)]
asyncio.run(later())
assert _run(["search", "pump", "--boost", "6"]) == 0
assert _run(["search", "pump", "--boost", "11"]) == 2
assert _run(["search", "pump", "--boost", "6", "--mode", "dense"]) == 2
swept = expand_sweeps(["boost=1,2"], Variant())
against = parse_variant("boost=3", Variant(), "against")
print("\\n" + json.dumps([seen, [v.options.boost for v in [*swept, against]]]))
"""

TYPED = """
from ragctl import AsyncSearcher, Searcher

async def call(docs: Searcher, other: AsyncSearcher) -> None:
    docs.search("pump", boost=2.5, limit=3)
    docs.search_many(["pump"], boost=2.5)
    await other.search("pump", boost=2.5)
    other.search_many(["pump"], boost=2.5)
    docs.search("pump", boost="much")
    docs.search("pump", bost=2.5)
"""


def command(copy: Path, *words: str) -> "subprocess.CompletedProcess[str]":
    """Run a command of the copy."""
    code = f"from ragctl.cli.main import main; main({list(words)})"
    return run_python(copy, code, cwd=copy.parent)


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """Return a copy of the package with one more option, and an indexed document."""
    made = copy_package(tmp_path)
    options = made / "search" / "options.py"
    text = options.read_text(encoding="utf-8")
    assert text.count("\n    limit: int = option(") == 1
    options.write_text(text.replace("\n    limit: int = option(", FIELD), encoding="utf-8")
    (tmp_path / "a.md").write_text("# Pump\n\nThe pump ran dry.\n", encoding="utf-8")
    done = command(made, "ingest", "a.md")
    assert done.returncode == 0, done.stderr
    return made


def test_the_command_the_library_and_eval_take_a_new_option(copy: Path, tmp_path: Path) -> None:
    shown = command(copy, "search", "-h")
    assert "--boost" in shown.stdout
    assert "Boost recent" in shown.stdout
    keys = command(copy, "eval", "--help")
    assert "boost" in keys.stdout
    done = run_python(copy, LIBRARY, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    passed, variants = json.loads(done.stdout.splitlines()[-1])
    assert passed == [2.5, 3, 4, 5, 6]
    assert variants == [None, 1, 2, 3]
    assert "--boost: 11 is not a number from 0 to 10" in done.stderr
    assert "--boost: has no effect with mode dense" in done.stderr


def test_a_new_option_is_typed(copy: Path, tmp_path: Path) -> None:
    (tmp_path / "typed.py").write_text(TYPED, encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "--follow-imports=silent", "typed.py"],
        env={**os.environ, "MYPYPATH": str(tmp_path)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    errors = [line for line in done.stdout.splitlines() if ": error:" in line]
    assert len(errors) == 2, done.stdout
    assert 'incompatible type "str"; expected "float | None"' in errors[0]
    assert 'Unexpected keyword argument "bost"' in errors[1]
