"""One call: its limits, its record, what its observers hear, and what waits for its caller."""

import asyncio
import contextlib
import contextvars
import functools
import logging
import math
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from google.protobuf.message import Message

from mistralwire._metadata import headers_in, without_limits
from mistralwire._response_stream import EventWriter, Sink, Source
from mistralwire._serving.incomplete_requests import IncompleteRequests
from mistralwire._timeouts import Timeouts
from mistralwire.errors import (
    CallError,
    MistralwireError,
    OverloadError,
    Reason,
    UpstreamError,
    log_unexpected,
)
from mistralwire.service._buffer import ChunkBuffer
from mistralwire.service._config import ServerConfig
from mistralwire.service._methods import Method
from mistralwire.service._record import CallObserver, CallRecord, Chunks
from mistralwire.service._request import Requests
from mistralwire.service._silence import caller_silent_error, upstream_silent_error
from mistralwire.service._slots import UpstreamSlots
from mistralwire.service._status import failure_of, request_id_of, retry_time_s
from mistralwire.service._watch import Watch
from mistralwire.upstream import CallContext, Upstream, with_start

Metadata = Sequence[tuple[str, str | bytes]]

_logger = logging.getLogger(__name__)


class Calls:
    """The calls of one service, and what they share.

    Args:
        upstream: Where the answers come from.
        config: Limits of calls, of the upstream and of streams.
        observers: Who watches the calls.
        contract_revision: Revision of the oldest contract among the readers of the answers.

    Attributes:
        limits: The settings.
        observers: Who watches.
        requests: Reads requests.
        slots: Those of the upstream.
        running: The calls that are not over.
        arriving: Those of them whose request has not fully arrived.
        bodies_bytes: Bytes of the requests of those that have begun.
        timeouts: For the first look of each call at its times.
    """

    def __init__(
        self,
        upstream: Upstream,
        config: ServerConfig,
        observers: Sequence[CallObserver],
        contract_revision: int,
    ) -> None:
        self.limits = config
        self.observers = tuple(observers)
        self.requests = Requests(upstream, config.contract_revision, strict=config.strict)
        self.slots = UpstreamSlots(config.upstream_calls_max, config.upstream_queue_max)
        self.running: set[Call] = set()
        self.arriving = IncompleteRequests(config.arriving_max)
        self.bodies_bytes = 0
        # Those whose upstream has not ended.
        self._asking: set[Call] = set()
        self._has_left = asyncio.Event()
        self.timeouts = Timeouts()
        self._upstream = with_start(upstream)
        self._contract_revision = contract_revision

    def overload(self) -> OverloadError | None:
        """Return why a call whose request has arrived is one too many; None if it is not."""
        calls_max = self.limits.calls_max
        if len(self.running) - len(self.arriving) <= calls_max:
            return None
        return OverloadError(
            f"the service has {calls_max} calls, as many as it takes; try again later",
            reason=Reason.TOO_MANY_CALLS,
        )

    def ask(self, request: Any, wire: bytes, context: CallContext, call: "Call") -> Source:
        """Ask the upstream on behalf of a call."""
        self._asking.add(call)
        return self._upstream.start(request, wire, context, call, contract_revision=self._contract_revision)

    def left(self, call: "Call") -> None:
        """Note that the upstream of a call has ended: the next one can have its place."""
        self._asking.discard(call)
        self._has_left.set()
        self.slots.give_back()

    async def wait_for_upstreams(self, limit_s: float) -> None:
        """Wait until the upstreams of all calls have ended.

        Args:
            limit_s: How long to wait, in seconds.
        """
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(limit_s):
                while self._asking:
                    self._has_left.clear()
                    await self._has_left.wait()

    def stop(self) -> None:
        """End all calls with UNAVAILABLE and the reason SERVER_STOPPING, and their upstreams."""
        # Those that wait for the upstream first: the places of the others are not for them any more.
        for call in sorted(self.running, key=lambda call: call.is_asking):
            message = "the server stops, and the time for running calls is over"
            call.abort(MistralwireError(message, code="UNAVAILABLE", reason=Reason.SERVER_STOPPING))


