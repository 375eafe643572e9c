"""Interleaved runs of several subjects, and their statistics: medians, spreads, ratios.

The order changes each round, so that other load on the machine affects all subjects alike. A
subject's result is checked before its time counts.
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

_LAUNCHER = Path(__file__).with_name("launch.py")

# As on a user's machine: compiled modules are kept, and output is buffered.
_DEFAULT_VARIABLES = {"PYTHONDONTWRITEBYTECODE": "", "PYTHONUNBUFFERED": ""}


class WrongResult(Exception):
    """A subject did not do what it was timed for."""


@dataclass(frozen=True)
class Sample:
    """One run: wall time and processor time in seconds, peak memory in bytes."""

    wall: float
    cpu: float
    peak: int


def nothing() -> None:
    """Prepare or check nothing."""


def ignore(line: str) -> None:
    """Discard a line."""


@dataclass(frozen=True)
class Subject:
    """What is measured. `prepare` and `check` are not timed; `check` raises WrongResult."""

    name: str
    run: Callable[[], Sample]
    prepare: Callable[[], None] = nothing
    check: Callable[[], None] = nothing


@dataclass(frozen=True)
class Spread:
    """Median, minimum and maximum of numbers."""

    median: float
    least: float
    greatest: float

    def __format__(self, spec: str) -> str:
        """Return "median (minimum–maximum)", each formatted by `spec`."""
        low, high = format(self.least, spec), format(self.greatest, spec)
        return f"{self.median:{spec}} ({low}–{high})"


def interleave(
    sides: Sequence[Subject], runs: int, *, notify: Callable[[str], None] = ignore
) -> dict[str, list[Sample]]:
    """Run each subject `runs` times after a warm-up run, and return the samples by name.

    With `runs` 1 there is no warm-up run.
    """
    warm = 1 if runs > 1 else 0
    samples: dict[str, list[Sample]] = {side.name: [] for side in sides}
    for turn in range(warm + runs):
        first = turn % len(sides)
        for side in [*sides[first:], *sides[:first]]:
            side.prepare()
            sample = side.run()
            side.check()
            notify(f"{side.name}: {sample.wall:.2f} s, {sample.peak >> 20} MiB")
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
    """Run a program in a new process and return the sample of its whole life.

    `env` is added to this process's environment. Raises WrongResult if it fails or exceeds `limit`
    seconds.
    """
    started = subprocess.Popen(
        [sys.executable, "-I", "-S", str(_LAUNCHER), *command],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, **_DEFAULT_VARIABLES, **(env or {})},
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
            raise WrongResult(f"{command[0]} took more than {limit:.0f} s") from None
        raise
    if started.returncode:
        raise WrongResult(f"{command[0]} did not start: {err.strip()[-500:]}")
    taken = json.loads(out.rstrip().rpartition("\n")[2])
    if taken["code"]:
        output = (err.strip() or out.strip())[-2000:]
        raise WrongResult(f"{' '.join(command)} ended with {taken['code']}: {output}")
    return Sample(taken["wall"], taken["cpu"], taken["peak"])


def call(function: Callable[[], object]) -> Sample:
    """Call a function in this process; the peak is that of the process so far."""
    before, began = time.process_time(), time.perf_counter()
    function()
    wall, cpu = time.perf_counter() - began, time.process_time() - before
    return Sample(wall, cpu, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)


def spread(numbers: Sequence[float]) -> Spread:
    """Return median, minimum and maximum."""
    return Spread(statistics.median(numbers), min(numbers), max(numbers))


def walls(samples: Sequence[Sample]) -> Spread:
    """Return the spread of the wall times in seconds."""
    return spread([sample.wall for sample in samples])


def cpus(samples: Sequence[Sample]) -> Spread:
    """Return the spread of the processor times in seconds."""
    return spread([sample.cpu for sample in samples])


def peaks(samples: Sequence[Sample]) -> Spread:
    """Return the spread of the peaks in MB (1,000,000 bytes)."""
    return spread([sample.peak / 1e6 for sample in samples])


def ratio(numbers: Sequence[float], base: Sequence[float]) -> Spread:
    """Return the ratio of the medians; minimum and maximum are of the ratios of each round."""
    each = [one / other for one, other in zip(numbers, base, strict=True)]
    return Spread(statistics.median(numbers) / statistics.median(base), min(each), max(each))
