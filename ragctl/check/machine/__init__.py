"""Examine this machine: versions, disk, keys, stores, locks, collections, scheduled pipelines.

Nothing is written, and no backend is asked. The parts are examined at the same time, and what
does not answer within the time limit is one line.
"""

import time
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path

from ragctl.check.machine import host
from ragctl.check.machine.lines import Line, MachineReport
from ragctl.check.machine.parts import Examination, Part
from ragctl.check.machine.schedule import examine_schedule
from ragctl.check.machine.stores import Place
from ragctl.environment import HOME
from ragctl.pipeline import default_store
from ragctl.reporting.last_run import state_folder
from ragctl.stores import is_server

__all__ = ["Line", "MachineReport", "examine_machine"]

DEFAULT_SECONDS = 8.0
OWN_FOLDER = "the user's data folder"


def examine_machine(
    environ: Mapping[str, str], folder: Path, *, seconds: float = DEFAULT_SECONDS
) -> MachineReport:
    """Examine this machine for at most about `seconds`.

    `folder`: the stores of its pipeline files are examined too.
    """
    began = time.monotonic()
    places = list(_default_places(environ))
    folders = [Path(place.location) for place in places if not is_server(place.location)]
    parts = [
        Part("versions", "", host.versions),
        Part("disk", "", partial(host.disk, [*folders, state_folder(environ)])),
        Part("keys", "", partial(host.keys, environ)),
        *(place.part() for place in places),
        Part(
            "schedule",
            "",
            partial(
                examine_schedule, environ, folder, frozenset(place.location for place in places)
            ),
        ),
    ]
    lines = Examination(seconds).run(parts)
    return MachineReport(lines, time.monotonic() - began)


def _default_places(environ: Mapping[str, str]) -> Iterator[Place]:
    """Yield the store that commands use by default; beside a server, the user's own folder too."""
    location = default_store(environ)
    yield Place(location, HOME.name if HOME.value(environ) else OWN_FOLDER, environ, default=True)
    if is_server(location):
        own = default_store({**environ, HOME.name: ""})
        if Path(own).exists():
            yield Place(own, OWN_FOLDER, environ)
