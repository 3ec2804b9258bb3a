"""The native engine: loaded where the distribution `mistralwire-native` is installed.

It converts what is as it should be, and leaves the rest to the Python engine in `_read` and `_write`, which
says what is right and builds every error. The environment variable MISTRALWIRE_ENGINE chooses: `python` turns
the native engine off, `native` insists on it.
"""

import importlib
import logging
import os
from typing import Any, Protocol

import mistralwire.v1
from mistralwire.codec._limits import DEFAULT_LIMITS
from mistralwire.codec._pack import INTERFACE, pack
from mistralwire.codec._plan import MessagePlan, plan_for
from mistralwire.v1 import CONTRACT_REVISION

VARIABLE = "MISTRALWIRE_ENGINE"
_MODULE = "mistralwire_native"
_HOW_TO_GET = "build it with `make native`, or `pip install ./native`"
_logger = logging.getLogger("mistralwire.codec")


class Engine(Protocol):
    """The engine's functions; each returns None for what the Python engine is to convert."""

    def json_to_binary(
        self, message_type: Any, data: Any, validate: bool, limits: Any, revision: int, /
    ) -> bytes | None:
        """Convert JSON text to wire bytes."""

    def from_json(
        self, message_type: Any, data: Any, validate: bool, limits: Any, revision: int, /
    ) -> Any | None:
        """Convert JSON text to a message."""

    def binary_to_json(self, message_type: Any, wire: Any, names: Any, indent: Any, /) -> bytes | None:
        """Convert wire bytes to JSON text."""

    def to_json(self, message: Any, names: Any, indent: Any, /) -> bytes | None:
        """Convert a message to JSON text."""

    def handovers(self) -> dict[str, int]:
        """Return how often a document was left to the Python engine, by reason."""


class _NoEngine:
    """Stands for the native engine where there is none."""

    def json_to_binary(self, *_arguments: Any) -> bytes | None:
        return None

    def from_json(self, *_arguments: Any) -> Any | None:
        return None

    def binary_to_json(self, *_arguments: Any) -> bytes | None:
        return None

    def to_json(self, *_arguments: Any) -> bytes | None:
        return None

    def handovers(self) -> dict[str, int]:
        return {}


def load_engine() -> Engine | None:
    """Load the native engine, with the plans of the whole contract.

    Returns:
        The engine, or None where it is not installed or does not fit this package.

    Raises:
        ImportError: If MISTRALWIRE_ENGINE is `native`, and the engine can't be used.
        ValueError: If MISTRALWIRE_ENGINE is something else than `native`, `python` or empty.
    """
    wanted = os.environ.get(VARIABLE, "")
    if wanted not in ("", "native", "python"):
        raise ValueError(f"{VARIABLE} must be native, python or empty, not {wanted!r}")
    if wanted == "python":
        return None
    try:
        return _load()
    except ImportError as error:
        if wanted == "native":
            raise
        if not isinstance(error, ModuleNotFoundError):
            _logger.warning("the native engine can't be used: %s", error)
        return None


def _load() -> Engine:
    try:
        module = importlib.import_module(_MODULE)
    except ModuleNotFoundError as error:
        if error.name != _MODULE:
            raise
        raise ModuleNotFoundError(f"no native engine is installed: {_HOW_TO_GET}", name=_MODULE) from None
    if module.INTERFACE != INTERFACE:
        raise ImportError(
            f"{_MODULE} {module.__version__} has the interface {module.INTERFACE}, "
            f"this package needs {INTERFACE}: {_HOW_TO_GET}"
        )
    return make_engine(module)


def make_engine(module: Any) -> Engine:
    """Make an engine with the plans of every message that is a document, in every revision.

    Raises:
        ImportError: If the contract is beyond the engine's bounds.
    """
    plans = [
        (message_type, revision, plan)
        for message_type in map(vars(mistralwire.v1).get, mistralwire.v1.__all__)
        for revision in range(1, CONTRACT_REVISION + 1)
        if (plan := _plan_of(message_type, revision)) is not None
    ]
    packed, index = pack(plan for _, _, plan in plans)
    roots = [(message_type, revision, index[plan]) for message_type, revision, plan in plans]
    try:
        engine: Engine = module.Engine(packed, roots, DEFAULT_LIMITS)
    except ValueError as error:
        raise ImportError(f"{_MODULE} {module.__version__} does not take the contract: {error}") from error
    return engine


def _plan_of(message_type: Any, revision: int) -> MessagePlan | None:
    try:
        return plan_for(message_type, revision)
    except TypeError:
        return None


_loaded = load_engine()

engine: Engine = _loaded or _NoEngine()
"""The native engine, or one that converts nothing."""

ENGINE = "python" if _loaded is None else "native"
"""Which engine converts: `native`, or `python` where the native one is not installed or is turned off."""
