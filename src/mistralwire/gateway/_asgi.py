"""Exchanges as ASGI applications, for any server."""

import asyncio
import contextlib
import dataclasses
import logging
from collections.abc import Callable, Mapping

from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from mistralwire._response_stream import EventWriter
from mistralwire.errors import BrokenStreamError
from mistralwire.gateway._errors import Headers
from mistralwire.gateway._exchanges import (
    BREAK_OFF_S,
    HttpExchange,
    PassthroughExchange,
    Responder,
    StreamExchange,
)
from mistralwire.gateway._openai import exchange_class
from mistralwire.gateway._responses import MakeResponseExchange
from mistralwire.gateway._routes import CompletionRoute, find_passthrough
from mistralwire.gateway._state import GatewayState
from mistralwire.gateway._streams import find_stream

WHOLE_QUERY = "mistralwire.query"
"""Key of the scope of a request whose query had a token, which was removed from the scope's own query."""

MakeExchange = Callable[[Scope, Responder], HttpExchange]

# Messages for the server in the queue, and their bytes, beyond which the source is paused.
_QUEUE_MAX = 16
_QUEUE_BYTES_MAX = 256 * 1024
_server_logger = logging.getLogger("uvicorn.error")


@dataclasses.dataclass(frozen=True, slots=True)
class MethodApp:
    """An ASGI application with another one for each method."""

    apps: Mapping[str, ASGIApp]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request of one of the methods, or a HEAD by the application of GET."""
        method = scope["method"]
        await self.apps["GET" if method == "HEAD" else method](scope, receive, send)


@dataclasses.dataclass(frozen=True, slots=True)
class ExchangeApp:
    """An ASGI application that answers each request by an exchange."""

    state: GatewayState
    make: MakeExchange

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request.

        Raises:
            BrokenStreamError: If the answer broke off, so that the server does not send its end.
            HTTPException: If it is no request of a route, with the status 404.
        """
        responder = _QueueResponder(self.state, self.make, scope)
        reading = asyncio.create_task(responder.receive(receive))
        try:
            await responder.send(send)
        finally:
            reading.cancel()
            responder.exchange.gone()
        await asyncio.wait([reading])
        if not reading.cancelled():
            # The server's own error.
            reading.result()


def completion_app(state: GatewayState, route: CompletionRoute) -> ExchangeApp:
    """Return the application of a completion route."""

    def make(scope: Scope, responder: Responder) -> HttpExchange:
        path_model = str(scope.get("path_params", {}).get("model", ""))
        return exchange_class(route)(state, route, path_model, dict(scope["headers"]), responder)

    return ExchangeApp(state, make)


def response_app(state: GatewayState, path: str, exchange: MakeResponseExchange) -> ExchangeApp:
    """Return the application of a route of stored responses, and of one of its methods."""

    def make(scope: Scope, responder: Responder) -> HttpExchange:
        query = scope.get(WHOLE_QUERY, scope["query_string"])
        return exchange(
            state,
            path,
            scope["method"],
            dict(scope["headers"]),
            responder,
            response_id=str(scope.get("path_params", {}).get("response_id", "")),
            query=query.decode("latin-1"),
        )

    return ExchangeApp(state, make)


def passthrough_app(state: GatewayState) -> ExchangeApp:
    """Return the application of all passthrough routes."""

    def make(scope: Scope, responder: Responder) -> HttpExchange:
        route = find_passthrough(state.passthrough_paths, _target_of(scope))
        if route is None:
            raise HTTPException(404)
        headers, method = dict(scope["headers"]), scope["method"]
        return PassthroughExchange(state, route, method=method, headers=headers, responder=responder)

    return ExchangeApp(state, make)


def stream_app(state: GatewayState) -> ExchangeApp:
    """Return the application of all durable streams."""

    def make(scope: Scope, responder: Responder) -> HttpExchange:
        root = scope.get("root_path", "")
        route = find_stream(_target_of(scope), root=root, is_tls=scope.get("scheme") == "https")
        if route is None:
            raise HTTPException(404)
        return StreamExchange(state, route, scope["method"], dict(scope["headers"]), responder)

    return ExchangeApp(state, make)


