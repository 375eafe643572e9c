"""Files whose name a record may have: `x.jsonl#a.md` beside `x.jsonl` with a record `a.md`."""

from collections.abc import Iterable

from ragctl.index.prepared import FileStat
from ragctl.loaders import format_of


def without_record_names(
    files: Iterable[FileStat],
) -> tuple[list[FileStat], list[tuple[str, str]]]:
    """Return the files without those named as a record may be, and (file, error) of these.

    Which records a file holds is not known before it is read, and the two would be one document.
    """
    listed = list(files)
    suspects = [file for file in listed if "#" in file.file]
    if not suspects:
        return listed, []
    names = {file.file for file in listed}
    refused: dict[FileStat, str] = {}
    for file in suspects:
        for at, char in enumerate(file.file):
            above = file.file[:at]
            if char == "#" and above in names and _has_records(above):
                refused[file] = f"a record of {above} may have this name; rename the file"
                break
    kept = [file for file in listed if file not in refused]
    return kept, [(file.file, error) for file, error in refused.items()]


def _has_records(file: str) -> bool:
    form = format_of(file)
    return form is not None and form.many_documents
