"""Printing: people on a terminal, plain text in pipes, one JSON document where asked.

Document text is hostile: nothing reaches a terminal before `clean`.
"""

import json
import re
import sys
from typing import TYPE_CHECKING

from ragctl.records import Json

if TYPE_CHECKING:
    from rich.console import Console

# Whole escape sequences first (CSI, OSC and the like), then every control
# character but tab and newline, then the marks that reorder or hide text.
_UNSAFE = re.compile(
    r"\x1b\[[0-?]*[ -/]*[@-~]"
    r"|\x1b[\]PX^_][^\x07\x1b]*(?:\x07|\x1b\\)?"
    r"|\x1b[@-Z\\-_]?"
    r"|[\x00-\x08\x0b-\x1f\x7f-\x9f]"
    r"|[\u202a-\u202e\u2066-\u2069\u200e\u200f\ufeff]"
    r"|[\ud800-\udfff]"
)


def clean(text: str) -> str:
    """`text` without escape sequences, control and direction-changing characters."""
    return _UNSAFE.sub("", text)


def one_line(text: str) -> str:
    return " ".join(clean(text).split())


def out() -> "Console":
    """Standard output; rich leaves out colours where it is not a terminal."""
    from rich.console import Console

    return Console(highlight=False, soft_wrap=True)


def is_terminal() -> bool:
    return sys.stdout.isatty()


def say(text: str) -> None:
    """A line of plain text on standard output."""
    sys.stdout.write(text + "\n")


def warn(text: str) -> None:
    """A line on standard error."""
    sys.stderr.write(one_line(text) + "\n")
    sys.stderr.flush()


def print_json(value: Json) -> None:
    """The one JSON document of a command: UTF-8, the keys in their documented order."""
    text = json.dumps(value, ensure_ascii=False, indent=2)
    sys.stdout.write(text.encode("utf-8", "replace").decode("utf-8") + "\n")
