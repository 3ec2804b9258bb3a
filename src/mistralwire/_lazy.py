"""Packages whose modules are imported when one of their names is first used.

A command shows its help without the modules that it would run, and a program pays for what it uses.
"""

import importlib
import sys
from collections.abc import Callable
from typing import Any


def lazy_names(package: str, *modules: str) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """Return the functions `__getattr__` and `__dir__` of a package.

    Args:
        package: Name of the package, whose `__all__` lists the names.
        modules: Its modules that have them, in the order in which they are searched.
    """
    namespace = vars(sys.modules[package])

    def get(name: str) -> Any:
        if name in modules:
            return importlib.import_module(f"{package}.{name}")
        if name in namespace["__all__"]:
            for module in modules:
                found = importlib.import_module(f"{package}.{module}")
                if hasattr(found, name):
                    return namespace.setdefault(name, getattr(found, name))
        raise AttributeError(f"module {package!r} has no attribute {name!r}")

    return get, lambda: sorted({*namespace, *namespace["__all__"]})
