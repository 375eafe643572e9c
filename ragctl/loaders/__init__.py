"""The folder walk, and loaders, which turn files into documents: one per format."""

from ragctl.loaders.ignore import matcher
from ragctl.loaders.options import LoadOptions
from ragctl.loaders.registry import (
    FORMATS,
    Format,
    format_of,
    load,
    load_job,
    recipe,
    supported_formats,
)
from ragctl.loaders.walk import FoundFile, UnreadablePath, Walk, walk

__all__ = [
    "FORMATS",
    "Format",
    "FoundFile",
    "LoadOptions",
    "UnreadablePath",
    "Walk",
    "format_of",
    "load",
    "load_job",
    "matcher",
    "recipe",
    "supported_formats",
    "walk",
]
