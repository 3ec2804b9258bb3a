"""The public functions between JSON text and messages or their wire bytes.

The bodies of the functions decorated with `engine.function` use the Python engine. Where the native engine is
loaded, it converts first, and calls them for what falls back.
"""

from typing import Any, Literal

from google.protobuf.message import Message

from mistralwire._protobuf import MessageT, parsed
from mistralwire.codec._limits import DEFAULT_LIMITS, Limits, stack_error
from mistralwire.codec._native import ENGINE, engine
from mistralwire.codec._plan import EXTRA_FIELD, MessagePlan, plan_for
from mistralwire.codec._python import (
    binary_to_document,
    document_to_binary,
    nesting_error,
    parse,
    parse_any,
    parse_embedded,
    to_indented_text,
    to_text,
)
from mistralwire.errors import DecodeError, Violation
from mistralwire.v1 import CONTRACT_REVISION, Reason, chat_completion_service_pb2

Names = Literal["snake", "camel"]

_METHODS = chat_completion_service_pb2.DESCRIPTOR.services_by_name["ChatCompletionService"].methods
_REQUEST_NAMES = frozenset(method.input_type.full_name for method in _METHODS)
_native_from_json = engine.from_json
_native_binary_to_json = engine.binary_to_json


@engine.function
def from_json(
    message_type: type[MessageT],
    data: bytes | str,
    *,
    validate: bool = True,
    limits: Limits = DEFAULT_LIMITS,
) -> MessageT:
    """Convert a JSON document to a message.

    Member names may be snake_case or lowerCamelCase. What no field can hold (undocumented members, strings
    outside an enum, explicit nulls, empty arrays) is kept in the message's `json_extra`, and `to_json` writes
    it back.

    Args:
        message_type: A message class of `mistralwire.v1` that is a JSON object.
        data: The JSON text; bytes are UTF-8. A leading byte order mark is dropped.
        validate: Whether to enforce the contract: JSON types, required members, ranges. Otherwise every
            JSON object is accepted, and a value that its field can't hold is kept like an undocumented
            member. NaN, Infinity and -Infinity, which some servers write, are then null and the infinite
            doubles, except in requests.
        limits: Bounds on size, nesting, members and reported violations.

    Raises:
        DecodeError: If the text is not a JSON object, exceeds a limit, or breaks the contract; with all
            violations, each with its JSON path.
        TypeError: If `message_type` is not such a class, or `data` neither bytes nor str.
    """
    wire = json_to_binary_in_python(message_type, data, CONTRACT_REVISION, validate, limits)
    return message_type.FromString(wire)


def from_json_at(
    message_type: type[MessageT], data: bytes | str, revision: int, *, validate: bool, limits: Limits
) -> MessageT:
    """Convert as `from_json`, by the contract of a revision."""
    message: MessageT | None = _native_from_json(message_type, data, validate, limits, revision)
    if message is None:
        wire = json_to_binary_in_python(message_type, data, revision, validate, limits)
        message = message_type.FromString(wire)
    return message


def is_request(plan: MessagePlan) -> bool:
    """Check whether a message is a request: its sender should hear of a NaN in it, which is a mistake."""
    return plan.full_name in _REQUEST_NAMES


def json_to_binary_in_python(
    message_type: type[Message],
    data: bytes | str,
    revision: int,
    validate: bool,
    limits: Limits,
    *,
    constants: bool = False,
) -> bytes:
    """Convert as `json_to_binary`, with the Python engine.

    With `constants`, NaN and the infinities are accepted even with validation, except in requests.
    """
    plan = plan_for(message_type, revision)
    constants = (constants or not validate) and not is_request(plan)
    try:
        document = parse(data, limits, plan.name, constants=constants)
        return document_to_binary(plan, document, validate=validate, limits=limits)
    except RecursionError:
        raise stack_error(plan.name) from None


@engine.function
def to_json(message: Message, *, names: Names = "snake", indent: int | None = None) -> bytes:
    """Convert a message to JSON text in UTF-8.

    Members are in contract order, undocumented ones last. Names inside free-form JSON stay as they are. An
    infinite double becomes the largest finite one, with its sign.

    Args:
        message: A message of `mistralwire.v1` that is a JSON object.
        names: `snake` for the API's member names, `camel` for those of the SDKs.
        indent: Spaces per level, 1 or more, for one member or element per line; None for compact text.

    Raises:
        EncodeError: If the message has no JSON form: it has NaN, or text that is not JSON where JSON is
            expected.
        TypeError: If it is not such a message.
        ValueError: If `names` or `indent` is invalid.
    """
    plan = plan_for(type(message))
    return _binary_to_json_in_python(plan, message.SerializeToString(), names, indent)


