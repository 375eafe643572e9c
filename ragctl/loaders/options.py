"""What a user may say about loading, and the reading of a file under its size limit."""

from dataclasses import dataclass, field
from pathlib import Path

from ragctl.errors import DocumentError


@dataclass(frozen=True, slots=True)
class LoadOptions:
    """Settings of all loaders; picklable.

    `encoding` overrides detection. `jsonl_metadata` names the fields kept as metadata; None
    keeps every other field that holds a scalar.
    """

    max_bytes: int = 200_000_000
    encoding: str | None = None
    jsonl_text: str = "text"
    jsonl_id: str = "id"
    jsonl_metadata: tuple[str, ...] | None = None
    pdf_password: str | None = field(default=None, repr=False)


def check_size(size: int, options: LoadOptions) -> None:
    """Raises DocumentError if a file of `size` bytes is above the limit."""
    if size > options.max_bytes:
        raise DocumentError(
            f"is {megabytes(size)}, above the limit of {megabytes(options.max_bytes)}; "
            "raise --max-file"
        )


def megabytes(size: int) -> str:
    return f"{size / 1e6:,.1f} MB"


def read_bytes(path: Path, options: LoadOptions) -> bytes:
    """The file's bytes. Raises DocumentError above the limit, before anything is read."""
    with path.open("rb") as file:
        check_size(path.stat().st_size, options)
        data = file.read(options.max_bytes + 1)
    check_size(len(data), options)  # it may have grown, or have no size (/proc)
    return data
