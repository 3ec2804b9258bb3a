"""One HTTP request and its answer, by callbacks: admission, limits, conversions, metrics, access log."""

import abc
import asyncio
import contextvars
import logging
import os
import time
from collections.abc import Callable, Coroutine, Mapping
from typing import Any, Protocol, TypeVar

from mistralwire import _offload, _trace_context
from mistralwire._metadata import CALLER, REQUEST_ID, upstream_id, without_limits
from mistralwire._response_stream import EventWriter, Source
from mistralwire.errors import (
    REQUEST_ID_PATTERN,
    CallError,
    MistralwireError,
    OverloadError,
    Reason,
    UpstreamError,
    log_unexpected,
    name_in,
)
from mistralwire.gateway._errors import (
    JSON_TYPE,
    Headers,
    HttpAnswer,
    HttpError,
    answer_of,
    encoded_headers,
    upstream_headers_of,
    upstream_status_of,
)
from mistralwire.gateway._state import GatewayState

CALLER_GONE = 499
"""Status in logs and metrics of a request whose caller has hung up, to whom it is not sent."""

BREAK_OFF_S = 0.25
"""Seconds between an error event and the end of the connection: many clients drop unread bytes."""

_JOINED_BYTES_MAX = 1024
"""Bytes of consecutive parts of a body that are joined: each part takes some 40 bytes more than it has."""

UNBUFFERED = (b"x-accel-buffering", b"no")
"""Makes nginx, and proxies that adopted its header, forward a stream as it arrives."""

EVENT_STREAM_HEADERS = (
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-cache, no-transform"),
    UNBUFFERED,
)
"""Headers of a stream of server-sent events."""

HEARTBEAT = b": keep-alive\n"
"""A comment, without the blank line, at which some clients dispatch an empty event with an id and no data."""

access_logger = logging.getLogger("mistralwire.gateway.access")

_REQUEST_ID = REQUEST_ID.encode()

_logger = logging.getLogger(__name__)

Result = TypeVar("Result")


class Responder(Protocol):
    """Writes the answer of an exchange to its caller."""

    @property
    def address(self) -> str:
        """The caller's address, without a port; empty if unknown, as on a Unix socket."""

    def begin(self, status: int, headers: Headers, length: int | None) -> None:
        """Set status, headers and, if known, the bytes of the body; they may wait for the first `write`."""

    def write(self, body: bytes, *, is_last: bool = False) -> None:
        """Write a part of the body, possibly an empty one; the last one ends the answer."""

    def event_writer(self) -> EventWriter:
        """Return a writer for the events of a stream that has begun: as `write`, without the framing."""

    def break_off(self, body: bytes) -> None:
        """Write the last part of a broken body; after BREAK_OFF_S close without the end of the body."""

    def pause_body(self) -> None:
        """Stop reading the request's body, and the timer that runs for it."""

    def resume_body(self) -> None:
        """Continue reading the request's body."""


