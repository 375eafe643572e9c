"""docs/batch.md: its pipeline and its commands are run, in their order, against a real server."""

import json
import re
import tomllib
from pathlib import Path

import pytest

from ragctl.catalog import BATCH_APIS
from ragctl.embedding.catalogs import package_catalog
from tests.command import call
from tests.servers.batch import OpenAIBatch
from tests.world import paragraphs

PAGE = (Path(__file__).parents[1] / "docs" / "batch.md").read_text(encoding="utf-8")
KEY = "sk-" + "k" * 40


@pytest.fixture
def commands(tmp_path: Path) -> list[str]:
    """Write the page's pipeline and its folder; return its commands."""
    found = re.search(r"```toml nightly.toml\n(.*?)```", PAGE, re.DOTALL)
    assert found is not None
    (tmp_path / "nightly.toml").write_text(found[1])
    (tmp_path / "handbook").mkdir()
    for n in range(3):
        text = paragraphs(*(f"text {n} {k}" for k in range(9)))
        (tmp_path / "handbook" / f"{n}.md").write_text(text)
    block = re.search(r"```sh\n(.*?)```", PAGE, re.DOTALL)
    assert block is not None
    return [line.partition("#")[0].strip() for line in block[1].splitlines()]


def test_the_commands_of_the_page_do_what_it_says(tmp_path: Path, commands: list[str]) -> None:
    with OpenAIBatch(KEY) as host:
        file = tmp_path / "nightly.toml"
        address = f'base_url = "{host.url}"\n[embedding.'
        text = file.read_text() + f'base_url = "{host.url}"\n'
        assert "[embedding]" in text, address
        file.write_text(text)

        def run(command: str, *more: str) -> str:
            name, *words = command.split()
            assert name == "ragctl"
            environ = {"RAGCTL_HOME": str(tmp_path / "home"), "OPENAI_API_KEY": KEY}
            ended = call(*words, *more, environ=environ, cwd=tmp_path)
            assert ended.returncode == 0, ended.stderr
            assert KEY not in ended.stdout + ended.stderr
            return ended.stdout

        planned, submitted, status, collected = range(4)
        shown = run(commands[planned])
        assert re.search(
            r"a batch, \$0\.\d+, within 24 hours; without batch = true \$0\.\d+", shown
        )
        (row,) = json.loads(run(commands[planned], "--json"))["backends"]
        assert row["batch"]["cost"] == pytest.approx(row["cost"] / 2)

        pattern = (
            r"nothing written yet; .*3 documents waiting for 1 batch job submitted since \S+Z "
            r"\(\d+ texts\)"
        )
        assert re.search(pattern, run(commands[submitted]))
        assert re.search(r"batch jobs +1 batch job submitted since", run(commands[status]))
        (job,) = json.loads(run(commands[status], "--json"))["batches"]
        assert (job["remote"], job["texts"]) == (*host.jobs, len(host.submitted))
        shown = run(commands[planned])
        assert "3 documents waiting for 1 batch job" in shown
        assert (
            len(re.findall(r"added: handbook/\d.md: a new file; \d+ chunks? waiting", shown)) == 3
        )
        assert run(commands[submitted], "--quiet") == "", "cron sends no mail while texts wait"

        host.work()
        assert "3 added" in run(commands[collected])
        assert "batch jobs" not in run(commands[status])
        assert len(host.submitted) == len(set(host.submitted))


def test_deleting_a_collection_says_what_is_lost(tmp_path: Path, commands: list[str]) -> None:
    with OpenAIBatch(KEY) as host:
        file = tmp_path / "nightly.toml"
        file.write_text(file.read_text() + f'base_url = "{host.url}"\n')
        environ = {"RAGCTL_HOME": str(tmp_path / "home"), "OPENAI_API_KEY": KEY}
        ended = call(*commands[1].split()[1:], environ=environ, cwd=tmp_path)
        assert ended.returncode == 0, ended.stderr
        ended = call(*("delete", "-c", "handbook", "--all", "--yes"), environ=environ, cwd=tmp_path)
        assert ended.returncode == 0
        assert re.search(r"1 batch job .* will be lost; the host bills", ended.stderr)


def test_the_table_of_hosts_is_the_catalogue() -> None:
    rows = re.findall(r"^\| `([\w-]+)` \| (\d+) %[^|]*\| (\d+) h \|", PAGE, re.MULTILINE)
    known = {
        name: (round(100 * (1 - (row.batch.discount or 0))), row.batch.hours)
        for name, row in package_catalog().backends.items()
        if row.batch is not None
    }
    assert {name: (int(price), int(hours)) for name, price, hours in rows} == known
    own = re.search(r"```toml\n(\[backends.*?)```", PAGE, re.DOTALL)
    assert own is not None
    assert tomllib.loads(own[1])["backends"]["our-host"]["batch"]["api"] in BATCH_APIS
