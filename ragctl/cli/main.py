"""The commands, their common options, and the one place where an error ends the program."""

import sys
import traceback
import warnings
from pathlib import Path
from typing import Annotated

import typer

from ragctl.cli import (
    catalog,
    check,
    console,
    ingest,
    init,
    inspect,
    plan,
    query,
    schema,
    validate,
    verify,
)
from ragctl.cli.options import read_env_file
from ragctl.errors import Interrupted, RagctlError, UsageError

app = typer.Typer(
    name="ragctl",
    help="Keep a Qdrant collection true to a folder of documents, and search it.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

app.command("ingest")(ingest.ingest)
app.command("run")(ingest.run)
app.command("plan")(plan.plan)
app.command("failures")(plan.failures)
app.command("verify")(verify.verify)
app.command("init")(init.init)
app.command("validate")(validate.validate)
app.command("schema")(schema.schema)
app.command("search")(query.search)
app.command("status")(inspect.status)
app.command("collections")(inspect.collections)
app.command("show")(inspect.show)
app.command("delete")(inspect.delete)
app.command("models")(catalog.models)
app.command("backends")(catalog.backends)
app.command("check")(check.check)


def _version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        console.say(f"ragctl {version('ragctl')}")
        raise typer.Exit


@app.callback()
def common(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
    env_file: Annotated[
        Path | None,
        typer.Option("--env-file", metavar="FILE", help="Read further variables from a .env file."),
    ] = None,
    debug: Annotated[
        bool, typer.Option("--debug", help="Show the traceback of an error (any position).")
    ] = False,
) -> None:
    """Options of every command; --debug was taken out by `main`."""
    read_env_file(env_file)


def main(arguments: list[str] | None = None) -> None:
    """Run a command and exit with its code; an error is one line on standard error."""
    sys.exit(_run(sys.argv[1:] if arguments is None else arguments))


def _run(arguments: list[str]) -> int:
    words = arguments[: arguments.index("--")] if "--" in arguments else arguments
    debug = "--debug" in words
    if debug:
        arguments = [word for word in words if word != "--debug"] + arguments[len(words) :]
    warnings.formatwarning = _format_warning
    try:
        result = app(arguments, prog_name="ragctl", standalone_mode=False)
        return result if isinstance(result, int) else 0
    except typer.TyperException as error:
        return _usage(error)
    except (typer.Abort, KeyboardInterrupt):
        console.warn("ragctl: interrupted; run again to go on from here")
        return Interrupted.exit_code
    except BrokenPipeError:
        sys.stderr.close()
        return 0
    except RagctlError as error:
        if debug:
            traceback.print_exc()
        console.warn(f"ragctl: {error}")
        return error.exit_code
    except Exception as error:  # noqa: BLE001 - the last resort: one line, exit code 1
        if debug:
            traceback.print_exc()
        name = type(error).__name__
        console.warn(f"ragctl: unexpected failure: {name}: {error} (--debug shows where)")
        return RagctlError.exit_code


def _format_warning(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    line: str | None = None,
) -> str:
    return f"warning: {console.one_line(str(message))}\n"


def _usage(error: typer.TyperException) -> int:
    """A wrong option or argument: one line, as for every error of ours."""
    message = error.format_message()
    if message.strip():  # none when the help itself was shown
        console.warn(f"ragctl: {message} (see ragctl --help)")
    return UsageError.exit_code
