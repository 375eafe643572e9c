"""How this copy of ragctl was installed, for messages that name an extra to install."""

import json
from functools import cache
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path
from shlex import quote
from urllib.parse import unquote, urlsplit

DISTRIBUTION = "ragctl-qdrant"
"""The name in package indexes, where `ragctl` is another project. The import package and the
command are named `ragctl`."""


def install_command(extra: str) -> str:
    """Return the shell command that adds `extra` to this installation.

    A copy installed from a local folder is extended from that folder, any other from the
    package index.
    """
    folder = _source_folder()
    if folder is None:
        return f"pip install '{DISTRIBUTION}[{extra}]'"
    if folder == Path.cwd():
        return f"pip install '.[{extra}]'"
    return f"pip install {quote(f'{folder}[{extra}]')}"


@cache
def _source_folder() -> Path | None:
    """Return the local folder that pip installed this copy from, None if there is none.

    pip records the origin of a direct installation in direct_url.json (PEP 610). A copy that
    is imported from a checkout without being installed counts as that checkout.
    """
    package = Path(__file__).resolve().parent
    try:
        found: Distribution | None = distribution(DISTRIBUTION)
    except PackageNotFoundError:
        found = None
    if found is None:
        return package.parent if (package.parent / "pyproject.toml").is_file() else None
    try:
        url = json.loads(found.read_text("direct_url.json") or "{}").get("url", "")
    except (ValueError, AttributeError):
        return None
    parts = urlsplit(url if isinstance(url, str) else "")
    folder = Path(unquote(parts.path))
    if parts.scheme != "file" or not folder.is_dir():
        return None  # an index, an archive, or a folder that is gone
    return folder
