"""The wires of rerankers by name, and the catalogue's rows that use them."""

from collections.abc import Mapping

from ragctl import catalog
from ragctl.catalog import ConfigSource, KnownWires, RerankerRow
from ragctl.hosts.wire_package import WirePackage
from ragctl.rerank import wires
from ragctl.rerank.base import RerankWire

RERANK_WIRES = WirePackage(wires, RerankWire)  # type: ignore[type-abstract]


def rerankers(
    environ: Mapping[str, str],
    rows: Mapping[str, object] | None = None,
    source: ConfigSource | str = "",
) -> dict[str, RerankerRow]:
    """Return the package's rerankers, overridden by the user's file and by a pipeline's `rows`.

    `source` names the pipeline in errors. A row with a known name replaces the keys it has
    and keeps the others. Raises UsageError for a file that cannot be read or is wrong.
    """
    known = KnownWires(RERANK_WIRES.names, lambda name: RERANK_WIRES.load(name).traits)
    return catalog.rerankers(environ, known, rows, source)
