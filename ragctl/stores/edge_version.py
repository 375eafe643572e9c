"""Which versions of the embedded engine are used."""

from importlib import metadata

PACKAGE = "qdrant-edge-py"
TESTED = "0.9."
"""How a version begins that stores what it is told to; 0.8 never acknowledged a flush."""


def version_problem() -> str | None:
    """Return why the installed engine must not be used; None if it may."""
    try:
        version = metadata.version(PACKAGE)
    except metadata.PackageNotFoundError:
        version = "no version"
    if version.startswith(TESTED):
        return None
    return (
        f"{version} of {PACKAGE} is installed, and ragctl works with {TESTED}x; "
        f"install it with: pip install '{PACKAGE}>={TESTED}0,<0.10'"
    )
