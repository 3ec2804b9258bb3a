"""The messages of ResponseRelayService: requests are checked, events stay the bytes that they were."""

import base64
import binascii
from typing import Any, NamedTuple

from google.protobuf.message import Message
from google.rpc import status_pb2

from mistralwire._protobuf import MessageT, parsed, read_varint, write_varint
from mistralwire._settings import EPOCH_MAX, INT32_MAX
from mistralwire.errors import DecodeError, Reason, Violation
from mistralwire.log import End, StoredResponse
from mistralwire.service._relay._rules import (
    MODEL_CHARS_MAX,
    RESPONSE_ID_PATTERN,
    UPSTREAM_ID_CHARS_MAX,
    response_id_of,
)
from mistralwire.v1 import (
    ListResponsesRequest,
    PublishRequest,
    ResponseEnd,
    ResponseInfo,
    ResponseKind,
    ResponseState,
    SubscribeRequest,
)

PAGE_SIZE_DEFAULT = 20
PAGE_SIZE_MAX = 100

_VARINT, _FIXED64, _LENGTH_DELIMITED, _FIXED32 = 0, 1, 2, 5
# Tags of the fields of the messages that are written here.
_ACKNOWLEDGED, _ENDED = b"\x08", b"\x10\x01"
_FIRST_SEQUENCE, _EVENTS, _END = b"\x08", b"\x12", b"\x1a"
# Fields of a PublishRequest, and of its batch.
_BATCH, _BATCH_EVENTS = 2, 2
# Tags of chunks, and of whole responses.
_EVENT_TAGS = b"\x0a\x12\x1a"
_ID_CHARS_SHOWN = 64
_PAGE_START = "the next_page_token of a page, or the id of a response"
_END_STATES = (
    ResponseState.RESPONSE_STATE_FINISHED,
    ResponseState.RESPONSE_STATE_CANCELLED,
    ResponseState.RESPONSE_STATE_FAILED,
)
_KIND_NUMBERS = {*ResponseKind.values()}


class PublishOpening(NamedTuple):
    """The first message of a producer."""

    response_id: str
    epoch: int
    kind: ResponseKind


class PublishedBatch(NamedTuple):
    """Events of a producer.

    Attributes:
        first: Number of the first one.
        events: How many there are.
        data: The events, as their producer wrote them.
        is_whole: Whether it is a whole response.
        upstream_id: The id in the first of them.
        model: The model that the first of them names.
    """

    first: int
    events: int
    data: bytes
    is_whole: bool
    upstream_id: str
    model: str


class PublishedEnd(NamedTuple):
    """The last message of a producer, with the number of the last event if it says so."""

    end: End
    last: int | None


class Subscription(NamedTuple):
    """What a consumer asks for."""

    response_id: str
    after: int


def read_step(wire: bytes) -> PublishOpening | PublishedBatch | PublishedEnd:
    """Read one message of a producer.

    Raises:
        DecodeError: If it is none, or breaks the contract.
    """
    request = _parsed(PublishRequest, wire)
    step = request.WhichOneof("step")
    if step == "batch":
        return _read_batch(request, wire)
    if step == "open":
        opening = request.open
        epoch = _number(request, "open.epoch", opening.epoch, 0)
        if epoch > EPOCH_MAX:
            raise _invalid_field(request, "open.epoch", f"at most {EPOCH_MAX}", str(epoch))
        kind = opening.kind or ResponseKind.RESPONSE_KIND_CHAT
        if kind not in _KIND_NUMBERS:
            raise _invalid_field(request, "open.kind", "a ResponseKind", str(kind))
        return PublishOpening(_id(request, "open.response_id", opening.response_id), epoch, kind)
    if step == "end":
        return _read_end(request)
    raise _invalid_field(request, "step", "open, batch or end", "none of them")


