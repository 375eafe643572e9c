"""A disk that is nearly full: one clear line, and the next run continues."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.world import paragraphs

pytestmark = pytest.mark.slow


def _fit() -> bool:
    """Return whether a private file system can be mounted here."""
    if os.geteuid() != 0:
        return False
    asked = ["unshare", "-m", "sh", "-c", "mount -t tmpfs tmpfs /mnt"]
    try:
        return subprocess.run(asked, capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        return False


@pytest.mark.skipif(not _fit(), reason="no file system can be mounted here")
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
