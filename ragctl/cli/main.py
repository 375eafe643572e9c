"""The command line: common options, and the one place where an error ends the program."""

import os
import sys
import traceback
import warnings
from contextlib import suppress
from pathlib import Path
from typing import Annotated, TextIO

import typer

from ragctl.cli import completion, console
from ragctl.cli.commands import COMMANDS, LazyCommand, placeholder
from ragctl.cli.ending import ending_of, usage_problem
from ragctl.cli.streams import ReaderGone, prepare_streams
from ragctl.cli.values import Group
from ragctl.environment import LOG_FORMAT
from ragctl.errors import RagctlError, UsageError
from ragctl.text import without_controls

app = typer.Typer(
    name="ragctl",
    cls=Group,
    help="Index documents into Qdrant, keep the index in sync, and search it.",
    invoke_without_command=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

for _name, _entry in COMMANDS.items():
    app.command(_name, cls=LazyCommand, help=_entry.line, rich_help_panel=_entry.group)(placeholder)


def _version(requested: bool) -> None:
    if requested:
        from ragctl import __version__

        console.say(f"ragctl {__version__}")
        raise typer.Exit


@app.callback()
def common(
    context: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
    env_file: Annotated[
        Path | None,
        typer.Option(
            "--env-file",
            metavar="FILE",
            help="Read more environment variables from a .env file.",
        ),
    ] = None,
    debug: Annotated[
        bool,
        typer.Option(
            "--debug", help="Show the traceback of an error (any position in the command)."
        ),
    ] = False,
    log_format: Annotated[
        str,
        typer.Option(
            "--log-format",
            metavar="text|json",
            autocompletion=completion.choices("text", "json"),
            help="Format of lines on standard error (any position in the command).",
        ),
    ] = "text",
) -> None:
    """Declare the options of every command; without a command, say what to do next.

    `main` has already applied --debug and --log-format.
    """
    from ragctl.cli.options import environ, read_env_file

    read_env_file(env_file)
    if context.invoked_subcommand is None:
        from ragctl.cli.start import print_start

        print_start(environ())


def main(arguments: list[str] | None = None) -> None:
    """Run a command and exit with its code; an error is one line on standard error."""
    prepare_streams()
    code = _run(sys.argv[1:] if arguments is None else arguments)
    with suppress(ReaderGone, RagctlError):
        sys.stdout.flush()
    sys.exit(code)


def _run(arguments: list[str]) -> int:
    warnings.showwarning = _show_warning
    if os.environ.get(completion.COMPLETE_VARIABLE):
        return completion.answer_shell(app)
    if {"--show-completion", "--install-completion"} & set(arguments):
        completion.use_own_scripts()
    debug, result = False, 0
    try:
        arguments, debug = _take_global_options(arguments)
        result = app(arguments, prog_name="ragctl", standalone_mode=False)
        sys.stdout.flush()
    except typer.TyperException as error:
        return _print_usage_error(error)
    except ReaderGone:
        return 0
    except SystemExit as error:  # by typer: completion was printed
        return error.code if isinstance(error.code, int) else RagctlError.exit_code
    except BaseException as error:  # noqa: BLE001 - the one handler: one line
        ending = ending_of(error)
        if debug:
            _show_traceback()
        if isinstance(error, typer.Abort) and sys.stderr.isatty():
            sys.stderr.write("\n")  # the cursor is behind a question
        text = f"{ending.message}{'' if ending.expected else ' (--debug shows where)'}"
        console.warn(
            f"ragctl: {text}",
            level="error",
            event="error",
            message=text,
            exit_code=ending.exit_code,
        )
        return ending.exit_code
    return result if isinstance(result, int) else 0


def _take_global_options(arguments: list[str]) -> tuple[list[str], bool]:
    """Apply the options that may be in any position, and return the other arguments and --debug.

    Raises UsageError.
    """
    log_format, debug = LOG_FORMAT.value(os.environ) or "text", False
    console.log_as("text")
    remaining = []
    words = iter(arguments)
    for word in words:
        if word == "--":
            remaining.append(word)
            break
        option, equals, value = word.partition("=")
        if word == "--debug":
            debug = True
        elif option == "--log-format":
            log_format = value if equals else next(words, "")
        else:
            remaining.append(word)
    console.log_as(log_format)
    return [*remaining, *words], debug


def _show_traceback() -> None:
    if console.logs_json():
        lines = traceback.format_exc().splitlines()
        console.warn("traceback", level="debug", event="traceback", lines=list(lines))
    else:
        sys.stderr.write(without_controls(traceback.format_exc()))


def _show_warning(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    console.warn(f"warning: {message}", message=str(message))


def _print_usage_error(error: typer.TyperException) -> int:
    """Print a wrong option or argument as one line and return the exit code."""
    text = usage_problem(error)
    if text:  # none when the help itself was shown
        code = UsageError.exit_code
        console.warn(f"ragctl: {text}", level="error", event="error", message=text, exit_code=code)
    return UsageError.exit_code
