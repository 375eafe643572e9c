"""The stored settings of a collection in the embedded store."""

import json
from dataclasses import replace
from pathlib import Path

from ragctl.collection.settings import FORMAT, Settings, how_to_recover, read_settings
from ragctl.errors import UnreadableCollection
from ragctl.files import replace_file
from ragctl.stores.edge_layout import (
    SETTINGS_FILES,
    read_checked,
    remove_tree,
    stored_settings,
    with_checksum,
)


def load_settings(folder: Path, name: str, number: int) -> Settings:
    """Return the settings of a generation, from their second copy if the first is damaged.

    Raises UnreadableCollection if both copies are damaged, or of another format.
    """
    path = folder / SETTINGS_FILES[0]
    stored = stored_settings(folder)
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
    content = with_checksum(settings.to_json())
    for name in SETTINGS_FILES:
        path = folder / name
        if path.is_dir() and not path.is_symlink():  # damage
            remove_tree(path)
        replace_file(path, content)


def restore_settings(folder: Path, settings: Settings) -> None:
    """Write the settings again if one of their copies is damaged. Raises OSError."""
    for name in SETTINGS_FILES:
        try:
            read_checked(folder / name)
        except (OSError, ValueError, RecursionError):
            save_settings(folder, settings)
            return
