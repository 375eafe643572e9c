"""Loaders, which turn files into documents: one per format."""

from ragctl.loaders.content import FileContent, Location
from ragctl.loaders.options import LoadOptions
from ragctl.loaders.registry import (
    FORMATS,
    Format,
    format_of,
    load,
    load_content,
    load_job,
    recipe,
    supported_formats,
    with_failures,
)

__all__ = [
    "FORMATS",
    "FileContent",
    "Format",
    "LoadOptions",
    "Location",
    "format_of",
    "load",
    "load_content",
    "load_job",
    "recipe",
    "supported_formats",
    "with_failures",
]
