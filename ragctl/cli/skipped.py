"""`ragctl plan --skipped`: what a run leaves out, and why."""

from typing import TYPE_CHECKING

from ragctl.cli import console
from ragctl.errors import DocumentError
from ragctl.text import counted, one_line

if TYPE_CHECKING:
    from ragctl.pipeline import Pipeline
    from ragctl.sources import SkippedFile


def list_skipped_files(pipeline: "Pipeline", *, as_json: bool) -> int:
    """Print every file that is left out, and the counts; return the exit code."""
    from ragctl.index.source_walk import list_skipped

    files: list[SkippedFile] = []
    several = len(pipeline.sources) > 1

    def add(folder: str, skipped: "SkippedFile") -> None:
        if several:
            skipped = skipped._replace(source=f"{folder}/{skipped.source}")
        if as_json:
            files.append(skipped)
        else:
            console.say(one_line(f"{skipped.source}: {skipped.reason}"))

    found = list_skipped(pipeline, add)
    if as_json:
        listed = [skipped.to_json() for skipped in files]
        console.print_json({**found.to_json(), "skipped_files": listed})
    else:
        files_skipped = counted(found.unasked, "file")
        console.say(f"{files_skipped} skipped; {found.ignored:,} ignored by rules")
    fails = pipeline.fail_on_skipped and found.unasked > 0
    return DocumentError.exit_code if fails else 0
