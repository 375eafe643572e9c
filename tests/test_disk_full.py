"""A disk that is nearly full: one clear line, and the next run continues."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.mounting import can_mount
from tests.world import paragraphs

pytestmark = pytest.mark.slow


@pytest.mark.skipif(not can_mount(), reason="no file system can be mounted here")
@pytest.mark.parametrize("size", ["4m", "100m"])
def test_a_full_disk_is_reported_and_loses_nothing(tmp_path: Path, size: str) -> None:
    docs, store = tmp_path / "docs", tmp_path / "store"
    docs.mkdir()
    store.mkdir()
    (docs / "a.md").write_text(paragraphs("one", "two"))
    ingest = f"{sys.executable} -m ragctl ingest {docs} --store {store} --language en"
    script = (
        f"mount -t tmpfs -o size={size} tmpfs {store}; {ingest}; echo $?; "
        f"mount -o remount,size=300m {store}; {ingest}; echo $?"
    )
    done = subprocess.run(
        ["unshare", "-m", "sh", "-c", script], capture_output=True, text=True, check=True
    )
    codes = [line for line in done.stdout.splitlines() if line.isdecimal()]
    assert codes == ["5", "0"]
    assert "1 added" in done.stdout.splitlines()[-2]
    assert "MiB of disk are free" in done.stderr
    assert done.stderr.count("\n") == 1


FULL = """
mount -t tmpfs -o size=300m tmpfs {store}
{ragctl} ingest {docs} {options} --language en
fill() {{
  dd if=/dev/zero of={store}/fill$1 bs=64K; dd if=/dev/zero of={store}/more$1 bs=1; df {store} >&2
  test $(df --output=avail {store} | tail -1) -eq 0 || echo space is left
}}
fill 1
{ragctl} search pump {options} --limit 1; echo $?
fill 2
{ragctl} search pump {options} --limit 1; echo $?
fill 3
{ragctl} ingest {docs} {options} --language en; echo $?
fill 4
{ragctl} delete a.md --yes {options}; echo $?
fill 5
{ragctl} delete b.md --yes {options}; echo $?
{ragctl} status {options} --json; echo $?
fill 6
{ragctl} collections {options}; echo $?
{ragctl} delete --all --yes {options}; echo $?
rm {store}/fill* {store}/more*
{ragctl} ingest {docs} {options} --language en; echo $?
"""
"""Commands at 0 bytes free, then with space again. `status` says what was deleted."""


@pytest.mark.skipif(not can_mount(), reason="no file system can be mounted here")
def test_a_disk_without_a_free_byte_is_searched_and_emptied(tmp_path: Path) -> None:
    docs, store = tmp_path / "docs", tmp_path / "store"
    docs.mkdir()
    store.mkdir()
    for name in ("a.md", "b.md", "c.md"):
        (docs / name).write_text(paragraphs("the pump", name, "leaks", "a lot"))
    script = FULL.format(
        store=store,
        docs=docs,
        ragctl=f"{sys.executable} -m ragctl",
        options=f"--store {store}/store",
    )
    done = subprocess.run(
        ["unshare", "-m", "bash", "-c", script],
        capture_output=True,
        text=True,
        check=True,
    )
    codes = [line for line in done.stdout.splitlines() if line.isdecimal()]
    assert codes == ["0", "0", "0", "0", "0", "0", "0", "0", "0"], done.stdout + done.stderr
    assert "space is left" not in done.stdout
    assert '"documents": 1' in done.stdout
