"""The wires in a package: one module each, found by its name."""

import pkgutil
from importlib import import_module
from types import ModuleType
from typing import Generic, TypeVar

W = TypeVar("W")


class WirePackage(Generic[W]):
    """The wires in `package`, each a module that defines one subclass of `base`.

    A wire's name is its module's name with hyphens for underscores. Modules are listed
    without importing them, and imported when a wire is first used.
    """

    def __init__(self, package: ModuleType, base: type[W]) -> None:
        self._package = package
        self._base = base
        self.names = tuple(
            sorted(
                module.name.replace("_", "-") for module in pkgutil.iter_modules(package.__path__)
            )
        )

    def load(self, name: str) -> type[W]:
        """Return the class of the wire `name`, which must be in `names`.

        Raises TypeError if its module does not define exactly one subclass of `base`.
        """
        module = import_module(f"{self._package.__name__}.{name.replace('-', '_')}")
        classes = [
            value
            for value in vars(module).values()
            if isinstance(value, type)
            and issubclass(value, self._base)
            and value.__module__ == module.__name__
        ]
        if len(classes) != 1:
            raise TypeError(
                f"{module.__name__} must define one {self._base.__name__}, not {len(classes)}"
            )
        return classes[0]
