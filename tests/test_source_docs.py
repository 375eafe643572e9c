"""The commands and examples of docs/sources.md work."""

import mailbox
import os
import re
import sqlite3
import subprocess
import sys
from email.message import EmailMessage
from pathlib import Path

import pytest

from ragctl.cli.main import main
from tests.servers.places import http_server

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs/sources.md").read_text(encoding="utf-8")


def block(name: str) -> str:
    """Return the code after the line `<!-- test: NAME -->`."""
    found = re.search(rf"<!-- test: {name} -->\n```\w+\n(.*?)```", PAGE, re.DOTALL)
    assert found is not None, name
    return found[1]


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("RAGCTL_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    return tmp_path


def run(*arguments: str) -> int:
    with pytest.raises(SystemExit) as ended:
        main(list(arguments))
    return int(ended.value.code or 0)


def test_an_archive(home: Path) -> None:
    (home / "sample_docs").symlink_to(ROOT / "sample_docs")
    first, second = block("archive").splitlines()
    subprocess.run(first, shell=True, check=True)
    assert run(*second.split()[1:]) == 0
    assert run("show", "manual/sample_docs/en/office-handbook.txt", "-c", "manuals") == 0


@pytest.mark.parametrize("example", ["database", "mailbox"])
def test_a_program(home: Path, capsys: pytest.CaptureFixture[str], example: str) -> None:
    with sqlite3.connect(home / "tickets.db") as tickets:
        tickets.execute("create table tickets (id, title, body, changed)")
        tickets.execute("insert into tickets values (1, 'Valve', 'It leaks.', '2026-01-01')")
        tickets.execute("insert into tickets values (2, 'Pump', 'It is dry.', '2026-01-02')")
    tickets.close()
    box = mailbox.mbox(home / "archive.mbox")
    for number, text in enumerate(("The valve leaks.", "Größe"), 1):
        mail = EmailMessage()
        mail["Message-ID"], mail["Subject"], mail["From"] = f"<{number}@x>", "Valve", "a@x"
        mail.set_content(text)
        box.add(mail)
    box.close()
    (home / "export.py").write_text(block(example), encoding="utf-8")
    (home / "p.toml").write_text(block("command"), encoding="utf-8")
    assert run("run", "p.toml") == 0
    assert "2 added" in capsys.readouterr().out
    assert run("run", "p.toml") == 0
    assert "2 unchanged" in capsys.readouterr().out


def test_a_sitemap_and_a_listing(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    site = home / "site"
    site.mkdir()
    (site / "a.html").write_text("<html><body><p>The valve leaks.</p></body></html>")
    with http_server(site) as port:
        (site / "sitemap.xml").write_text(
            f"<urlset><url><loc>http://127.0.0.1:{port}/a.html</loc></url></urlset>"
        )
        text = block("sitemap").replace("https://www.example.com", f"http://127.0.0.1:{port}")
        (home / "p.toml").write_text(text.replace("rate = 2 ", "rate = 200 "))
        assert run("run", "p.toml") == 0
        assert "1 added" in capsys.readouterr().out
        assert run("ingest", f"files=http://127.0.0.1:{port}/", "-c", "files") == 0
        assert "1 added" in capsys.readouterr().out
