"""The command: exit codes, documented JSON, and output on terminals and pipes."""

import json
import os
import pty
import re
import select
import shlex
import subprocess
import sys
import termios
from pathlib import Path
from typing import Any

import pytest

from ragctl import errors
from ragctl.text import without_controls
from tests.command import call
from tests.servers.jina import JinaServer
from tests.servers.openai import OpenAIServer
from tests.world import KEY, paragraphs

pytestmark = pytest.mark.slow

RAGCTL = (sys.executable, "-m", "ragctl")
HIT = {
    *("source", "score", "text", "start", "end", "page", "heading", "ordinal", "meta"),
    *("title", "spans", "ordinals", "cut", "line", "chunks", "lang", "id"),
}


class Shell:
    """The command with its own home folder."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.docs = home / "docs"
        self.docs.mkdir()
        self.environ = {
            **{k: v for k, v in os.environ.items() if not k.endswith("_KEY")},
            "RAGCTL_HOME": str(home / "store"),
            "COLUMNS": "100",
        }

    def __call__(self, *words: str, **environ: str) -> subprocess.CompletedProcess[str]:
        return call(*words, environ={**self.environ, **environ}, cwd=self.home)

    def process(self, *words: str, **environ: str) -> subprocess.CompletedProcess[str]:
        """Run the command in a process of its own."""
        return subprocess.run(
            [*RAGCTL, *words],
            env={**self.environ, **environ},
            capture_output=True,
            text=True,
            encoding="utf-8",
            check=False,
            cwd=self.home,
        )

    def json(self, *words: str) -> Any:
        done = self(*words, "--json")
        assert done.returncode in (0, 3), done.stderr
        return json.loads(done.stdout)


@pytest.fixture
def shell(tmp_path: Path) -> Shell:
    made = Shell(tmp_path)
    (made.docs / "guide.md").write_text(
        "# Guide\n\n## Limits\n\nThe heat pump must not exceed 63 degrees.\n\n"
        "## Отпуск\n\nСотрудники получают 28 дней отпуска.\n",
        encoding="utf-8",
    )
    (made.docs / "notes.txt").write_text("Lunch is at noon.\nThe canteen closes at two.\n")
    return made


def test_ingest_and_search_without_any_flag(shell: Shell) -> None:
    first = shell.process("ingest", "docs")
    assert first.returncode == 0, first.stderr
    assert re.search(r"^docs: 2 added; 2 chunks embedded \(\d+ tokens.*\); \d", first.stdout)
    assert first.stdout.count("\n") == 1
    assert first.stderr == ""
    found = shell.process("search", "how hot may the heat pump get")
    assert found.returncode == 0
    assert found.stdout.startswith("1. docs/guide.md:1")
    assert "63 degrees" in found.stdout.split("\n2. ")[0]
    again = shell.process("ingest", "docs")
    assert "2 unchanged; 0 chunks embedded" in again.stdout


def test_json_has_the_documented_keys(shell: Shell) -> None:
    report = shell.json("ingest", "docs", "--meta", "team=ops")
    assert list(report)[:8] == [
        *("collection", "identity", "documents", "chunks", "tokens", "requests", "cost"),
        "backends",
    ]
    names = ["added", "updated", "renamed", "unchanged", "removed", "failed"]
    assert list(report["documents"]) == names
    assert list(report["chunks"]) == ["embedded", "reused", "deleted", "unstored"]
    assert report["documents"]["added"] == 2
    assert report["tokens"] > 0
    assert isinstance(report["seconds"], float)
    assert report["identity"]["model"] == "builtin"
    found = shell.json("search", "дней отпуска", "--limit", "1")
    assert list(found) == ["query", "collection", "hits"]
    (hit,) = found["hits"]
    assert set(hit) == HIT
    assert hit["source"] == "docs/guide.md"
    assert hit["meta"] == {"team": "ops"}
    assert isinstance(hit["heading"], list)
    text = (shell.docs / "guide.md").read_text(encoding="utf-8")
    assert text[hit["start"] : hit["end"]] == hit["text"]
    (shell.docs / "bad.pdf").write_bytes(b"%PDF-1.7 rubbish")
    failed = shell.json("ingest", "docs")
    assert failed["documents"]["failed"] == 1
    (failure,) = failed["failures"]
    assert list(failure) == ["source", "error", "waiting"]
    assert failure["source"] == "docs/bad.pdf"


def test_where_filters_and_types(shell: Shell) -> None:
    rows = [
        {"id": "a", "text": "valve report one", "year": 2024, "open": True, "team": "ops"},
        {"id": "b", "text": "valve report two", "year": 2025, "open": False, "team": "ops"},
    ]
    (shell.docs / "r.jsonl").write_text("\n".join(map(json.dumps, rows)))
    shell.json("ingest", "docs")

    def sources(*where: str) -> set[str]:
        flags = [word for condition in where for word in ("--where", condition)]
        found = shell.json("search", "valve report", *flags)
        return {hit["source"] for hit in found["hits"]}

    assert sources("year=2024") == {"docs/r.jsonl#a"}
    assert sources("open=false") == {"docs/r.jsonl#b"}
    assert sources("team=ops") == {"docs/r.jsonl#a", "docs/r.jsonl#b"}
    assert sources("team=ops", "year=2025") == {"docs/r.jsonl#b"}
    assert sources("year=2024", "year=2025") == {"docs/r.jsonl#a", "docs/r.jsonl#b"}
    assert sources("source=docs/guide.md") == {"docs/guide.md"}
    assert sources("source_name=docs", "year=2024") == {"docs/r.jsonl#a"}
    assert sources("team=none") == set()


@pytest.mark.parametrize("mode", ["hybrid", "dense", "sparse"])
def test_each_mode_finds_the_document(shell: Shell, mode: str) -> None:
    shell.json("ingest", "docs")
    found = shell.json("search", "canteen lunch", "--mode", mode)
    assert found["hits"][0]["source"] == "docs/notes.txt"
    scores = [hit["score"] for hit in found["hits"]]
    assert scores == sorted(scores, reverse=True)


def test_a_question_of_stop_words_has_no_sparse_hits(shell: Shell) -> None:
    shell.json("ingest", "docs", "--language", "en")
    assert shell.json("search", "of the", "--mode", "sparse")["hits"] == []
    assert len(shell.json("search", "of the")["hits"]) == 2


def test_status_collections_show_and_delete_work(shell: Shell) -> None:
    shell.json("ingest", "docs", "--dim", "256")
    shell.json("ingest", "docs", "--collection", "second")
    status = shell.json("status")
    assert status["documents"] == 2
    assert status["identity"]["dimension"] == 256
    assert "256 dimensions" in shell("status").stdout
    listed = shell.json("collections")
    assert [row["collection"] for row in listed["collections"]] == ["docs", "second"]
    assert listed["collections"][0]["documents"] == 2
    shown = shell.json("show", "notes.txt")
    assert shown["source"] == "docs/notes.txt"
    assert shown["chunks"][0]["text"].startswith("Lunch")
    assert "did you mean docs/notes.txt" in shell("show", "note.txt").stderr
    refused = shell("delete", "notes.txt")
    assert refused.returncode == 2
    assert "--yes" in refused.stderr
    refused = shell("delete", "--all", "-c", "second")
    assert "to delete the whole collection 'second' (2 documents) without" in refused.stderr
    assert "1 document deleted (1 point)" in shell("delete", "notes.txt", "--yes").stdout
    assert shell.json("status")["documents"] == 1
    assert shell("delete", "gone.txt", "--yes").returncode == 2
    whole = shell("delete", "--all", "-c", "second", "--yes").stdout
    assert whole == "second: the whole collection was deleted (2 documents, 2 points)\n"
    assert [row["collection"] for row in shell.json("collections")["collections"]] == ["docs"]


def test_dry_run_writes_nothing(shell: Shell) -> None:
    done = shell("ingest", "docs", "--dry-run")
    assert done.returncode == 0
    assert "planned: 2 added; 2 chunks to embed" in done.stdout
    assert shell.json("collections")["collections"] == []


# Exit codes; test_exit_codes.py tests them on real processes


def test_exit_2_usage(shell: Shell) -> None:
    for words in (
        ["ingest"],
        ["ingest", "docs", "--no-such-option"],
        ["ingest", "docs", "--model", "jina-embedings-v3"],
        ["ingest", "docs", "--dim", "7"],
        ["ingest", "docs", "--chunk-size", "100", "--overlap", "90"],
        ["ingest", "docs", "--meta", "novalue"],
        ["ingest", "docs", "--collection", "../up"],
        ["search", "anything", "--collection", "none"],
        ["search", "?!"],
        ["search", "x y", "--mode", "magic"],
        ["search", "x y", "--where", "novalue"],
    ):
        done = shell(*words)
        assert done.returncode == 2, (words, done.stderr)
        assert done.stderr.startswith("ragctl: "), words
        assert done.stderr.count("\n") == 1, done.stderr
        assert "Traceback" not in done.stderr
    assert "jina-embeddings-v3" in shell("ingest", "docs", "--model", "jina-embedings-v3").stderr


def test_exit_3_some_documents_failed(shell: Shell) -> None:
    (shell.docs / "bad.docx").write_bytes(b"PK\x03\x04 not a zip")
    done = shell("ingest", "docs")
    assert done.returncode == 3
    assert done.stderr.startswith("failed: docs/bad.docx: ")
    assert "2 added, 1 failed" in done.stdout


def test_exit_4_backend(shell: Shell) -> None:
    done = shell("ingest", "docs", "--model", "jina-embeddings-v3")
    assert done.returncode == 4
    assert "JINA_API_KEY" in done.stderr
    with JinaServer(KEY) as server:
        wrong = shell(
            *("ingest", "docs", "--model", "jina-embeddings-v3", "--base-url", server.url),
            JINA_API_KEY="jina_" + "w" * 60,
        )
    assert wrong.returncode == 4
    assert "w" * 20 not in wrong.stdout + wrong.stderr


def test_ingest_at_another_address_keeps_the_backend_of_the_collection(shell: Shell) -> None:
    """The default backend of the model would want a key, and has other names for the model."""
    with OpenAIServer(like="router") as first, OpenAIServer(like="router") as second:
        model = ("--model", "bge-m3", "--backend", "router")
        shell.json("ingest", "docs", *model, "--base-url", first.url)
        (shell.docs / "new.txt").write_text("one more text")
        shell.json("ingest", "docs", "--base-url", second.url)
        assert "one more text" in [text.text for text in second.texts]
        assert {request.body["model"] for request in second.requests} == {"bge-m3"}


def test_exit_5_store(shell: Shell) -> None:
    done = shell("ingest", "docs", "--store", "http://127.0.0.1:9")
    assert done.returncode == 5
    assert "http://127.0.0.1:9" in done.stderr


def test_exit_6_identity(shell: Shell) -> None:
    shell.json("ingest", "docs", "--dim", "256")
    done = shell("ingest", "docs", "--dim", "512")
    assert done.returncode == 6
    assert "dimension 256 ≠ 512" in done.stderr


def test_exit_7_prune(shell: Shell) -> None:
    for n in range(20):
        (shell.docs / f"{n}.txt").write_text(f"text {n}")
    shell.json("ingest", "docs")
    for n in range(20):
        (shell.docs / f"{n}.txt").unlink()
    done = shell("ingest", "docs")
    assert done.returncode == 7
    assert "20 of 22 documents" in done.stderr
    assert shell.json("status")["documents"] == 22
    assert shell("ingest", "nowhere").returncode == 7


def test_exit_9_locked(shell: Shell) -> None:
    from ragctl.stores.edge import EdgeStore

    with EdgeStore(shell.home / "store").lock("docs"):
        done = shell.process("ingest", "docs")
    assert done.returncode == 9
    assert str(os.getpid()) in done.stderr


def test_an_unusable_home_is_a_one_line_error(shell: Shell) -> None:
    """An unforeseen error: here, a home folder that is a device."""
    done = shell("status", RAGCTL_HOME="/dev/null")
    assert done.returncode in (1, 2, 5)
    assert done.stderr.count("\n") == 1
    assert "Traceback" not in done.stderr


def test_debug_shows_the_traceback_anywhere(shell: Shell) -> None:
    assert "Traceback" in shell("search", "x y", "--debug").stderr
    assert "Traceback" in shell("--debug", "search", "x y").stderr


def test_every_exit_code_is_distinct_and_documented() -> None:
    classes = [
        value
        for value in vars(errors).values()
        if isinstance(value, type)
        and issubclass(value, errors.RagctlError)
        and "exit_code" in vars(value)  # others are special cases of their base class
    ]
    codes = {cls.exit_code for cls in classes}
    assert codes == {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 130}
    assert len(codes) == len(classes)
    readme = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")
    for cls in classes:
        meaning = " ".join((cls.__doc__ or "").split()).rstrip(".")
        assert f"| {cls.exit_code} | {meaning} |" in readme


# Output on a terminal


def on_terminal(shell: Shell, *words: str) -> str:
    """Run the command on a terminal of its own, and return its output."""
    master, slave = pty.openpty()
    termios.tcsetwinsize(slave, (40, 100))
    environ = {**shell.environ, "TERM": "xterm-256color"}
    with subprocess.Popen(
        [*RAGCTL, *words], env=environ, cwd=shell.home, stdin=slave, stdout=slave, stderr=slave
    ) as process:
        os.close(slave)
        output = b""
        while True:
            ready, _, _ = select.select([master], [], [], 0.2)
            if ready:
                try:
                    data = os.read(master, 65536)
                except OSError:
                    break
                if not data:
                    break
                output += data
            elif process.poll() is not None:
                break
    os.close(master)
    return output.decode("utf-8", "replace")


def test_a_terminal_gets_a_table_with_highlighted_words(shell: Shell) -> None:
    shell.json("ingest", "docs")
    output = on_terminal(shell, "search", "heat pump degrees")
    assert re.search(r"\x1b\[[\d;]*m(heat pump|heat)", output)
    assert "guide.md:1" in re.sub(r"\x1b\[[\d;]*m", "", output)
    assert "Limits" in output


def test_a_terminal_gets_the_whole_of_a_text_without_spaces(shell: Shell) -> None:
    text = "".join(chr(0x4E00 + number) for number in range(150))
    (shell.docs / "zh.txt").write_text(text, encoding="utf-8")
    shell.json("ingest", "docs")
    output = re.sub(r"\x1b\[[0-9;]*m|\s", "", on_terminal(shell, "search", text[:4]))
    assert text in output


def test_a_terminal_shows_progress(shell: Shell) -> None:
    for n in range(30):
        (shell.docs / f"{n}.md").write_text(paragraphs(f"a{n}", f"b{n}"))
    output = on_terminal(shell, "ingest", "docs")
    assert re.search(r"\d+/3\d documents", output)
    assert "32 added" in output


def test_document_text_cannot_send_control_codes_to_the_terminal(shell: Shell) -> None:
    malicious = "harmless \x1b]0;owned\x07\x1b[2Jwords \x9b31m and \u202ereversed\u202c text"
    (shell.docs / "malicious.md").write_text(
        f"# Evil \x1b[31mtitle\n\n{malicious}\n", encoding="utf-8"
    )
    (shell.docs / "x\x1b[31mname.txt").write_text("harmless name")
    shell.json("ingest", "docs")
    for words in (("search", "harmless words"), ("show", "malicious.md"), ("status",)):
        out = shell(*words).stdout
        assert not set(out) & {"\x1b", "\x9b", "\u202e", "\x07"}, words
    output = on_terminal(shell, "search", "harmless words")
    assert "\x1b]0;" not in output
    assert "\x1b[2J" not in output
    assert without_controls(f"a{malicious}b") == "aharmless words  and reversed textb"


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys\n"
        "from ragctl.cli.main import _run\n"
        "_run(['--help'])\n"
        "heavy = {'qdrant_client', 'qdrant_edge', 'tiktoken', 'pypdf', 'pypdfium2', 'numpy',"
        " 'httpx', 'docx', 'lxml'}\n"
        "found = heavy & set(sys.modules)\n"
        "sys.exit(f'imported: {found}' if found else 0)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_a_local_search_imports_no_server_client(shell: Shell) -> None:
    shell.json("ingest", "docs")
    code = (
        "import sys\n"
        "from ragctl.cli.main import _run\n"
        "assert _run(['search', 'heat pump']) == 0\n"
        "heavy = {'qdrant_client', 'pypdf', 'tiktoken', 'httpx', 'tqdm'}\n"
        "found = heavy & set(sys.modules)\n"
        "sys.exit(f'imported: {found}' if found else 0)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=shell.environ,
        cwd=shell.home,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def test_shell_completion_is_printed(shell: Shell) -> None:
    # Completion detects the shell from the parent process.
    command = f"{shlex.join(RAGCTL)} --show-completion; exit $?"
    done = subprocess.run(
        ["bash", "-c", command], env=shell.environ, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "_ragctl_completion" in done.stdout


def test_a_pipeline_file_sets_what_the_flags_set(shell: Shell) -> None:
    (shell.home / "deep").mkdir()
    (shell.home / "deep/p.toml").write_text(
        'collection = "flags"\n[[sources]]\npath = "../docs"\nexclude = ["notes.txt"]\n'
        '[embedding]\ndimension = 128\n[chunking]\nsize = 64\n[meta]\nteam = "ops"\nlevel = 3\n'
    )
    done = shell("run", "deep/p.toml")
    assert done.returncode == 0, done.stderr
    assert shell.json("status", "-c", "flags")["identity"]["dimension"] == 128
    found = shell.json("search", "heat pump", "-c", "flags", "--where", "level=3")
    assert found["hits"][0]["source"] == "docs/guide.md"
    (shell.home / "bad.toml").write_text('[[sources]]\npath = "docs"\n[embeding]\nmodel = "x"\n')
    bad = shell("run", "bad.toml")
    assert bad.returncode == 2
    assert "'embeding'" in bad.stderr
    assert "embedding" in bad.stderr.split("'embeding'")[1]
