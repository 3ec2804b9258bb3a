"""Following a stored response over lost connections, from the last event that arrived."""

import asyncio
import contextlib
import random
import time
from collections.abc import AsyncGenerator, Iterator, Sequence
from typing import Any, NamedTuple

from mistralwire._methods import RELAY_METHODS
from mistralwire._protobuf import parsed, read_varint
from mistralwire._settings import DEADLINE_S_MAX, SECONDS_MAX, checked_number
from mistralwire.client._response import lifted, parse_response, response_failure
from mistralwire.client._stub import CallArguments, CallOptions, Stub
from mistralwire.errors import CallError, Reason
from mistralwire.log import count_events
from mistralwire.v1 import (
    ChatCompletionResponse,
    CompletionChunk,
    FIMCompletionResponse,
    ResponseEnd,
    ResponseEvents,
    SubscribeRequest,
)

RECONNECT_S = 30.0
"""Default seconds for which a lost connection is opened again."""

# As long as gRPC retries a call that could not reach the service.
_CONNECT_S = 3.0
_PAUSE_S_FIRST, _PAUSE_S_MAX = 0.1, 2.0
# gRPC gives up to connect in less: a call that lasted longer had a connection.
_CONNECTED_S = 30.0
STATUS_S = 1.0
"""Seconds to wait for the status of a call behind the end of its response.

To the service, a call that its client leaves earlier is a cancelled one.
"""
# A connection that is lost sooner is the same loss as the one before.
_HELD_S = 2.0
# Reasons of the service after which another server, or the same one a little later, may go on.
_LOST = frozenset(
    (
        Reason.CALL_CANCELLED,
        Reason.CALLER_SILENT,
        Reason.DRAINING,
        Reason.LOG_FULL,
        Reason.LOG_UNAVAILABLE,
        Reason.OVERLOADED,
        Reason.SERVER_STOPPING,
        Reason.TOO_MANY_CALLS,
    )
)
_VARINT, _LENGTH_DELIMITED = 0, 2
# Tags of the fields of a SubscribeResponse.
_FIRST_SEQUENCE, _EVENTS, _END = 0x08, 0x12, 0x1A
_SUBSCRIBE = RELAY_METHODS["Subscribe"]


class EventBatch(NamedTuple):
    """Events of a response, and its end after the last of them."""

    first_sequence: int
    """Number of the first event, from 1."""
    last_sequence: int
    """Number of the last event; without events, that of the one before."""
    data: bytes
    """The events as they are stored: wire bytes of a ResponseEvents."""
    end: ResponseEnd | None
    """The end of the response; then this is the last batch."""


class ResponseEvent(NamedTuple):
    """An event of a response."""

    sequence: int
    """Its number, from 1: where to go on after it."""
    message: CompletionChunk | ChatCompletionResponse | FIMCompletionResponse
    """A chunk, or the whole response."""


class StreamCalls:
    """The calls of one stream: one after the other, as connections are lost, and all with one request id.

    Args:
        stub: Makes the calls.
        reconnect_s: Seconds after the loss of a connection in which another call may begin.
        options: The arguments of the caller; the deadline is that of all calls together.
        deadline_s: The deadline if they have none.

    Attributes:
        request_id: Id of the calls.
        metadata: The caller's own metadata of the next call.
    """

    def __init__(
        self, stub: Stub, reconnect_s: float, options: CallOptions, deadline_s: float | None = DEADLINE_S_MAX
    ) -> None:
        self.metadata = options.get("metadata", {})
        own_s = options.get("deadline_s")
        first = stub.arguments(
            deadline_s if own_s is None else own_s, options.get("request_id"), self.metadata
        )
        self.request_id = first.request_id
        self._stub = stub
        self._timeout_s = first.timeout_s
        self._reconnect_s = checked_number("reconnect_s", reconnect_s, 0, SECONDS_MAX)
        self._room_s = _CONNECT_S if stub.is_retrying else 0.0
        self._pause_s = _PAUSE_S_FIRST
        self._lost_s: float | None = None
        # By time.monotonic; the deadline counts from the first call.
        self._deadline_s: float | None = None
        self._started_s = 0.0
        # Whether the service has answered the call.
        self._is_connected = False

    def start(self) -> CallArguments:
        """Return the arguments of the next call, which starts now."""
        self._is_connected = False
        self._started_s = time.monotonic()
        if self._deadline_s is None:
            self._deadline_s = self._started_s + self._timeout_s
        # Together anew each time: the token may have changed.
        left_s = max(0.001, self._deadline_s - self._started_s)
        return self._stub.arguments(left_s, self.request_id, self.metadata)

    def connected(self) -> None:
        """Note that there is a service: its loss is waited for longer than one that was never there."""
        self._room_s = self._reconnect_s
        self._is_connected = True

    def went_on(self) -> None:
        """Note that the stream goes on."""
        self.connected()
        self._lost_s = None
        self._pause_s = _PAUSE_S_FIRST

    async def wait(self, error: CallError) -> None:
        """Wait before the next call; raise the error that ended the last one if there is to be none."""
        now = time.monotonic()
        if self._deadline_s is None or not is_service_lost(error):
            raise error
        if _is_of_service(error):
            self.connected()
        elif self._is_connected and now - self._started_s > _HELD_S:
            self._lost_s = None
        if now - self._started_s > _CONNECTED_S:
            self.went_on()
        if self._lost_s is None:
            self._lost_s = now
        pause_s = max(self._pause_s * random.uniform(0.5, 1), error.retry_after_s or 0.0)  # noqa: S311
        if now + pause_s > min(self._lost_s + self._room_s, self._deadline_s):
            raise error
        self._pause_s = min(self._pause_s * 2, _PAUSE_S_MAX)
        await asyncio.sleep(pause_s)