class HttpExchange(abc.ABC):
    """A request and its answer; the server reports what the caller does.

    The server calls `begin` with the head of the request, `receive` for each part of its body and
    `receive_end` after the last one; `pause` and `resume` when the caller reads too slowly and catches up,
    `gone` when they hang up. None of them raises, and none has an effect on an exchange that is over.

    Args:
        state: Shared with the other requests.
        route: Name of its route in logs and metrics.
        method: Its method.
        headers: Its headers; the last one of each name.
        responder: Writes the answer.

    Attributes:
        status: HTTP status of the answer; 0 before it has begun.
        is_over: Whether it was answered, or its caller has gone.
    """

    # Whether bodies may have a content-encoding.
    _accepts_encoded = False

    def __init__(
        self,
        state: GatewayState,
        route: str,
        method: str,
        headers: Mapping[bytes, bytes],
        responder: Responder,
    ) -> None:
        self.status = 0
        self.is_over = False
        self._state = state
        self._route_name = route
        self._method = method
        self._headers = headers
        self._responder = responder
        self._request_id = _request_id_of(headers.get(_REQUEST_ID))
        self._started_s = time.perf_counter()
        self._parts: list[bytes] = []
        self._size = 0
        # Of the body, as counted in the state.
        self._held_bytes = 0
        self._has_arrived = False
        self._is_caller_behind = self._is_paused = False
        self._context: contextvars.Context | None = None
        self._source: Source | None = None
        self._work: asyncio.Task[Any] | None = None
        self._timer: asyncio.TimerHandle | None = None
        # Of the upstream's answer, for the caller.
        self._upstream_headers: Mapping[str, str] = {}

    def begin(self) -> None:
        """Admit the request, or refuse it."""
        state, headers = self._state, self._headers
        if state.metrics is not None:
            state.metrics.started(self._route_name)
        try:
            self._admit()
            if not self._accepts_encoded and self._is_encoded():
                message = "expected a body without content-encoding, found one"
                raise HttpError(415, message, reason=Reason.UNSUPPORTED_ENCODING)
        except MistralwireError as error:
            self._fail(error)
            return
        state.arriving.begin(self, self._fail)
        length = headers.get(b"content-length", b"")
        if length.isdigit() and len(length) < 19 and int(length) > state.config.body_bytes_max:
            self._refuse_size()

    def _admit(self) -> None:
        self._state.admit(self._headers)

    @abc.abstractmethod
    def receive(self, part: bytes) -> None:
        """Receive a part of the body."""

    @abc.abstractmethod
    def receive_end(self) -> None:
        """Receive the end of the body, and request the answer."""

    def late(self) -> None:
        """Refuse the request: its body took too long to arrive."""
        message = f"expected the whole body within {self._state.config.request_s:g} seconds"
        self._fail(HttpError(408, message, reason=Reason.CALLER_SILENT))

    def drain(self) -> None:  # noqa: B027 - most answers end by themselves
        """Note that the server is about to stop: an answer that waits for what others do ends here."""

    def stop(self) -> None:
        """End the answer, since the server stops."""
        self._fail(stopped_error())

    def pause(self) -> None:
        """Pause the source: the caller does not keep up."""
        self._is_caller_behind = True
        self._regulate()

    def resume(self) -> None:
        """Resume the source."""
        self._is_caller_behind = False
        self._regulate()

    def gone(self) -> None:
        """End the exchange: the caller has hung up, or reads nothing."""
        if not self.is_over:
            self.status = CALLER_GONE
            self._finish(None)

    # The body.

    def _hold(self, part: bytes) -> bool:
        """Keep a part of the body; refuse the request and return False if it exceeds a limit."""
        size, parts = len(part), self._parts
        self._size += size
        if self._size > self._state.config.body_bytes_max:
            self._refuse_size()
            return False
        self._held_bytes += size
        try:
            self._state.hold(size)
        except OverloadError as error:
            self._fail(error)
            return False
        if parts and len(parts[-1]) + size <= _JOINED_BYTES_MAX:
            parts[-1] += part
        else:
            parts.append(part)
        return True

    def _release(self) -> None:
        """Stop counting the body: no part of it is kept."""
        self._state.bodies_bytes -= self._held_bytes
        self._held_bytes = 0

    def _arrive(self) -> None:
        self._state.arriving.end(self)
        self._state.running += 1
        self._has_arrived = True

    def _arrive_if_room(self) -> bool:
        """Count the request as running; refuse it and return False if there is no room."""
        try:
            self._state.check_room()
        except OverloadError as error:
            self._fail(error)
            return False
        self._arrive()
        return True

    def _take_body(self, then: Callable[[bytes], None]) -> None:
        """Join the body and go on with it, in a context of its own: threads and spans know their request."""
        self._context = contextvars.copy_context()
        self._context.run(self._join, then)

    def _join(self, then: Callable[[bytes], None]) -> None:
        if self._state.is_traced:
            _trace_context.enter(self._headers)
        self._state.set_caller(self._responder.address, self._headers)
        if self._size <= _offload.JOIN_BYTES_MAX:
            then(self._joined())
        else:
            parts, self._parts = self._parts, []
            self._run(_offload.in_thread(b"".join, parts), then)

    def _joined(self) -> bytes:
        body = b"".join(self._parts)
        self._parts.clear()
        return body

    def _is_encoded(self) -> bool:
        return self._headers.get(b"content-encoding", b"").strip().lower() not in (b"", b"identity")

    def _refuse_size(self) -> None:
        message = f"expected a body of at most {self._state.config.body_bytes_max} bytes, found more"
        self._fail(HttpError(413, message, reason=Reason.BODY_TOO_LARGE))

    # Conversions.

    def _convert(
        self,
        function: Callable[[bytes], Result],
        data: bytes,
        then: Callable[[Result], None],
        weight_max: int = _offload.LOOP_WEIGHT_MAX,
    ) -> None:
        """Convert a document and go on with the result; a heavy one in a thread."""
        if _offload.is_light(data, weight_max):
            self._go_on(then, function, data)
        else:
            self._run(_offload.in_thread(function, data), then)

    def _run(self, work: Coroutine[Any, Any, Result], then: Callable[[Result], None]) -> None:
        def done(task: asyncio.Task[Result]) -> None:
            self._work = None
            if not task.cancelled():
                self._go_on(then, task.result)

        task = asyncio.get_running_loop().create_task(work, context=self._context)
        task.add_done_callback(done, context=self._context)
        self._work = task

    def _go_on(
        self, then: Callable[[Result], None], function: Callable[..., Result], *arguments: Any
    ) -> None:
        """Go on with the result of a function; whatever is raised becomes the answer."""
        try:
            result = function(*arguments)
            if not self.is_over:
                then(result)
        except MistralwireError as error:
            self._fail(error)
        except Exception as error:  # noqa: BLE001 - an HTTP server has no answer to it
            log_unexpected(_logger, f"request {self._request_id} ended with", error)
            self._fail(MistralwireError("internal error of the gateway"))

    # Calls of the service.

    def _call_options(self, owner: str) -> Any:
        """Return the options of a call that is made for an owner of stored responses."""
        # The client sends the context of a current span itself.
        metadata = {} if _trace_context.has_span() else _trace_context.w3c(self._headers)
        if owner:
            metadata[CALLER] = owner
        return {
            "deadline_s": self._state.config.deadline_s,
            "request_id": self._request_id,
            "metadata": metadata,
        }

    # The answer.

    def _regulate(self) -> None:
        """Pause the source while the caller or a thread is behind it; resume it otherwise."""
        is_behind = self._is_caller_behind or self._work is not None
        if self._source is not None and is_behind is not self._is_paused:
            self._is_paused = is_behind
            if is_behind:
                self._source.pause()
            else:
                self._source.resume()

    def _visible_headers(self) -> Headers:
        headers = self._upstream_headers
        if not headers:
            return []
        return encoded_headers(without_limits(headers) if self._state.config.upstream_key_shared else headers)

    def _answer(self, answer: HttpAnswer) -> None:
        self._begin(answer.status, [JSON_TYPE, *answer.headers], len(answer.body))
        self._responder.write(answer.body, is_last=True)

    def _begin(self, status: int, headers: Headers, length: int | None) -> None:
        self.status = status
        headers.append((_REQUEST_ID, self._request_id.encode()))
        if length is not None:
            headers.append((b"content-length", b"%d" % length))
        self._responder.begin(status, headers, length)

    def _fail(self, error: MistralwireError) -> None:
        """Answer with an error; after the status was sent, break off."""
        if self.is_over:
            return
        is_broken = self.status != 0
        if is_broken:
            self._responder.break_off(self._error_event(error))
        else:
            self._answer(self._error_answer(error))
        self._finish(error, is_broken=is_broken)

    def _error_answer(self, error: MistralwireError) -> HttpAnswer:
        return answer_of(error, is_key_shared=self._state.config.upstream_key_shared)

    def _error_event(self, error: MistralwireError) -> bytes:  # noqa: ARG002 - for streams of events
        return b""

    # The end.

    def _finish(self, error: MistralwireError | None, *, is_broken: bool = False) -> None:
        self.is_over = True
        for pending in (self._source, self._timer, self._work):
            if pending is not None:
                pending.cancel()
        self._source = None
        state = self._state
        self._release()
        if self._has_arrived:
            state.running -= 1
        else:
            state.arriving.end(self)
        seconds = self._elapsed_s()
        if state.metrics is not None:
            state.metrics.ended(
                self._route_name, self.status, seconds, chunks=self._chunks, is_broken=is_broken
            )
        level = logging.WARNING if self.status >= 500 or is_broken else logging.INFO
        if access_logger.isEnabledFor(level):
            # Like the method `log`, without its search for the calling line.
            record = access_logger.makeRecord(
                access_logger.name,
                level,
                *("", 0, "%s %s", (self._method, self._route_name), None),
                extra=self._log_fields(seconds, error),
            )
            access_logger.handle(record)

    @property
    def _chunks(self) -> int:
        return 0

    def _log_fields(self, seconds: float, error: MistralwireError | None) -> dict[str, Any]:
        """Return the fields of the access log: none of the content, and no text of an error."""
        fields: dict[str, Any] = {
            "request_id": self._request_id,
            "http_status": self.status,
            "duration_ms": round(seconds * 1000, 1),
        }
        named: list[tuple[str, str | None]] = [] if error is None else [("reason", error.reason)]
        if isinstance(error, CallError | UpstreamError):
            if (status := upstream_status_of(error)) is not None:
                fields["upstream_status"] = status
            named += [("upstream_code", error.upstream_code), ("upstream_type", error.upstream_type)]
        headers = self._upstream_headers if error is None else upstream_headers_of(error)
        if headers and (own_id := upstream_id(headers)) is not None:
            named.append(("upstream_request_id", own_id))
        named += self._log_names()
        # Callers and services choose these, and may send any text.
        fields.update([(field, name) for field, text in named if (name := name_in(text))])
        return fields

    def _log_names(self) -> list[tuple[str, str]]:
        """Return further fields of the log that are names, such as that of the model."""
        return []

    def _elapsed_s(self) -> float:
        return time.perf_counter() - self._started_s


def stopped_error() -> MistralwireError:
    message = "the gateway stops, and the time for running requests is over"
    return MistralwireError(message, code="UNAVAILABLE", reason=Reason.SERVER_STOPPING)


def _request_id_of(own_id: bytes | None) -> str:
    """Return the caller's own id, or a new one if there is none that can go into a log unchanged."""
    if own_id is not None and REQUEST_ID_PATTERN.fullmatch(text := own_id.decode("latin-1")):
        return text
    return os.urandom(16).hex()
