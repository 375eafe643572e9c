"""The stored settings and notes of a collection in the embedded store, each in two copies."""

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

from ragctl.collection.notes import Notes
from ragctl.collection.settings import FORMAT, Settings, how_to_recover, read_settings
from ragctl.errors import UnreadableCollection
from ragctl.files import replace_file
from ragctl.stores.edge_layout import (
    NOTES_FILES,
    SETTINGS_FILES,
    intact_copy,
    remove_tree,
    with_checksum,
)


def load_settings(folder: Path, name: str, number: int) -> Settings:
    """Return the settings of a generation, from their second copy if the first is damaged.

    Raises UnreadableCollection if both copies are damaged, or of another format.
    """
    path = folder / SETTINGS_FILES[0]
    stored = intact_copy(folder, SETTINGS_FILES)
    if stored is None:
        try:
            raw = json.loads(path.read_bytes())
            if isinstance(raw, dict) and raw.get("format", FORMAT) != FORMAT:
                read_settings(raw, name, str(path))  # raises: of another format
            reason = "they are damaged"
        except OSError as error:
            reason = error.strerror or str(error)
        except (ValueError, RecursionError) as error:
            reason = str(error)
        raise UnreadableCollection(
            f"{path}: the settings of collection {name!r} cannot be read ({reason}); "
            f"{how_to_recover(name)}"
        )
    return replace(read_settings(stored, name, str(path)), generation=number)


def save_settings(folder: Path, settings: Settings) -> None:
    """Write both copies of the settings, each atomically. Raises OSError."""
    _save(folder, SETTINGS_FILES, settings.to_json())


def load_notes(folder: Path, name: str) -> Notes:
    """Return the notes of a generation, from their second copy if the first is damaged.

    Raises UnreadableCollection if notes exist and no copy of them can be read.
    """
    stored = intact_copy(folder, NOTES_FILES)
    if stored is not None:
        return cast(Notes, stored)
    path = folder / NOTES_FILES[0]
    if not any(os.path.lexists(folder / file) for file in NOTES_FILES):
        return {}
    raise UnreadableCollection(
        f"{path}: the notes of collection {name!r} cannot be read, nor their copy; "
        f"{how_to_recover(name)}"
    )


def save_notes(folder: Path, notes: Notes) -> None:
    """Write both copies of the notes, each atomically. Raises OSError."""
    _save(folder, NOTES_FILES, notes)


def restore_copies(folder: Path, settings: Settings) -> None:
    """Write settings and notes again if one of their copies is damaged. Raises OSError."""
    if not _intact(folder, SETTINGS_FILES):
        save_settings(folder, settings)
    notes = intact_copy(folder, NOTES_FILES)
    if notes is not None and not _intact(folder, NOTES_FILES):
        _save(folder, NOTES_FILES, notes)


def _save(folder: Path, files: Sequence[str], content: Mapping[str, Any]) -> None:
    stored = with_checksum(content)
    for file in files:
        path = folder / file
        if path.is_dir() and not path.is_symlink():  # damage
            remove_tree(path)
        replace_file(path, stored)


def _intact(folder: Path, files: Sequence[str]) -> bool:
    return all(intact_copy(folder, [file]) is not None for file in files)
