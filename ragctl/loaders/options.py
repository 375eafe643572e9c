"""The settings of loaders."""

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class LoadOptions:
    """The settings of all loaders. Instances can be pickled."""

    max_bytes: int = 200_000_000  # of one file
    encoding: str | None = None  # overrides detection
    jsonl_text: str = "text"
    jsonl_id: str = "id"
    jsonl_metadata: tuple[str, ...] | None = None  # fields to keep; None: all other scalars
    pdf_password: str | None = field(default=None, repr=False)
