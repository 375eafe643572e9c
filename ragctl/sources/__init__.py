"""Where documents come from: the folder walk, its ignore rules, and opening what was found."""

from ragctl.sources.base import Listing
from ragctl.sources.found import FoundFile, UnreadablePath
from ragctl.sources.ignore import matcher
from ragctl.sources.local_file import LocalFile
from ragctl.sources.skipped import SkippedFile, SkippedFiles
from ragctl.sources.walk import Walk, walk

__all__ = [
    "FoundFile",
    "Listing",
    "LocalFile",
    "SkippedFile",
    "SkippedFiles",
    "UnreadablePath",
    "Walk",
    "matcher",
    "walk",
]