def _read_batch(request: PublishRequest, wire: bytes) -> PublishedBatch:
    batch = request.batch
    if not batch.HasField("first_sequence"):
        raise _invalid_field(request, "batch.first_sequence", "the number of the first event", "none")
    first = _number(request, "batch.first_sequence", batch.first_sequence, 1)
    chunks, whole = batch.events.chunks, batch.events.WhichOneof("whole")
    if not chunks and whole is None:
        raise _invalid_field(request, "batch.events", "at least one event", "none")
    count = len(chunks) or 1
    try:
        data = _contents(_contents(wire, _BATCH), _BATCH_EVENTS)
        is_exact = _count_events(data) == count and not (chunks and whole)
    except ValueError:
        is_exact = False
    if not is_exact:
        expected = "chunks or one whole response, and no other field"
        raise _invalid_field(request, "batch.events", expected, "something else")
    if whole is not None and first != 1:
        raise _invalid_field(
            request, "batch.first_sequence", "1, as a whole response stands alone", str(first)
        )
    if first + count - 1 > INT32_MAX:
        raise _invalid_field(
            request, "batch.first_sequence", f"events up to the number {INT32_MAX}", str(first)
        )
    event = getattr(batch.events, whole) if whole else chunks[0]
    upstream_id, model = event.id[:UPSTREAM_ID_CHARS_MAX], event.model[:MODEL_CHARS_MAX]
    return PublishedBatch(first, count, data, whole is not None, upstream_id, model)


def _read_end(request: PublishRequest) -> PublishedEnd:
    end = request.end
    if end.state not in _END_STATES:
        raise _invalid_field(request, "end.state", "FINISHED, CANCELLED or FAILED", _state_name(end.state))
    if end.state == ResponseState.RESPONSE_STATE_FAILED:
        status = parsed(status_pb2.Status, end.status)
        if status is None or not status.code:
            found = "none" if not end.status else "one without a code" if status else "other bytes"
            raise _invalid_field(
                request, "end.status", "a google.rpc.Status with the code of an error", found
            )
    elif end.status:
        raise _invalid_field(request, "end.status", f"none with the state {_state_name(end.state)}", "one")
    last = end.last_sequence if end.HasField("last_sequence") else None
    return PublishedEnd(End(end.state, end.status), last)


def sequence_violation(expected: int, found: int) -> DecodeError:
    """Return the error for an end that is not behind the last event that was sent."""
    return _invalid_field(
        PublishRequest(), "end.last_sequence", f"{expected}, the last event sent", str(found)
    )


def step_violation(expected: str, found: str) -> DecodeError:
    """Return the error for a message of a producer that does not come next."""
    return _invalid_field(PublishRequest(), "step", expected, found)


def read_subscription(wire: bytes) -> Subscription:
    """Read what a consumer asks for, or raise a DecodeError."""
    request = _parsed(SubscribeRequest, wire)
    response_id = _id(request, "response_id", request.response_id)
    return Subscription(response_id, _number(request, "after_sequence", request.after_sequence, 0))


def read_response_id(request_type: type[Message], wire: bytes) -> str:
    """Return the id in a request for one response, which may be the upstream's; or raise a DecodeError."""
    request: Any = _parsed(request_type, wire)
    response_id: str = request.response_id
    if not 0 < len(response_id) <= UPSTREAM_ID_CHARS_MAX:
        expected = f"an id of 1 to {UPSTREAM_ID_CHARS_MAX} characters"
        raise _invalid_field(request, "response_id", expected, _shown(response_id))
    return response_id


def read_list_request(wire: bytes) -> ListResponsesRequest:
    """Read what a page lists, with its size filled in; or raise a DecodeError."""
    request = _parsed(ListResponsesRequest, wire)
    if not request.HasField("page_size"):
        request.page_size = PAGE_SIZE_DEFAULT
    elif not 1 <= request.page_size <= PAGE_SIZE_MAX:
        raise _invalid_field(request, "page_size", f"1 to {PAGE_SIZE_MAX}", str(request.page_size))
    if request.state not in {*ResponseState.values()}:
        raise _invalid_field(request, "state", "a ResponseState", str(request.state))
    return request


def read_page_token(request: ListResponsesRequest, owner: str) -> tuple[float, str] | None:
    """Return the position behind which a page begins; None for the beginning; or raise a DecodeError."""
    if not request.page_token:
        return None
    try:
        text = base64.b64decode(request.page_token, b"-_", validate=True).decode()
        created, _, response_id = text.partition(" ")
        position = float.fromhex(created), f"{owner}/{response_id}"
    except (ValueError, OverflowError, binascii.Error):
        raise _invalid_field(request, "page_token", _PAGE_START, "something else") from None
    return position


