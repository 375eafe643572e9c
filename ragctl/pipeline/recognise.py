"""Recognise a pipeline file without reading it as one: it may have mistakes."""

import re
import tomllib
from pathlib import Path

MAX_PIPELINE_BYTES = 1 << 18
_SOURCES = re.compile(r"^\s*(?:\[\[\s*sources\s*\]\]|sources\s*=\s*\[)", re.MULTILINE)


def is_pipeline(file: Path) -> bool:
    """Return whether a file is TOML with a list of `sources`, each with a `path`.

    A file that is not valid TOML is one if a line begins the sources.
    """
    try:
        if file.suffix != ".toml" or not file.is_file():
            return False
        if file.stat().st_size > MAX_PIPELINE_BYTES:
            return False
        text = file.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError):
        return False
    try:
        sources = tomllib.loads(text).get("sources")
    except (ValueError, RecursionError):
        return _SOURCES.search(text) is not None
    return isinstance(sources, list) and all(
        isinstance(each, dict) and "path" in each for each in sources
    )
