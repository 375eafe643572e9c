"""The catalogue together with the wires of this package: the one place where the two meet."""

from collections.abc import Mapping

from ragctl import catalog
from ragctl.catalog import Catalog, Layer
from ragctl.embedding.wire_registry import WIRES


def package_catalog() -> Catalog:
    """Return the package's own catalogue."""
    return catalog.package_catalog(WIRES)


def user_catalog(environ: Mapping[str, str], rows: Layer | None = None) -> Catalog:
    """Return the package's catalogue, overridden by the user's files and by a pipeline's `rows`.

    Raises UsageError for a file in the configuration folder that cannot be read or is wrong.
    """
    return catalog.user_catalog(environ, WIRES, rows)
