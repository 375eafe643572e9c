"""The documents of a run against how many there are, as far as that is known."""

from collections.abc import Collection

from ragctl.index.plan import WorkItem
from ragctl.progress import Progress


class DocumentProgress:
    """Keeps the total of a progress true while files turn out to have more or fewer documents.

    Begins the part "read". A file is expected to have the documents that are stored of it, and a
    new one to have one.
    """

    def __init__(self, progress: Progress, work_items: Collection[WorkItem]) -> None:
        self._progress = progress
        self._missing = {work.stat.file: max(1, len(work.stored)) for work in work_items}
        if work_items:
            progress.begin("read", "document", sum(self._missing.values()))

    def found(self, file: str) -> None:
        """Note that a document of a file was read, or failed."""
        self._missing[file] -= 1
        if self._missing[file] < 0:
            self._missing[file] = 0
            self._progress.grow(1)

    def read(self, file: str) -> None:
        """Note that a file was read to its end."""
        self._progress.grow(-self._missing[file])
        self._missing[file] = 0
