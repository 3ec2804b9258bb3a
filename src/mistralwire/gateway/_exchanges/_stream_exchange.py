"""A request for a durable stream, and its answer."""

import asyncio
import base64
import codecs
import contextlib
import re
import secrets
import time
from collections.abc import AsyncGenerator, Iterator, Mapping
from typing import Any, NamedTuple, Protocol, Self, TypeVar

import orjson

from mistralwire import _offload
from mistralwire.errors import MistralwireError, Reason, ResponseError
from mistralwire.gateway._errors import JSON_TYPE, Headers, HttpAnswer
from mistralwire.gateway._exchanges._http_exchange import HEARTBEAT, HttpExchange, Responder
from mistralwire.gateway._exchanges._service_wait import FIRST_SIGN_S, when_reachable
from mistralwire.gateway._state import GatewayState
from mistralwire.gateway._streams import (
    JSON,
    RESPONSES,
    STREAM_PATH,
    ReadableResponse,
    Reading,
    StoredStream,
    StreamError,
    StreamPiece,
    StreamRoute,
    StreamStore,
    media_type_of,
    offset_of,
    read_appending,
    read_creation,
    read_reading,
    stream_name,
)

# Seconds after which a stream of events ends, so that its reader may reach another server, or a cache.
_EVENTS_S = 60.0
# The cursor counts intervals since then, and never stands still: no cache repeats an answer for ever.
_CURSOR_EPOCH_S, _CURSOR_INTERVAL_S, _CURSOR_STEP_MAX = 1_728_432_000, 20, 180
_CURSOR = re.compile("[0-9]{1,15}")
_BODILESS = (204, 304)
_LINE_END = re.compile("\r\n|\r|\n")
# Content is the callers', and must never run as a page of the gateway's origin.
_SECURITY_HEADERS = (
    (b"x-content-type-options", b"nosniff"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"content-security-policy", b"default-src 'none'; sandbox"),
)
_CACHED = "private, max-age=60, stale-while-revalidate=300"

Paced = TypeVar("Paced")


class Readable(Protocol):
    """A stream as far as it is read: one that callers name, or a response.

    Attributes:
        content_type: Type of its messages.
        tag: Tells it from other streams with the same path.
        tail: Number of its last message.
        is_closed: Whether there will be no others.
        ttl_s: Seconds without use after which it expires.
        expires_at: When it expires.
    """

    content_type: str
    tag: str
    tail: int
    is_closed: bool
    ttl_s: int | None
    expires_at: str | None

    async def read(self, after: int) -> StreamPiece:
        """Read the messages behind a position, as many as one piece takes."""

    def follow(self, after: int) -> AsyncGenerator[StreamPiece, None]:
        """Yield the messages behind a position, and later ones as they are stored."""

    async def refresh(self) -> Self:
        """Return it as it is now; reading it renews it."""


class _Reply(NamedTuple):
    status: int
    headers: dict[str, str]
    body: bytes = b""


class NamedStream:
    """A stream that its caller names; Readable."""

    def __init__(self, store: StreamStore, owner: str, name: str, found: StoredStream) -> None:
        self._store, self._owner, self._name, self._found = store, owner, name, found
        state = found.state
        self.content_type, self.tag = state.content_type, state.token
        self.tail, self.is_closed = found.tail, found.is_closed
        self.ttl_s, self.expires_at = state.ttl_s, state.expires_at

    async def read(self, after: int) -> StreamPiece:
        return await self._store.read(self._found, after)

    def follow(self, after: int) -> AsyncGenerator[StreamPiece, None]:
        return self._store.follow(self._found, after)

    async def refresh(self) -> "NamedStream":
        found = await self._store.find(self._owner, self._name)
        await self._store.renew(found)
        return NamedStream(self._store, self._owner, self._name, found)


