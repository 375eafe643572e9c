"""`ragctl validate`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ragctl.cli import console
from ragctl.cli.check import STATUS_WORDS
from ragctl.cli.options import AsJson, environ
from ragctl.errors import UsageError
from ragctl.text import one_line

if TYPE_CHECKING:
    from ragctl.check import Finding


def validate(
    files: Annotated[
        list[Path], typer.Argument(metavar="PIPELINE.toml...", help="Pipeline files.")
    ],
    as_json: AsJson = False,
) -> int:
    """Check pipeline files offline; nothing is written."""
    from ragctl.check.validate import validate_file

    checked = [(file, validate_file(file, environ())) for file in files]
    failures = sum(finding.status == "fail" for _, findings in checked for finding in findings)
    if as_json:
        console.print_json(
            {
                "failures": failures,
                "files": [
                    {
                        "file": str(file),
                        "findings": [finding.to_json() for finding in findings],
                    }
                    for file, findings in checked
                ],
            }
        )
    else:
        for file, findings in checked:
            _print(file, findings)
    return UsageError.exit_code if failures else 0


def _print(file: Path, findings: "list[Finding]") -> None:
    """Print a line for each finding of a file."""
    width = max(len(finding.what) for finding in findings)
    for finding in findings:
        status, what = STATUS_WORDS[finding.status].ljust(4), finding.what.ljust(width)
        name, text = one_line(str(file)), one_line(finding.text)
        head = f"{name}  {status}  {what}  "
        console.say(head + text, indent=len(head))
