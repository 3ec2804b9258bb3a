"""What the requests that the edge answers have in common: admission, bounds, the end, metrics and the log."""

import abc
import asyncio
import logging
import os
import time
from collections.abc import Mapping
from typing import Any, Protocol

from mistralwire._metadata import REQUEST_ID, upstream_id, without_limits
from mistralwire._response_stream import EventWriter, Source
from mistralwire.errors import (
    REQUEST_ID_PATTERN,
    CallError,
    MistralwireError,
    OverloadError,
    Reason,
    UpstreamError,
    name_in,
)
from mistralwire.gateway._edge import Edge
from mistralwire.gateway._errors import (
    Answer,
    EdgeError,
    Headers,
    answer_of,
    encoded,
    upstream_headers_of,
    upstream_status_of,
)

GONE = 499
"""Status of a request whose caller hung up, in the log and in metrics: nobody gets to see it."""

BREAK_OFF_S = 0.25
"""Seconds between an event with an error and the end of the connection: many clients drop unread bytes."""

_JSON_TYPE = (b"content-type", b"application/json")
_REQUEST_ID = REQUEST_ID.encode()
_access_logger = logging.getLogger("mistralwire.gateway.access")


class Responder(Protocol):
    """Writes an answer to its caller."""

    @property
    def address(self) -> str:
        """The caller's address, without a port; empty where the server knows none."""

    def begin(self, status: int, headers: Headers, length: int | None) -> None:
        """Take status and headers; they may wait for the first `write`.

        Args:
            status: HTTP status.
            headers: The headers, but for those of the framing.
            length: Bytes of the body; None if that is not known.
        """

    def write(self, body: bytes, *, is_last: bool = False) -> None:
        """Write a part of the body, perhaps an empty one; the last one ends the answer."""

    def event_writer(self) -> EventWriter:
        """Return what writes events of a stream that has begun; as `write` does, but for the framing."""

    def break_off(self, body: bytes) -> None:
        """Write the last part of a broken body; after BREAK_OFF_S cut it without the body's end."""

    def pause_body(self) -> None:
        """Take no more of the request's body for now; a time that runs for it stops."""

    def resume_body(self) -> None:
        """Take more of it."""


