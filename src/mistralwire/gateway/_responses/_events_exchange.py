"""A response as a stream of server-sent events that can be resumed: for EventSource, and any other client."""

import asyncio
import contextlib
import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

from mistralwire import _offload
from mistralwire._metadata import RESPONSE_ID
from mistralwire.client import EventBatch, response_failure
from mistralwire.codec import SseDone, batch_to_sse, encode_sse
from mistralwire.errors import CallError, CodecError, MistralwireError, Reason
from mistralwire.gateway._errors import HttpError, error_body, unencodable_answer
from mistralwire.gateway._exchanges import EVENT_STREAM_HEADERS, FIRST_SIGN_S, HEARTBEAT, when_reachable
from mistralwire.gateway._responses._response_exchange import ResponseExchange
from mistralwire.gateway._responses._response_json import (
    REASON_HEADER,
    end_headers,
)
from mistralwire.v1 import ResponseEnd, ResponseEvents

# Others are their upstream's for sure.
_OWN_ID = re.compile("[A-Za-z0-9_-]{1,128}")
_SEQUENCE = re.compile("[0-9]{1,10}")
_SEQUENCE_MAX = 2**31 - 1
# The first byte of events that are chunks.
_CHUNKS_TAG = b"\x0a"
_DONE = encode_sse(SseDone())


class _Ending(NamedTuple):
    """How a stream ends: the last events, and why its response failed. No status but 200 has events.

    Attributes:
        events: The last events.
        status: HTTP status if none was sent.
        headers: What the answer says about the response.
        failure: Why it failed.
    """

    events: bytes = b""
    status: int = 200
    headers: Mapping[str, str] = MappingProxyType({})
    failure: MistralwireError | None = None


