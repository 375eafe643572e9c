"""Files into documents: the folder walk, and one loader per format."""

from ragctl.loaders.ignore import matcher
from ragctl.loaders.options import LoadOptions
from ragctl.loaders.registry import FORMATS, Format, format_of, load, load_job, recipe
from ragctl.loaders.walk import Found, UnreadablePath, Walk, walk

__all__ = [
    "FORMATS",
    "Format",
    "Found",
    "LoadOptions",
    "UnreadablePath",
    "Walk",
    "format_of",
    "load",
    "load_job",
    "matcher",
    "recipe",
    "walk",
]
