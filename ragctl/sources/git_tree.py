"""Work trees of git: where one begins, and which of its ignore rules lie outside of a folder.

git itself is not needed. Its global excludes file is left out: a collection must not depend on the
settings of whoever runs ragctl.
"""

import os
from pathlib import Path

from ragctl.sources.ignore import (
    GIT_IGNORE_FILE,
    Level,
    git_patterns,
    git_text,
    git_verdict,
)


def repository_of(folder: Path) -> Path | None:
    """Return the repository (`.git`) of the work tree that begins in a folder; None if none does.

    In a linked work tree and in a submodule `.git` is a file that names the repository.
    """
    found = folder / ".git"
    try:
        if found.is_file():
            line = found.read_text(encoding="utf-8", errors="surrogateescape").strip()
            if not line.startswith("gitdir:"):
                return None
            found = folder / line.removeprefix("gitdir:").strip()
        return found if (found / "HEAD").is_file() else None
    except (OSError, ValueError):
        return None


def own_exclude(repository: Path, origin: str, above: str = "", cut: int = 0) -> tuple[Level, ...]:
    """Return the rules of a repository's `info/exclude`, if it has any.

    Linked work trees share the one of their main repository.
    """
    try:
        common = (repository / "commondir").read_text(encoding="utf-8", errors="surrogateescape")
        repository = repository / common.strip()
    except (OSError, ValueError):
        pass
    return _level(repository / "info" / "exclude", origin, above, cut)


def levels_above(root: Path) -> tuple[Level, ...] | None:
    """Return the rules from outside of `root` that apply in it; None if it is in no work tree.

    `root`: without links. Rules that ignore the root itself do not apply: the user named it.
    """
    for top in (root, *root.parents):
        repository = repository_of(top)
        if repository is not None:
            break
    else:
        return None
    below = root.relative_to(top).parts
    levels = own_exclude(repository, ".git/info/exclude", _prefix(below))
    for depth, name in enumerate(below):
        folder = top.joinpath(*below[:depth])
        ignore_file = folder / GIT_IGNORE_FILE
        levels += _level(ignore_file, str(ignore_file), _prefix(below[depth:]), 0)
        # The levels match paths below the root; this one is above it.
        here = tuple(
            level._replace(above=level.above.removesuffix(_prefix(below[depth:])))
            for level in levels
        )
        verdict = git_verdict(name, here, folder=True)
        if verdict is not None and verdict.ignored:
            return ()
    return levels


def _prefix(names: tuple[str, ...]) -> str:
    return git_text("".join(f"{name}/" for name in names))


def _level(file: Path, origin: str, above: str, cut: int) -> tuple[Level, ...]:
    try:
        if file.is_symlink() or not file.is_file():
            return ()
        return (Level(origin, git_patterns(file.read_bytes()), cut, above),)
    except OSError:
        return ()


def inner_levels(folder: str, prefix: str, path: str) -> tuple[Level, ...] | None:
    """Return the rules of a work tree that begins in a folder of a walk; None if none does.

    `folder`: its path on disk. `prefix` and `path`: of the folder, below the root of the walk, in
    NFC and as on disk.
    """
    repository = repository_of(Path(folder))
    if repository is None:
        return None
    return own_exclude(repository, f"{prefix}.git/info/exclude", cut=len(git_text(path)))


def is_below(path: str, root: str) -> bool:
    """Return whether a path without links is below a root without links."""
    return path.startswith(os.path.join(root, ""))  # noqa: PTH118
