"""Every wire by name: one module each in the package `ragctl.embedding.wires`.

A wire's name is its module's name with hyphens for underscores. Modules are listed
without importing them, and imported when a wire is first used.
"""

import pkgutil
from importlib import import_module

from ragctl.catalog import KnownWires, WireTraits
from ragctl.embedding import wires
from ragctl.embedding.backend_wire import BackendWire


def wire_class(name: str) -> type[BackendWire]:
    """Return the class of the wire called `name`, which must be in `WIRES.names`.

    Raises TypeError if its module does not define exactly one BackendWire.
    """
    module = import_module(f"{wires.__name__}.{name.replace('-', '_')}")
    classes = [
        value
        for value in vars(module).values()
        if isinstance(value, type)
        and issubclass(value, BackendWire)
        and value.__module__ == module.__name__
    ]
    if len(classes) != 1:
        raise TypeError(f"{module.__name__} must define one BackendWire, not {len(classes)}")
    return classes[0]


def _traits(name: str) -> WireTraits:
    return wire_class(name).traits


WIRES = KnownWires(
    tuple(sorted(module.name.replace("_", "-") for module in pkgutil.iter_modules(wires.__path__))),
    _traits,
)
"""The wires, as the catalogue takes them."""
