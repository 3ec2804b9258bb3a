"""What the edge answers by callbacks as ASGI applications, for any server."""

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from starlette.exceptions import HTTPException

from mistralwire._response_stream import EventWriter
from mistralwire.errors import BrokenStreamError
from mistralwire.gateway._completion import Completion
from mistralwire.gateway._edge import Edge
from mistralwire.gateway._edge_request import BREAK_OFF_S, EdgeRequest, Responder
from mistralwire.gateway._errors import Headers
from mistralwire.gateway._passthrough import Passthrough, find_passthrough
from mistralwire.gateway._routes import Route

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

# So many parts of an answer wait for the server before the service is asked for no more.
_WAITING_MAX = 16
_server_logger = logging.getLogger("uvicorn.error")


class CompletionApp:
    """Answers a route of completions: an ASGI application.

    Args:
        edge: What it shares with the others.
        route: The route.
    """

    def __init__(self, edge: Edge, route: Route) -> None:
        self._edge = edge
        self._route = route

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request.

        Raises:
            BrokenStreamError: If the answer broke off, so that the server ends it without its end.
        """
        path_model = str(scope.get("path_params", {}).get("model", ""))
        headers = dict(scope["headers"])

        def make(responder: Responder) -> EdgeRequest:
            return Completion(self._edge, self._route, path_model, headers, responder)

        await _run(self._edge, make, scope, receive, send)


class PassthroughApp:
    """Passes the requests of a route on: an ASGI application.

    Args:
        edge: What it shares with the others.
    """

    def __init__(self, edge: Edge) -> None:
        self._edge = edge

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request.

        Raises:
            BrokenStreamError: As above.
            HTTPException: If its path is not that of the route, byte for byte, with the status 404.
        """
        # A server need not say how the path came; it is the route's then, whatever that was.
        raw_path = scope.get("raw_path") or scope["path"].encode()
        prefix = scope.get("root_path", "").encode()
        target = raw_path.removeprefix(prefix) + (b"?" + query if (query := scope["query_string"]) else b"")
        route = find_passthrough(self._edge.passthrough_paths, target)
        if route is None:
            raise HTTPException(404)

        def make(responder: Responder) -> EdgeRequest:
            headers, method = dict(scope["headers"]), scope["method"]
            return Passthrough(self._edge, route, method=method, headers=headers, responder=responder)

        await _run(self._edge, make, scope, receive, send)


async def _run(
    edge: Edge, make: Callable[[Responder], EdgeRequest], scope: Scope, receive: Receive, send: Send
) -> None:
    """Answer a request."""
    answer = _Answer(edge, make, scope)
    reading = asyncio.create_task(answer.receive(receive))
    try:
        await answer.send(send)
    finally:
        reading.cancel()
        answer.request.gone()
    await asyncio.wait([reading])
    if not reading.cancelled():
        # What the server raised is its own.
        reading.result()


class _Answer:
    """Holds what is answered until the server has taken it; a Responder.

    Attributes:
        address: The caller's address.
        request: The request.
    """

    def __init__(self, edge: Edge, make: Callable[[Responder], EdgeRequest], scope: Scope) -> None:
        # A server may know no address, as on a Unix socket.
        self.address = str((scope.get("client") or ("",))[0])
        self._config = edge.config
        self._is_broken = False
        # None when the caller has gone, or the answer breaks off.
        self._messages: asyncio.Queue[MutableMapping[str, Any] | None] = asyncio.Queue()
        self._wants_body = asyncio.Event()
        self._wants_body.set()
        self.request = make(self)
        self.request.begin()

    def begin(self, status: int, headers: Headers, length: int | None) -> None:
        """Take status and headers."""
        if length is not None:
            headers.append((b"content-length", b"%d" % length))
        self._messages.put_nowait({"type": "http.response.start", "status": status, "headers": headers})

    def write(self, body: bytes, *, is_last: bool = False) -> None:
        """Take a part of the body."""
        self._messages.put_nowait({"type": "http.response.body", "body": body, "more_body": not is_last})
        if self._messages.qsize() >= _WAITING_MAX:
            self.request.pause()

    def pause_body(self) -> None:
        """Receive no more of the request for now."""
        self._wants_body.clear()

    def resume_body(self) -> None:
        """Receive more of it."""
        self._wants_body.set()

    def event_writer(self) -> EventWriter:
        """Return what takes events."""
        return EventWriter(self.write, is_chunked=False)

    def break_off(self, body: bytes) -> None:
        """Take the last part of the body, whose end the server must not write."""
        self.write(body)
        self._is_broken = True
        self._messages.put_nowait(None)

    async def receive(self, receive: Receive) -> None:
        """Give the request its body, and tell it when the caller hangs up."""
        if self.request.is_over:
            return
        try:
            await self._receive(receive)
        finally:
            if not self.request.is_over:
                self.request.gone()
                self._messages.put_nowait(None)

    async def _receive(self, receive: Receive) -> None:
        request, has_more = self.request, True
        try:
            async with asyncio.timeout(self._config.request_s) as limit:
                while has_more and (message := await receive())["type"] == "http.request":
                    request.receive(message.get("body", b""))
                    has_more = message.get("more_body", False)
                    if not self._wants_body.is_set():
                        limit.reschedule(None)
                        await self._wants_body.wait()
                        limit.reschedule(asyncio.get_running_loop().time() + self._config.request_s)
        except TimeoutError:
            request.late()
        if not has_more:
            request.receive_end()
            while (await receive())["type"] == "http.request":
                pass

    async def send(self, send: Send) -> None:
        """Send the answer to its end, unless the caller has gone, or takes nothing: the server cuts them."""
        with contextlib.suppress(TimeoutError, OSError):
            while message := await self._messages.get():
                async with asyncio.timeout(self._config.caller_idle_s):
                    await send(message)
                if message.get("more_body") is False:
                    return
                if self._messages.empty():
                    self.request.resume()
        if self._is_broken:
            await asyncio.sleep(BREAK_OFF_S)
            _server_logger.addFilter(_is_not_of_a_broken_stream)
            raise BrokenStreamError("the stream broke off behind its status; the access log has the reason")


def _is_not_of_a_broken_stream(record: logging.LogRecord) -> bool:
    """Drop the line about a stream that broke off as it should: the access log has one of its own."""
    error = record.exc_info[1] if record.exc_info else None
    # Where an application has a handler for it, Starlette raises an error of its own from it.
    causes = () if error is None else (error, error.__cause__)
    return not any(isinstance(cause, BrokenStreamError) for cause in causes)
