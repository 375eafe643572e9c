"""The name of the distribution, and the command that a message gives to install an extra."""

import json
import re
import subprocess
import sys
from importlib.metadata import PackageNotFoundError
from pathlib import Path

import pytest

import ragctl
from ragctl import installation

ROOT = Path(__file__).parent.parent
BARE_NAME = re.compile(
    r"""
    pip3?\ install\ [^\n`]*?(?<![\w./-])ragctl(?![\w/-])   # pip install ragctl, … 'ragctl[eval]'
    | (?<![\w./-])ragctl\[[a-z]                            # ragctl[eval], in whatever sentence
    """,
    re.VERBOSE,
)
"""An installation of `ragctl` by that name, which is another project's."""


def installed_from(monkeypatch: pytest.MonkeyPatch, direct_url: str | None) -> None:
    """Let the distribution's metadata have this direct_url.json."""

    class Metadata:
        def read_text(self, name: str) -> str | None:
            assert name == "direct_url.json"
            return direct_url

    monkeypatch.setattr(installation, "distribution", lambda name: Metadata())
    installation._origin.cache_clear()


@pytest.fixture(autouse=True)
def _clear() -> None:
    installation._origin.cache_clear()


def test_from_an_index(monkeypatch: pytest.MonkeyPatch) -> None:
    installed_from(monkeypatch, None)
    assert installation.install_command("eval") == "pip install 'ragctl-qdrant[eval]'"


@pytest.mark.parametrize(
    "direct_url",
    [
        "{",
        "[]",
        json.dumps({"url": 7}),
        json.dumps({"url": "https://user:secret@example.com/ragctl.whl"}),
        json.dumps({"url": "file:///no/such/folder"}),
    ],
)
def test_from_what_cannot_be_installed_again(
    monkeypatch: pytest.MonkeyPatch, direct_url: str
) -> None:
    installed_from(monkeypatch, direct_url)
    assert installation.install_command("eval") == "pip install 'ragctl-qdrant[eval]'"


@pytest.mark.parametrize(
    ("record", "origin"),
    [
        (
            {"url": "https://example.com/ragctl.whl", "archive_info": {}},
            "https://example.com/ragctl.whl",
        ),
        (
            {"url": "https://example.com/r.git", "vcs_info": {"vcs": "git", "commit_id": "1"}},
            "git+https://example.com/r.git",
        ),
        (
            {
                "url": "https://example.com/r.git",
                "vcs_info": {"vcs": "git", "requested_revision": "v1", "commit_id": "1"},
            },
            "git+https://example.com/r.git@v1",
        ),
    ],
)
def test_from_an_address(
    monkeypatch: pytest.MonkeyPatch, record: dict[str, object], origin: str
) -> None:
    installed_from(monkeypatch, json.dumps(record))
    assert installation.install_command("eval") == f"pip install 'ragctl-qdrant[eval] @ {origin}'"


@pytest.mark.parametrize(
    ("folder", "settings", "command"),
    [
        ("uv/tools/ragctl-qdrant", "uv = 0.5\n", "uv tool install --force"),
        ("pipx/venvs/ragctl-qdrant", "", "pipx install --force"),
        ("venv", "home = /usr\nuv = 0.5\n", "uv pip install"),
        ("venv", "home = /usr\n", "pip install"),
        ("venv", None, "pip install"),
    ],
)
def test_with_the_program_that_made_the_environment(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    folder: str,
    settings: str | None,
    command: str,
) -> None:
    prefix = tmp_path / folder
    prefix.mkdir(parents=True)
    if settings is not None:
        (prefix / "pyvenv.cfg").write_text(settings)
    installed_from(monkeypatch, None)
    monkeypatch.setattr(sys, "prefix", str(prefix))
    assert installation.install_command("eval") == f"{command} 'ragctl-qdrant[eval]'"


def test_from_a_checkout(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    checkout = tmp_path / "a checkout"
    checkout.mkdir()
    installed_from(monkeypatch, json.dumps({"url": checkout.as_uri(), "dir_info": {}}))
    assert installation.install_command("eval") == f"pip install '{checkout}[eval]'"
    monkeypatch.chdir(checkout)
    assert installation.install_command("eval") == "pip install '.[eval]'"


def test_imported_from_a_checkout_that_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> None:
        raise PackageNotFoundError(name)

    monkeypatch.setattr(installation, "distribution", missing)
    assert installation.install_command("eval").endswith("[eval]'")
    assert "ragctl-qdrant" not in installation.install_command("eval")


def test_the_version_is_that_of_the_distribution() -> None:
    assert re.fullmatch(r"\d+\.\d+\.\d+", ragctl.__version__)
    done = subprocess.run(
        [sys.executable, "-m", "ragctl", "--version"], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == f"ragctl {ragctl.__version__}"


@pytest.mark.parametrize(
    ("text", "bare"),
    [
        ("pip install ragctl", True),
        ("pip install -U 'ragctl[eval]'", True),
        ("needs ragctl[eval]", True),
        ("pip install '.[eval]'", False),
        ("pip install 'ragctl-qdrant[eval]'", False),
        ("pip install . && ragctl ingest docs", False),
        ("pip install /src/ragctl", False),
    ],
)
def test_the_bare_name_is_recognised(text: str, bare: bool) -> None:
    found = BARE_NAME.search(text.partition("&&")[0])
    assert bool(found) is bare


def test_nothing_installs_the_project_of_the_bare_name() -> None:
    tracked = subprocess.run(
        ["git", "ls-files", "*.py", "*.md", "*.toml", "*.yaml", "justfile", ".ci/run"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split("\n")
    wrong = [
        f"{name}: {line.strip()}"
        for name in filter(None, tracked)
        if name != "tests/test_installation.py" and (ROOT / name).is_file()
        for line in (ROOT / name).read_text(encoding="utf-8").splitlines()
        if BARE_NAME.search(line.partition("&&")[0])
    ]
    assert wrong == []