def _target_of(scope: Scope) -> bytes:
    """Return the target of a request behind the path at which the application is mounted."""
    # A server may omit the raw path; then the path of the route is taken.
    raw_path: bytes = scope.get("raw_path") or scope["path"].encode()
    query: bytes = scope["query_string"]
    return raw_path.removeprefix(scope.get("root_path", "").encode()) + (b"?" + query if query else b"")


class _QueueResponder:
    """Queues the answer of an exchange, which it begins, until the server has sent it; a Responder."""

    def __init__(self, state: GatewayState, make: MakeExchange, scope: Scope) -> None:
        # A server may know no address, as on a Unix socket.
        self.address = str((scope.get("client") or ("",))[0])
        self._config = state.config
        self._is_broken = False
        self._queued_bytes = 0
        # None when the caller has gone, or the answer breaks off.
        self._messages: asyncio.Queue[Message | None] = asyncio.Queue()
        self._wants_body = asyncio.Event()
        self._wants_body.set()
        self.pause_body, self.resume_body = self._wants_body.clear, self._wants_body.set
        self.exchange = make(scope, self)
        self.exchange.begin()

    def begin(self, status: int, headers: Headers, length: int | None) -> None:  # noqa: ARG002 - a header
        self._messages.put_nowait({"type": "http.response.start", "status": status, "headers": headers})

    def write(self, body: bytes, *, is_last: bool = False) -> None:
        self._messages.put_nowait({"type": "http.response.body", "body": body, "more_body": not is_last})
        self._queued_bytes += len(body)
        if self._messages.qsize() >= _QUEUE_MAX or self._queued_bytes >= _QUEUE_BYTES_MAX:
            self.exchange.pause()

    def event_writer(self) -> EventWriter:
        return EventWriter(self.write, is_chunked=False)

    def break_off(self, body: bytes) -> None:
        """Queue the last part of the body, whose end the server must not write."""
        self.write(body)
        self._is_broken = True
        self._messages.put_nowait(None)

    async def receive(self, receive: Receive) -> None:
        """Pass the body to the exchange, and report when the caller hangs up."""
        if self.exchange.is_over:
            return
        try:
            await self._receive(receive)
        finally:
            if not self.exchange.is_over:
                self.exchange.gone()
                self._messages.put_nowait(None)

    async def _receive(self, receive: Receive) -> None:
        exchange, has_more = self.exchange, True
        try:
            async with asyncio.timeout(self._config.request_s) as limit:
                while has_more and (message := await receive())["type"] == "http.request":
                    exchange.receive(message.get("body", b""))
                    has_more = message.get("more_body", False)
                    if not self._wants_body.is_set():
                        limit.reschedule(None)
                        await self._wants_body.wait()
                        limit.reschedule(asyncio.get_running_loop().time() + self._config.request_s)
        except TimeoutError:
            exchange.late()
        if not has_more:
            exchange.receive_end()
            while (await receive())["type"] == "http.request":
                pass

    async def send(self, send: Send) -> None:
        """Send the answer to its end, unless the caller has gone, or reads nothing in time."""
        with contextlib.suppress(TimeoutError, OSError):
            while message := await self._messages.get():
                async with asyncio.timeout(self._config.caller_idle_s):
                    await send(message)
                if message.get("more_body") is False:
                    return
                self._queued_bytes -= len(message.get("body", b""))
                if self._messages.empty():
                    self.exchange.resume()
        if self._is_broken:
            await asyncio.sleep(BREAK_OFF_S)
            _server_logger.addFilter(_is_not_of_a_broken_stream)
            raise BrokenStreamError("the stream broke off behind its status; the access log has the reason")


def _is_not_of_a_broken_stream(record: logging.LogRecord) -> bool:
    """Drop the server's log line about a stream that broke off: the access log has one."""
    error = record.exc_info[1] if record.exc_info else None
    # Where an application has a handler for it, Starlette raises an error of its own from it.
    causes = () if error is None else (error, error.__cause__)
    return not any(isinstance(cause, BrokenStreamError) for cause in causes)
