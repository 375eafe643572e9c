"""What is started by the clock: a program, its words and its variables, all paths absolute."""

import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from ragctl.errors import UsageError

_UNPRINTABLE = ("Cc", "Cs", "Zl", "Zp")  # control characters, halves of characters, line ends


@dataclass(frozen=True, slots=True)
class ScheduledJob:
    """`ragctl run` of a pipeline. `program` is how this ragctl is started.

    `variables` are those of this shell that a run needs and that nobody sets for cron.
    """

    program: tuple[str, ...]
    pipeline: Path
    collection: str
    env_file: Path | None = None
    wait: bool = False
    variables: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for text in (*self.words, *self.variables.values()):
            if any(unicodedata.category(character) in _UNPRINTABLE for character in text):
                raise UsageError(f"{text!r} cannot stand in a crontab or unit: rename it")

    @property
    def words(self) -> tuple[str, ...]:
        """The command: nothing is printed unless something is wrong."""
        env_file = ("--env-file", str(self.env_file)) if self.env_file else ()
        wait = ("--wait",) if self.wait else ()
        return (*self.program, *env_file, "run", "--quiet", *wait, str(self.pipeline))