def _is_of_service(error: CallError) -> bool:
    return error.reason != error.code


def is_service_lost(error: CallError) -> bool:
    """Check whether a call ended because of its connection or its server, so that another may go on.

    A deadline counts as lost, as a server may bound the time of calls.
    """
    if not _is_of_service(error):
        return error.code in ("UNAVAILABLE", "UNKNOWN", "INTERNAL", "DEADLINE_EXCEEDED")
    # A producer may go on once the log has room; a follower of what is stored no further may not.
    return error.reason in _LOST or (error.reason == Reason.NOT_STORED and error.code == "RESOURCE_EXHAUSTED")


async def event_batches(
    stub: Stub, response_id: str, after: int, calls: StreamCalls
) -> AsyncGenerator[EventBatch, None]:
    """Yield the events of a response behind `after`, and its end; see `Client.subscribe_batches`."""
    while True:
        arguments = calls.start()
        try:
            async with contextlib.aclosing(_delivered(stub, response_id, after, arguments, calls)) as batches:
                async for batch in batches:
                    calls.went_on()
                    after = batch.last_sequence
                    yield batch
            return
        except CallError as error:
            await calls.wait(error)


def events_in(batch: EventBatch, request_id: str) -> Iterator[ResponseEvent]:
    """Yield the events of a batch with their numbers; raise the error that the response ended with.

    Raises:
        CallError: That error; or INTERNAL with NOT_PROTOBUF if the events can't be parsed.
    """
    events = parse_response(ResponseEvents, batch.data, request_id)
    whole = events.WhichOneof("whole")
    messages: Sequence[Any] = [getattr(events, whole)] if whole else events.chunks
    for sequence, message in enumerate(messages, batch.first_sequence):
        yield ResponseEvent(sequence, lifted(message))
    if batch.end is not None and (error := response_failure(batch.end, request_id)):
        # The code alone may look like that of a service which can't be reached.
        error.add_note("the response has ended with this error")
        raise error


async def _delivered(
    stub: Stub, response_id: str, after: int, arguments: CallArguments, calls: StreamCalls
) -> AsyncGenerator[EventBatch, None]:
    """Yield what one call delivers, up to the end of the response."""
    wire = SubscribeRequest(response_id=response_id, after_sequence=after).SerializeToString()
    messages = stub.messages(_SUBSCRIBE, wire, arguments, on_connected=calls.connected)
    async with contextlib.aclosing(messages):
        async for data in messages:
            try:
                batch = _read_delivery(data, after + 1)
            except (IndexError, ValueError) as error:
                message = f"expected a SubscribeResponse after event {after} from the service: {error}"
                raise CallError(
                    message, code="INTERNAL", reason=Reason.NOT_PROTOBUF, request_id=arguments.request_id
                ) from error
            if batch.end is not None:
                # First, since whoever gets the end may not ask for more.
                with contextlib.suppress(CallError, TimeoutError):
                    async with asyncio.timeout(STATUS_S):
                        await anext(messages, None)
                yield batch
                return
            yield batch
            after = batch.last_sequence
    message = "expected the end of the response from the service, found the end of the call"
    raise CallError(message, code="UNAVAILABLE", reason="UNAVAILABLE", request_id=arguments.request_id)


def _read_delivery(wire: bytes, expected: int) -> EventBatch:
    """Read a SubscribeResponse without its events; ValueError or IndexError if it is none, or a gap."""
    first, events, end = expected, b"", None
    at = 0
    while at < len(wire):
        tag = wire[at]
        value, at = read_varint(wire, at + 1)
        content = b""
        if tag & 7 == _LENGTH_DELIMITED:
            content, at = wire[at : at + value], at + value
        elif tag & 7 != _VARINT:
            raise ValueError("found bytes that are none")
        # Other fields are of newer services.
        if tag == _FIRST_SEQUENCE:
            first = value
        elif tag == _EVENTS:
            events += content
        elif tag == _END:
            end = parsed(ResponseEnd, content)
    if at > len(wire):
        raise ValueError("found a part of one")
    if first != expected:
        raise ValueError(f"found event {first} next")
    return EventBatch(first, first + count_events(events) - 1, events, end)
