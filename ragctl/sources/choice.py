"""Which paths of a source elsewhere are indexed: the rules, applied from the top."""

from ragctl.loaders import format_of
from ragctl.sources.base import Found
from ragctl.sources.ignore import Level, Levels, Rules


class Choice:
    """The rules of a source, and what they say of folders.

    Hidden files and folders, whose names begin with a dot, are left out without mention.
    """

    def __init__(self, rules: Rules) -> None:
        self._rules = rules
        self._levels: dict[str, Levels] = {}
        self._verdicts: dict[str, bool] = {}

    def clear(self) -> None:
        """Forget the ignore files."""
        self._levels.clear()
        self._verdicts.clear()

    def add_level(self, prefix: str, level: Level) -> None:
        """Add the ignore file of a folder ("a/b/"), after those of the folders above."""
        self._levels[prefix] = Levels((*self._levels_at(prefix).own, level))

    def leaves_out_folder(self, folder: str, found: Found | None = None) -> bool:
        """Return whether a folder or one above it is left out; note in `found` why."""
        known = self._verdicts.get(folder)
        if known is not None:
            return known
        above, _, name = folder.rpartition("/")
        ignored = name.startswith(".") or (bool(above) and self.leaves_out_folder(above, found))
        if not ignored:
            ignored = self._is_left_out(folder, found, folder=True)
        if found is not None:
            self._verdicts[folder] = ignored
        return ignored

    def chooses(self, path: str, found: Found) -> bool:
        """Return whether a file is to be indexed; note in `found` why not."""
        above, _, name = path.rpartition("/")
        if name.startswith(".") or (above and self.leaves_out_folder(above, found)):
            return False
        if self._is_left_out(path, found, folder=False):
            return False
        if format_of(name) is None:
            found.skipped.add_without_loader(path, name)
            return False
        return True

    def _is_left_out(self, path: str, found: Found | None, *, folder: bool) -> bool:
        above = path.rpartition("/")[0]
        levels = self._levels_at(f"{above}/" if above else "")
        verdict = self._rules.verdict(path, path, levels, folder=folder)
        if verdict is None or not verdict.ignored:
            verdict = self._rules.leaves_out(path, folder=folder)
        if verdict is not None and verdict.kind and found is not None:
            found.skipped.add(f"{path}/" if folder else path, verdict.kind, verdict.reason)
        return verdict is not None

    def _levels_at(self, prefix: str) -> Levels:
        """Return the rules of the nearest folder, from the one at `prefix` ("a/b/") upwards."""
        while True:
            if prefix in self._levels:
                return self._levels[prefix]
            if not prefix:
                return Levels()
            prefix = prefix.rstrip("/").rpartition("/")[0]
            prefix = f"{prefix}/" if prefix else ""
