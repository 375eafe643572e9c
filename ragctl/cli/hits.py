"""Hits as people and pipes see them."""

from typing import TYPE_CHECKING

from ragctl.cli import console
from ragctl.text import one_line, without_controls

if TYPE_CHECKING:
    from ragctl.records import Hit

_WIDTH = 420  # characters of a chunk shown on a terminal
_WIDE = 4000  # of a passage, which was asked for


def place(hit: "Hit") -> str:
    """Where it stands: source, and page or line."""
    if hit.page is not None:
        return f"{hit.source}, page {hit.page}"
    return f"{hit.source}:{hit.line}" if hit.line is not None else hit.source


def _extent(hit: "Hit") -> str:
    """Which chunks a passage was joined from; nothing for one chunk."""
    if len(hit.ordinals) < 2:
        return ""
    more = ", cut" if hit.cut else ""
    return f"chunks {hit.ordinals[0] + 1}-{hit.ordinals[-1] + 1} of {hit.chunks}{more}"


def show(hits: list["Hit"], question: str) -> None:
    """A table with the question's words marked, for a terminal."""
    from rich.markup import escape
    from rich.padding import Padding
    from rich.table import Table
    from rich.text import Text

    from ragctl.cli.marking import excerpt, spans

    table = Table(box=None, show_header=False, padding=(0, 1, 0, 0), expand=True)
    table.add_column(justify="right", style="dim", no_wrap=True)
    table.add_column(ratio=1, overflow="fold")  # text without spaces is wrapped, not cut off
    table.add_column(justify="right", style="dim", no_wrap=True)
    for rank, hit in enumerate(hits, 1):
        head = Text(one_line(place(hit)), style="bold cyan")
        told = [one_line(" › ".join(hit.heading)), _extent(hit)]
        for part in filter(None, told):
            head.append(f"  {part}", style="dim")
        width = _WIDE if len(hit.ordinals) > 1 else _WIDTH
        passage = Text(excerpt(without_controls(hit.text), question, width))
        for start, end in spans(passage.plain, question):
            passage.stylize("bold yellow", start, end)
        table.add_row(escape(str(rank)), head, f"{hit.score:.4f}")
        table.add_row("", Padding(passage, (0, 0, 1, 0)), "")
    console.out().print(table)


def say(hits: list["Hit"]) -> None:
    """Plain text, for a pipe: all of it."""
    for rank, hit in enumerate(hits, 1):
        heading = f"  [{' > '.join(hit.heading)}]" if hit.heading else ""
        extent = f"  {_extent(hit)}" if len(hit.ordinals) > 1 else ""
        title = one_line(place(hit) + heading + extent)
        console.say(f"{rank}. {title}  ({hit.score:.4f})")
        for line in without_controls(hit.text).splitlines():
            console.say(f"   {line}".rstrip())
        console.say("")
