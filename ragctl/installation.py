"""How this copy of ragctl was installed, for messages that name an extra to install."""

import json
import sys
from functools import cache
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path
from shlex import quote
from typing import Any
from urllib.parse import unquote, urlsplit

DISTRIBUTION = "ragctl-qdrant"
"""The name in package indexes, where `ragctl` is another project. The import package and the
command are named `ragctl`."""


def install_command(extra: str) -> str:
    """Return the shell command that adds `extra` to this installation.

    It names where this copy came from: a local folder, a repository, an archive, else the package
    index; and the program that made the environment: pip, uv, `uv tool` or pipx.
    """
    origin = _origin()
    if isinstance(origin, Path):
        folder = "." if origin == Path.cwd() else str(origin)
        requirement = f"{folder}[{extra}]"
    elif origin:
        requirement = f"{DISTRIBUTION}[{extra}] @ {origin}"
    else:
        requirement = f"{DISTRIBUTION}[{extra}]"
    return f"{_installer(Path(sys.prefix))} {quote(requirement)}"


def _installer(prefix: Path) -> str:
    """Return the command that installs into the environment at `prefix`."""
    above = prefix.parts[-3:-1]
    if above == ("uv", "tools"):
        return "uv tool install --force"
    if above == ("pipx", "venvs"):
        return "pipx install --force"
    try:
        settings = (prefix / "pyvenv.cfg").read_text(encoding="utf-8")
    except (OSError, ValueError):
        settings = ""
    if any(line.partition("=")[0].strip() == "uv" for line in settings.splitlines()):
        return "uv pip install"  # an environment of uv has no pip
    return "pip install"


@cache
def _origin() -> Path | str | None:
    """Return where this copy was installed from: a folder, a URL, or None for an index.

    Installers record the origin of a direct installation in direct_url.json (PEP 610). A copy that
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
        return _from_record(json.loads(found.read_text("direct_url.json") or "{}"))
    except ValueError:
        return None


def _from_record(record: Any) -> Path | str | None:
    """Return the origin that direct_url.json records; None if it cannot be used again."""
    url = record.get("url") if isinstance(record, dict) else None
    if not isinstance(url, str):
        return None
    parts = urlsplit(url)
    if parts.scheme == "file":
        path = Path(unquote(parts.path))
        if path.is_dir():
            return path
        return url if path.is_file() else None
    if parts.scheme not in ("http", "https", "ssh", "git") or parts.password is not None:
        return None
    vcs = record.get("vcs_info")
    if not isinstance(vcs, dict):
        return url
    revision = vcs.get("requested_revision")
    return f"{vcs.get('vcs', 'git')}+{url}" + (f"@{revision}" if revision else "")
