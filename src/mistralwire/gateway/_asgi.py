"""Completions as ASGI applications, for any server."""

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from mistralwire.gateway._completion import Completion
from mistralwire.gateway._edge import Edge
from mistralwire.gateway._errors import Headers
from mistralwire.gateway._routes import Route

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

# So much of an answer waits for the server before the service is asked for no more.
_WAITING_BYTES_MAX = 64 * 1024


class CompletionApp:
    """Answers one route: an ASGI application.

    Args:
        edge: What it shares with the others.
        route: The route.
    """

    def __init__(self, edge: Edge, route: Route) -> None:
        self._edge = edge
        self._route = route

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        config = self._edge.config
        answer = _Answer()
        path_model = str(scope.get("path_params", {}).get("model", ""))
        completion = Completion(self._edge, self._route, path_model, dict(scope["headers"]), answer)
        answer.on_full, answer.on_sent = completion.pause, completion.resume
        completion.begin()
        reader = None
        try:
            if not completion.is_over:
                reader = asyncio.create_task(_receive(completion, answer, receive, config.request_s))
            await answer.send(send, config.caller_idle_s)
        except (TimeoutError, OSError):
            # A caller who takes nothing, or has hung up. The server cuts what was not completed.
            pass
        finally:
            completion.gone()
            if reader is not None:
                reader.cancel()


async def _receive(completion: Completion, answer: "_Answer", receive: Receive, limit_s: float) -> None:
    """Give a completion the body, and tell it when the caller hangs up."""
    try:
        async with asyncio.timeout(limit_s):
            while (message := await receive())["type"] == "http.request":
                completion.receive(message.get("body", b""))
                if not message.get("more_body"):
                    break
            else:
                return
        completion.receive_end()
        while (await receive())["type"] != "http.disconnect":
            pass
    except TimeoutError:
        completion.late()
    finally:
        if not completion.is_over:
            completion.gone()
            answer.close()


class _Answer:
    """Holds what a completion writes until the server has taken it; a Responder.

    Attributes:
        on_full: Called when so much waits that no more should come.
        on_sent: Called when nothing waits any more.
    """

    on_full: Callable[[], None]
    on_sent: Callable[[], None]

    def __init__(self) -> None:
        self._start: MutableMapping[str, Any] | None = None
        self._parts: list[bytes] = []
        self._waiting_bytes = 0
        self._is_complete = self._is_closed = False
        self._has_news = asyncio.Event()

    def begin(self, status: int, headers: Headers, length: int | None) -> None:
        """Take status and headers."""
        if length is not None:
            headers.append((b"content-length", b"%d" % length))
        self._start = {"type": "http.response.start", "status": status, "headers": headers}

    def write(self, body: bytes, *, is_last: bool = False) -> None:
        """Take a part of the body."""
        self._parts.append(body)
        self._waiting_bytes += len(body)
        self._is_complete = is_last
        self._has_news.set()
        if self._waiting_bytes > _WAITING_BYTES_MAX:
            self.on_full()

    def close(self) -> None:
        """Send no more: nobody is left to read it."""
        self._is_closed = True
        self._has_news.set()

    async def send(self, send: Send, idle_s: float) -> None:
        """Send the answer to its end.

        Args:
            send: Takes it.
            idle_s: How long it may take to take a part, in seconds.

        Raises:
            TimeoutError: If it takes longer.
        """
        is_complete = False
        while not is_complete:
            await self._has_news.wait()
            self._has_news.clear()
            if self._is_closed:
                return
            is_complete, body = self._is_complete, b"".join(self._parts)
            self._parts.clear()
            self._waiting_bytes = 0
            async with asyncio.timeout(idle_s):
                if self._start is not None:
                    start, self._start = self._start, None
                    await send(start)
                await send({"type": "http.response.body", "body": body, "more_body": not is_complete})
            self.on_sent()
