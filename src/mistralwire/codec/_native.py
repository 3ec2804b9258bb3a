"""The native engine: loaded where the distribution `mistralwire-native` is installed.

It is the fast path; anything wrong or unusual falls back to the Python engine, which builds every error.
`_engine` chooses between the two.

The native engine takes the plans as bytes, which native/core/src/pack.rs reads: little-endian integers of 32
bits, and texts as their length and UTF-8 bytes. A list is its length and its elements, an optional value a
list of none or one, an optional index the index plus 1, or 0.
"""

import logging
from collections.abc import Callable, Iterable
from typing import Any, Protocol, TypeAlias, TypeVar

import mistralwire.v1
from mistralwire._engine import INTERFACE, import_engine, wanted_engine
from mistralwire.codec._limits import DEFAULT_LIMITS
from mistralwire.codec._plan import UNLISTED, FieldPlan, Fill, Form, Kind, MemberPlan, MessagePlan, plan_for
from mistralwire.v1 import CONTRACT_REVISION

_KINDS, _FORMS, _FILLS = (list(names) for names in (Kind, Form, Fill))
_logger = logging.getLogger("mistralwire.codec")

F = TypeVar("F", bound=Callable[..., Any])

NativeFrame: TypeAlias = tuple[int, str | None, str | None, bytes | None, int]
"""An event: its line, id, name and data, and the form of the data, a number of `_sse._framer`."""

NativeBatch: TypeAlias = tuple[
    bytes, int, bytes | None, tuple[tuple[int, str], ...], bool, NativeFrame | None, bytes | None
]
"""Chunks as elements of a batch message, their number, the last usage, finish reasons by choice, whether
`[DONE]` was received, the event that interrupted the batch if one did, and the chunks as events."""


class SseReader(Protocol):
    """Decodes one stream of server-sent events.

    Attributes:
        taken: Bytes of the last piece that were consumed: all of them, unless an event interrupted a batch.
        retry_ms: Value of the last valid `retry` line; None before the first.
        choices: Indexes of the choices in all messages, and of those with a finish reason, up to a bound.
    """

    taken: int
    retry_ms: int | None
    choices: tuple[list[int], list[int]]

    def frames(self, data: bytes, /) -> list[NativeFrame]:
        """Consume the next bytes; return the events that they complete."""

    def batch(
        self, data: bytes, start: int, first_id: int | None = None, is_chunked: bool = False, /
    ) -> NativeBatch:
        """Consume the next bytes from an offset on, up to the first event that is not a message.

        With a first id, the batch has events in place of the elements, unless it was interrupted or a chunk
        has no JSON form; if `is_chunked`, framed as one chunk of HTTP's chunked coding.
        """

    def state(self) -> tuple[Any, ...]:
        """Return the state of the stream between two pieces, in the order in which `Framer` restores it."""


class Engine(Protocol):
    """The functions of an engine; each returns None for what falls back to the Python engine."""

    def json_to_binary(
        self, message_type: Any, data: Any, validate: bool, limits: Any, revision: int, /
    ) -> bytes | None: ...

    def from_json(
        self, message_type: Any, data: Any, validate: bool, limits: Any, revision: int, /
    ) -> Any | None: ...

    def binary_to_json(self, message_type: Any, wire: Any, names: Any, indent: Any, /) -> bytes | None: ...

    def sse_reader(
        self, message_type: Any, error_type: Any, options: tuple[bool, Any, int, int], layout: Any, /
    ) -> SseReader | None:
        """Return a reader for a stream; see `make_framer`.

        The options are whether to validate, the limits of documents, the bytes of an event, and the revision.
        """

    def sse_events(
        self, message_type: Any, element: int, wire: Any, first_id: Any, camel: bool, /
    ) -> bytes | None:
        """Convert a batch message, whose field `element` holds the messages, to events.

        The first id is a prefix and a number, from which the others are counted; None for no ids.
        """

    def to_json(self, message: Any, names: Any, indent: Any, /) -> bytes | None: ...

    def function(self, function: F, /) -> F:
        """Return the native form of a public function: from_json, to_json, json_to_binary or binary_to_json.

        It calls the function itself for what falls back to the Python engine, and for arguments that do not
        fit the signature.
        """

    def handovers(self) -> dict[str, int]:
        """Return how often a document fell back to the Python engine, by reason."""


class NoEngine:
    """Converts nothing: everything falls back to the Python engine."""

    def _nothing(self, *_arguments: Any) -> Any:
        return None

    json_to_binary = from_json = binary_to_json = to_json = sse_reader = sse_events = _nothing

    def function(self, function: F) -> F:
        return function

    def handovers(self) -> dict[str, int]:
        return {}