class StreamExchange(HttpExchange):
    """Answers a request for a durable stream."""

    def __init__(
        self,
        state: GatewayState,
        route: StreamRoute,
        method: str,
        headers: Mapping[bytes, bytes],
        responder: Responder,
    ) -> None:
        super().__init__(state, STREAM_PATH, method, headers, responder)
        self._route = route
        self._is_writable = asyncio.Event()
        self._is_writable.set()
        # Set when the server is about to stop.
        self._stopping: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def receive(self, part: bytes) -> None:
        if not self.is_over:
            self._hold(part)

    def receive_end(self) -> None:
        if not self.is_over and self._arrive_if_room():
            self._take_body(self._start)

    def drain(self) -> None:
        """End a live read: its reader goes on at another server."""
        if not self._stopping.done():
            self._stopping.set_result(None)

    def _regulate(self) -> None:
        if self._is_caller_behind:
            self._is_writable.clear()
        else:
            self._is_writable.set()

    def _start(self, body: bytes) -> None:
        self._run(self._serve(body), self._end)

    async def _serve(self, body: bytes) -> _Reply | None:
        """Return the answer; None if it was a stream of events."""
        name = stream_name(self._route.path)
        first, _, rest = name.partition("/")
        if first == RESPONSES:
            return await self._serve_response(rest)
        store = self._state.streams
        if store is None:
            raise ResponseError(
                "the gateway stores no streams; start it with --data DIR or --log",
                code="UNIMPLEMENTED",
                reason=Reason.NO_RESPONSE_LOG,
            )
        owner = self._state.owner_of(self._headers)
        if self._method == "PUT":
            return await self._create(store, owner, name, body)
        if self._method == "POST":
            return await self._append(store, owner, name, body)
        if self._method == "DELETE":
            await store.delete(owner, name)
            return _Reply(204, {})
        stream = NamedStream(store, owner, name, await store.find(owner, name))
        if self._method == "HEAD":
            return _head_reply(stream)
        reading = read_reading(self._route.query)
        return await self._read(await stream.refresh(), reading)

    async def _serve_response(self, response_id: str) -> _Reply | None:
        if self._method not in ("GET", "HEAD"):
            raise StreamError(
                405,
                f"expected GET or HEAD for a stream below {STREAM_PATH}/{RESPONSES}, found {self._method}: "
                "responses are written by the service",
                reason=Reason.METHOD_NOT_ALLOWED,
                headers={"allow": "GET, HEAD"},
            )
        state = self._state
        options = self._call_options(state.owner_of(self._headers))
        reading = read_reading(self._route.query)

        async def find(options: Any) -> ReadableResponse:
            return await ReadableResponse.find(state.client, response_id, options, state.error_for_caller)

        if self._method == "HEAD":
            return _head_reply(await find(options))
        if reading.live != "sse":
            return await self._read(await find(options), reading)

        async def find_once() -> AsyncGenerator[ReadableResponse, None]:
            yield await when_reachable(find, options)

        stream = await self._first_of(find_once())
        return None if stream is None else await self._read(stream, reading)

    async def _first_of(self, found: AsyncGenerator[Paced, None]) -> Paced | None:
        """Return what is found first, with heartbeats meanwhile: an EventSource gives up at a 503.

        None if the server stops before; the stream of events is then begun, and has no more to send.
        """
        idle_s = min(FIRST_SIGN_S, self._state.config.heartbeat_s)
        async with contextlib.aclosing(_paced(found, idle_s, self._stopping)) as streams:
            async for stream in streams:
                if stream is not None:
                    return stream
                self._begin_events({})
                self._responder.write(HEARTBEAT)
        self._begin_events({})
        return None

    # Writing.

    async def _create(self, store: StreamStore, owner: str, name: str, body: bytes) -> _Reply:
        creation = read_creation(self._headers, self._route.root)
        found, is_new = await store.create(owner, name, creation, body)
        headers = {"content-type": found.state.content_type, "stream-next-offset": offset_of(found.tail)}
        if found.is_closed:
            headers["stream-closed"] = "true"
        if is_new:
            host = self._headers.get(b"host", b"").decode("latin-1")
            path = self._route.path.decode("latin-1").removesuffix("/")
            headers["location"] = f"{self._route.scheme}://{host}{self._route.root}{STREAM_PATH}/{path}"
        return _Reply(201 if is_new else 200, headers)

    async def _append(self, store: StreamStore, owner: str, name: str, body: bytes) -> _Reply:
        request = await _offload.in_thread_if_heavy(body, read_appending, self._headers, body)
        found, is_known = await store.append(owner, name, request)
        headers = {"stream-next-offset": offset_of(found.tail)}
        if (producer := request.producer) is not None:
            known = found.state.producers.get(producer.id, producer)
            headers |= {"producer-epoch": str(known.epoch), "producer-seq": str(known.seq)}
        if found.is_closed:
            headers["stream-closed"] = "true"
        is_produced = producer is not None and bool(body) and not is_known
        return _Reply(200 if is_produced else 204, headers)

    # Reading.

    async def _read(self, stream: Readable, reading: Reading) -> _Reply | None:
        position = stream.tail if reading.position is None else reading.position
        if position > stream.tail:
            message = f"expected an offset up to {offset_of(stream.tail)}, the end of what is stored"
            headers = {"stream-next-offset": offset_of(stream.tail)}
            error = f"{message}, found one beyond it"
            raise StreamError(400, error, reason=Reason.RESPONSE_TRUNCATED, headers=headers)
        if reading.live == "sse":
            await self._send_events(stream, position, reading.cursor)
            return None
        if reading.live and position == stream.tail and not stream.is_closed:
            await self._wait(stream, position)
            stream = await stream.refresh()
        if reading.position is None and not reading.live:
            piece = StreamPiece((), position, stream.is_closed)
        else:
            piece = await stream.read(position)
        headers = {"stream-next-offset": offset_of(piece.last)}
        if piece.last >= stream.tail:
            headers["stream-up-to-date"] = "true"
        if piece.is_end:
            headers["stream-closed"] = "true"
        if reading.live:
            headers["stream-cursor"] = _next_cursor(reading.cursor)
            if not piece.contents:
                return _Reply(204, {**headers, "cache-control": "no-store"})
        if reading.position is None:
            headers["cache-control"] = "no-store"
        else:
            closed = ":c" if piece.is_end else ""
            headers["etag"] = f'"{stream.tag}:{position}:{piece.last}{closed}"'
            # At the tail the same request has another answer soon.
            headers["cache-control"] = "private, no-cache" if piece.last >= stream.tail else _CACHED
            headers["vary"] = "authorization"
            if not reading.live and self._has_tag(headers["etag"]):
                return _Reply(304, headers)
        headers["content-type"] = stream.content_type
        return _Reply(200, headers, _content_of(stream.content_type, piece))

    async def _wait(self, stream: Readable, position: int) -> None:
        """Wait until a stream has changed, for a while."""
        pieces = _paced(stream.follow(position), self._idle_s(stream), self._stopping)
        async with contextlib.aclosing(pieces):
            with _until_deleted():
                await anext(pieces, None)

    async def _send_events(self, stream: Readable, position: int, cursor: str) -> None:
        """Send what there is, then follow, until the stream ends, the server stops, or the time is over."""
        writer = _EventEncoder(stream.content_type, cursor)
        self._begin_events(writer.headers)
        loop = asyncio.get_running_loop()
        ends_s = loop.time() + _EVENTS_S
        with _until_deleted():
            while True:
                piece = await stream.read(position)
                position = piece.last
                await self._write(writer.encode(piece, is_current=position >= stream.tail))
                if piece.is_end:
                    return
                if position >= stream.tail:
                    break
            pieces = _paced(stream.follow(position), self._idle_s(stream), self._stopping)
            async with contextlib.aclosing(pieces):
                async for each in pieces:
                    if each is None:
                        stream = await stream.refresh()
                        await self._write(HEARTBEAT)
                    else:
                        position = each.last
                        if not self._is_writable.is_set():
                            stream = await stream.refresh()
                        is_current = position >= stream.tail
                        await self._write(writer.encode(each, is_current=is_current))
                    if loop.time() > ends_s or (each is not None and each.is_end):
                        return

    def _begin_events(self, more: Mapping[str, str]) -> None:
        """Send the status and the headers of a stream of events, unless they were sent before."""
        if not self.status:
            headers = {"content-type": "text/event-stream", "cache-control": "no-cache, no-transform"}
            self._begin(200, _encoded({**headers, "x-accel-buffering": "no", **more}), None)

    def _idle_s(self, stream: Readable) -> float:
        """Return the seconds without a message in which a live read gives a sign, and renews its stream."""
        heartbeat_s = min(self._state.config.heartbeat_s, _EVENTS_S)
        return heartbeat_s if stream.ttl_s is None else min(heartbeat_s, stream.ttl_s / 2)

    async def _write(self, events: bytes) -> None:
        """Write events once the caller has read most of those before."""
        await self._is_writable.wait()
        self._responder.write(events)

    def _has_tag(self, tag: str) -> bool:
        known = self._headers.get(b"if-none-match", b"").decode("latin-1").split(",")
        return not {"*", tag}.isdisjoint(each.strip().removeprefix("W/") for each in known)

    # The answer.

    def _end(self, reply: _Reply | None) -> None:
        if reply is None:
            self._responder.write(b"", is_last=True)
        else:
            has_body = self._method != "HEAD" and reply.status not in _BODILESS
            self._begin(reply.status, _encoded(reply.headers), len(reply.body) if has_body else None)
            self._responder.write(reply.body if has_body else b"", is_last=True)
        self._finish(None)

    def _begin(self, status: int, headers: Headers, length: int | None) -> None:
        super()._begin(status, [*headers, *_SECURITY_HEADERS], length)

    def _answer(self, answer: HttpAnswer) -> None:
        self._begin(answer.status, [JSON_TYPE, *answer.headers], len(answer.body))
        self._responder.write(b"" if self._method == "HEAD" else answer.body, is_last=True)

    def _error_answer(self, error: MistralwireError) -> HttpAnswer:
        answer = super()._error_answer(self._state.error_for_caller(error))
        more = _encoded({"cache-control": "no-store"})
        if isinstance(error, StreamError):
            more += _encoded(error.headers)
        return answer._replace(headers=[*answer.headers, *more])