class EventsExchange(ResponseExchange):
    """Follows a response, from the start or from the event that the caller has seen last.

    The stream ends in the middle, between two events, if the time for an answer is over or the server stops:
    its caller comes back with the id of the last event.
    """

    _takes_token = True

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        # Its id, if the one in the path is of its upstream.
        self._own_id = self._id
        self._after = self._events_sent = self._sent_before = 0
        self._may_write = asyncio.Event()
        self._may_write.set()

    def drain(self) -> None:
        """End the stream: its caller comes back, and reaches another server."""
        if self.is_over or not self._has_arrived:
            return
        if self.status or self._is_id_known:
            self._end(_Ending())
        else:
            self.stop()

    def _regulate(self) -> None:
        if self._is_caller_behind:
            self._may_write.clear()
        else:
            self._may_write.set()

    def _start(self) -> None:
        # The service may say that there is nothing left to send.
        delay_s = min(FIRST_SIGN_S, self._state.config.heartbeat_s)
        self._timer = asyncio.get_running_loop().call_later(delay_s, self._beat)
        self._run(self._follow(), self._end)

    @property
    def _is_id_known(self) -> bool:
        """Whether the id is the response's: one of an upstream may have anything in it, and is not sent."""
        return _OWN_ID.fullmatch(self._own_id) is not None

    def _beat(self) -> None:
        """Send the status, later a comment, if no event was sent since the last beat."""
        if self._is_id_known and self._events_sent == self._sent_before and not self._is_caller_behind:
            self._write(HEARTBEAT if self.status else b"")
        self._sent_before = self._events_sent
        self._timer = asyncio.get_running_loop().call_later(self._state.config.heartbeat_s, self._beat)

    async def _follow(self) -> _Ending:
        try:
            return await when_reachable(self._follow_once, self._options())
        except CallError as error:
            raise self._error_of(error) from None

    async def _follow_once(self, options: Any) -> _Ending:
        after = await self._read_position(options)
        if not self._is_id_known:
            self._own_id = await self._find_id(options)
        try:
            return await self._forward(after, options)
        except CallError as error:
            if error.reason != Reason.RESPONSE_NOT_FOUND or self._events_sent or self._own_id != self._id:
                raise
            self._own_id = await self._find_id(options)
        return await self._forward(after, options)

    async def _forward(self, after: int | None, options: Any) -> _Ending:
        """Send the events behind a position, from the start without one."""
        self._after = after or 0
        # Some may have been sent by an earlier attempt.
        position = self._after + self._events_sent
        batches = self._state.client.subscribe_batches(self._own_id, after=position, **options)
        try:
            async with contextlib.aclosing(batches):
                async for batch in batches:
                    if batch.data:
                        self._write(await self._events_of(batch))
                        self._events_sent += batch.last_sequence - batch.first_sequence + 1
                        await self._may_write.wait()
                    if batch.end is not None:
                        is_at_end = after is not None and not self._events_sent
                        return self._ending(batch, batch.end, is_at_end=is_at_end)
        except CallError as error:
            if error.reason == Reason.RESPONSE_TRUNCATED and not self.status:
                found = await self._state.client.get_response(self._own_id, info_only=True, **options)
                headers = end_headers(found.info, found.info.last_sequence, None)
                return _Ending(status=204, headers={**headers, REASON_HEADER: error.reason})
            if error.code != "DEADLINE_EXCEEDED" or error.reason != error.code:
                raise
        return _Ending()

    def _ending(self, last: EventBatch, end: ResponseEnd, *, is_at_end: bool) -> _Ending:
        failure = response_failure(end, self._request_id)
        if is_at_end and not self.status:
            return _Ending(status=204, headers=end_headers(end, last.last_sequence, failure))
        events = _DONE if failure is None else self._error_event(failure)
        return _Ending(events, failure=failure)

    def _end(self, ending: _Ending) -> None:
        # A heartbeat may have sent the status meanwhile: an EventSource comes back, to the 204.
        if self.status or ending.status == 200:
            self._write(ending.events, is_last=True)
        else:
            headers = {RESPONSE_ID: self._own_id, **ending.headers}
            encoded = [(name.encode(), value.encode()) for name, value in headers.items()]
            self._begin(ending.status, encoded, None)
            self._responder.write(b"", is_last=True)
        self._finish(ending.failure)

    def _write(self, events: bytes, *, is_last: bool = False) -> None:
        if not self.status:
            own_id = self._own_id.encode()
            self._begin(200, [*EVENT_STREAM_HEADERS, (RESPONSE_ID.encode(), own_id)], None)
            # Part of the first event, whose own id counts: as an event without data, many clients would
            # dispatch it. What ends a response without any event has this one.
            events = b"id: %b.%d\n%b" % (own_id, self._after, events)
        self._responder.write(events, is_last=is_last)

    async def _events_of(self, batch: EventBatch) -> bytes:
        try:
            if len(batch.data) <= _offload.LOOP_EVENT_BYTES_MAX:
                return _to_events(batch, f"{self._own_id}.")
            return await _offload.in_thread(_to_events, batch, f"{self._own_id}.")
        except CodecError:
            raise unencodable_answer() from None

    async def _read_position(self, options: Any) -> int | None:
        """Return the number of the last event that the caller has seen; None if they name none.

        Raises:
            HttpError: EVENT_ID_INVALID if it is no event of this response.
        """
        event_id = self._headers.get(b"last-event-id", b"").strip().decode("latin-1")
        # EventSource keeps the query when it reconnects, so the header is newer.
        text = event_id or self._query.get("starting_after", "")
        if not text:
            return None
        response_id, dot, number = text.rpartition(".")
        is_number = _SEQUENCE.fullmatch(number) is not None and int(number) <= _SEQUENCE_MAX
        if not is_number or (event_id and not dot):
            raise _event_id_error("something else")
        if dot and response_id != self._id:
            if response_id != await self._find_id(options):
                raise _event_id_error("one of another response")
            self._own_id = response_id
        return int(number)

    async def _find_id(self, options: Any) -> str:
        """Return the id of the response whose upstream's id may be in the path."""
        found = await self._state.client.get_response(self._id, info_only=True, **options)
        return found.info.response_id

    def _error_event(self, error: MistralwireError) -> bytes:
        return encode_sse(error_body(error))

    @property
    def _chunks(self) -> int:
        return self._events_sent

    def _log_fields(self, seconds: float, error: MistralwireError | None) -> dict[str, Any]:
        return {**super()._log_fields(seconds, error), "chunks": self._events_sent}


def _to_events(batch: EventBatch, id_prefix: str) -> bytes:
    if batch.data.startswith(_CHUNKS_TAG):
        return batch_to_sse(batch.data, batch.first_sequence, id_prefix=id_prefix)
    events = ResponseEvents.FromString(batch.data)
    whole = events.WhichOneof("whole")
    event_id = f"{id_prefix}{batch.first_sequence}"
    return b"" if whole is None else encode_sse(getattr(events, whole), id=event_id)


def _event_id_error(found: str) -> HttpError:
    message = (
        f"expected the id of an event of this response, found {found}; leave it out to read from the start"
    )
    return HttpError(400, message, reason=Reason.EVENT_ID_INVALID)
