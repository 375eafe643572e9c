"""Which versions of the embedded engine are used."""

import sys
from pathlib import Path

PACKAGE = "qdrant-edge-py"
TESTED = "0.9."
"""How a version begins that stores what it is told to; 0.8 never acknowledged a flush."""


def version_problem() -> str | None:
    """Return why the installed engine must not be used; None if it may."""
    version = _installed_version()
    if version.startswith(TESTED):
        return None
    return (
        f"{version} of {PACKAGE} is installed, and ragctl works with {TESTED}x; "
        f"install it with: pip install '{PACKAGE}>={TESTED}0,<0.10'"
    )


def _installed_version() -> str:
    """Return the version of the first installation on the path.

    It is part of the name of the folder with the package's metadata. `importlib.metadata` takes
    50 ms to import, in each of the engine's processes.
    """
    pattern = f"{PACKAGE.replace('-', '_')}-*.dist-info"
    for folder in sys.path:
        for found in Path(folder).glob(pattern):
            return found.stem.rpartition("-")[2]
    from importlib import metadata

    try:
        return metadata.version(PACKAGE)
    except metadata.PackageNotFoundError:
        return "no version"