class _EventEncoder:
    """Encodes pieces of a stream as server-sent events: a `data`, and a `control` with its end."""

    def __init__(self, content_type: str, cursor: str) -> None:
        self._content_type = content_type
        self._cursor = cursor
        is_text = media_type_of(content_type) == JSON or content_type.lower().startswith("text/")
        # A character may begin in one message and end in the next.
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace") if is_text else None
        self.headers = {} if is_text else {"stream-sse-data-encoding": "base64"}

    def encode(self, piece: StreamPiece, *, is_current: bool) -> bytes:
        events = b""
        if piece.contents:
            data = _content_of(self._content_type, piece)
            if self._decoder is None:
                events = b"event: data\ndata:%b\n\n" % base64.b64encode(data)
            else:
                events = _data_event(self._decoder.decode(data, piece.is_end))
        control: dict[str, object] = {"streamNextOffset": offset_of(piece.last)}
        if piece.is_end:
            control |= {"streamClosed": True, "upToDate": True}
        else:
            self._cursor = _next_cursor(self._cursor)
            control["streamCursor"] = self._cursor
            if is_current:
                control["upToDate"] = True
        return b"%bevent: control\ndata:%b\n\n" % (events, orjson.dumps(control))


async def _paced(
    items: AsyncGenerator[Paced, None], idle_s: float, stopping: "asyncio.Future[None]"
) -> AsyncGenerator[Paced | None, None]:
    """Yield items until a future is done, and None after each time in which there is none."""
    async with contextlib.aclosing(items):
        following: asyncio.Task[Paced | None] | None = None
        try:
            while True:
                following = following or asyncio.ensure_future(anext(items, None))
                await asyncio.wait((following, stopping), timeout=idle_s, return_when=asyncio.FIRST_COMPLETED)
                if not following.done():
                    if stopping.done():
                        return
                    yield None
                    continue
                item, following = following.result(), None
                if item is None:
                    return
                yield item
        finally:
            if following is not None:
                following.cancel()
                await asyncio.wait((following,))
                if not following.cancelled():
                    # Nobody is left for it.
                    following.exception()


