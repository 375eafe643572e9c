"""`ragctl models` and `ragctl backends`, and their tables in the documentation."""

import json
import os
import pty
import re
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import pytest

from ragctl.catalog import backend_table, listing, model_table
from ragctl.cli.main import main
from ragctl.embedding.catalogs import package_catalog
from tests.facts import FACTS

DOCS = Path(__file__).parents[1] / "docs"
ESCAPES = re.compile(r"\x1b\[[0-9;]*m")


class Command:
    """Runs the command in this process, with a temporary configuration folder."""

    def __init__(self, folder: Path, capture: pytest.CaptureFixture[str]) -> None:
        self.folder = folder
        self._capture = capture

    def __call__(self, *words: str, status: int = 0) -> str:
        """Return standard output, or standard error if `status` is not 0."""
        with pytest.raises(SystemExit) as ended:
            main(list(words))
        out, err = self._capture.readouterr()
        assert ended.value.code == status, err
        assert not (out if status else err)
        return err if status else out

    def json(self, *words: str) -> Any:
        return json.loads(self(*words, "--json"))

    def on_a_terminal(self, *words: str) -> str:
        """Return the output on a terminal 80 columns wide, without colours."""
        leader, follower = pty.openpty()
        running = subprocess.Popen(
            [sys.executable, "-m", "ragctl", *words],
            env={**os.environ, "TERM": "xterm", "COLUMNS": "80"},
            stdout=follower,
        )
        os.close(follower)
        shown = b""
        while True:
            try:
                part = os.read(leader, 65536)
            except OSError:  # on Linux, the end of a terminal whose other side is closed
                break
            if not part:
                break
            shown += part
        os.close(leader)
        assert running.wait(30) == 0
        text = shown.decode()
        assert "\x1b[" in text
        return ESCAPES.sub("", text)


