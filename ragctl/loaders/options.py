"""The settings of loaders, and reading a file within its size limit."""

from dataclasses import dataclass, field
from pathlib import Path

from ragctl.errors import DocumentError


@dataclass(frozen=True, slots=True)
class LoadOptions:
    """The settings of all loaders. Instances can be pickled."""

    max_bytes: int = 200_000_000  # of one file
    encoding: str | None = None  # overrides detection
    jsonl_text: str = "text"
    jsonl_id: str = "id"
    jsonl_metadata: tuple[str, ...] | None = None  # fields to keep; None: all other scalars
    pdf_password: str | None = field(default=None, repr=False)


def check_size(size: int, options: LoadOptions) -> None:
    """Raise DocumentError if a file of `size` bytes is above the limit."""
    if size > options.max_bytes:
        raise DocumentError(
            f"is {megabytes(size)}, above the limit of {megabytes(options.max_bytes)}; "
            "raise --max-file"
        )


def megabytes(size: int) -> str:
    """Return a number of bytes as text in MB."""
    return f"{size / 1e6:,.1f} MB"


def read_bytes(path: Path, options: LoadOptions) -> bytes:
    """Return a file's content. Raises DocumentError above the size limit, before reading."""
    with path.open("rb") as file:
        check_size(path.stat().st_size, options)
        data = file.read(options.max_bytes + 1)
    check_size(len(data), options)  # it may have grown, or report no size, as in /proc
    return data
