"""The command that cron or systemd starts: program, arguments, variables; absolute paths."""

import os
import sys
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from ragctl.errors import UsageError

# Unicode categories that a line of a crontab or unit cannot hold: control characters,
# surrogates, line and paragraph separators.
UNPRINTABLE_CATEGORIES = ("Cc", "Cs", "Zl", "Zp")


@dataclass(frozen=True, slots=True)
class ScheduledJob:
    """A scheduled `ragctl run` of a pipeline.

    Attributes:
        program: the words that start this ragctl from any folder.
        pipeline: absolute path of the pipeline file.
        collection: name of the collection, for the description of a unit.
        env_file: absolute path of the --env-file, if there is one.
        wait: whether the run waits for another run on the collection.
        variables: environment variables that the job needs and cron or systemd do not set.
    """

    program: tuple[str, ...]
    pipeline: Path
    collection: str
    env_file: Path | None = None
    wait: bool = False
    variables: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Refuse text that would break a line. Raises UsageError."""
        for text in (*self.words, *self.variables.values()):
            if any(unicodedata.category(character) in UNPRINTABLE_CATEGORIES for character in text):
                raise UsageError(f"{text!r} cannot be written to a crontab or unit: rename it")

    @property
    def words(self) -> tuple[str, ...]:
        """The program and its arguments. With --quiet, a run without problems prints nothing."""
        env_file = ("--env-file", str(self.env_file)) if self.env_file else ()
        wait = ("--wait",) if self.wait else ()
        return (*self.program, *env_file, "run", "--quiet", *wait, str(self.pipeline))


def absolute_path(path: Path) -> Path:
    """Return `path` as an absolute path; symbolic links are kept as the user chose them."""
    return Path(os.path.abspath(path.expanduser()))  # noqa: PTH100 - resolve() follows links


def this_program() -> tuple[str, ...]:
    """Return the words that start the running ragctl from any folder."""
    script = Path(sys.argv[0])
    if script.name == "ragctl" and script.is_file() and os.access(script, os.X_OK):
        return (str(absolute_path(script)),)
    return (sys.executable, "-P", "-m", "ragctl")