def page_token(last: StoredResponse) -> str:
    """Return the token of the page behind a response."""
    text = f"{last.created_s.hex()} {response_id_of(last.id)}"
    return base64.urlsafe_b64encode(text.encode()).decode()


def acknowledgement(last: int, *, has_ended: bool) -> bytes:
    """Return the wire bytes of a PublishResponse."""
    return _ACKNOWLEDGED + write_varint(last) + (_ENDED if has_ended else b"")


def delivered(first: int, data: bytes) -> bytes:
    """Return the wire bytes of a SubscribeResponse with events."""
    return b"".join((_FIRST_SEQUENCE, write_varint(first), _EVENTS, write_varint(len(data)), data))


def delivered_end(end: End, last: int) -> bytes:
    """Return the wire bytes of a SubscribeResponse with the end; they may follow those of another one."""
    wire = ResponseEnd(state=end.state, status=end.status or None, last_sequence=last).SerializeToString()
    return _END + write_varint(len(wire)) + wire


def info_of(stored: StoredResponse) -> ResponseInfo:
    """Return a stored response as its owner sees it."""
    return ResponseInfo(
        response_id=response_id_of(stored.id),
        kind=stored.kind,
        state=stored.response_state,
        status=stored.end.status or None if stored.end else None,
        last_sequence=stored.last,
        epoch=stored.epoch,
        created=int(stored.created_s),
        ended=None if stored.ended_s is None else int(stored.ended_s),
        upstream_id=stored.upstream_id or None,
        model=stored.model or None,
    )


def _parsed(message_type: type[MessageT], wire: bytes) -> MessageT:
    message = parsed(message_type, wire)
    if message is None:
        name = message_type.DESCRIPTOR.name
        violation = Violation("", f"the wire bytes of a {name}", f"{len(wire)} bytes that can't be parsed")
        raise DecodeError([violation], type_name=name, reason=Reason.NOT_PROTOBUF)
    return message


def _contents(wire: bytes, number: int) -> bytes:
    """Return the content of a message's field that is a message: all its parts, as protobuf merges them.

    Raises:
        ValueError: If the message has a group, which only its own contract could tell apart.
    """
    parts = []
    at = 0
    while at < len(wire):
        tag, at = read_varint(wire, at)
        kind = tag & 7
        if kind == _LENGTH_DELIMITED:
            length, at = read_varint(wire, at)
            if tag >> 3 == number:
                parts.append(wire[at : at + length])
            at += length
        elif kind == _VARINT:
            _, at = read_varint(wire, at)
        elif kind in (_FIXED64, _FIXED32):
            at += 8 if kind == _FIXED64 else 4
        else:
            raise ValueError("found a group")
    return parts[0] if len(parts) == 1 else b"".join(parts)


def _count_events(data: bytes) -> int:
    """Count the events of valid ResponseEvents; -1 if they have other fields, or tags of several bytes."""
    at = count = 0
    while at < len(data):
        if data[at] not in _EVENT_TAGS:
            return -1
        length, at = read_varint(data, at + 1)
        at += length
        count += 1
    return count


def _id(request: Message, path: str, value: str) -> str:
    if not RESPONSE_ID_PATTERN.fullmatch(value):
        raise _invalid_field(request, path, "1 to 128 letters, digits and -_ characters", _shown(value))
    return value


def _number(request: Message, path: str, value: int, least: int) -> int:
    if value < least:
        raise _invalid_field(request, path, f"{least} or more", str(value))
    return value


def _invalid_field(request: Message, path: str, expected: str, found: str) -> DecodeError:
    return DecodeError([Violation(path, expected, found)], type_name=request.DESCRIPTOR.name)


def _state_name(state: int) -> str:
    if state in ResponseState.values():
        return ResponseState.Name(state).removeprefix("RESPONSE_STATE_")
    return str(state)


def _shown(text: str) -> str:
    return repr(text) if len(text) <= _ID_CHARS_SHOWN else f"{len(text)} characters"
