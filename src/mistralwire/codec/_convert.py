"""The public functions between JSON and messages.

What `engine.function` decorates converts with the Python engine. The native engine converts first where it is
loaded, and calls these functions for what it leaves.
"""

import decimal
from collections.abc import Iterable
from typing import Any, Literal, TypeVar

from google.protobuf.message import DecodeError as WireError
from google.protobuf.message import Message

from mistralwire.codec._from_python import to_parsed
from mistralwire.codec._limits import DEFAULT_LIMITS, Limits
from mistralwire.codec._native import engine
from mistralwire.codec._parse import Number, parse, parse_any, to_indented_text, to_text, too_deep
from mistralwire.codec._plan import MessagePlan, plan_for
from mistralwire.codec._read import read_document
from mistralwire.codec._write import write_document
from mistralwire.errors import DecodeError, EncodeError, Violation
from mistralwire.v1 import CONTRACT_REVISION, Reason, chat_completion_service_pb2

M = TypeVar("M", bound=Message)
Names = Literal["snake", "camel"]

_METHODS = chat_completion_service_pb2.DESCRIPTOR.services_by_name["ChatCompletionService"].methods
_REQUESTS = frozenset(method.input_type.full_name for method in _METHODS)
_CONTAINERS = frozenset((dict, list))
_native_from_json = engine.from_json
_native_binary_to_json = engine.binary_to_json


@engine.function
def from_json(
    message_type: type[M], data: bytes | str, *, validate: bool = True, limits: Limits = DEFAULT_LIMITS
) -> M:
    """Read a JSON document into a message.

    Member names may be snake_case or lowerCamelCase. What no field can hold (members that are not
    documented, strings outside an enum, explicit nulls, empty arrays) is kept in the message's
    `json_extra`, and `to_json` gives it back.

    Args:
        message_type: A message class of `mistralwire.v1` that is a JSON object.
        data: The JSON text; bytes are UTF-8. A byte order mark in front of it is dropped.
        validate: Whether to enforce the contract: JSON types, required members, ranges. Otherwise every
            JSON object is accepted, and a value that its field can't hold is kept like an unknown member;
            NaN, Infinity and -Infinity, which some servers write, are null and the infinite doubles, unless
            it is a request.
        limits: Bounds on size, nesting, members and reported violations.

    Returns:
        The message.

    Raises:
        DecodeError: If the text is no JSON object, is beyond a limit, or breaks the contract; with all
            violations, each with its JSON path.
        TypeError: If `message_type` is no such class, or `data` neither bytes nor str.
    """
    wire = _read(message_type, data, validate, limits, CONTRACT_REVISION)
    return message_type.FromString(wire)


def read_message(
    message_type: type[M], data: bytes | str, revision: int, *, validate: bool, limits: Limits
) -> M:
    """Read a JSON document into a message by the contract of a revision; otherwise as `from_json`."""
    message: M | None = _native_from_json(message_type, data, validate, limits, revision)
    if message is None:
        wire = _read(message_type, data, validate, limits, revision)
        message = message_type.FromString(wire)
    return message


def read_event(
    message_type: type[Message], data: bytes, revision: int, *, validate: bool, limits: Limits
) -> bytes:
    """Convert an event's data to wire bytes, with the Python engine; NaN and the infinities are read."""
    return _read(message_type, data, validate, limits, revision, constants=True)


def is_request(plan: MessagePlan) -> bool:
    """Return whether a message is a request: NaN in it is a mistake that its sender should hear of."""
    return plan.message_class.DESCRIPTOR.full_name in _REQUESTS


def _read(
    message_type: type[Message],
    data: bytes | str,
    validate: bool,
    limits: Limits,
    revision: int,
    *,
    constants: bool = False,
) -> bytes:
    """Read a document with the Python engine."""
    plan = plan_for(message_type, revision)
    constants = (constants or not validate) and not is_request(plan)
    try:
        value = parse(data, limits, plan.name, constants=constants)
        return read_document(plan, value, validate=validate, limits=limits)
    except RecursionError:
        raise too_deep(plan.name) from None


def from_dict(
    message_type: type[M], value: dict[str, Any], *, validate: bool = True, limits: Limits = DEFAULT_LIMITS
) -> M:
    """Read a JSON document that was parsed already into a message.

    Args:
        message_type: A message class of `mistralwire.v1` that is a JSON object.
        value: Dicts with string keys, lists, strings, bools, None, integers of any size, finite floats and
            Decimals; not changed.
        validate: As for `from_json`.
        limits: As for `from_json`; the bound on bytes does not apply.

    Returns:
        The message.

    Raises:
        DecodeError: As for `from_json`, and for values that JSON does not have.
        TypeError: If `message_type` is no such class.
    """
    plan = plan_for(message_type)
    wire = read_document(plan, to_parsed(value, limits, plan.name), validate=validate, limits=limits)
    return message_type.FromString(wire)


@engine.function
def to_json(message: Message, *, names: Names = "snake", indent: int | None = None) -> bytes:
    """Write a message as JSON text.

    Members come in contract order, those that are not documented last. Names inside free-form JSON stay
    as they are. An infinite double is written as the largest finite one, with its sign.

    Args:
        message: A message of `mistralwire.v1` that is a JSON object.
        names: `snake` for the API's member names, `camel` for those of the SDKs.
        indent: Spaces a level, 1 or more, for a text with a line a member; None for a compact one.

    Returns:
        The JSON text in UTF-8.

    Raises:
        EncodeError: If the message has no JSON form: NaN, text that is no JSON where JSON is due.
        TypeError: If it is no such message.
        ValueError: If `names` or `indent` is none of these.
    """
    plan = plan_for(type(message))
    return _to_json(plan, message.SerializeToString(), names, indent)


