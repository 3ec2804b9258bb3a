"""One HTTP request and its answer, over ASGI."""

import asyncio
import re
import time
import uuid
from collections.abc import Awaitable, Callable, MutableMapping
from types import TracebackType
from typing import Any, Self, cast

from mistralwire import _offload
from mistralwire.errors import REQUEST_ID_PATTERN, MistralwireError, Reason
from mistralwire.gateway._errors import Answer, EdgeError, Headers
from mistralwire.gateway._protocol import ABORT, ON_STOP

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

REQUEST_ID = "x-request-id"
JSON = b"application/json"

_PASSED_ON = (b"traceparent", b"tracestate")
_METADATA_VALUE = re.compile(rb"[!-~](?:[ -~]{0,510}[!-~])?")


class CallerGoneError(Exception):
    """The caller has hung up, or takes nothing: there is nobody to answer."""


class Exchange:
    """A request with the means to answer it.

    Args:
        scope: What ASGI says of the request.
        receive: Gives its parts.
        send: Takes those of the answer.
        caller_idle_s: How long the caller may take nothing, in seconds.

    Attributes:
        headers: The headers of the request; of several with one name the last.
        request_id: The caller's own id of the request, or a new one.
        status: HTTP status of the answer; 0 before it has begun.
        model: The model that is asked for; empty before the request was read, and for an agent.
        agent_id: The agent that is asked; empty before the request was read, and for a model.
        chunks: How many chunks of a stream were sent.
        is_broken: Whether the answer broke after its status was sent.
        first_chunk_s: When the first of them was there, in seconds from the start; 0 before.
    """

    def __init__(self, scope: Scope, receive: Receive, send: Send, caller_idle_s: float) -> None:
        self.scope = scope
        self.headers: dict[bytes, bytes] = dict(scope["headers"])
        own_id = self.headers.get(REQUEST_ID.encode(), b"").decode("latin-1")
        self.request_id = own_id if REQUEST_ID_PATTERN.fullmatch(own_id) else uuid.uuid4().hex
        self.status = 0
        self.model = ""
        self.agent_id = ""
        self.chunks = 0
        self.is_broken = False
        self.first_chunk_s = 0.0
        self._started_s = time.perf_counter()
        self._receive = receive
        self._send = send
        self._caller_idle_s = caller_idle_s

    @property
    def path_model(self) -> str:
        """The model that the path names; empty where it names none."""
        return str(self.scope.get("path_params", {}).get("model", ""))

    def elapsed_s(self) -> float:
        """Give the time since the request began, in seconds."""
        return time.perf_counter() - self._started_s

    def metadata(self) -> dict[str, str | bytes]:
        """Give what goes on to the service: the context of a trace."""
        pairs = ((name, self.headers.get(name, b"")) for name in _PASSED_ON)
        return {name.decode(): value.decode() for name, value in pairs if _METADATA_VALUE.fullmatch(value)}

    async def read_body(self, bytes_max: int, limit_s: float) -> bytes:
        """Read the whole body.

        Args:
            bytes_max: Its bound in bytes.
            limit_s: How long it may take, in seconds.

        Raises:
            EdgeError: If it is too large (413), too slow (408) or compressed (415).
            CallerGoneError: If the caller hangs up.
        """
        if self.headers.get(b"content-encoding", b"identity") != b"identity":
            raise EdgeError(
                415, "expected a body without content-encoding, found one", reason=Reason.UNSUPPORTED_ENCODING
            )
        length = self.headers.get(b"content-length", b"0")
        if length.isdigit() and (len(length) > 18 or int(length) > bytes_max):
            raise _too_large(bytes_max)
        try:
            async with asyncio.timeout(limit_s):
                return await self._read(bytes_max)
        except TimeoutError:
            raise EdgeError(
                408, f"expected the whole body within {limit_s:g} seconds", reason=Reason.CALLER_SILENT
            ) from None

    async def _read(self, bytes_max: int) -> bytes:
        parts: list[bytes] = []
        size = 0
        while True:
            message = await self._receive()
            if message["type"] != "http.request":
                raise CallerGoneError
            part = message.get("body", b"")
            size += len(part)
            if size > bytes_max:
                raise _too_large(bytes_max)
            parts.append(part)
            if not message.get("more_body"):
                return await _offload.join(parts, size)

    async def wait_until_gone(self) -> None:
        """Wait until the caller hangs up; the body must have been read."""
        while (await self._receive())["type"] != "http.disconnect":
            pass

    async def answer(self, answer: Answer) -> None:
        """Send an answer in one piece.

        Raises:
            CallerGoneError: As for `write`.
        """
        status, body, more = answer
        length = b"%d" % len(body)
        await self.begin(status, [(b"content-type", JSON), (b"content-length", length), *more])
        await self.write(body, is_last=True)

    async def begin(self, status: int, headers: Headers) -> None:
        """Send status and headers.

        Raises:
            CallerGoneError: As for `write`.
        """
        headers.append((REQUEST_ID.encode(), self.request_id.encode()))
        await self._sent({"type": "http.response.start", "status": status, "headers": headers})
        self.status = status

    async def write(self, body: bytes, *, is_last: bool = False) -> None:
        """Send a part of the body.

        Raises:
            CallerGoneError: If the caller takes nothing for too long; then the connection is cut.
        """
        await self._sent({"type": "http.response.body", "body": body, "more_body": not is_last})

    async def _sent(self, message: Scope) -> None:
        try:
            async with asyncio.timeout(self._caller_idle_s):
                await self._send(message)
        except TimeoutError:
            self.abort()
            raise CallerGoneError from None

    def abort(self) -> None:
        """Cut the connection, where the server can."""
        abort = self.scope.get("extensions", {}).get(ABORT)
        if abort is not None:
            abort()


class WhileCaller:
    """Cancels what runs in the block when the server stops, or when the caller hangs up.

    The block then ends with a MistralwireError of the reason SERVER_STOPPING, or with CallerGoneError.

    Args:
        exchange: The request.
    """

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange
        self._why: Exception | None = None
        self._watcher: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        """Begin to listen to the server."""
        self._task = cast("asyncio.Task[Any]", asyncio.current_task())
        self._exchange.scope.setdefault("extensions", {})[ON_STOP] = self._stop
        return self

    async def __aexit__(
        self, _: type[BaseException] | None, error: BaseException | None, __: TracebackType | None
    ) -> None:
        """End."""
        if self._watcher is not None:
            self._watcher.cancel()
        del self._exchange.scope["extensions"][ON_STOP]
        # An upstream may make an error of its own of being cancelled.
        if self._why is None or not isinstance(error, asyncio.CancelledError | MistralwireError):
            return
        if self._task.uncancel() == 0:
            raise self._why from None

    def watch(self) -> None:
        """Begin to look out for the caller's leaving; the body must have been read."""
        self._watcher = asyncio.create_task(self._watch())

    async def _watch(self) -> None:
        await self._exchange.wait_until_gone()
        self._end(CallerGoneError())

    def _stop(self) -> None:
        message = "the gateway stops, and the time for running requests is over"
        self._end(MistralwireError(message, code="UNAVAILABLE", reason=Reason.SERVER_STOPPING))

    def _end(self, why: Exception) -> None:
        if self._why is None:
            self._why = why
            self._task.cancel()


def _too_large(bytes_max: int) -> EdgeError:
    return EdgeError(
        413, f"expected a body of at most {bytes_max} bytes, found more", reason=Reason.BODY_TOO_LARGE
    )