@pytest.fixture
def ragctl(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Command:
    monkeypatch.setenv("RAGCTL_CONFIG", str(tmp_path))
    monkeypatch.setattr(warnings, "formatwarning", warnings.formatwarning)  # main() changes it
    return Command(tmp_path, capsys)


@pytest.mark.parametrize(
    ("name", "table"),
    [
        ("models", listing.models(package_catalog(), package_catalog().models)),
        ("backends", listing.backends(package_catalog(), package_catalog().backends)),
    ],
)
def test_documentation_tables_equal_the_catalogue(name: str, table: listing.Listing) -> None:
    """To update the pages, run `just docs`."""
    page = (DOCS / f"{name}.md").read_text("utf-8")
    found = re.search(rf"<!-- {name} -->\n(.*?)<!-- end -->", page, re.DOTALL)
    assert found is not None
    assert found[1] == table.markdown()


def test_markdown_option_prints_the_documentation_table(ragctl: Command) -> None:
    shipped = package_catalog()
    assert ragctl("models", "--markdown") == listing.models(shipped, shipped.models).markdown()


def test_markdown_escapes_a_vertical_bar() -> None:
    table = listing.Listing(("model", "languages"), [("m", "de|en")])
    assert table.markdown().splitlines()[2] == r"| `m` | de\|en |"


def test_piped_models_are_aligned_and_complete(ragctl: Command) -> None:
    lines = ragctl("models").splitlines()
    starts = [lines[0].index(column) for column in ("DIMENSIONS", "CONTEXT", "LICENCE", "BACKENDS")]
    assert {line.split()[0] for line in lines[1:]} == {"builtin", *FACTS}
    for line in lines[1:]:
        assert all(line[start - 2 : start] == "  " for start in starts), line
        assert all(line[start] != " " for start in starts), line
        assert line == line.rstrip()


def test_models_and_backends_can_be_filtered(ragctl: Command) -> None:
    lines = ragctl("models", "--backend", "cohere").splitlines()
    assert [line.split()[0] for line in lines] == [
        "MODEL",
        "embed-multilingual-v3.0",
        "embed-v4.0",
        "embed-v5.0-pro",
        "embed-v5.0-fast",
    ]
    lines = ragctl("backends", "--model", "multilingual-e5-small").splitlines()
    assert [line.split()[0] for line in lines] == [
        *("BACKEND", "sentence-transformers", "tei", "tei-openai", "vllm", "infinity"),
    ]


def test_details_of_one_model(ragctl: Command) -> None:
    """Prompts are quoted so that a trailing space, which matters, is visible."""
    shown = ragctl("models", "jina-embeddings-v4").splitlines()
    assert "dimensions    2048 (1 to 2048; trained at 128, 256, 512, 1024, 2048)" in shown
    assert "context       32,768 tokens" in shown
    assert (
        'document      task retrieval.passage, prompt "Passage: ", '
        "library arguments task=retrieval prompt_name=passage"
    ) in shown
    assert shown[shown.index("task          code") + 2].startswith(
        '  query       task code.query, prompt "Query: "'
    )
    assert any(line.endswith("except by customers of jina") for line in shown)
    assert "backend       jina (default): jina-embeddings-v4, context 8,192" in shown
    query = next(
        line for line in ragctl("models", "qwen3-embedding-8b").splitlines() if "Ins" in line
    )
    assert query.endswith('answer the query\\nQuery:"')


def test_details_of_one_backend(ragctl: Command) -> None:
    shown = ragctl("backends", "voyage").splitlines()
    assert "key           VOYAGE_API_KEY" in shown
    assert "per request   256 texts, 120,000 tokens" in shown
    assert "per minute    2,000 requests, 3,000,000 tokens" in shown
    assert "model         voyage-3-large: voyage-3-large, $0.18 per million tokens" in shown
    assert "model         voyage-4: voyage-4, $0.06 per million tokens" in shown
    shown = ragctl("backends", "jina").splitlines()
    assert "free          10,000,000 tokens for a new account" in shown
    assert "model         jina-clip-v1: jina-clip-v1" in shown
    assert "model         jina-clip-v2: jina-clip-v2, vectors cut here" in shown


def test_json_details(ragctl: Command) -> None:
    (model,) = ragctl.json("models", "jina-embeddings-v3")["models"]
    assert model["query"] == {
        "task": "retrieval.query",
        "prompt": "Represent the query for retrieving evidence documents: ",
        "library": {"task": "retrieval.query", "prompt_name": "retrieval.query"},
    }
    assert model["dims"] == {"min": 1, "max": 1024}
    assert list(model["tasks"]) == ["text-matching", "classification", "clustering"]
    assert list(model["backends"]) == [
        *("jina", "sentence-transformers", "fastembed", "elastic", "jina-on-prem"),
    ]
    assert model["backends"]["jina"]["fields"] == ["late_chunking", "normalized"]
    (backend,) = ragctl.json("backends", "fastembed")["backends"]
    nano = backend["models"]["jina-embeddings-v5-text-nano"]
    assert nano["onnx"]["output"] == "sentence_embedding"
    assert len(ragctl.json("models")["models"]) == len(FACTS) + 1
    assert len(ragctl.json("backends")["backends"]) == len(package_catalog().backends)


def test_json_has_every_key_of_a_row(ragctl: Command) -> None:
    """Each key of a row under its TOML name."""
    (model,) = ragctl.json("models", "bge-m3")["models"]
    assert set(model) == {*model_table.MODEL_KEYS, "model", "backends"}
    (backend,) = ragctl.json("backends", "tei")["backends"]
    assert set(backend) == {*backend_table.BACKEND_KEYS, "backend"} - {"price"}
    assert set(backend["models"]["bge-m3"]) == set(backend_table.SERVED_MODEL_KEYS)


def test_user_rows_are_listed_without_the_key_command(ragctl: Command) -> None:
    """The example in docs/backends.md."""
    page = (DOCS / "backends.md").read_text("utf-8")
    for name in ("models.toml", "backends.toml"):
        example = re.search(rf"```toml {re.escape(name)}\n(.*?)```", page, re.DOTALL)
        assert example is not None
        (ragctl.folder / name).write_text(example[1])
    assert ragctl("models").splitlines()[-1].startswith("our-embedder  ")
    shown = ragctl("backends", "our-host")
    assert "key           printed by a command" in shown
    assert "embeddings.example.com" in shown
    (backend,) = ragctl.json("backends", "our-host")["backends"]
    assert backend["key_command"] is True
    assert '"pass"' not in ragctl("backends", "our-host", "--json")
    (jina,) = ragctl.json("backends", "jina")["backends"]
    assert jina["rates"] == {"requests": 500, "tokens": 1_000_000}


def test_pipeline_rows_are_listed(ragctl: Command) -> None:
    file = ragctl.folder / "own.toml"
    row = '[[sources]]\npath = "."\n[backends.tei.models]\njina-embeddings-v4 = "own/v4"\n'
    file.write_text(row)
    assert "jina-embeddings-v4: own/v4" in ragctl("backends", "tei", "--pipeline", str(file))
    assert "own/v4" not in ragctl("backends", "tei")


def test_control_characters_of_a_row_are_removed(ragctl: Command) -> None:
    (ragctl.folder / "models.toml").write_text(
        '[bge-m3]\nlanguages = "en\\u001b[2J\\u0007"\nquery = { prompt = "q\\u001b[2J: " }\n'
    )
    for shown in (ragctl("models"), ragctl("models", "bge-m3"), ragctl("models", "--markdown")):
        assert "\x1b" not in shown
        assert "\x07" not in shown
    assert "\x1b[2J" not in ragctl.on_a_terminal("models", "--backend", "infinity")


@pytest.mark.parametrize("command", ["models", "backends"])
def test_a_terminal_gets_a_line_for_each_row(ragctl: Command, command: str) -> None:
    shown = ragctl.on_a_terminal(command).splitlines()
    assert all(len(line.rstrip("\r")) <= 80 for line in shown)
    rows = {"models": package_catalog().models, "backends": package_catalog().backends}[command]
    names = [line.split()[0] for line in shown[1:-1] if line.strip()]
    assert names == list(rows)
    assert f"ragctl {command} NAME" in shown[-1]


@pytest.mark.parametrize(
    ("words", "error"),
    [
        (("models", "jina-v3"), "no model is called 'jina-v3'; did you mean jina-embeddings-v3?"),
        (("backends", "silicon"), "no backend is called 'silicon'; did you mean siliconflow"),
        (("models", "--backend", "x"), "no backend is called 'x'; ragctl backends lists all"),
        (("backends", "--model", "bge"), "no model is called 'bge'; did you mean bge-m3?"),
        (("models", "bge-m3", "--backend", "tei"), "give a name or --backend, not both"),
    ],
)
def test_wrong_names_are_refused(ragctl: Command, words: tuple[str, ...], error: str) -> None:
    stderr = ragctl(*words, status=2)
    assert stderr.startswith(f"ragctl: {error}")
    assert stderr.count("\n") == 1
