"""Where documents come from: the folder walk and its ignore rules."""

from ragctl.sources.ignore import matcher
from ragctl.sources.walk import FoundFile, UnreadablePath, Walk, walk

__all__ = ["FoundFile", "UnreadablePath", "Walk", "matcher", "walk"]
