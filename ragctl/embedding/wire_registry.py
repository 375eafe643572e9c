"""The wires of backends by name, as the catalogue takes them."""

from ragctl.catalog import KnownWires
from ragctl.embedding import wires
from ragctl.embedding.backend_wire import BackendWire
from ragctl.hosts.wire_package import WirePackage

_PACKAGE = WirePackage(wires, BackendWire)  # type: ignore[type-abstract]


def wire_class(name: str) -> type[BackendWire]:
    """Return the class of the wire called `name`, which must be in `WIRES.names`."""
    return _PACKAGE.load(name)


WIRES = KnownWires(_PACKAGE.names, lambda name: wire_class(name).traits)
