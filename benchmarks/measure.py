"""Runs of several sides in turn, and what may be said of them: medians, spreads, ratios.

Sides are interleaved, in another order each round, so that what else the machine does falls on all
of them alike. A side's result is checked before its time counts.
"""

import json
import os
import resource
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

_LAUNCH = Path(__file__).with_name("launch.py")

# As for a user: modules are compiled once, not at every start, and output is buffered.
_USUAL = {"PYTHONDONTWRITEBYTECODE": "", "PYTHONUNBUFFERED": ""}


class Wrong(Exception):
    """A side did not do what it was timed for."""


@dataclass(frozen=True)
class Sample:
    """What one run took: seconds, seconds of processor time, and bytes at the peak."""

    wall: float
    cpu: float
    peak: int


def nothing() -> None:
    """Prepare or check nothing."""


def quiet(line: str) -> None:
    """Tell nobody."""


@dataclass(frozen=True)
class Side:
    """Who is measured: `prepare` and `check` are not timed; `check` raises Wrong."""

    name: str
    run: Callable[[], Sample]
    prepare: Callable[[], None] = nothing
    check: Callable[[], None] = nothing


@dataclass(frozen=True)
class Spread:
    """The median of numbers, the least and the greatest of them."""

    median: float
    least: float
    greatest: float

    def __format__(self, spec: str) -> str:
        """Median (least–greatest), each by `spec`."""
        low, high = format(self.least, spec), format(self.greatest, spec)
        return f"{self.median:{spec}} ({low}–{high})"


def interleave(
    sides: Sequence[Side], runs: int, *, telling: Callable[[str], None] = quiet
) -> dict[str, list[Sample]]:
    """Run each side `runs` times, and once before that, which does not count. A single run is a
    quick look, and has none before it.
    """
    warm = 1 if runs > 1 else 0
    samples: dict[str, list[Sample]] = {side.name: [] for side in sides}
    for turn in range(warm + runs):
        first = turn % len(sides)
        for side in [*sides[first:], *sides[:first]]:
            side.prepare()
            sample = side.run()
            side.check()
            telling(f"{side.name}: {sample.wall:.2f} s, {sample.peak >> 20} MiB")
            if turn >= warm:
                samples[side.name].append(sample)
    return samples


def process(
    command: Sequence[str],
    *,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    limit: float = 3600,
) -> Sample:
    """A program in a fresh process, from its start to its end. Wrong if it fails or takes too long.

    `env` lies over this process's own environment.
    """
    started = subprocess.Popen(
        [sys.executable, "-I", "-S", str(_LAUNCH), *command],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, **_USUAL, **(env or {})},
        cwd=cwd,
        text=True,
        start_new_session=True,
    )
    try:
        out, err = started.communicate(timeout=limit)
    except BaseException as ended:
        os.killpg(started.pid, signal.SIGKILL)
        started.communicate()
        if isinstance(ended, subprocess.TimeoutExpired):
            raise Wrong(f"{command[0]} took more than {limit:.0f} s") from None
        raise
    if started.returncode:
        raise Wrong(f"{command[0]} did not start: {err.strip()[-500:]}")
    taken = json.loads(out.rstrip().rpartition("\n")[2])
    if taken["code"]:
        told = (err.strip() or out.strip())[-2000:]
        raise Wrong(f"{' '.join(command)} ended with {taken['code']}: {told}")
    return Sample(taken["wall"], taken["cpu"], taken["peak"])


def call(function: Callable[[], object]) -> Sample:
    """A call in this process; the peak is the process's own so far."""
    before, began = time.process_time(), time.perf_counter()
    function()
    wall, cpu = time.perf_counter() - began, time.process_time() - before
    return Sample(wall, cpu, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)


def spread(numbers: Sequence[float]) -> Spread:
    return Spread(statistics.median(numbers), min(numbers), max(numbers))


def walls(samples: Sequence[Sample]) -> Spread:
    return spread([sample.wall for sample in samples])


def cpus(samples: Sequence[Sample]) -> Spread:
    return spread([sample.cpu for sample in samples])


def peaks(samples: Sequence[Sample]) -> Spread:
    """In MB of a million bytes."""
    return spread([sample.peak / 1e6 for sample in samples])


def ratio(numbers: Sequence[float], base: Sequence[float]) -> Spread:
    """The ratio of the medians; the spread is that of the ratios round by round."""
    each = [one / other for one, other in zip(numbers, base, strict=True)]
    return Spread(statistics.median(numbers) / statistics.median(base), min(each), max(each))