@contextlib.contextmanager
def _until_deleted() -> Iterator[None]:
    """End a live read without an error if its stream is deleted: the next request of its reader has it."""
    try:
        yield
    except MistralwireError as error:
        if error.reason != Reason.RESPONSE_NOT_FOUND:
            raise


def _head_reply(stream: Readable) -> _Reply:
    headers = {
        "content-type": stream.content_type,
        "stream-next-offset": offset_of(stream.tail),
        "cache-control": "no-store",
    }
    if stream.is_closed:
        headers["stream-closed"] = "true"
    if stream.ttl_s is not None:
        headers["stream-ttl"] = str(stream.ttl_s)
    if stream.expires_at is not None:
        headers["stream-expires-at"] = stream.expires_at
    return _Reply(200, headers)


def _content_of(content_type: str, piece: StreamPiece) -> bytes:
    if media_type_of(content_type) == JSON:
        return b"[%b]" % b",".join(piece.contents)
    return b"".join(piece.contents)


def _data_event(text: str) -> bytes:
    # One space behind the colon is no part of the line.
    lines = [f"data: {line}\n" if line[:1] == " " else f"data:{line}\n" for line in _LINE_END.split(text)]
    return "".join(("event: data\n", *lines, "\n")).encode()


def _next_cursor(known: str) -> str:
    """Return a cursor above the one that the caller has."""
    now = int(time.time() - _CURSOR_EPOCH_S) // _CURSOR_INTERVAL_S
    if _CURSOR.fullmatch(known) and int(known) >= now:
        return str(int(known) + 1 + secrets.randbelow(_CURSOR_STEP_MAX))
    return str(now)


def _encoded(headers: Mapping[str, str]) -> Headers:
    return [(name.encode(), value.encode("latin-1")) for name, value in headers.items()]
