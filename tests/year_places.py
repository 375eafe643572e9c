"""Nights on which the source moves, gets another name, is nested or mounted again.

None of this embeds anything: `Year.check` compares the texts sent with the changes of the day.
"""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from ragctl.errors import PruneRefused, UsageError
from ragctl.pipeline import Source
from tests.year import Year

MAX_OUTER_FOLDERS = 3


def move(year: Year) -> None:
    """Move the folder to another place, or use a copy of it there, as another machine does."""
    place = year.places / f"place-{year.night}"
    place.mkdir(parents=True)
    target = place / year.base.name
    if year.rng.randrange(2):
        year.base.rename(target)
        year.events["moved"] += 1
    else:
        _copy_with_new_times(year.base, target)
        shutil.rmtree(year.base)
        year.events["continued on another machine"] += 1
    _locate(year, target)
    year.quiet()


def rename(year: Year) -> None:
    """Give the source another name, by renaming its folder if it has no other name."""
    new_name = f"name-{year.night}"
    if year.named or year.rng.randrange(2):
        year.named = True
        year.events["name given"] += 1
    else:
        target = year.base.with_name(new_name)
        year.base.rename(target)
        _locate(year, target)
        year.events["folder renamed"] += 1
    year.name = new_name
    year.quiet()


def nest(year: Year) -> None:
    """Ingest a folder of the source as a source of its own, alone, beside it or cut out of it."""
    folders = sorted({str(Path(name).parent) for name in year.model} - {"."})
    inner = year.world.root / year.rng.choice(folders)
    match year.rng.randrange(3):
        case 0:  # a file that left the folder would be embedded again by the next run
            year.quiet()
            sources: tuple[Source, ...] = (Source(inner),)
        case 1:
            sources = (Source(inner), year.source())
        case _:
            cut = f"/{inner.relative_to(year.base)}/"
            sources = (year.source(exclude=(cut,)), Source(inner))
    year.run(sources=sources)
    year.quiet()
    refused = (year.source(), Source(inner, name="inner"))
    with pytest.raises(UsageError, match="is inside"):
        year.run(sources=refused)
    year.check()
    year.events["nested"] += 1


def surround(year: Year) -> None:
    """Ingest the folder around the source: it becomes a part of that."""
    move(year)
    if len(year.world.root.relative_to(year.base).parts) == MAX_OUTER_FOLDERS:
        return
    outer = year.base.parent
    if year.named:
        # All paths change under a name that the collection knows.
        before = year.world.state()
        with pytest.raises(PruneRefused, match="--moved"):
            year.run(sources=(Source(outer, name=year.name),))
        assert year.world.state() == before
        year.run(sources=(Source(outer, name=year.name),), moved=True)
    else:
        year.name = outer.name
    year.base = outer
    year.quiet()
    year.events["surrounded"] += 1


def remount(year: Year) -> None:
    """Mount the folder again: other times, all the same or in other units, and equal contents."""
    mounted = year.base.with_name("mounted")
    _copy_with_new_times(year.base, mounted)
    files = [path for path in mounted.rglob("*") if path.is_file()]
    match year.rng.randrange(3):
        case 0:  # the times of the copy
            pass
        case 1:  # one time for all
            for path in files:
                os.utime(path, (year.clock, year.clock))
        case _:  # whole seconds, as on FAT
            for path in files:
                seconds = int((year.base / path.relative_to(mounted)).stat().st_mtime)
                os.utime(path, (seconds, seconds))
    shutil.rmtree(year.base)
    mounted.rename(year.base)
    year.quiet()
    year.events["remounted"] += 1


def _locate(year: Year, base: Path) -> None:
    """Note where the source is now."""
    inner = year.world.root.relative_to(year.base)
    year.base = base
    year.world.root = base / inner


def _copy_with_new_times(source: Path, target: Path) -> None:
    shutil.copytree(source, target, copy_function=shutil.copyfile)


NIGHTS: dict[str, Callable[[Year], None]] = {
    "move": move,
    "rename": rename,
    "nest": nest,
    "surround": surround,
    "remount": remount,
}
