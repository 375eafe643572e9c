"""Loaders, which turn files into documents: one per format."""

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

__all__ = [
    "FORMATS",
    "Format",
    "LoadOptions",
    "format_of",
    "load",
    "load_job",
    "recipe",
    "supported_formats",
]
