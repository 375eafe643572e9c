"""The documents of a run against how many there are, as far as that is known."""

from collections.abc import Collection

from ragctl.errors import DocumentError
from ragctl.index.plan import WorkItem
from ragctl.loaders import format_of
from ragctl.progress import Progress
from ragctl.sources import LocalFile

SAMPLED_BYTES = 4 << 20  # of a file of records, to estimate how many there are


class DocumentProgress:
    """Keeps the total of a progress true while files turn out to have more or fewer documents.

    Begins the part "read". A file is expected to have the documents that are stored of it, a new
    one to have one, and a new one of records to have one a line.
    """

    def __init__(self, progress: Progress, work_items: Collection[WorkItem]) -> None:
        self._progress = progress
        self._missing = {work.stat.file: _expected(work) for work in work_items}
        if work_items:
            progress.begin("read", "document", sum(self._missing.values()))

    def found(self, file: str, count: int = 1) -> None:
        """Note that `count` documents of a file were read, or failed."""
        more = count - self._missing[file]
        if more > 0:
            self._progress.grow(more)
        self._missing[file] = max(0, -more)

    def read(self, file: str) -> None:
        """Note that a file was read to its end."""
        self._progress.grow(-self._missing[file])
        self._missing[file] = 0


def _expected(work: WorkItem) -> int:
    """Return how many documents a file probably has."""
    form, location = format_of(work.stat.file), work.stat.location
    counts = form is not None and form.many_documents and isinstance(location, LocalFile)
    if work.stored or location is None or not counts:
        return max(1, len(work.stored))
    try:
        with location.open() as content:
            head = content.open().read(SAMPLED_BYTES)
    except (OSError, DocumentError):
        return 1
    lines = sum(1 for line in head.split(b"\n") if line and not line.isspace())
    return max(1, round(lines * max(1.0, work.stat.size / max(1, len(head)))))
