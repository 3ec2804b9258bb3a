"""The native engine: loaded where the distribution `mistralwire-native` is installed.

It converts what is as it should be, and leaves the rest to the Python engine in `_read` and `_write`, which
says what is right and builds every error. The environment variable MISTRALWIRE_ENGINE chooses: `python` turns
the native engine off, `native` insists on it.
"""

import importlib
import logging
import os
from collections.abc import Callable
from typing import Any, NamedTuple, Protocol, TypeAlias, TypeVar

import mistralwire.v1
from mistralwire.codec._limits import DEFAULT_LIMITS
from mistralwire.codec._pack import INTERFACE, pack
from mistralwire.codec._plan import MessagePlan, plan_for
from mistralwire.v1 import CONTRACT_REVISION

VARIABLE = "MISTRALWIRE_ENGINE"
_MODULE = "mistralwire_native"
_HOW_TO_GET = "build it with `make native`, or `pip install ./native`"
_logger = logging.getLogger("mistralwire.codec")


F = TypeVar("F", bound=Callable[..., Any])

NativeFrame: TypeAlias = tuple[int, str | None, str | None, bytes | None, int]
"""An event: its line, id, name and data, and the form of the data as in `_sse_frames`."""

NativeBatch: TypeAlias = tuple[
    bytes, int, bytes | None, tuple[tuple[int, str], ...], bool, NativeFrame | None, bytes | None
]
"""Chunks as elements of a batch message, their number, the last usage, finish reasons by choice, whether
`[DONE]` came, the event that stopped it if one did, and events in the place of the elements."""


class NativeState(NamedTuple):
    """What is known of a stream between two pieces: what `SseReader.state` returns, in its order."""

    partial: bytes
    after_carriage_return: bool
    line_count: int
    is_done: bool
    retry_ms: int | None
    skipping: bool
    event_bytes: int
    data: bytes | None
    data_line: int
    id: str | None
    event: str | None
    is_unframed: bool


class SseReader(Protocol):
    """Reads one stream of server-sent events.

    Attributes:
        taken: Bytes of the last piece that were taken: all of them, unless an event has stopped a batch.
        retry_ms: Value of the last valid `retry` line; None before the first.
        choices: Indexes of the choices in all messages, and of those that have a finish reason; of very many,
            some.
    """

    @property
    def taken(self) -> int: ...

    @property
    def retry_ms(self) -> int | None: ...

    @property
    def choices(self) -> tuple[list[int], list[int]]: ...

    def frames(self, data: bytes, /) -> list[NativeFrame]:
        """Take the next bytes; return each event that they end."""

    def batch(
        self, data: bytes, start: int, first_id: int | None = None, is_chunked: bool = False, /
    ) -> NativeBatch:
        """Take the next bytes from an offset on, up to the first event that is no message.

        With a first id, the batch has events in the place of the elements, unless something has stopped it,
        or a chunk has no JSON form; if chunked, as one chunk of HTTP's chunked coding.
        """

    def state(self) -> tuple[Any, ...]:
        """Return the state of the stream: the fields of NativeState."""


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

    def sse_reader(
        self, message_type: Any, error_type: Any, options: tuple[bool, Any, int, int], layout: Any, /
    ) -> SseReader | None:
        """Make a reader of a stream; see `make_framer`.

        The options are whether to validate, the limits of documents, the bytes of an event, and the revision.
        """

    def sse_events(
        self, message_type: Any, element: int, wire: Any, first_id: int | None, camel: bool, /
    ) -> bytes | None:
        """Convert a batch message, whose field `element` has the messages, to events."""

    def to_json(self, message: Any, names: Any, indent: Any, /) -> bytes | None:
        """Convert a message to JSON text."""

    def function(self, function: F, /) -> F:
        """Return the native form of a public function, which has the name of one of the four above.

        It calls the function itself for what the Python engine is to convert, and for arguments that do not
        fit the signature.
        """

    def handovers(self) -> dict[str, int]:
        """Return how often a document was left to the Python engine, by reason."""


class NoEngine:
    """Stands for the native engine where there is none."""

    def json_to_binary(self, *_arguments: Any) -> bytes | None:
        return None

    def from_json(self, *_arguments: Any) -> Any | None:
        return None

    def binary_to_json(self, *_arguments: Any) -> bytes | None:
        return None

    def to_json(self, *_arguments: Any) -> bytes | None:
        return None

    def sse_reader(self, *_arguments: Any) -> SseReader | None:
        return None

    def sse_events(self, *_arguments: Any) -> bytes | None:
        return None

    def function(self, function: F) -> F:
        return function

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
    # A folder that a removed installation has left behind is a module too: an empty one.
    interface, version = getattr(module, "INTERFACE", None), getattr(module, "__version__", "")
    if interface != INTERFACE:
        raise ImportError(
            f"{_MODULE} {version} has the interface {interface}, "
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

engine: Engine = _loaded or NoEngine()
"""The native engine, or one that converts nothing."""

ENGINE = "python" if _loaded is None else "native"
"""Which engine converts: `native`, or `python` where the native one is not installed or is turned off."""
