"""Store an embedded collection of the current format: python -m tests.data.make_collection

A collection takes 190 MB of mostly empty files, and 36 kB when packed.
"""

import os
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

from ragctl.collection.settings import FORMAT

FOLDER = Path(__file__).parent / "collections"
DOCUMENTS = {
    "guide.md": "# Guide\n\nThe pump is checked every 30 days.\n",
    "ventil.txt": "Das Ventil wird jährlich geprüft.\n",
}


def packed(number: int) -> Path:
    """Return the path of the packed collection with this format number."""
    return FOLDER / f"format-{number}.tar.xz"


def main() -> None:
    """Make and pack the collection; never replace one: a released format does not change."""
    target = packed(FORMAT)
    if target.exists():
        sys.exit(f"{target} exists already")
    with tempfile.TemporaryDirectory() as folder:
        documents, home = Path(folder, "docs"), Path(folder, "home")
        documents.mkdir()
        for name, text in DOCUMENTS.items():
            (documents / name).write_text(text, encoding="utf-8")
        subprocess.run(
            [sys.executable, "-m", "ragctl", "ingest", documents, "--dim", "32"],
            env={**os.environ, "RAGCTL_HOME": str(home)},
            check=True,
        )
        FOLDER.mkdir(exist_ok=True)
        with tarfile.open(target, "w:xz") as archive:
            archive.add(home / "collections", "collections")


if __name__ == "__main__":
    main()
