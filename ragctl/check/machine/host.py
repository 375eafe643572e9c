"""What is installed here, how much disk is free, and which variables of keys are set."""

import platform
import re
import shutil
from collections.abc import Iterable, Iterator, Mapping
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path

from ragctl import __version__
from ragctl.check.machine.lines import Line, failed, good, note
from ragctl.embedding.catalogs import user_catalog
from ragctl.environment import VARIABLES
from ragctl.errors import StoreError, UsageError
from ragctl.installation import DISTRIBUTION, install_command
from ragctl.records import Json
from ragctl.rerank.wire_registry import rerankers
from ragctl.stores.edge_space import MIN_FREE_BYTES
from ragctl.text import readable_size

ENGINE = "qdrant-edge-py"
LOW_DISK_BYTES = 2 << 30
"""Less than this free is worth a note: joining segments and model downloads take this much."""

_DEVELOPMENT = frozenset({"dev", "test"})
_REQUIREMENT = re.compile(
    r"(?P<name>[A-Za-z0-9._-]+)(?:\[[^\]]*\])?\s*(?:==\s*(?P<pinned>[\w.]+))?[^;]*"
    r"(?:;.*extra\s*==\s*['\"](?P<extra>[\w-]+)['\"])?"
)


def versions() -> Iterator[Line]:
    """Yield the versions of ragctl, Python and the engine, and which extras are installed."""
    installed = _distribution(DISTRIBUTION)
    required = list(filter(None, map(_REQUIREMENT.match, (installed and installed.requires) or ())))
    engine = _version(ENGINE)
    pinned = next((each["pinned"] for each in required if each["name"] == ENGINE), None)
    python = platform.python_version()
    system = f"{platform.system()} {platform.machine()}"
    text = f"ragctl {__version__}, Python {python}, {ENGINE} {engine or 'missing'}, {system}"
    details: dict[str, Json] = {
        "ragctl": __version__,
        "python": python,
        ENGINE: engine,
        "system": system,
    }
    if engine is None or (pinned and engine != pinned):
        wanted = f"{ENGINE}=={pinned}" if pinned else ENGINE
        text += f"; {wanted} is required"
        yield failed("versions", "", text, f"pip install '{wanted}'", details)
    else:
        yield good("versions", "", text, details)
    extras: dict[str, bool] = {}
    for each in required:
        extra = each["extra"]
        if extra and extra not in _DEVELOPMENT:
            present = _version(each["name"]) is not None
            extras[extra] = extras.get(extra, True) and present
    if extras:
        yield _extras(extras)


def _extras(extras: Mapping[str, bool]) -> Line:
    present = [name for name, is_present in extras.items() if is_present]
    absent = [name for name in extras if name not in present]
    text = f"installed: {', '.join(present) or 'none'}"
    if absent:
        text += f"; not installed: {', '.join(absent)} ({install_command(','.join(absent))})"
    return good(
        "versions", "extras", text, {"installed": list(present), "not_installed": list(absent)}
    )


def _distribution(name: str) -> Distribution | None:
    try:
        return distribution(name)
    except PackageNotFoundError:
        return None


def _version(name: str) -> str | None:
    found = _distribution(name)
    return None if found is None else found.version


def disk(folders: Iterable[Path]) -> Iterator[Line]:
    """Yield the free space of each file system that holds one of the folders."""
    seen: set[int] = set()
    for folder in folders:
        existing = nearest_existing(folder)
        device = existing.stat().st_dev
        if device in seen:
            continue
        seen.add(device)
        usage = shutil.disk_usage(existing)
        text = f"{readable_size(usage.free)} free of {readable_size(usage.total)}"
        advice = "make space, or delete a collection: ragctl delete --all -c NAME"
        figures: dict[str, Json] = {"free_bytes": usage.free, "total_bytes": usage.total}
        name = str(existing)
        if usage.free < MIN_FREE_BYTES:
            text += f"; ragctl writes only while {readable_size(MIN_FREE_BYTES)} are free"
            yield failed("disk", name, text, advice, figures, code=StoreError.exit_code)
        elif usage.free < LOW_DISK_BYTES:
            yield note("disk", name, text, advice, figures)
        else:
            yield good("disk", name, text, figures)


def nearest_existing(folder: Path) -> Path:
    """Return the folder, or the nearest one above it that exists and can be seen."""
    return next(path for path in (folder, *folder.absolute().parents) if _is_folder(path))


def _is_folder(path: Path) -> bool:
    try:
        return path.is_dir()
    except OSError:
        return False


def keys(environ: Mapping[str, str]) -> Iterator[Line]:
    """Yield which variables of API keys and passwords are set, never their values."""
    known = [variable.name for variable in VARIABLES if variable.secret]
    try:
        known += [key for row in user_catalog(environ).backends.values() for key in row.keys]
        known += [key for row in rerankers(environ).values() for key in row.keys]
    except UsageError as error:
        yield failed("keys", "", str(error), "correct that file", code=error.exit_code)
    names = list(dict.fromkeys(known))
    present = [name for name in names if environ.get(name, "").strip()]
    blank = [name for name in names if name in environ and name not in present]
    text = f"set: {', '.join(present)}" if present else "none is set; the built-in model needs none"
    yield good("keys", "", text, {"set": list(present)})
    if blank:
        yield note(
            "keys", "", f"set, but empty: {', '.join(blank)}", "give it a value, or unset it"
        )