@engine.function
def json_to_binary(
    message_type: type[Message],
    data: bytes | str,
    *,
    validate: bool = True,
    limits: Limits = DEFAULT_LIMITS,
    contract_revision: int = 1,
) -> bytes:
    """Convert a JSON document to protobuf wire bytes: `from_json` for programs that only forward data.

    Arguments and errors are those of `from_json`, by the contract of `contract_revision`, 1 or more: the
    revision of the oldest contract among the readers of the bytes. What is newer is stored like undocumented
    content, so that such a reader keeps it.
    """
    return json_to_binary_in_python(message_type, data, contract_revision, validate, limits)


@engine.function
def binary_to_json(
    message_type: type[Message], data: bytes, *, names: Names = "snake", indent: int | None = None
) -> bytes:
    """Convert protobuf wire bytes to JSON text: `to_json` for programs that only forward data.

    Arguments and other errors are those of `to_json`.

    Raises:
        DecodeError: If the bytes are not a message of this type.
    """
    plan = plan_for(message_type)
    wire = message_of(message_type, data).SerializeToString()
    # The fields may have been in another order than protobuf's.
    text = _native_binary_to_json(message_type, wire, names, indent)
    return _binary_to_json_in_python(plan, wire, names, indent) if text is None else text


def message_of(message_type: type[MessageT], data: bytes) -> MessageT:
    """Parse the wire bytes of a message; raise DecodeError if they are not one of this type."""
    message = parsed(message_type, data)
    if message is None:
        name = message_type.DESCRIPTOR.name
        violation = Violation("", f"the wire bytes of a {name}", f"{len(data)} bytes that are none")
        raise DecodeError([violation], type_name=name, reason=Reason.NOT_PROTOBUF)
    return message


def to_document(plan: MessagePlan, wire: bytes, names: Names = "snake") -> dict[str, Any]:
    """Convert the wire bytes of a message, as protobuf itself serializes it, to its parsed JSON.

    The caller may change the JSON. The errors are those of `to_json`.
    """
    text = _native_binary_to_json(plan.message_class, wire, names, None)
    if text is None:
        return binary_to_document(plan, wire, camel=is_camel(names))
    document: dict[str, Any] = parse_any(text)
    return document


def from_document(
    message_type: type[MessageT], document: dict[str, Any], revision: int = CONTRACT_REVISION
) -> MessageT:
    """Convert parsed JSON to a message without validation, by the contract of a revision."""
    if ENGINE == "native":
        text = to_text(document)
        message: MessageT | None = _native_from_json(message_type, text, False, DEFAULT_LIMITS, revision)
        if message is not None:
            return message
    plan = plan_for(message_type, revision)
    return message_type.FromString(document_to_binary(plan, document, validate=False, limits=DEFAULT_LIMITS))


def is_camel(names: Names) -> bool:
    """Check whether names are lowerCamelCase; raise ValueError if they are neither."""
    if names not in ("snake", "camel"):
        raise ValueError(f'names must be "snake" or "camel", not {names!r}')
    return names == "camel"


def _binary_to_json_in_python(plan: MessagePlan, wire: bytes, names: Names, indent: int | None) -> bytes:
    document = binary_to_document(plan, wire, camel=is_camel(names))
    if indent is not None and (not isinstance(indent, int) or indent < 1):
        raise ValueError(f"indent must be an integer of 1 or more, or None, not {indent!r}")
    try:
        return to_text(document) if indent is None else to_indented_text(document, indent)
    except RecursionError:
        raise nesting_error() from None


def clear_member(message: Message, name: str) -> None:
    """Remove a JSON member from a message, in place: its field, and what `json_extra` holds of it.

    Clearing the field alone leaves what `json_extra` has under its name: the string of an UNLISTED enum
    value, the exact text of a number, the note that the member was null. A required member of an answer that
    is filled in when unset, such as `finish_reason` of a chunk, is then written with that default.

    The name may be in either spelling; it need neither be documented nor be present.

    Raises:
        EncodeError: If `json_extra.members` is not a JSON object.
        TypeError: If it is not a message of `mistralwire.v1` that is a JSON object.
    """
    member = plan_for(type(message)).by_name.get(name)
    extra = getattr(message, EXTRA_FIELD)
    spellings = {name} if member is None else {member.name, member.camel}
    members = parse_embedded(extra.members, (EXTRA_FIELD,), must_be_object=True) if extra.members else {}
    for field in () if member is None else member.fields:
        message.ClearField(field.name)
    if not spellings.isdisjoint(members):
        kept = {key: value for key, value in members.items() if key not in spellings}
        if kept:
            extra.members = to_text(kept).decode()
        else:
            extra.ClearField("members")
    for numbers in (extra.null_fields, extra.empty_fields, extra.absent_fields):
        if member is not None and member.number in numbers:
            # A number may occur more than once: concatenated wire bytes of messages are a message.
            numbers[:] = [number for number in numbers if number != member.number]
    if message.HasField(EXTRA_FIELD) and not extra.ByteSize():
        message.ClearField(EXTRA_FIELD)
