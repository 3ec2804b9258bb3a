"""One call: its timeouts, its record, its observers, and the chunks that wait for its caller."""

import asyncio
import contextvars
import functools
import logging
import math
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from google.protobuf.message import Message

from mistralwire._metadata import RESPONSE_ID, Metadata, headers_in, request_id_of, without_limits
from mistralwire._methods import Method
from mistralwire._response_stream import EventWriter, Sink, Source
from mistralwire._timeouts import IdleTimer
from mistralwire.errors import (
    CallError,
    DecodeError,
    MistralwireError,
    OverloadError,
    Reason,
    UpstreamError,
    log_unexpected,
)
from mistralwire.service._admission import Calls
from mistralwire.service._coalesce import ChunkBuffer
from mistralwire.service._observers import CallRecord, Chunks, Notifier
from mistralwire.service._relay import (
    JoinedResponse,
    Recording,
    Relay,
    ResponseOpener,
    options_of,
    response_event,
    response_id_of,
)
from mistralwire.service._request import caller_silent_error
from mistralwire.service._status import call_status, retry_time_s
from mistralwire.upstream import CallContext

_logger = logging.getLogger(__name__)


class Call:
    """A call from its beginning to its end.

    The upstream's source feeds it, and it feeds its sink; while the sink is paused, chunks are buffered, up
    to a limit at which the source is paused. It runs by callbacks, in one event loop; a timer compares the
    times that they note with the limits.

    Args:
        calls: What the calls share.
        method: The method.
        sink: Takes the response.
        metadata: The call's metadata.
        peer: The caller's address.
        deadline_s: The caller's deadline, in seconds of `time.monotonic`, if grpc ends the call at it.
        timeout_s: Seconds after which the call ends itself.
        is_caller_timed: Whether `caller_idle_s` bounds how long the sink may be paused.
        events: What the source may write chunks to instead of the sink, unless there are observers, or the
            response is stored.
        owner: Whom the response belongs to, if it is stored.
    """

    __slots__ = (
        "_asked",
        "_body_bytes",
        "_buffer",
        "_caller_since_s",
        "_calls",
        "_context",
        "_deadline_s",
        "_delay_s",
        "_ending",
        "_events",
        "_expires_s",
        "_has_headers",
        "_is_caller_busy",
        "_is_caller_timed",
        "_is_held",
        "_is_opening",
        "_is_sink_paused",
        "_is_source_paused",
        "_is_waiting",
        "_method",
        "_notifier",
        "_owner",
        "_reading",
        "_recording",
        "_source",
        "_time",
        "_timer",
        "_upstream_since_s",
        "is_asking",
        "is_over",
        "is_watched",
        "record",
        "sink",
    )

    def __init__(
        self,
        calls: Calls,
        method: Method,
        sink: Sink,
        *,
        metadata: Metadata = (),
        peer: str = "",
        deadline_s: float | None = None,
        timeout_s: float | None = None,
        is_caller_timed: bool = True,
        events: EventWriter | None = None,
        owner: str = "",
    ) -> None:
        self.record = CallRecord(
            method=method.name, request_id=request_id_of(metadata), metadata=tuple(metadata), peer=peer
        )
        self.is_watched = bool(calls.observers)
        self._calls = calls
        self.sink = sink
        self.is_over = False
        self._method = method
        self._time = time.monotonic
        self._expires_s = math.inf if timeout_s is None else self._time() + timeout_s
        self._deadline_s = deadline_s if timeout_s is None else self._expires_s
        self._is_caller_timed = is_caller_timed
        self._notifier = Notifier(self.record, calls.observers) if self.is_watched else None
        # The call's own: what an observer sets in it is visible to the upstream, and gone with the call.
        self._context = contextvars.copy_context()
        self._buffer: ChunkBuffer | None = None
        # Observers must see the chunks, and so must the log.
        self._events = None if self.is_watched or calls.relay is not None else events
        self._owner = owner
        self._recording: Recording | None = None
        # Whether the sink has the id of the response.
        self._has_headers = False
        limits = calls.limits
        # Until any of its timeouts can expire.
        self._delay_s = min(timeout_s or math.inf, limits.upstream_idle_s, limits.caller_idle_s)
        self._asked: tuple[Any, bytes] | None = None
        self._body_bytes = 0
        self._reading: asyncio.Task[None] | None = None
        self._source: Source | None = None
        self._timer = IdleTimer()
        self._upstream_since_s = self._caller_since_s = math.inf
        self._is_waiting = self.is_asking = False
        # The caller is busy while the sink is paused, and until the log has the response.
        self._is_caller_busy = self._is_sink_paused = self._is_opening = False
        self._is_source_paused = self._is_held = False
        # Called when the buffer is empty.
        self._ending: Callable[[], None] | None = None
        calls.running.add(self)

    def start(self, wire: bytes, message: Message | None = None) -> None:
        """Parse the request, a large one in a thread, and ask the upstream as soon as it has a free slot.

        `message` is the request as a message, if it exists already.
        """
        calls = self._calls
        self._timer.start(self._delay_s, self._check_times, calls.timeouts)
        self._body_bytes = len(wire)
        calls.bodies_bytes += self._body_bytes
        if calls.bodies_bytes > calls.limits.bodies_bytes_max:
            text = "the requests of all calls have as many bytes as their limit allows; retry later"
            self.abort(OverloadError(text, reason=Reason.TOO_MANY_BYTES))
            return
        try:
            request = calls.requests.read_now(self._method.request_type, wire, message)
        except Exception as error:  # noqa: BLE001 - it ends the call
            self.abort(error)
            return
        if request is None:
            self._reading = asyncio.create_task(self._read(wire), context=self._context.copy())
        else:
            self._begin(request, wire)

    async def _read(self, wire: bytes) -> None:
        try:
            request = await self._calls.requests.read(self._method.request_type, wire)
        except Exception as error:  # noqa: BLE001 - it ends the call
            self.abort(error)
        else:
            self._begin(request, wire)

    def _begin(self, request: Any, wire: bytes) -> None:
        self._reading = None
        self.record.request = request
        self._asked = (request, wire)
        if self._notifier is not None:
            self._context.run(self._notifier.started)
        if self._calls.relay is None:
            self._wait_for_slot()
        else:
            self._open_response(self._calls.relay, request)

    def _wait_for_slot(self) -> None:
        self._is_waiting = True
        try:
            self._calls.slots.take(self._ask)
        except OverloadError as error:
            self._is_waiting = False
            self.failed(error)

    def _ask(self) -> None:
        assert self._asked is not None  # noqa: S101 - `start` comes first
        (request, wire), self._asked = self._asked, None
        self._is_waiting, self.is_asking = False, True
        now_s = self._upstream_since_s = self._time()
        # A response that goes on without its caller has no deadline.
        deadline_s = (
            None if self._recording is not None and self._recording.outlives_caller else self._deadline_s
        )
        retry_s = None
        if deadline_s is not None:
            retry_s = retry_time_s(self.record.metadata, deadline_s - now_s)
        context = CallContext(
            request_id=self.record.request_id,
            deadline_s=deadline_s,
            retry_by_s=None if retry_s is None else now_s + retry_s,
            events=self._events,
        )
        # A copy if there are observers: callbacks of the source run in it, and enter the call's own context.
        own = self._context if self._notifier is None else self._context.copy()
        try:
            source = own.run(self._calls.ask, request, wire, context, self)
        except Exception as error:  # noqa: BLE001 - it ends the call
            self.failed(error)
            self.closed()
            return
        if self.is_over:
            source.cancel()
            return
        self._source = source
        if self._is_source_paused:
            source.pause()

    # From the relay, if responses are stored.

    def _open_response(self, relay: Relay, request: Any) -> None:
        try:
            options = options_of(self.record.metadata, relay.config)
        except DecodeError as error:
            self.failed(error)
            return
        ResponseOpener(
            relay.recorder, self, owner=self._owner, method=self._method, request=request, options=options
        ).start()

    def recorded(self, recording: Recording | None) -> None:
        """Ask the upstream for a response that is stored, once it is open; or for one that is not.

        A call that is over has its end stored.
        """
        if self.is_over:
            if recording is not None:
                self._end_recording(recording)
            return
        if recording is not None:
            self._recording = recording
            self.record.response_id = response_id_of(recording.id)
            # Who has the id of a response finds it in the log.
            self._is_opening = self._is_caller_busy = not recording.is_open
        self._wait_for_slot()

    def opened(self, *, is_stored: bool = True) -> None:
        """Let the caller have what has arrived, now that the log has the response, or does not take it."""
        if self.is_over or not self._is_opening:
            return
        self._is_opening = False
        if not is_stored:
            self.record.response_id = ""
            if self.record.upstream_headers:
                self.sink.headers(self.record.upstream_headers)
        elif self._buffer or self._ending is not None:
            self._identify()
        if not self._is_sink_paused:
            self.resume()

    def joined(self, id: str) -> None:
        """Answer with a response that is in the log already."""
        assert self._calls.relay is not None  # noqa: S101 - it has called
        self.record.response_id = response_id_of(id)
        self._asked = None
        self._upstream_since_s = self._time()
        self._source = JoinedResponse(self._calls.relay.recorder, id, self, is_stream=self._method.is_stream)

    def hold(self) -> None:
        """Pause the upstream, since the log is behind."""
        self._is_held = True
        if not self._is_source_paused:
            self._pause_source()

    def release(self) -> None:
        """Resume the upstream."""
        self._is_held = False
        if self._is_source_paused:
            self._resume_source()

    def unrecorded(self) -> None:
        """Learn that the response is stored no further: without a caller, nobody can read it."""
        if self.sink is _NO_SINK:
            self.expire()
        else:
            self.opened(is_stored=False)

    def expire(self) -> None:
        """End, since nobody has come back for the response."""
        self.record.code = "CANCELLED"
        self._finish(None)

    # From the source.

    def headers(self, headers: Mapping[str, str]) -> None:
        if self.is_over:
            return
        headers = self._carried(headers)
        self.record.upstream_headers = headers
        if self._is_opening:
            return
        if self.record.response_id:
            self._identify()
        elif headers:
            self.sink.headers(headers)

    def _carried(self, headers: Mapping[str, str]) -> Mapping[str, str]:
        """Return the headers that the caller may see and gRPC can carry."""
        if not headers:
            return headers
        # A program's own upstream has not filtered them: gRPC would fail to send some.
        kept = headers_in(headers.items())
        return without_limits(kept) if self._calls.limits.upstream_key_shared else kept

    def _filter_headers(self, error: BaseException) -> None:
        if isinstance(error, UpstreamError) and error.headers:
            error.headers = dict(self._carried(error.headers))

    def batch(
        self,
        wire: bytes,
        count: int,
        usage: bytes | None = None,
        finish_reasons: Sequence[tuple[int, str]] = (),
    ) -> None:
        if self.is_over:
            return
        self._upstream_since_s = self._time()
        record = self.record
        if record.first_chunk_s is None:
            record.first_chunk_s = time.perf_counter()
        record.chunks += count
        if record.response_id:
            if not self._has_headers:
                self._identify()
            if self._recording is not None:
                self._recording.batch(wire, count)
                if self.is_over:
                    return
        if self._notifier is not None:
            self._context.run(self._notifier.chunks, Chunks(wire, count, usage, finish_reasons))
        buffer = self._buffer
        if buffer is None:
            limits = self._calls.limits
            buffer = ChunkBuffer(limits.stream_message_chunks_max, limits.stream_message_bytes_max)
            self._buffer = buffer
        if not self._is_caller_busy and not buffer.size and (count == 1 or buffer.fits(wire, count)):
            self.sink.batch(wire, count)
            if self._events is not None:
                # Until the caller falls behind.
                self._events.is_open = not self._is_caller_busy and not self.is_over
            return
        buffer.add(wire, count)
        if not self._is_caller_busy:
            self._write()
        if buffer.size >= self._calls.limits.stream_buffer_bytes_max and not self._is_source_paused:
            self._pause_source()

    def answer(self, wire: bytes) -> None:
        # What a call joins was counted before.
        if self.is_watched and self.is_asking and not self.is_over:
            self.record.response = self._method.response_type.FromString(wire)
        if self.record.response_id:
            self._identify()
            if self._recording is not None:
                self._recording.batch(response_event(self._method, wire), 1)
                self._recording.finish()
        self._end(self._finish, self.sink.answer, wire)

    def end(self) -> None:
        if self._recording is not None:
            self._recording.finish()
        self._end(self._finish, self.sink.end)

    def failed(self, error: BaseException) -> None:
        """Fail, after the chunks before."""
        if self._recording is not None:
            self._filter_headers(error)
            self._recording.fail(error, self.record.request_id)
        self._end(self._fail, error)

    def closed(self) -> None:
        """Free the slot: the source holds nothing of the upstream any more."""
        if self.is_asking:
            self.is_asking = False
            self._calls.left(self)

    def _identify(self) -> None:
        """Pass on the id of the response with the upstream's headers, before anything else of it."""
        if not self._has_headers and not self.is_over and not self._is_opening:
            self._has_headers = True
            self.sink.headers({**self.record.upstream_headers, RESPONSE_ID: self.record.response_id})

    def _pause_source(self) -> None:
        self._is_source_paused = True
        self._upstream_since_s = math.inf
        if self._source is not None:
            self._source.pause()

    def _resume_source(self) -> None:
        """Resume the source unless the caller, or the log, is still behind."""
        size = 0 if self._buffer is None else self._buffer.size
        if size < self._calls.limits.stream_buffer_bytes_max and not self._is_held:
            self._is_source_paused = False
            if self._ending is None and not self.is_over:
                self._upstream_since_s = self._time()
                if self._source is not None:
                    self._source.resume()

    def _end(self, ending: Callable[..., None], *arguments: Any) -> None:
        """End the call once the caller has taken the chunks before."""
        self._upstream_since_s = math.inf
        if self.is_over:
            return
        if self._is_caller_busy or self._buffer:
            self._ending = functools.partial(ending, *arguments)
        else:
            ending(*arguments)

    # From the sink, for which the call is the source.

    def pause(self) -> None:
        if self.sink is _NO_SINK:
            return
        self._is_caller_busy = self._is_sink_paused = True
        if self._events is not None:
            self._events.is_open = False
        if self._is_caller_timed:
            self._caller_since_s = self._time()

    def resume(self) -> None:
        self._is_sink_paused = False
        self._caller_since_s = math.inf
        if self._is_opening:
            return
        self._is_caller_busy = False
        self._write()
        if self._is_source_paused:
            self._resume_source()

    def cancel(self, code: str = "CANCELLED") -> None:
        """End the call for a caller that has gone, with a code for the record, and cancel the upstream.

        A response that is stored may go on without the caller.
        """
        if not self.is_over and self.sink is not _NO_SINK and not self._detach():
            self.record.code = code
            self._finish(None)

    def abort(self, error: Exception) -> None:
        """End at once with an error; buffered chunks are dropped."""
        if not self.is_over:
            self._fail(error)

    def _detach(self) -> bool:
        """Go on without the caller if the response is to outlive them; return whether it does."""
        if self._recording is None or not self._recording.detach():
            return False
        self.sink = _NO_SINK
        self._buffer = None
        self._is_caller_busy = self._is_opening = False
        self._expires_s = self._caller_since_s = math.inf
        self._deadline_s = None
        if self._is_source_paused:
            self._resume_source()
        return True

    def _write(self) -> None:
        """Write what is buffered to the sink, and then the end, if it has been reached."""
        buffer = self._buffer
        while buffer and not self._is_caller_busy and not self.is_over:
            self.sink.batch(*buffer.take())
        if self._ending is not None and not buffer and not self._is_caller_busy and not self.is_over:
            self._ending()

    def _fail(self, error: BaseException) -> None:
        record = self.record
        self._filter_headers(error)
        if isinstance(error, UpstreamError) and error.headers:
            record.upstream_headers = error.headers
        if record.response_id:
            self._identify()
        record.code, record.error = call_status(error).code.name, error
        if isinstance(error, MistralwireError):
            reported = error
        else:
            log_unexpected(_logger, f"call {record.request_id} ended with", error)
            reported = MistralwireError(
                "internal error of the service", code="INTERNAL", reason=Reason.INTERNAL
            )
        self._finish(self.sink.failed, reported)

    def _finish(self, report: Callable[..., None] | None, *arguments: Any) -> None:
        """End the call, and report that by a function of its sink, unless the sink has gone."""
        self.is_over = True
        # No reference cycle is left: calls are freed without the garbage collector.
        self._ending = None
        if self._events is not None:
            self._events.is_open = False
        calls = self._calls
        calls.ended(self)
        calls.bodies_bytes -= self._body_bytes
        self._timer.close()
        if self._reading is not None:
            self._reading.cancel()
        if self._is_waiting:
            self._is_waiting = False
            calls.slots.leave(self._ask)
        if self._source is not None:
            self._source.cancel()
            self._source = None
        if self._recording is not None:
            self._end_recording(self._recording)
            self._recording = None
        self.record.ended_s = time.perf_counter()
        try:
            if report is not None:
                report(*arguments)
        finally:
            if self._notifier is not None:
                self._context.run(self._notifier.ended)

    def _end_recording(self, recording: Recording) -> None:
        """Record how the call has ended, unless the response has ended before."""
        record = self.record
        if record.error is not None:
            recording.fail(record.error, record.request_id)
        elif record.code == "DEADLINE_EXCEEDED":
            recording.fail(_late_error(), record.request_id)
        else:
            recording.cancel()
        recording.leave()

    # Timeouts.

    def _check_times(self) -> None:
        """End the call if a timeout has expired; otherwise check again when one can."""
        limits = self._calls.limits
        now_s = self._time()
        if self._events is not None and self._upstream_since_s < self._events.sent_s:
            self._upstream_since_s = self._events.sent_s
        sink = self.sink
        if now_s >= self._expires_s:
            if self._detach():
                sink.failed(_late_error())
            else:
                self.record.code = "DEADLINE_EXCEEDED"
                self._finish(sink.failed, _late_error())
        elif now_s >= self._caller_since_s + limits.caller_idle_s:
            error = caller_silent_error(limits.caller_idle_s)
            if self._detach():
                sink.failed(error)
            else:
                self._fail(error)
        elif now_s >= self._upstream_since_s + limits.upstream_idle_s:
            assert self._source is not None  # noqa: S101 - it is waited for
            self._source.cancel()
            message = f"the upstream was silent for {limits.upstream_idle_s:g} seconds"
            self.failed(UpstreamError(message, code="DEADLINE_EXCEEDED", reason=Reason.UPSTREAM_SILENT))
        if not self.is_over:
            self._timer.start(self._next_check_s(now_s), self._check_times)

    def _next_check_s(self, now_s: float) -> float:
        """Return the seconds until a timeout can expire, also one that has not begun: it may begin now."""
        limits = self._calls.limits
        due_s = min(
            self._expires_s,
            min(self._upstream_since_s, now_s) + limits.upstream_idle_s,
            min(self._caller_since_s, now_s) + limits.caller_idle_s,
        )
        return max(0.0, due_s - now_s)


class _NoSink:
    """Takes the response of a call whose caller has gone."""

    def headers(self, headers: Mapping[str, str]) -> None: ...

    def batch(self, wire: bytes, count: int) -> None: ...

    def answer(self, wire: bytes) -> None: ...

    def end(self) -> None: ...

    def failed(self, error: MistralwireError) -> None: ...


_NO_SINK = _NoSink()


def _late_error() -> CallError:
    return CallError("Deadline Exceeded", code="DEADLINE_EXCEEDED")
