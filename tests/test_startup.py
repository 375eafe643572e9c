"""Commands import nothing heavy before they need it. Each runs in a new process."""

import inspect
import json
import os
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

from ragctl.cli.commands import COMMANDS
from tests.servers.qdrant import QdrantFacade

pytestmark = pytest.mark.slow

SAMPLES = Path(__file__).parent.parent / "sample_docs"

# Not needed by an embedded search or an ingest of text. pydantic is imported by typer.
HEAVY = {
    *("qdrant_client", "grpc", "httpx", "httpcore", "ssl", "asyncio", "numba"),
    *("pypdf", "pypdfium2", "docx", "lxml", "yaml", "cryptography", "PIL"),
    *("tiktoken", "py3langid", "pandas", "scipy", "matplotlib", "ir_measures", "torch"),
    *("pydantic", "tqdm", "dotenv", "pathspec", "prometheus_client", "charset_normalizer"),
}
_RUN = """
import json, sys
from ragctl.cli.main import _run
code = _run(sys.argv[1:])
print("\\n" + json.dumps(sorted(sys.modules)))
sys.exit(code)
"""


def imported(*words: str, home: Path) -> set[str]:
    """Return the modules that a command has imported when it ends."""
    done = subprocess.run(
        [sys.executable, "-c", _RUN, *words],
        env={**os.environ, "RAGCTL_HOME": str(home), "RAGCTL_CONFIG": str(home / "none")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return set(json.loads(done.stdout.rstrip().rpartition("\n")[2]))


def packages(modules: set[str]) -> set[str]:
    return {name.split(".")[1] for name in modules if name.startswith("ragctl.")}


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="module")
def ingested(home: Path) -> set[str]:
    """Return the modules imported by an ingest of a folder with one Markdown file."""
    folder = home / "folder"
    folder.mkdir()
    text = (SAMPLES / "en" / "link-api-handbook.md").read_text(encoding="utf-8")
    (folder / "a.md").write_text(text, encoding="utf-8")
    return imported("ingest", str(folder), home=home)


def test_help_imports_only_the_cli_package(home: Path) -> None:
    found = imported("--help", home=home)
    assert packages(found) == {"cli", "environment", "errors", "text"}
    assert not found & {*HEAVY, "numpy", "qdrant_edge"}


def test_the_start_screen_opens_no_collection(home: Path) -> None:
    found = imported(home=home)
    assert packages(found) <= {
        *("cli", "environment", "errors", "text", "records", "files"),
        *("pipeline", "collection", "stores"),
    }
    assert not found & {*HEAVY, "numpy", "qdrant_edge", "rich"}


def test_help_of_a_command_imports_only_its_options(home: Path) -> None:
    found = imported("search", "--help", home=home)
    assert packages(found) <= {
        *("cli", "environment", "errors", "text", "records"),
        *("pipeline", "collection", "stores", "search"),
    }
    assert not found & {*HEAVY, "numpy", "qdrant_edge"}


@pytest.mark.parametrize("mode", ["hybrid", "dense", "sparse"])
def test_an_embedded_search_imports_nothing_heavy(
    mode: str, ingested: set[str], home: Path
) -> None:
    found = imported("search", "how long is hourly data kept?", "--mode", mode, home=home)
    assert not found & HEAVY
    assert not packages(found) & {
        "loaders",
        "workers",
        "notify",
        "reporting",
        "schedule",
        "check",
        "evaluate",
    }


def test_a_search_on_a_server_imports_no_client_library(home: Path) -> None:
    with QdrantFacade() as server:
        (home / "one").mkdir()
        (home / "one" / "a.md").write_text("# Alpha\n\nHourly data is kept for a month.\n")
        imported("ingest", str(home / "one"), "--store", server.url, home=home)
        found = imported("search", "hourly data?", "--store", server.url, home=home)
    assert not found & {"qdrant_client", "grpc", "pydantic", "fastembed"}


def test_an_ingest_of_markdown_imports_no_client_and_no_pdf_reader(ingested: set[str]) -> None:
    assert not ingested & (HEAVY - {"tiktoken", "py3langid", "pathspec", "tqdm", "asyncio", "ssl"})


@pytest.mark.parametrize("name", COMMANDS)
def test_the_help_lines_equal_the_docstrings_of_the_commands(name: str) -> None:
    module, function, line, *_ = COMMANDS[name]
    docstring = inspect.getdoc(getattr(import_module(f"ragctl.cli.{module}"), function)) or ""
    assert " ".join(docstring.partition("\n\n")[0].split()) == line