def load_engine() -> Engine | None:
    """Load the native engine with the plans of the whole contract.

    Returns:
        The engine, or None where it is not installed, not wanted, or does not fit this package.

    Raises:
        ImportError: If MISTRALWIRE_ENGINE is `native`, and the engine can't be used.
        ValueError: If MISTRALWIRE_ENGINE is none of `native`, `python` and empty.
    """
    wanted = wanted_engine()
    if wanted == "python":
        return None
    try:
        return make_engine(import_engine())
    except ImportError as error:
        if wanted == "native":
            raise
        if not isinstance(error, ModuleNotFoundError):
            _logger.warning("the native engine can't be used: %s", error)
        return None


def make_engine(module: Any) -> Engine:
    """Return an engine with the plans of every message that is a document, in every revision.

    An ImportError says that the contract exceeds the engine's bounds.
    """
    plans = [
        (message_type, revision, plan)
        for message_type in (getattr(mistralwire.v1, name) for name in mistralwire.v1.__all__)
        for revision in range(1, CONTRACT_REVISION + 1)
        if (plan := _plan_of(message_type, revision)) is not None
    ]
    packed, index = pack(plan for _, _, plan in plans)
    roots = [(message_type, revision, index[plan]) for message_type, revision, plan in plans]
    try:
        engine: Engine = module.Engine(packed, roots, DEFAULT_LIMITS)
    except ValueError as error:
        raise ImportError(
            f"{module.__name__} {module.__version__} does not take the contract: {error}"
        ) from error
    return engine


def _plan_of(message_type: Any, revision: int) -> MessagePlan | None:
    try:
        return plan_for(message_type, revision)
    except TypeError:
        return None


def pack(roots: Iterable[MessagePlan]) -> tuple[bytes, dict[MessagePlan, int]]:
    """Pack the plans of documents, with those of all messages in them; return also the index of each plan."""
    index: dict[MessagePlan, int] = {}
    rest = list(roots)
    while rest:
        plan = rest.pop()
        if plan not in index:
            index[plan] = len(index)
            rest += [field.message for field in plan.fields if field.message is not None]
    packer = _Packer(index)
    packer.add_integer(INTERFACE)
    packer.add_integer(UNLISTED)
    packer.add_list(index, packer.add_message)
    return bytes(packer.data), index


class _Packer:
    """Packs plans one after another."""

    def __init__(self, index: dict[MessagePlan, int]) -> None:
        self._index = index
        self.data = bytearray()

    def add_integer(self, value: int) -> None:
        self.data += value.to_bytes(4, "little")

    def add_list(self, values: Iterable[Any], add: Callable[[Any], None]) -> None:
        values = list(values)
        self.add_integer(len(values))
        for value in values:
            add(value)

    def _add_text(self, text: str) -> None:
        encoded = text.encode()
        self.add_integer(len(encoded))
        self.data += encoded

    def add_message(self, plan: MessagePlan) -> None:
        self.add_integer(_FORMS.index(plan.form))
        self.add_list(plan.members, self._add_member)
        self.add_list([] if plan.item is None else [plan.item], self._add_field)
        self.add_list(plan.alternatives, self._add_field)
        self._add_text(plan.discriminator or "")
        self.add_integer(len(plan.tags))
        for tag, field in plan.tags.items():
            self._add_text(tag)
            self.add_integer(plan.alternatives.index(field))
        for alternative in (plan.untagged, plan.unknown):
            self.add_integer(0 if alternative is None else plan.alternatives.index(alternative) + 1)

    def _add_member(self, member: MemberPlan) -> None:
        self._add_text(member.name)
        self._add_text(member.camel)
        self.add_integer(member.number)
        self.add_integer(member.required | member.nullable << 1)
        self.add_integer(0 if member.fill is None else _FILLS.index(member.fill) + 1)
        self.add_list(member.fields, self._add_field)

    def _add_field(self, field: FieldPlan) -> None:
        self.add_integer(field.number)
        self.add_integer(_KINDS.index(field.kind))
        self.add_integer(field.repeated)
        self.add_integer(0 if field.message is None else self._index[field.message])
        self.add_integer(field.bits)
        self.add_list([] if field.constant is None else [field.constant], self._add_text)
        self.add_integer(len(field.enum_numbers))
        for string, number in field.enum_numbers.items():
            self._add_text(string)
            self.add_integer(number)


_loaded = load_engine()

engine: Engine = _loaded or NoEngine()
"""The native engine, or one that converts nothing."""

ENGINE = "python" if _loaded is None else "native"
"""The engine in use: `native`, or `python` where the native one is not installed or is turned off."""