def to_dict(message: Message, *, names: Names = "snake") -> dict[str, Any]:
    """Write a message as Python values.

    Args:
        message: A message of `mistralwire.v1` that is a JSON object.
        names: As for `to_json`.

    Returns:
        Dicts, lists, strings, bools, None, ints, floats; and Decimals for numbers that a float would change.

    Raises:
        EncodeError: As for `to_json`, and for a number whose exponent is beyond Decimal's.
        TypeError: If it is no such message.
        ValueError: If `names` is neither.
    """
    plan = plan_for(type(message))
    value = to_document(plan, message.SerializeToString(), names)
    try:
        _replace_numbers(value)
    except RecursionError:
        raise _too_deep() from None
    return value


def to_document(plan: MessagePlan, wire: bytes, names: Names = "snake") -> dict[str, Any]:
    """Return the parsed JSON of a message, for who changes it.

    Args:
        plan: Plan of the message, a JSON object.
        wire: The message, as protobuf itself serializes it.
        names: As for `to_json`.

    Raises:
        EncodeError: As for `to_json`.
        ValueError: As for `to_json`.
    """
    text = _native_binary_to_json(plan.message_class, wire, names, None)
    if text is None:
        return _write(plan, wire, names)
    document: dict[str, Any] = parse_any(text)
    return document


@engine.function
def json_to_binary(
    message_type: type[Message],
    data: bytes | str,
    *,
    validate: bool = True,
    limits: Limits = DEFAULT_LIMITS,
    contract_revision: int = 1,
) -> bytes:
    """Convert a JSON document to protobuf wire bytes; as `from_json`, for those who only pass data on.

    Args:
        message_type: A message class of `mistralwire.v1` that is a JSON object.
        data: The JSON text; see `from_json`.
        validate: Whether to enforce the contract, that of the revision below.
        limits: Bounds of the document; see `from_json`.
        contract_revision: Revision of the oldest contract that the bytes' readers have, 1 or more. What is
            newer goes where undocumented content goes, so that such a reader keeps it.

    Raises:
        DecodeError: As for `from_json`.
        TypeError: As for `from_json`.
        ValueError: If `contract_revision` is not a whole number of 1 or more.
    """
    return _read(message_type, data, validate, limits, contract_revision)


@engine.function
def binary_to_json(
    message_type: type[Message], data: bytes, *, names: Names = "snake", indent: int | None = None
) -> bytes:
    """Convert protobuf wire bytes to JSON text; as `to_json`, for those who only pass data on.

    Raises:
        DecodeError: If the bytes are no message of this type.
        EncodeError: As for `to_json`.
        TypeError: As for `to_json`.
        ValueError: As for `to_json`.
    """
    wire = message_of(message_type, data).SerializeToString()
    # The fields may have been in another order than protobuf's.
    text = _native_binary_to_json(message_type, wire, names, indent)
    return _to_json(plan_for(message_type), wire, names, indent) if text is None else text


def message_of(message_type: type[M], data: bytes) -> M:
    """Read wire bytes to a message.

    Raises:
        DecodeError: If the bytes are no message of this type.
        TypeError: If it is no type of a message that is a JSON object.
    """
    plan = plan_for(message_type)
    try:
        return message_type.FromString(data)
    except (WireError, UnicodeDecodeError):  # the latter from protobuf in pure Python
        violation = Violation("", f"the wire bytes of a {plan.name}", f"{len(data)} bytes that are none")
        raise DecodeError([violation], type_name=plan.name, reason=Reason.NOT_PROTOBUF) from None


def _to_json(plan: MessagePlan, wire: bytes, names: Names, indent: int | None) -> bytes:
    value = _write(plan, wire, names)
    if indent is not None and (not isinstance(indent, int) or indent < 1):
        raise ValueError(f"indent must be an integer of 1 or more, or None, not {indent!r}")
    return _text(value, indent)


def _write(plan: MessagePlan, wire: bytes, names: Names) -> dict[str, Any]:
    if names not in ("snake", "camel"):
        raise ValueError(f'names must be "snake" or "camel", not {names!r}')
    return write_document(plan, wire, camel=names == "camel")


def _text(value: Any, indent: int | None) -> bytes:
    try:
        return to_text(value) if indent is None else to_indented_text(value, indent)
    except RecursionError:
        raise _too_deep() from None


def _too_deep() -> EncodeError:
    return EncodeError("nesting that the stack has no room for; write it from a shallower call")


def _replace_numbers(value: Any) -> None:
    """Replace each `Number` in a parsed value by what Python has for it."""
    items: Iterable[tuple[Any, Any]] = value.items() if type(value) is dict else enumerate(value)
    for key, item in items:
        if type(item) in _CONTAINERS:
            _replace_numbers(item)
        elif type(item) is Number:
            value[key] = _to_python(item)


def _to_python(number: Number) -> int | decimal.Decimal:
    text = number.text
    if len(text) < 4_300 and text.lstrip("-").isdigit():
        return int(text)
    try:
        return decimal.Decimal(text)
    except decimal.InvalidOperation:
        raise EncodeError(f"the number {text[:40]} is beyond Python's Decimal; use to_json") from None
