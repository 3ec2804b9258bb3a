"""One call of an upstream over HTTP: its attempts, its times, and its answer as wire bytes."""

import asyncio
import contextvars
import dataclasses
import enum
import functools
import logging
import math
import random
import time
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from typing import Any, Protocol

from mistralwire import _offload
from mistralwire._response_headers import response_headers
from mistralwire.codec import (
    SseBatch,
    SseBatchDecoder,
    SseError,
    explode,
    is_error_body,
    json_to_binary,
    read_error_body,
    request_to_json,
)
from mistralwire.errors import CodecError, DecodeError, EncodeError, Reason, UpstreamError
from mistralwire.upstream._http1 import Exchange, HttpClient, HttpClientError, UnreadableError
from mistralwire.upstream._http_errors import (
    late,
    redirected,
    refused,
    silent,
    too_large,
    truncated,
    unanswered,
    unreadable,
)
from mistralwire.upstream._http_log import HttpLog
from mistralwire.upstream._http_settings import HttpSettings
from mistralwire.upstream._program import encode_chunk, observed_in
from mistralwire.upstream._upstream import RESPONSE_TYPES, CallContext, Receiver, error_from_body
from mistralwire.v1 import ChatCompletionResponse, CompletionChunk

_ERROR_BYTES_MAX = 64 * 1024
_RETRIED = (429, 502, 503, 504)
# The pause before the second attempt, doubled for each further one; drawn between half of it and all of it.
_BACKOFF_S = 0.5
_BACKOFF_S_MAX = 8.0
# Who is asked to wait for longer is told so instead.
_WAIT_S_MAX = 30.0
# How long the end of an answer may take behind its last event, so that the connection can be used again.
_REST_S = 1.0

_EXTRA_TAG = bytes([ChatCompletionResponse.DESCRIPTOR.fields_by_name["json_extra"].number << 3 | 2])

HEADERS = {"user-agent": "mistralwire"}
"""The headers of every request."""

_logger = logging.getLogger(__name__)


class Target(Protocol):
    """Where requests go."""

    @property
    def probe_url(self) -> str:
        """What to ask for in order to see whether anybody answers."""
        ...

    def authorize(self) -> Coroutine[Any, Any, None] | None:
        """Return what is to be awaited before `address` knows the credentials; None if it does already."""
        ...

    def address(self, request: Any, *, is_stream: bool) -> tuple[str, Mapping[str, str]]:
        """Return the URL, and the headers beside those of every request."""
        ...

    def body_of(self, request: Any) -> Any:
        """Return the request as its body is to say it; itself where nothing changes."""
        ...


@dataclasses.dataclass(slots=True)
class Asked:
    """What is asked of an upstream, as `CallbackUpstream.start` has it.

    Attributes:
        request: The request.
        wire: Its wire bytes.
        context: What else is known of the call.
        contract_revision: Revision of the oldest contract among the readers of the answer.
    """

    request: Any
    wire: bytes
    context: CallContext
    contract_revision: int


class _Part(enum.Enum):
    """What is waited for."""

    HEAD = enum.auto()
    EVENTS = enum.auto()
    ANSWER = enum.auto()
    EXPLODED = enum.auto()
    REFUSAL = enum.auto()


# As globals: an attribute of an enum's class costs more than a call.
_HEAD, _EVENTS, _ANSWER, _EXPLODED, _REFUSAL = _Part


