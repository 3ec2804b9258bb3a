"""Error bodies: which JSON documents they are, as HTTP bodies and as events of a stream.

Servers send a failure in many shapes; the docstring of `SseDecoder` has the rule.
"""

import dataclasses
from collections.abc import Container
from typing import Any

from mistralwire.codec._convert import from_json
from mistralwire.codec._counts import count_dropped_event
from mistralwire.codec._limits import DEFAULT_LIMITS, Limits
from mistralwire.codec._plan import MessagePlan, plan_for
from mistralwire.codec._python import document_to_binary, parse
from mistralwire.codec._sse._framer import ERROR, ERROR_EVENT, ERROR_TEXT, OWN_EVENTS, UNFRAMED, Frame
from mistralwire.errors import DecodeError, Reason
from mistralwire.v1.error_pb2 import ErrorResponse

# The `object` of an error body: vLLM begins it with a capital.
_ERROR_OBJECTS = ("error", "Error")
# Data of an event without a name contains one of these if it is an error body.
_SIGNS = (b'"error"', b'"Error"', b'"message"', b'"detail"', b"\\u00")
# The members that mark an error body, each with the JSON types it has there.
_ERROR_MEMBERS: dict[str, tuple[type, ...]] = {
    "error": (str, dict),
    "detail": (str, list),
    "message": (str, dict),
}


@dataclasses.dataclass(frozen=True, slots=True)
class SseError:
    """An event whose data is an error body: the stream failed after it began.

    Attributes:
        error: The error body. What ErrorResponse has no field for is in its `json_extra`.
        id: See SseMessage.
        event: See SseMessage.
    """

    error: ErrorResponse
    id: str | None = None
    event: str | None = None


def error_of(frame: Frame, data: bytes, plan: MessagePlan, limits: Limits) -> SseError | bool:
    """Return the error that an event is by the rule of SseDecoder, or else whether it is a message.

    An event with a name that is neither is counted as dropped. The data is neither the end of the stream nor
    the wire bytes of a message.

    Raises:
        DecodeError: If the data is not JSON, or exceeds the limits; not for all such data.
    """
    if frame.form == ERROR:
        return SseError(ErrorResponse.FromString(data), frame.id, frame.event)
    is_error = frame.form == ERROR_TEXT or frame.event == ERROR_EVENT
    is_message = True
    if not is_error and (frame.form == UNFRAMED or frame.event not in OWN_EVENTS):
        is_error, is_message = _classify(frame, data, plan, limits)
    elif not is_error and any(sign in data for sign in _SIGNS):
        # Most data is parsed only once: without one of the signs, literal or as \u00.., it is not an error.
        document = parse(data, limits, plan.name, constants=True)
        is_error = _is_error_document(document, plan.by_name)
    if is_error:
        return SseError(_error_or_text(data, limits), frame.id, frame.event)
    if not is_message and frame.event is not None:
        count_dropped_event(frame.event)
    return is_message


def _classify(frame: Frame, data: bytes, plan: MessagePlan, limits: Limits) -> tuple[bool, bool]:
    """Return whether an event that may be none of the answer's is an error, and whether it is a message."""
    try:
        document = parse(data, limits, plan.name, constants=True)
    except DecodeError as error:
        if error.reason == Reason.LIMIT_EXCEEDED:
            raise
        return False, False
    is_named = frame.event not in OWN_EVENTS
    is_chunk = type(document) is dict and ("choices" in document or "choices" not in plan.by_name)
    is_error = _is_error_document(document, plan.by_name, is_named=is_named)
    return is_error, is_chunk and frame.form != UNFRAMED


def _error_or_text(data: bytes, limits: Limits) -> ErrorResponse:
    """Convert the data of an error event; data that is not an error body becomes the message of one."""
    try:
        return read_error_body(data, limits=limits)
    except DecodeError as error:
        if error.reason == Reason.LIMIT_EXCEEDED:
            raise
        text = data.decode(errors="replace").removeprefix("\ufeff")
        return ErrorResponse(message_string=text)


def is_error_body(data: bytes) -> bool:
    """Check whether a JSON text is an error body rather than a message, by the rule of `SseDecoder`.

    Raises:
        DecodeError: If it is not JSON, or exceeds the default limits.
    """
    document = parse(data, DEFAULT_LIMITS, ErrorResponse.DESCRIPTOR.name, constants=True)
    return _is_error_document(document, ())


def is_recognized(data: bytes, *, is_named: bool) -> bool:
    """Check whether readers recognize an error body, in an event with another name than `error` or none."""
    try:
        return _is_error_document(parse(data, DEFAULT_LIMITS), (), is_named=is_named)
    except DecodeError:
        # It exceeds the limits of most readers: those with higher limits recognize it by the name.
        return False


def read_error_body(data: bytes, *, limits: Limits = DEFAULT_LIMITS) -> ErrorResponse:
    """Convert an error body without validation.

    It may be the only element of an array, as Google's APIs send it. Limits are those of `from_json`.

    Raises:
        DecodeError: If it is neither a JSON object nor an array of one, or exceeds the limits.
    """
    try:
        return from_json(ErrorResponse, data, validate=False, limits=limits)
    except DecodeError as error:
        if error.reason != Reason.CONTRACT_VIOLATION:
            raise
        plan = plan_for(ErrorResponse)
        document = _unwrapped(parse(data, limits, plan.name, constants=True))
        return ErrorResponse.FromString(document_to_binary(plan, document, validate=False, limits=limits))


def _unwrapped(document: Any) -> Any:
    return document[0] if type(document) is list and len(document) == 1 else document


def _is_error_document(document: Any, own_names: Container[str], *, is_named: bool = False) -> bool:
    """Check whether parsed data is an error body, by the rule of SseDecoder."""
    document = _unwrapped(document)
    if not isinstance(document, dict):
        return False
    choices = document.get("choices")
    if choices is not None and choices != []:
        return False
    if document.get("object") in _ERROR_OBJECTS:
        return True
    if choices is not None or is_named:
        error = document.get("error")
        return isinstance(error, str | dict) and len(error) > 0 and "error" not in own_names
    return any(
        isinstance(document.get(name), types)
        for name, types in _ERROR_MEMBERS.items()
        if name not in own_names
    )
