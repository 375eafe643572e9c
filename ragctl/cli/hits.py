"""Print hits: excerpts that fit the screen on a terminal; in a pipe, or with --full, everything.

On a terminal the first hit must still be on the screen when the prompt is back. So every hit has
its title and a line of text, as many hits as there is room for; the lines that are left go to the
best hits first, up to `MAX_TEXT_LINES` each.
"""

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

from ragctl.cli import console
from ragctl.text import collapse_whitespace, counted, one_line, without_controls

if TYPE_CHECKING:
    from rich.text import Text

    from ragctl.records import Hit

MAX_TEXT_LINES = 4  # of a hit
MAX_TITLE_LINES = 8  # of a hit whose name and heading are wider than the terminal
PROMPT_LINES = 2  # left free below
MIN_ROWS_WITH_LEGEND = 20
EXCERPTS = "excerpts of the passages: --full prints them whole"
RANK_SCORES = "scores reflect ranks in both searches, not similarity"
INDENT = 3
FIRST_WIDE = "\u2e80"  # Chinese, Japanese and Korean, which have a colon of their own
ELLIPSIS_CELLS = 2  # " …" at the end of an excerpt
_RULE = re.compile(r"^[-=~|+_:*^ \t]{3,}$", re.MULTILINE)  # lines under titles and in tables
_MARKED_HEADING = re.compile(
    r"^ {0,3}(?:> ?)*#{1,6}[ \t]+(?P<title>\S.*?)(?:[ \t]+#+)?[ \t]*$", re.MULTILINE
)
_LINE = r"[ \t]{0,3}(?:=+|-{2,}|~{2,}|\^{2,}|\"{2,}|\*{2,}|\+{2,})[ \t]*"
_UNDERLINED_HEADING = re.compile(
    rf"^(?:{_LINE}\n)? {{0,3}}(?P<title>\w[^|\n]*)\n{_LINE}$", re.MULTILINE
)
_TABLE_ROW = re.compile(r"^[ \t]*\|[ \t]*(.*?)[ \t|]*\|[ \t]*$", re.MULTILINE)
_TITLE, _DETAIL, _MATCH = "bold cyan", "dim", "bold yellow"


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


def print_excerpts(hits: list["Hit"], question: str, notes: Sequence[str] = ()) -> None:
    """Print each hit as a title and the lines around its best-matching words, for a terminal.

    `notes`: lines about all hits, printed below them unless the terminal is small.
    """
    columns, rows = console.size()
    notes = [_cut(note, columns) for note in notes if note and rows >= MIN_ROWS_WITH_LEGEND]
    room = max(rows - PROMPT_LINES, 2) - len(notes)
    views = [_View(rank, hit, question, columns) for rank, hit in enumerate(hits[:room], 1)]
    shown = _that_fit(views, room)
    if len(shown) < len(hits):
        shown = _that_fit(views, room - 1)  # a line says how many are left out
    hidden = len(hits) - len(shown)
    room -= bool(hidden) + sum(len(view.title) for view in shown)
    texts = [view.text(count) for view, count in zip(shown, _shares(shown, room), strict=True)]
    out = console.out()
    for view, text in zip(shown, texts, strict=True):
        out.print(*view.title, *text, sep="\n")
    if hidden:
        more = counted(hidden, "more hit")
        out.print(f"{more}: --full prints everything", style=_DETAIL)
    for note in notes:
        out.print(note, style=_DETAIL)


def _cut(note: str, columns: int) -> str:
    """Return a note in one line of the terminal."""
    return note if len(note) < columns else f"{note[: max(columns - 2, 0)]}…"


def _that_fit(views: list["_View"], room: int) -> list["_View"]:
    """Return the hits that fit in `room` with a line of text each; at least one."""
    used = 0
    for number, view in enumerate(views):
        used += len(view.title) + bool(view.lines)
        if used > room:
            return views[: max(number, 1)]
    return views


def _shares(views: list["_View"], room: int) -> list[int]:
    """Return how many lines of text each hit gets; the first ones get more."""
    shares = [0] * len(views)
    for _ in range(MAX_TEXT_LINES):
        for number, view in enumerate(views):
            if room > 0 and shares[number] < len(view.lines):
                shares[number] += 1
                room -= 1
    return shares