class HttpCall:
    """Asks once, again if need be, and gives the answer to its receiver; a Source, and a receiver of HTTP.

    No task, future or timer is made for a piece of the answer: one timer looks at the times that were noted.

    Args:
        client: Sends requests.
        target: Where they go.
        settings: Times and bounds.
        log: Notes its answers and attempts.
        asked: What is asked.
        receiver: What takes the answer.
    """

    def __init__(
        self,
        client: HttpClient,
        target: Target,
        settings: HttpSettings,
        log: HttpLog,
        *,
        asked: Asked,
        receiver: Receiver,
    ) -> None:
        self._client = client
        self._target = target
        self._settings = settings
        self._log = log
        self._asked = asked
        self._receiver = receiver
        self._events = asked.context.events
        self._is_stream = type(asked.request) not in RESPONSE_TYPES
        # The next upstream is a better second attempt than a pause.
        self._attempts_left = 1 if asked.context.has_alternative else settings.attempts_max
        self._attempt = 0
        self._body = b""
        self._loop = asyncio.get_running_loop()
        # The caller's, and not that of whoever opened the connection.
        self._context = contextvars.copy_context()
        self._exchange: Exchange | None = None
        self._task: asyncio.Task[None] | None = None
        # For the first wait of each call, nearly all of which end before; and one of its own for the others.
        self._timeouts = client.timeouts
        self._timer: asyncio.TimerHandle | None = None
        # When the time is over, and when that is looked at.
        self._due_s, self._look_s = 0.0, math.inf
        self._part = _HEAD
        # Pieces of a stream that wait for a thread, and its end: None, or an error.
        self._waiting: list[bytes | Exception | None] = []
        self._status = 0
        self._headers: Mapping[str, str] = {}
        self._pieces: list[bytes] = []
        self._size = 0
        self._decoder: SseBatchDecoder | None = None
        # Bytes of the event that is not complete.
        self._begun_bytes = 0
        # Behind the first chunk nothing is asked again: it would come a second time.
        self._has_given = False
        self._is_paused = self._is_over = False

    def start(self) -> None:
        """Ask for the first time."""
        self._due_s = self._look_s = self._timeouts.start(self._settings.first_byte_s, self, self._look)
        self._convert(self._asked.wire, self._written, self._ask)

    # For the receiver.

    def pause(self) -> None:
        """Read no more from the upstream."""
        self._is_paused = True
        if self._exchange is not None:
            self._exchange.pause()

    def resume(self) -> None:
        """Go on."""
        self._is_paused = False
        self._due_s = self._loop.time() + self._settings.silence_s
        if self._exchange is not None and self._task is None:
            self._exchange.resume()

    def cancel(self) -> None:
        """Leave the upstream, and close the connection."""
        if not self._is_over:
            self._finish()
            self._receiver.closed()

    # From the connection.

    def head(self, status: int, headers: Mapping[str, str]) -> None:
        """Take the head of the answer."""
        self._status, self._headers = status, headers
        self._log.answered(status, self._asked.context.request_id)
        self._wait(self._settings.silence_s)
        content_type = headers.get("content-type", "").partition(";")[0].strip().lower()
        if status >= 400:
            self._part = _REFUSAL
            # The status counts without a body.
            self._wait(self._settings.connect_s)
        elif status >= 300:
            self._fail(redirected(status))
        elif not self._is_stream:
            self._part = _ANSWER
        elif content_type == "text/html":
            self._fail(unreadable("an HTML page", status))
        elif content_type == "application/json":
            # Some servers do not stream, whatever they are asked for.
            self._part = _EXPLODED
        else:
            self._part = _EVENTS
            self._decoder = SseBatchDecoder(
                CompletionChunk, validate=False, contract_revision=self._asked.contract_revision
            )

    def data(self, piece: bytes) -> None:
        """Take a piece of the body."""
        decoder = self._decoder
        if decoder is not None:
            size, writer = len(piece), self._events
            bytes_max = (
                _offload.PYTHON_EVENT_BYTES_MAX if decoder.has_handed_over else _offload.LOOP_EVENT_BYTES_MAX
            )
            if self._task is not None or self._begun_bytes + size > bytes_max:
                self._add(piece, decoder)
            elif writer is None or not writer.is_open:
                self._take(decoder.feed(piece), size)
            else:
                batch = decoder.feed(piece, writer.chunks, is_chunked=writer.is_chunked)
                _, count, _, _, is_done, _, events = batch
                if count and events is not None:
                    self._begun_bytes = size
                    # It notes the time.
                    writer.send(events, count)
                    if is_done:
                        self._end()
                    return
                self._take(batch, size)
            self._due_s = self._loop.time() + self._settings.silence_s
            return
        if self._part is not _REFUSAL:
            self._due_s = self._loop.time() + self._settings.silence_s
        self._pieces.append(piece)
        self._size += len(piece)
        if self._part is _REFUSAL:
            if self._size >= _ERROR_BYTES_MAX:
                self._refuse()
        elif self._size > self._settings.answer_bytes_max:
            self._fail(too_large(f"{self._settings.answer_bytes_max} bytes"))

    def end(self) -> None:
        """Take the end of the body."""
        self._exchange = None
        if self._decoder is not None:
            if self._task is None:
                self._take(self._decoder.close(), 0)
            else:
                self._waiting.append(None)
        elif self._part is _REFUSAL:
            self._refuse()
        else:
            data = b"".join(self._pieces)
            self._pieces.clear()
            if self._part is _ANSWER:
                self._convert(data, functools.partial(self._answer_in, data), self._answer)
            else:
                self._convert(data, functools.partial(self._chunks_in, data), self._explode)

    def failed(self, error: Exception) -> None:
        """Take the error that ends the exchange."""
        self._exchange = None
        if self._part is _EVENTS and self._task is not None:
            # It comes behind what a thread still converts.
            self._waiting.append(error)
        elif not isinstance(error, HttpClientError):
            self._fail(error)
        elif self._part is _HEAD:
            self._fail(unanswered(error))
        elif self._part is _REFUSAL:
            self._refuse()
        elif isinstance(error, UnreadableError):
            self._fail(unreadable(str(error), self._status))
        elif self._is_stream:
            self._fail(truncated("a connection that broke before"))
        else:
            self._fail(unreadable("a part of one", self._status))

    # The request.

    def _written(self) -> bytes:
        """Write the body of the request."""
        request = self._target.body_of(self._asked.request)
        wire = self._asked.wire if request is self._asked.request else request.SerializeToString()
        if request.stream != self._is_stream:
            copy = type(request).FromString(wire)
            copy.stream = self._is_stream
            wire = copy.SerializeToString()
        try:
            return request_to_json(type(request), wire)
        except EncodeError as error:
            raise UpstreamError(str(error), code="INVALID_ARGUMENT", reason=error.reason) from None

    def _ask(self, body: bytes) -> None:
        self._body = body
        self._attempt += 1
        self._attempts_left -= 1
        authorizing = self._target.authorize()
        if authorizing is None:
            self._send()
        else:
            self._run(lambda: authorizing, lambda _: self._send())

    def _send(self) -> None:
        context = self._asked.context
        url, more = self._target.address(self._asked.request, is_stream=self._is_stream)
        headers = {
            **HEADERS,
            "content-type": "application/json",
            "accept": "text/event-stream" if self._is_stream else "application/json",
            **more,
        }
        own = {"x-request-id": context.request_id} if context.request_id else {}
        self._exchange = self._client.request("POST", url, headers, self._body, self, own_headers=own)
        if self._is_paused:
            self._exchange.pause()

    def _ask_again(self) -> None:
        self._timer = None
        self._part = _HEAD
        self._headers = {}
        self._pieces.clear()
        self._size = self._begun_bytes = 0
        self._wait(self._settings.first_byte_s)
        self._ask(self._body)

    # The answer.

    def _add(self, piece: bytes, decoder: SseBatchDecoder) -> None:
        """Let a piece of an event stream wait for a thread; for the one that works, or for one of its own."""
        self._waiting.append(piece)
        if self._task is None:
            if self._exchange is not None:
                self._exchange.pause()
            self._run(functools.partial(self._read_in_thread, decoder), self._read_on)

    async def _read_in_thread(self, decoder: SseBatchDecoder) -> None:
        while self._waiting and not self._is_over:
            piece = self._waiting.pop(0)
            if isinstance(piece, Exception):
                self._task = None
                self.failed(piece)
            elif piece is None:
                self._take(await _offload.in_thread(decoder.close), 0)
            else:
                self._take(await _offload.in_thread(decoder.feed, piece), len(piece))

    def _read_on(self, _: None) -> None:
        """Read from the socket again, once what has come is converted."""
        if self._exchange is not None and not self._is_paused:
            self._exchange.resume()

    def _take(self, batch: SseBatch, size: int) -> None:
        """Take what a piece of a stream has completed."""
        if self._is_over:
            return
        wire, count, usage, finish_reasons, is_done, failure, _ = batch
        if count:
            self._begun_bytes = size
            if not self._has_given:
                self._give_headers()
            self._receiver.batch(wire, count, usage, finish_reasons)
            if self._is_over:
                return
        else:
            self._begun_bytes += size
        # What comes behind [DONE] does not change a complete answer, whether it comes at once or later.
        if failure is not None and not is_done:
            self._fail(_error_of(failure))
        elif is_done:
            self._end()

    def _end(self) -> None:
        """End a stream that is complete."""
        if self._is_over:
            return
        if self._decoder is not None and self._decoder.lacks_done:
            _logger.info(
                "the stream ended without [DONE], but each choice had a finish_reason; taken as complete",
                extra={"request_id": self._asked.context.request_id},
            )
        if self._exchange is not None:
            self._exchange.discard(_REST_S)
            self._exchange = None
        self._finish()
        self._receiver.end()
        self._receiver.closed()

    def _answer_in(self, data: bytes) -> bytes:
        """Read an answer in one piece to wire bytes."""
        response_type = RESPONSE_TYPES[type(self._asked.request)]
        return self._read(data, response_type)

    def _read(self, data: bytes, response_type: type[Any]) -> bytes:
        try:
            wire = json_to_binary(
                response_type, data, validate=False, contract_revision=self._asked.contract_revision
            )
            # What tells an error body is not documented for an answer, and so in the first field, json_extra.
            if (wire.startswith(_EXTRA_TAG) or b'"error"' in data) and is_error_body(data):
                raise error_from_body(read_error_body(data))
        except DecodeError as error:
            if error.reason == Reason.LIMIT_EXCEEDED:
                raise too_large("the limits of a document") from None
            raise unreadable("something that is not a JSON object", self._status) from None
        return wire

    def _give_headers(self) -> None:
        """Pass on the headers for the caller, before anything else of the answer."""
        self._has_given = True
        if headers := response_headers(self._headers, self._asked.context.request_id):
            self._receiver.headers(headers)

    def _answer(self, wire: bytes) -> None:
        self._finish()
        self._give_headers()
        self._receiver.answer(wire)
        self._receiver.closed()

    def _chunks_in(self, data: bytes) -> list[CompletionChunk]:
        """Read an answer in one piece to the chunks of a stream."""
        response = ChatCompletionResponse.FromString(self._read(data, ChatCompletionResponse))
        try:
            return explode(response, exact=False)
        except CodecError:
            raise unreadable("an answer in one piece that is no stream", self._status) from None

    def _explode(self, chunks: list[CompletionChunk]) -> None:
        self._finish()
        self._give_headers()
        for chunk in chunks:
            self._receiver.batch(encode_chunk(chunk), 1, *observed_in(chunk))
        self._receiver.end()
        self._receiver.closed()

    def _refuse(self) -> None:
        """Fail with the answer's error status, and as much of its body as has come."""
        body = b"".join(self._pieces)[:_ERROR_BYTES_MAX]
        # Nothing more of it is wanted while this is converted.
        self._leave()
        self._convert(body, functools.partial(refused, self._status, body, self._headers), self._fail)

    # Conversions, which are not to hold the event loop.

    def _convert(self, data: bytes, function: Callable[[], Any], then: Callable[[Any], None]) -> None:
        """Go on with what a function makes of a document, in a thread if that is large."""
        if not _offload.is_light(data):
            self._run(functools.partial(_offload.in_thread, function), then)
            return
        try:
            then(function())
        except Exception as error:  # noqa: BLE001 - it ends the call
            self._fail(error)

    def _run(self, start: Callable[[], Awaitable[Any]], then: Callable[[Any], None]) -> None:
        """Go on with what a task gives."""

        async def run() -> None:
            try:
                result = await start()
                self._task = None
                then(result)
            except Exception as error:  # noqa: BLE001 - it ends the call
                self._task = None
                self._fail(error)

        self._task = self._loop.create_task(run(), context=self._context)

    # The end.

    def _fail(self, error: Exception) -> None:
        """Ask again, or give up."""
        if self._is_over:
            return
        self._leave()
        if isinstance(error, UpstreamError):
            is_final = self._has_given or self._attempts_left == 0
            is_retried = not is_final and _may_be_tried_again(error)
            if is_retried and self._retry_later(error):
                return
            error.headers = response_headers(self._headers, self._asked.context.request_id, is_error=True)
            # A caller told to come back later than this call can wait has not made that attempt yet.
            error.should_retry = error.should_retry and (is_retried or self._attempt == 1)
        self._finish()
        self._receiver.failed(error)
        self._receiver.closed()

    def _retry_later(self, error: UpstreamError) -> bool:
        """Ask again after a pause; return whether there is time for it."""
        context = self._asked.context
        wait_s = _pause_s(self._attempt, error.retry_after_s)
        if wait_s > _WAIT_S_MAX or wait_s >= context.pause_s_max():
            return False
        self._log.retried(self._attempt, error.reason, wait_s, context.request_id)
        self._timer = self._loop.call_later(wait_s, self._ask_again, context=self._context)
        return True

    def _finish(self) -> None:
        self._is_over = True
        self._leave()

    def _leave(self) -> None:
        """End what is under way."""
        self._stop_timers()
        if self._task is not None:
            self._task.cancel()
            self._task = None
        if self._exchange is not None:
            self._exchange.cancel()
            self._exchange = None

    # The one timer.

    def _wait(self, limit_s: float) -> None:
        """Wait for so long from now on. A timer that expires before that is left to look at the new time."""
        self._due_s = self._loop.time() + limit_s
        if self._look_s > self._due_s:
            self._look_later()

    def _look_later(self) -> None:
        self._stop_timers()
        self._look_s = self._due_s
        self._timer = self._loop.call_at(self._look_s, self._look)

    def _stop_timers(self) -> None:
        self._timeouts.stop(self._settings.first_byte_s, self)
        self._look_s = math.inf
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _look(self) -> None:
        now_s = self._loop.time()
        settings = self._settings
        if self._events is not None:
            idle_s = time.monotonic() - self._events.sent_s
            self._due_s = max(self._due_s, now_s - idle_s + settings.silence_s)
        if (self._is_paused or self._task is not None) and self._part is not _HEAD:
            # Who does not read, or still works on what has come, can't tell.
            self._due_s = now_s + settings.silence_s
        if self._due_s > now_s:
            self._look_later()
        elif self._part is _HEAD:
            self._fail(late(settings.first_byte_s))
        elif self._part is _REFUSAL:
            self._refuse()
        else:
            self._fail(silent(settings.silence_s))


def _may_be_tried_again(error: UpstreamError) -> bool:
    if not error.should_retry:
        return False
    if error.status is not None:
        return error.status in _RETRIED
    return error.reason == Reason.UPSTREAM_UNREACHABLE


def _pause_s(attempt: int, retry_after_s: float | None) -> float:
    backoff_s: float = min(_BACKOFF_S * 2.0 ** (attempt - 1), _BACKOFF_S_MAX)
    return max(retry_after_s or 0.0, backoff_s * random.uniform(0.5, 1.0))  # noqa: S311 - no secret


def _error_of(failure: SseError | DecodeError) -> UpstreamError:
    """Say what has ended a stream, without what is in it."""
    if isinstance(failure, SseError):
        return error_from_body(failure.error)
    if failure.reason == Reason.STREAM_TRUNCATED:
        return truncated("its end without it")
    if failure.reason == Reason.LIMIT_EXCEEDED:
        return too_large("the limits of an event")
    return unreadable("an event in its stream that is no chunk")
