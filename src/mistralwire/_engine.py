"""The choice of the codec's engine: the native one where the distribution `mistralwire-native` is installed.

The environment variable MISTRALWIRE_ENGINE selects the engine: `python` turns the native one off, `native`
requires it.
"""

import importlib
import os
from typing import Any

INTERFACE = 9
"""Version of the packed plans, and of the functions of the native engine."""

_VARIABLE = "MISTRALWIRE_ENGINE"
_MODULE = "mistralwire_native"
_REMEDY = "build it with `make native`, or `pip install ./native`"


def wanted_engine() -> str:
    """Return the engine that the environment asks for; empty if it leaves the choice.

    Raises:
        ValueError: If MISTRALWIRE_ENGINE is none of `native`, `python` and empty.
    """
    wanted = os.environ.get(_VARIABLE, "")
    if wanted not in ("", "native", "python"):
        raise ValueError(f"{_VARIABLE} must be native, python or empty, not {wanted!r}")
    return wanted


def import_engine() -> Any:
    """Import the module of the native engine.

    Raises:
        ModuleNotFoundError: If it is not installed.
        ImportError: If it does not fit this package.
    """
    try:
        module = importlib.import_module(_MODULE)
    except ModuleNotFoundError as error:
        if error.name != _MODULE:
            raise
        raise ModuleNotFoundError(f"no native engine is installed: {_REMEDY}", name=_MODULE) from None
    # A folder that a removed installation left is an empty module.
    interface, version = getattr(module, "INTERFACE", None), getattr(module, "__version__", "")
    if interface != INTERFACE:
        raise ImportError(
            f"{_MODULE} {version} has the interface {interface}, this package needs {INTERFACE}: {_REMEDY}"
        )
    return module


def check_engine() -> str:
    """Return the engine that the codec uses, `native` or `python`, without importing the codec.

    Raises:
        ImportError: If MISTRALWIRE_ENGINE is `native`, and the engine can't be used.
        ValueError: If MISTRALWIRE_ENGINE is none of `native`, `python` and empty.
    """
    wanted = wanted_engine()
    if wanted == "python":
        return wanted
    try:
        import_engine()
    except ImportError:
        if wanted == "native":
            raise
        return "python"
    return "native"
