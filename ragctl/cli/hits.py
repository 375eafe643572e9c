"""Print hits: a table on a terminal, plain text in a pipe."""

from typing import TYPE_CHECKING

from ragctl.cli import console
from ragctl.text import one_line, without_controls

if TYPE_CHECKING:
    from ragctl.records import Hit

CHUNK_CHARS = 420  # characters of a chunk shown on a terminal
PASSAGE_CHARS = 4000  # of a passage, which the user asked for


def location(hit: "Hit") -> str:
    """Return the source of a hit, with its page or line."""
    if hit.page is not None:
        return f"{hit.source}, page {hit.page}"
    return f"{hit.source}:{hit.line}" if hit.line is not None else hit.source


def _chunk_range(hit: "Hit") -> str:
    """Return the range of chunks in a passage, as text; "" for a single chunk."""
    if len(hit.ordinals) < 2:
        return ""
    more = ", cut" if hit.cut else ""
    return f"chunks {hit.ordinals[0] + 1}-{hit.ordinals[-1] + 1} of {hit.chunks}{more}"


def print_table(hits: list["Hit"], question: str) -> None:
    """Print a table with the words of the question highlighted, for a terminal."""
    from rich.markup import escape
    from rich.padding import Padding
    from rich.table import Table
    from rich.text import Text

    from ragctl.cli.marking import excerpt, matching_spans

    table = Table(box=None, show_header=False, padding=(0, 1, 0, 0), expand=True)
    table.add_column(justify="right", style="dim", no_wrap=True)
    table.add_column(ratio=1, overflow="fold")  # text without spaces is wrapped, not cut off
    table.add_column(justify="right", style="dim", no_wrap=True)
    for rank, hit in enumerate(hits, 1):
        head = Text(one_line(location(hit)), style="bold cyan")
        details = [one_line(" › ".join(hit.heading)), _chunk_range(hit)]
        for detail in filter(None, details):
            head.append(f"  {detail}", style="dim")
        width = PASSAGE_CHARS if len(hit.ordinals) > 1 else CHUNK_CHARS
        passage = Text(excerpt(without_controls(hit.text), question, width))
        for start, end in matching_spans(passage.plain, question):
            passage.stylize("bold yellow", start, end)
        table.add_row(escape(str(rank)), head, f"{hit.score:.4f}")
        table.add_row("", Padding(passage, (0, 0, 1, 0)), "")
    console.out().print(table)


def print_plain(hits: list["Hit"]) -> None:
    """Print the whole text of each hit, for a pipe."""
    for rank, hit in enumerate(hits, 1):
        heading = f"  [{' > '.join(hit.heading)}]" if hit.heading else ""
        chunks = f"  {_chunk_range(hit)}" if len(hit.ordinals) > 1 else ""
        title = one_line(location(hit) + heading + chunks)
        console.say(f"{rank}. {title}  ({hit.score:.4f})")
        for line in without_controls(hit.text).splitlines():
            console.say(f"   {line}".rstrip())
        console.say("")
