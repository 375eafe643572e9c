"""Output of every command: closed pipes, colours, sizes, characters that cannot be seen."""

import os
import shlex
import subprocess
from pathlib import Path

import pytest

from tests.command import call
from tests.terminal import RAGCTL, render, run

pytestmark = pytest.mark.slow

UNSEEN = (
    "zero\u200bwidth \u061cmark \U000e0074\U000e0061g \u2028separate \x1b]0;owned\x07 \x9b31m"
    " \u202ereversed \x1b]52;c;c2VjcmV0\x1b\\ pump"
)
HIDDEN = set("\u200b\u061c\U000e0074\u2028\u202e\x07\x9b\x1b")
INSIDE_OF_SEQUENCES = {"owned", "c2VjcmV0"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with documents that were ingested into the collection docs."""
    folder = tmp_path_factory.mktemp("streams")
    (folder / "docs").mkdir()
    for number in range(30):
        (folder / "docs" / f"{number}.md").write_text(f"# Pump {number}\n\n{'valve ' * 80}\n")
    (folder / "docs" / "od\u200bd\u202e.md").write_text(
        f"---\ntitle: {'odd ' + chr(0x200B)}\n---\n# Head\u200bing\n\n{UNSEEN}\n", encoding="utf-8"
    )
    done = call("ingest", "docs", environ=environ(folder), cwd=folder)
    assert done.returncode == 0, done.stderr
    return folder


def environ(folder: Path, **more: str) -> dict[str, str]:
    left_out = {"COLUMNS", "LINES", "NO_COLOR", "FORCE_COLOR"}
    own = {name: value for name, value in os.environ.items() if name not in left_out}
    return {**own, "RAGCTL_HOME": str(folder / "home"), "TERM": "xterm-256color", **more}


def shell(folder: Path, line: str) -> "subprocess.CompletedProcess[str]":
    """Run a line of bash in which `ragctl` is the command."""
    command = f'set -o pipefail; ragctl() {{ {shlex.join(RAGCTL)} "$@"; }}; {line}'
    return subprocess.run(
        ["bash", "-c", command],
        env=environ(folder),
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )


# Closed pipes


@pytest.mark.parametrize(
    "line",
    [
        "ragctl search valve --limit 30 | head -n 1",
        "ragctl search valve --limit 30 --json | head -c 1",
        "ragctl models | head -n 1",
        "ragctl export docs - 2>/dev/null | head -c 1",
        "ragctl search --help | true",
        "ragctl search valve 2>&1 --debug | true",
    ],
)
def test_a_closed_pipe_is_no_error(folder: Path, line: str) -> None:
    done = shell(folder, line)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_run_whose_reader_is_gone_keeps_its_exit_code(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "bad.pdf").write_bytes(b"%PDF-1.7 rubbish")
    report = tmp_path / "report.json"
    done = shell(folder, f"ragctl ingest {tmp_path} -c failing --report-file {report} | true")
    assert done.returncode == 3
    assert report.exists()


def test_closed_and_full_outputs(folder: Path) -> None:
    assert shell(folder, "ragctl search valve >&-").returncode == 0
    done = shell(folder, "ragctl search valve > /dev/full")
    assert done.returncode == 1
    assert done.stderr == "ragctl: standard output: No space left on device\n"


def test_an_encoding_without_the_letters_is_no_error(folder: Path) -> None:
    (folder / "docs" / "ru.md").write_text("# Насос\n\nклапан\n", encoding="utf-8")
    done = shell(folder, "ragctl ingest docs -q; PYTHONIOENCODING=ascii ragctl search клапан -n 1")
    assert done.returncode == 0, done.stderr
    assert r"\u043a\u043b\u0430\u043f\u0430\u043d" in done.stdout


# Colours and sizes


def test_colours_in_a_pipe_only_if_they_are_forced(folder: Path) -> None:
    def output(**variables: str) -> str:
        return call("search", "pump", environ=environ(folder, **variables), cwd=folder).stdout

    plain = output()
    assert "\x1b" not in plain
    assert output(FORCE_COLOR="") == output(FORCE_COLOR="0") == plain
    forced = output(FORCE_COLOR="1")
    assert "\x1b[1;33mPump" in forced
    assert output(FORCE_COLOR="1", NO_COLOR="1") == plain
    assert output(FORCE_COLOR="1", TERM="dumb") == forced


@pytest.mark.parametrize("words", [("search", "pump"), ("models",), ("status",)])
@pytest.mark.parametrize("variables", [{"NO_COLOR": "1"}, {"TERM": "dumb"}])
def test_terminals_without_colours_get_no_escape_sequences(
    folder: Path, words: tuple[str, ...], variables: dict[str, str]
) -> None:
    shown = render(*words, environ=environ(folder), cwd=folder, **variables)  # type: ignore[arg-type]
    assert shown.code == 0
    assert b"\x1b" not in shown.raw


def test_a_dumb_terminal_has_its_own_size(folder: Path) -> None:
    words = ("search", "valve")
    for variables, columns in (({}, 60), ({"COLUMNS": "50"}, 50)):
        shown = run(
            *words,
            environ=environ(folder),
            cwd=folder,
            columns=60,
            rows=20,
            TERM="dumb",
            **variables,  # type: ignore[arg-type]
        )
        assert b"\x1b" not in shown.raw
        assert len(shown.lines[0]) == columns
        assert shown.scrolled == []


# Characters that cannot be seen


@pytest.mark.parametrize(
    "words",
    [
        ("search", "zero pump"),
        ("search", "zero pump", "--full"),
        ("search", "zero pump", "--json"),
        ("show", "od\u200bd\u202e.md"),
        ("status",),
        ("search", UNSEEN, "-c", "no\u200bne\x1b]0;owned\x07"),
        ("show", "od\u2028\x1b]0;owned\x07"),
        ("search", "x", "--where", "a\u202e\x1b]0;owned\x07=b"),
        ("search", "x", "--mode", "\u200b\x1b[2J"),
    ],
)
def test_nothing_unseen_is_printed(folder: Path, words: tuple[str, ...]) -> None:
    for done in (
        call(*words, environ=environ(folder), cwd=folder),
        call(*words, environ=environ(folder, NO_COLOR="1"), cwd=folder, terminal=True),
    ):
        printed = done.stdout + done.stderr
        assert printed
        hidden = HIDDEN if done.returncode else HIDDEN | INSIDE_OF_SEQUENCES
        assert not {each for each in hidden if each in printed}, ascii(printed)