class _View:
    """A hit as lines of a terminal. `lines` are the spans of the lines of its whole text."""

    def __init__(self, rank: int, hit: "Hit", question: str, columns: int) -> None:
        from ragctl.cli.wrap import wrap

        self._question = question
        self._text = _running_text(hit)
        self.title = _title(rank, hit, columns)
        self.lines = wrap(self._text, columns - INDENT - ELLIPSIS_CELLS)

    def text(self, count: int) -> list["Text"]:
        """Return the `count` lines that match best, highlighted; "…" is what is left out."""
        from rich.text import Text

        from ragctl.cli.marking import best_lines

        chosen = best_lines(self._text, self.lines, self._question, count)
        lines = self.lines[chosen.start : chosen.stop]
        if not lines:
            return []
        first, end = lines[0][0], lines[-1][1]
        passage = _highlighted(self._text[first:end], self._question)
        shown = [
            Text(" " * INDENT).append_text(passage[start - first : end - first])
            for start, end in lines
        ]
        if chosen.start:
            shown[0] = Text(" … ", _DETAIL).append_text(shown[0][INDENT:])
        if chosen.stop < len(self.lines):
            shown[-1].append(" …", _DETAIL)
        return shown


def _running_text(hit: "Hit") -> str:
    """Return the text of a hit as one line, without the marks of headings and tables.

    Without its first heading, if that is in the title.
    """
    text = without_controls(hit.text).strip()
    for heading in (_MARKED_HEADING, _UNDERLINED_HEADING):
        if heading.search(text) and _is_prose(hit):
            first = heading.match(text)
            if first and hit.heading and _letters(first["title"]) == _letters(hit.heading[-1]):
                text = text[first.end() :].strip() or first["title"]
            text = heading.sub(lambda found: _sentence(found["title"]), text)
    return collapse_whitespace(_TABLE_ROW.sub(r"\1;", _RULE.sub("", text)))


def _is_prose(hit: "Hit") -> bool:
    """Return whether "#" at the start of a line marks a heading, and not a comment of a program."""
    if hit.heading or hit.title:
        return True
    from ragctl.loaders import format_of

    form = format_of(hit.source)
    return form is None or form.name != "code"


def _letters(text: str) -> str:
    return re.sub(r"[\W_]+", "", text).casefold()


def _sentence(heading: str) -> str:
    """Return a heading as it stands in front of its text, in one line with it."""
    if heading[-1] in ".:;!?…。：；！？":
        return heading
    return f"{heading}：" if heading[-1] >= FIRST_WIDE else f"{heading}:"


def _heading_path(hit: "Hit") -> Sequence[str]:
    """Return the headings in force; before the first one, the title of the document."""
    return hit.heading or ((hit.title,) if hit.title else ())


def _title(rank: int, hit: "Hit", columns: int) -> list["Text"]:
    """Return the title of a hit: one line, if the name and the innermost heading fit in one."""
    from rich.text import Text

    from ragctl.cli.wrap import cells, wrap

    name = f"{rank}. {one_line(location(hit))}"
    headings = [one_line(heading) for heading in _heading_path(hit)]
    chunks, score = _chunk_range(hit), f"{hit.score:.4f}"
    for left_out in range(max(len(headings), 1)):
        path = " › ".join(["…"] * bool(left_out) + headings[left_out:])
        details = "".join(f"  {detail}" for detail in (path, chunks) if detail)
        title = Text.assemble((name, _TITLE), (details, _DETAIL))
        gap = columns - cells(title.plain) - len(score)
        if gap >= 2:
            return [title.append(" " * gap + score, _DETAIL)]
    spans = wrap(title.plain, columns - len(score) - 2)
    lines = [title[start:end] for start, end in spans[:MAX_TITLE_LINES]]
    if len(spans) > MAX_TITLE_LINES:
        lines[-1].append(" …")
    lines[0].append(f"{score:>{columns - cells(lines[0].plain)}}", _DETAIL)
    return [lines[0], *(Text(" " * INDENT).append_text(line) for line in lines[1:])]


def print_full(hits: list["Hit"], question: str) -> None:
    """Print the whole text of each hit; in colour if the output gets colours."""
    coloured = console.has_colours()
    for rank, hit in enumerate(hits, 1):
        path = _heading_path(hit)
        heading = f"  [{' > '.join(path)}]" if path else ""
        chunks = f"  {_chunk_range(hit)}" if len(hit.ordinals) > 1 else ""
        title = one_line(location(hit) + heading + chunks)
        title = console.fitted(f"{rank}. {title}  ({hit.score:.4f})", INDENT)
        lines = without_controls(hit.text).split("\n")
        text = "\n".join(f"{' ' * INDENT}{line}".rstrip() for line in lines).rstrip()
        text = console.fitted(text, 0)
        if coloured:
            _print_coloured(title, text, question)
        else:
            console.say(f"{title}\n{text}\n")


def _print_coloured(title: str, text: str, question: str) -> None:
    from rich.text import Text

    console.out().print(Text(title, _TITLE), _highlighted(text, question), "", sep="\n")


def _highlighted(text: str, question: str) -> "Text":
    from rich.text import Text

    from ragctl.cli.marking import matching_spans

    shown = Text(text)
    for start, end in matching_spans(text, question):
        shown.stylize(_MATCH, start, end)
    return shown
