"""The help of a command: plain text with the options in panels and examples at the end.

typer's own help reads words in square brackets as markup and loses them, gives the text of an
option a third of the line, and imports rich, which takes longer than all other parts of `--help`.
"""

import textwrap
from collections.abc import Iterable, Iterator
from shutil import get_terminal_size
from typing import Any

import typer

COMMON = "Common options"
DOCUMENTS = "Documents"
MODEL = "Model and backend"
CHUNKS = "Chunks and BM25"
RESULTS = "Results"
RANKING = "Ranking"
VECTORS = "Vector search"
QUESTIONS = "Many questions"
COMPARE = "Comparison"
DRAFTS = "Drafting questions"
FOREIGN = "Collections of other programs"
POLICY = "Run policy and budget"
STORAGE = "Storage of a new collection"
PARSING = "Parsing"
REPORT = "Output"
OTHER = "Other options"
PANELS = (
    *(COMMON, DOCUMENTS, MODEL, CHUNKS, RESULTS, RANKING, VECTORS, QUESTIONS, COMPARE, DRAFTS),
    *(FOREIGN, POLICY, STORAGE, PARSING, REPORT, OTHER),
)
"""The titles of the panels of options, in the order in which help shows them."""
ONLY_PANEL = "Options"
MAX_IN_ONE_PANEL = 10
"""A command with no more options shows them in one panel, titled ONLY_PANEL."""

MIN_WIDTH, MAX_WIDTH = 40, 100  # columns
MIN_TEXT_WIDTH = 52  # columns; the text of an option whose name is too long starts a line below
INDENT = 2


class PlainHelp:
    """A typer command or group with this help. `examples`: command lines, without a comment."""

    examples: tuple[str, ...] = ()

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Write the help into the formatter. Called by typer."""
        formatter.write("\n".join(self._lines(ctx)))

    def _lines(self, ctx: Any) -> Iterator[str]:
        width = max(MIN_WIDTH, min(get_terminal_size().columns, MAX_WIDTH))
        yield from _wrapped(f"Usage: {ctx.command_path} ", " ".join(self._usage(ctx)), width)
        for paragraph in (getattr(self, "help", "") or "").split("\n\n"):
            yield ""
            yield from _wrapped("", " ".join(paragraph.split()), width)
        for sections in ([*self._command_sections()], [*self._option_sections(ctx)]):
            lengths = [len(name) for _, rows in sections for name, _ in rows]
            longest = width - MIN_TEXT_WIDTH - 2 * INDENT
            name_width = max((each for each in lengths if each <= longest), default=0)
            for title, rows in sections:
                yield ""
                yield heading(title)
                for name, text in rows:
                    yield from _row(name, text, name_width, width)
        if self.examples:
            yield ""
            yield heading("Examples" if len(self.examples) > 1 else "Example")
            yield from (" " * INDENT + line for line in self.examples)

    def _usage(self, ctx: Any) -> Iterator[str]:
        yield "[OPTIONS]"
        for param in self.get_params(ctx):  # type: ignore[attr-defined]
            if param.param_type_name == "argument":
                yield argument_name(param)
        if hasattr(self, "commands"):
            yield self.subcommand_metavar  # type: ignore[attr-defined]

    def _command_sections(self) -> Iterator[tuple[str, list[tuple[str, str]]]]:
        """Yield the panels of a group's commands, with the name and the line of each."""
        panels: dict[str, list[tuple[str, str]]] = {}
        for name, command in getattr(self, "commands", {}).items():
            panels.setdefault(command.rich_help_panel, []).append((name, command.help))
        yield from panels.items()

    def _option_sections(self, ctx: Any) -> Iterator[tuple[str, list[tuple[str, str]]]]:
        """Yield the panels of arguments and options, with the name and the text of each."""
        shown = [each for each in self.get_params(ctx) if not each.hidden]  # type: ignore[attr-defined]
        arguments = [each for each in shown if each.param_type_name == "argument"]
        if arguments:
            title = "Arguments" if len(arguments) > 1 else "Argument"
            yield title, [(argument_name(each), described(each)) for each in arguments]
        options = [each for each in shown if each.param_type_name == "option"]
        panels = {ONLY_PANEL: options}
        if len(options) > MAX_IN_ONE_PANEL:
            panels = {
                title: [each for each in options if panel_of(each) == title] for title in PANELS
            }
        for title, chosen in panels.items():
            if chosen:
                yield title, [(option_name(each), described(each)) for each in chosen]


def heading(title: str) -> str:
    """Return the title of a section; typer removes the style if there is no terminal."""
    return typer.style(f"{title}:", bold=True)


def panel_of(option: Any) -> str:
    """Return the title of an option's panel."""
    return option.rich_help_panel or (COMMON if "--help" in option.opts else OTHER)


def argument_name(argument: Any) -> str:
    """Return an argument as the usage line shows it: PATH..., [FILE], [SOURCE]..."""
    name = str(argument.metavar or argument.name.upper()).removesuffix("...").strip("[]")
    end = "" if argument.nargs == 1 else "..."
    return f"{name}{end}" if argument.required else f"[{name}]{end}"


def option_name(option: Any) -> str:
    """Return the names of an option and the placeholder of its value."""
    names = ", ".join(sorted(option.opts, key=len))
    if option.secondary_opts:
        names += f" / {', '.join(option.secondary_opts)}"
    return names if option.is_flag else f"{names} {option.metavar}"


def described(param: Any) -> str:
    """Return the help of an option or argument, with its default at the end."""
    text, default = param.help or "", param.show_default
    if default is True:
        default = param.default
    if default is None or isinstance(default, bool) or default in ("", [], ()):
        return text
    shown = f"{default:g}" if isinstance(default, float) else str(default)
    return f"{text} Default: {shown}."


def _row(name: str, text: str, name_width: int, width: int) -> Iterator[str]:
    """Yield the lines of one option, argument or command."""
    start = " " * INDENT + name.ljust(name_width) + " " * INDENT
    if len(name) > name_width:
        yield " " * INDENT + name
        start = " " * (name_width + 2 * INDENT)
    yield from _wrapped(start, text, width)


def _wrapped(start: str, text: str, width: int) -> Iterable[str]:
    """Return the lines of a text that begins after `start` and keeps that margin."""
    return textwrap.wrap(
        text,
        width,
        initial_indent=start,
        subsequent_indent=" " * len(start),
        break_on_hyphens=False,
        break_long_words=False,
    ) or [start.rstrip()]