class Call:
    """A call from its beginning to its end.

    The source of its answer feeds it, and its sink takes from it; while the sink takes nothing, what comes
    waits, up to a bound, beyond which the source is paused. All of it runs by callbacks, in one event loop;
    a timer looks at the times that were noted.

    Args:
        calls: The others, and what they share.
        method: The method.
        sink: What takes the answer.
        metadata: What the caller sent beside the request.
        peer: Who calls.
        deadline_s: When the caller gives up, in seconds of `time.monotonic`; None if they never do, or the
            call has a timeout.
        timeout_s: Seconds after which the call ends; None if somebody else ends it at its deadline.
        is_caller_timed: Whether to end the call when the caller takes nothing for too long; otherwise
            somebody else does.
        events: What the source may write chunks to instead of calling the sink, as far as the sink is
            concerned; None if it may not.

    Attributes:
        sink: What takes the answer.
        is_over: Whether it is over for its caller.
        record: What is known of it.
        is_watched: Whether somebody wants to hear of its chunks.
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
        "_has_slot",
        "_is_caller_busy",
        "_is_caller_timed",
        "_is_source_paused",
        "_is_timed",
        "_is_waiting",
        "_method",
        "_reading",
        "_source",
        "_time",
        "_timer",
        "_upstream_since_s",
        "_watch",
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
        self._deadline_s = deadline_s if timeout_s is None else self._time() + timeout_s
        self._is_timed = timeout_s is not None
        self._is_caller_timed = is_caller_timed
        self._watch = Watch(self.record, calls.observers) if self.is_watched else None
        # The call's own: what an observer sets in it is there for the upstream, and gone with the call.
        self._context = contextvars.copy_context()
        self._buffer: ChunkBuffer | None = None
        # Who watches wants to see the chunks.
        self._events = None if self.is_watched else events
        limits = calls.limits
        # Until any of its times can be over.
        self._delay_s = min(timeout_s or math.inf, limits.upstream_idle_s, limits.caller_idle_s)
        self._asked: tuple[Any, bytes] | None = None
        self._body_bytes = 0
        self._reading: asyncio.Task[None] | None = None
        self._source: Source | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._upstream_since_s = self._caller_since_s = math.inf
        self._is_waiting = self._has_slot = False
        self._is_caller_busy = self._is_source_paused = False
        # What comes when the chunks that wait have gone.
        self._ending: Callable[[], None] | None = None
        calls.running.add(self)

    def start(self, wire: bytes, message: Message | None = None) -> None:
        """Read the request, a large one in a thread, and ask the upstream as soon as it has room.

        Args:
            wire: The request as wire bytes.
            message: Its message, if it is there already.
        """
        calls = self._calls
        calls.timeouts.start(self._delay_s, self, self._look)
        self._body_bytes = len(wire)
        calls.bodies_bytes += self._body_bytes
        if calls.bodies_bytes > calls.limits.bodies_bytes_max:
            text = "the requests of all calls take as many bytes as they may; try again later"
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
        """Tell the observers, and wait for a slot."""
        self._reading = None
        self.record.request = request
        self._asked = (request, wire)
        if self._watch is not None:
            self._context.run(self._watch.started)
        self._is_waiting = True
        try:
            self._calls.slots.take(self._ask)
        except OverloadError as error:
            self._is_waiting = False
            self.failed(error)

    def _ask(self) -> None:
        assert self._asked is not None  # noqa: S101 - `start` comes first
        (request, wire), self._asked = self._asked, None
        self._is_waiting, self._has_slot = False, True
        now_s = self._upstream_since_s = self._time()
        retry_s = None
        if self._deadline_s is not None:
            retry_s = retry_time_s(self.record.metadata, self._deadline_s - now_s)
        context = CallContext(
            request_id=self.record.request_id,
            deadline_s=self._deadline_s,
            retry_by_s=None if retry_s is None else now_s + retry_s,
            events=self._events,
        )
        # A copy where there are observers: what the source calls back from in there enters the call's own.
        own = self._context if self._watch is None else self._context.copy()
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

    @property
    def is_asking(self) -> bool:
        """Whether the upstream is busy with it."""
        return self._has_slot

    # From the source of the answer.

    def headers(self, headers: Mapping[str, str]) -> None:
        """Take the headers of the upstream's answer; see `mistralwire.upstream.Receiver`."""
        if self.is_over:
            return
        headers = self._carried(headers)
        self.record.upstream_headers = headers
        if headers:
            self.sink.headers(headers)

    def _carried(self, headers: Mapping[str, str]) -> Mapping[str, str]:
        """Return the headers that the caller may see, and that gRPC can carry."""
        if not headers:
            return headers
        # Those of a program's own upstream have not been through this: gRPC would fail to send some of them.
        kept = headers_in(headers.items())
        return without_limits(kept) if self._calls.limits.upstream_key_shared else kept

    def batch(
        self,
        wire: bytes,
        count: int,
        usage: bytes | None = None,
        finish_reasons: Sequence[tuple[int, str]] = (),
    ) -> None:
        """Take chunks that have arrived; see `mistralwire.upstream.Receiver`."""
        if self.is_over:
            return
        self._upstream_since_s = self._time()
        record = self.record
        if record.first_chunk_s is None:
            record.first_chunk_s = time.perf_counter()
        record.chunks += count
        if self._watch is not None:
            self._context.run(self._watch.chunks, Chunks(wire, count, usage, finish_reasons))
        buffer = self._buffer
        if buffer is None:
            limits = self._calls.limits
            buffer = ChunkBuffer(limits.stream_message_chunks_max, limits.stream_message_bytes_max)
            self._buffer = buffer
        if not self._is_caller_busy and not buffer.size and (count == 1 or buffer.fits(wire, count)):
            self.sink.batch(wire, count)
            if self._events is not None:
                # Until the caller is behind.
                self._events.is_open = not self._is_caller_busy and not self.is_over
            return
        buffer.add(wire, count)
        if not self._is_caller_busy:
            self._write()
        if buffer.size >= self._calls.limits.stream_buffer_bytes_max and not self._is_source_paused:
            self._is_source_paused = True
            self._upstream_since_s = math.inf
            if self._source is not None:
                self._source.pause()

    def answer(self, wire: bytes) -> None:
        """Take an answer in one piece."""
        if self.is_watched and not self.is_over:
            self.record.response = self._method.response_type.FromString(wire)
        self._end(self._finish, self.sink.answer, wire)

    def end(self) -> None:
        """The stream is complete."""
        self._end(self._finish, self.sink.end)

    def failed(self, error: BaseException) -> None:
        """The answer failed; that comes after the chunks before."""
        self._end(self._fail, error)

    def closed(self) -> None:
        """The source holds nothing of the upstream any more."""
        if self._has_slot:
            self._has_slot = False
            self._calls.left(self)

    def _end(self, ending: Callable[..., None], *arguments: Any) -> None:
        """Come to the end, once the caller has taken the chunks before."""
        self._upstream_since_s = math.inf
        if self.is_over:
            return
        if self._is_caller_busy or self._buffer:
            self._ending = functools.partial(ending, *arguments)
        else:
            ending(*arguments)

    # From the sink, for which the call is the source.

    def pause(self) -> None:
        """The caller takes nothing for now."""
        self._is_caller_busy = True
        if self._events is not None:
            self._events.is_open = False
        if self._is_caller_timed:
            self._caller_since_s = self._time()

    def resume(self) -> None:
        """The caller takes more."""
        self._is_caller_busy = False
        self._caller_since_s = math.inf
        self._write()
        size = 0 if self._buffer is None else self._buffer.size
        if self._is_source_paused and size < self._calls.limits.stream_buffer_bytes_max:
            self._is_source_paused = False
            if self._ending is None and not self.is_over:
                self._upstream_since_s = self._time()
                if self._source is not None:
                    self._source.resume()

    def cancel(self, code: str = "CANCELLED") -> None:
        """The caller has gone: nothing more comes, and the upstream is left.

        Args:
            code: Name of the status that the record gets.
        """
        if not self.is_over:
            self.record.code = code
            self._finish(None)

    def abort(self, error: Exception) -> None:
        """End at once with an error; chunks that wait are dropped."""
        if not self.is_over:
            self._fail(error)

    def _write(self) -> None:
        """Let the sink take what waits; then comes the end, if that was reached."""
        buffer = self._buffer
        while buffer and not self._is_caller_busy and not self.is_over:
            self.sink.batch(*buffer.take())
        if self._ending is not None and not buffer and not self._is_caller_busy and not self.is_over:
            self._ending()

    def _fail(self, error: BaseException) -> None:
        record = self.record
        if isinstance(error, UpstreamError) and error.headers:
            error.headers = dict(self._carried(error.headers))
            record.upstream_headers = error.headers
        record.code, record.error = failure_of(error).code.name, error
        if isinstance(error, MistralwireError):
            told = error
        else:
            log_unexpected(_logger, f"call {record.request_id} ended with", error)
            told = MistralwireError("internal error of the service", code="INTERNAL", reason=Reason.INTERNAL)
        self._finish(self.sink.failed, told)

    def _finish(self, tell: Callable[..., None] | None, *arguments: Any) -> None:
        """End the call, and tell that to its sink by a function of it, unless the sink has left."""
        self.is_over = True
        # Nor does it hold what holds it: calls are freed without the garbage collector.
        self._ending = None
        if self._events is not None:
            self._events.is_open = False
        calls = self._calls
        calls.running.discard(self)
        calls.bodies_bytes -= self._body_bytes
        calls.timeouts.stop(self._delay_s, self)
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._reading is not None:
            self._reading.cancel()
        if self._is_waiting:
            self._is_waiting = False
            calls.slots.leave(self._ask)
        if self._source is not None:
            self._source.cancel()
            self._source = None
        self.record.ended_s = time.perf_counter()
        try:
            if tell is not None:
                tell(*arguments)
        finally:
            if self._watch is not None:
                self._context.run(self._watch.ended)

    # Its times.

    def _set_timer(self) -> None:
        limits = self._calls.limits
        now_s = self._time()
        due_s = min(
            self._deadline_s if self._is_timed and self._deadline_s is not None else math.inf,
            min(self._upstream_since_s, now_s) + limits.upstream_idle_s,
            min(self._caller_since_s, now_s) + limits.caller_idle_s,
        )
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(max(0.0, due_s - now_s), self._look)

    def _look(self) -> None:
        """See whether a time is over."""
        limits = self._calls.limits
        now_s = self._time()
        if self._events is not None and self._upstream_since_s < self._events.sent_s:
            self._upstream_since_s = self._events.sent_s
        if self._is_timed and self._deadline_s is not None and now_s >= self._deadline_s:
            self.record.code = "DEADLINE_EXCEEDED"
            error = CallError("Deadline Exceeded", code="DEADLINE_EXCEEDED")
            self._finish(self.sink.failed, error)
        elif now_s >= self._caller_since_s + limits.caller_idle_s:
            self._fail(caller_silent_error(limits.caller_idle_s))
        else:
            if now_s >= self._upstream_since_s + limits.upstream_idle_s:
                assert self._source is not None  # noqa: S101 - it is waited for
                self._source.cancel()
                self.failed(upstream_silent_error(limits.upstream_idle_s))
            if not self.is_over:
                self._set_timer()