class EdgeRequest(abc.ABC):
    """A request that the edge answers, told by the server what the caller does.

    The server calls `begin` with the head of the request, `receive` for each part of its body and
    `receive_end` behind the last one; `pause` and `resume` when the caller takes too little and enough again,
    `gone` when they hang up. None of them raises, and none has an effect on a request that is over.

    Args:
        edge: What it shares with the others.
        route: What logs and metrics call its route.
        method: Its method.
        headers: The headers of the request; of several with one name the last.
        responder: Takes the answer.

    Attributes:
        status: HTTP status of the answer; 0 before it has begun.
        is_over: Whether it was answered, or nobody is left to answer.
    """

    # Whether bodies may have a content-encoding.
    _takes_encoded = False

    def __init__(
        self, edge: Edge, route: str, method: str, headers: Mapping[bytes, bytes], responder: Responder
    ) -> None:
        own_id = headers.get(_REQUEST_ID)
        self.status = 0
        self.is_over = False
        self._edge = edge
        self._route_name = route
        self._method = method
        self._headers = headers
        self._responder = responder
        self._request_id = os.urandom(16).hex() if own_id is None else _request_id_of(own_id)
        self._started_s = time.perf_counter()
        self._size = 0
        # Of the body, as the edge counts them.
        self._held_bytes = 0
        self._has_arrived = False
        self._is_caller_behind = self._is_paused = False
        self._source: Source | None = None
        self._work: asyncio.Task[Any] | None = None
        self._timer: asyncio.TimerHandle | None = None
        # Of the upstream's answer, for the caller.
        self._upstream_headers: Mapping[str, str] = {}

    def begin(self) -> None:
        """Admit the request, or refuse it."""
        edge, headers = self._edge, self._headers
        if edge.metrics is not None:
            edge.metrics.started(self._route_name)
        try:
            edge.admit(headers)
            if not self._takes_encoded and self._is_encoded():
                message = "expected a body without content-encoding, found one"
                raise EdgeError(415, message, reason=Reason.UNSUPPORTED_ENCODING)
        except MistralwireError as error:
            self._fail(error)
            return
        edge.arriving.begin(self, self._fail)
        length = headers.get(b"content-length", b"")
        if length.isdigit() and len(length) < 19 and int(length) > edge.config.body_bytes_max:
            self._refuse_size()

    @property
    def _chunks(self) -> int:
        """How many chunks of a stream were sent."""
        return 0

    @abc.abstractmethod
    def receive(self, part: bytes) -> None:
        """Take a part of the body."""

    @abc.abstractmethod
    def receive_end(self) -> None:
        """Take the end of the body, and ask for the answer."""

    def _hold(self, part: bytes) -> bool:
        """Count a part of the body that is kept; refuse the request and return False if that is too much."""
        edge, size = self._edge, len(part)
        self._size += size
        self._held_bytes += size
        edge.bodies_bytes += size
        if self._size > edge.config.body_bytes_max:
            self._refuse_size()
        elif edge.bodies_bytes > edge.config.bodies_bytes_max:
            message = "the bodies of all requests take as many bytes as they may; try again later"
            self._fail(OverloadError(message, code="UNAVAILABLE", reason=Reason.TOO_MANY_BYTES))
        return not self.is_over

    def _release(self) -> None:
        """Count no part of the body any more: none is kept."""
        self._edge.bodies_bytes -= self._held_bytes
        self._held_bytes = 0

    def _arrive(self) -> None:
        """Take the place of a request that has arrived."""
        self._edge.arriving.end(self)
        self._edge.running += 1
        self._has_arrived = True

    def _arrive_if_room(self) -> bool:
        """Take the place of a request that has arrived; refuse it and return False if there is none."""
        try:
            self._edge.check_room()
        except OverloadError as error:
            self._fail(error)
            return False
        self._arrive()
        return True

    def late(self) -> None:
        """Refuse the request: its body took too long to arrive."""
        message = f"expected the whole body within {self._edge.config.request_s:g} seconds"
        self._fail(EdgeError(408, message, reason=Reason.CALLER_SILENT))

    def stop(self) -> None:
        """End the answer, since the server stops."""
        message = "the gateway stops, and the time for running requests is over"
        self._fail(MistralwireError(message, code="UNAVAILABLE", reason=Reason.SERVER_STOPPING))

    def pause(self) -> None:
        """Ask for no more of the answer: the caller does not keep up."""
        self._is_caller_behind = True
        self._regulate()

    def resume(self) -> None:
        """Go on."""
        self._is_caller_behind = False
        self._regulate()

    def gone(self) -> None:
        """Give up: the caller has hung up, or takes nothing."""
        if not self.is_over:
            self.status = GONE
            self._finish(None)

    def _is_encoded(self) -> bool:
        return self._headers.get(b"content-encoding", b"").strip().lower() not in (b"", b"identity")

    def _refuse_size(self) -> None:
        message = f"expected a body of at most {self._edge.config.body_bytes_max} bytes, found more"
        self._fail(EdgeError(413, message, reason=Reason.BODY_TOO_LARGE))

    def _regulate(self) -> None:
        """Let the source go on, unless the caller or a thread is behind it."""
        is_behind = self._is_caller_behind or self._work is not None
        if self._source is not None and is_behind is not self._is_paused:
            self._is_paused = is_behind
            if is_behind:
                self._source.pause()
            else:
                self._source.resume()

    def _passed_on(self) -> Headers:
        """Return the upstream's headers that the caller may see."""
        headers = self._upstream_headers
        if headers and self._edge.config.upstream_key_shared:
            headers = without_limits(headers)
        return encoded(headers)

    def _answer(self, answer: Answer) -> None:
        self._begin(answer.status, [_JSON_TYPE, *answer.headers], len(answer.body))
        self._responder.write(answer.body, is_last=True)

    def _begin(self, status: int, headers: Headers, length: int | None) -> None:
        self.status = status
        headers.append((_REQUEST_ID, self._request_id.encode()))
        self._responder.begin(status, headers, length)

    def _fail(self, error: MistralwireError) -> None:
        """Answer with an error; behind the status, break off."""
        if self.is_over:
            return
        is_broken = self.status != 0
        if is_broken:
            self._break_off(error)
        else:
            self._answer(answer_of(error, is_key_shared=self._edge.config.upstream_key_shared))
        self._finish(error, is_broken=is_broken)

    def _break_off(self, error: MistralwireError) -> None:  # noqa: ARG002 - for those who have events
        self._responder.break_off(b"")

    def _finish(self, error: MistralwireError | None, *, is_broken: bool = False) -> None:
        self.is_over = True
        for pending in (self._source, self._timer, self._work):
            if pending is not None:
                pending.cancel()
        self._source = None
        edge = self._edge
        self._release()
        if self._has_arrived:
            edge.running -= 1
        else:
            edge.arriving.end(self)
        seconds = self._elapsed_s()
        if edge.metrics is not None:
            edge.metrics.ended(
                self._route_name, self.status, seconds, chunks=self._chunks, is_broken=is_broken
            )
        level = logging.WARNING if self.status >= 500 or is_broken else logging.INFO
        if _access_logger.isEnabledFor(level):
            # As its method `log`, but for the search for the line of the program that it comes from.
            record = _access_logger.makeRecord(
                _access_logger.name,
                level,
                *("", 0, "%s %s", (self._method, self._route_name), None),
                extra=self._log_fields(seconds, error),
            )
            _access_logger.handle(record)

    def _log_fields(self, seconds: float, error: MistralwireError | None) -> dict[str, Any]:
        """Return what the log says of the request: nothing of its content, and no text of an error."""
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
        named += self._names()
        # Callers and services choose these, and may put anything there.
        fields.update([(field, name) for field, text in named if (name := name_in(text))])
        return fields

    def _names(self) -> list[tuple[str, str]]:
        """Return further fields of the log that are names, such as that of the model."""
        return []

    def _elapsed_s(self) -> float:
        return time.perf_counter() - self._started_s


def _request_id_of(own_id: bytes) -> str:
    """Return the caller's own id, or a new one if that can't go into a log as it is."""
    text = own_id.decode("latin-1")
    return text if REQUEST_ID_PATTERN.fullmatch(text) else os.urandom(16).hex()
