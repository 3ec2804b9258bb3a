"""The response of an upstream over HTTP: its body piece by piece, with a limit on silence, and its chunks."""

import asyncio
from collections.abc import Iterator, Mapping

from mistralwire.codec import SseDecoder, SseDone, SseError, SseMessage
from mistralwire.errors import DecodeError, Reason, UpstreamError
from mistralwire.upstream._http1 import Exchange, HttpClient, HttpClientError, UnreadableError
from mistralwire.upstream._http_errors import silent, too_large, truncated, unreadable
from mistralwire.upstream._upstream import error_from_body
from mistralwire.v1 import CompletionChunk

# How long the end of a response may take behind its last event, so that the connection can be used again.
_REST_S = 1.0
# How much is held for a reader that is busy before the connection is read no further.
_HELD_BYTES_MAX = 256 * 1024


class AwaitedResponse:
    """Sends a request, and receives the response for a coroutine that waits for it.

    One timer watches over the whole body, instead of one for each piece: it counts only while somebody waits
    for the upstream, and not while the reader is busy with what came.

    Args:
        silence_s: Seconds without any byte before the body is given up.
        is_stream: Whether a stream was asked for, which decides on the error where the connection breaks.

    Attributes:
        status: The status; 0 until the head has come.
        headers: The headers, by name in lower case.
    """

    __slots__ = (
        "_error",
        "_exchange",
        "_held_bytes",
        "_is_ended",
        "_is_stream",
        "_pieces",
        "_silence_s",
        "_timer",
        "_waiter",
        "_waits_since_s",
        "headers",
        "status",
    )

    _exchange: Exchange

    def __init__(self, silence_s: float, *, is_stream: bool) -> None:
        self.status = 0
        self.headers: Mapping[str, str] = {}
        self._silence_s = silence_s
        self._is_stream = is_stream
        self._pieces: list[bytes] = []
        self._held_bytes = 0
        self._is_ended = False
        self._error: Exception | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._waits_since_s: float | None = None
        self._timer: asyncio.TimerHandle | None = None

    @property
    def content_type(self) -> str:
        """The media type of the body, in lower case and without parameters; empty if there is none."""
        return self.headers.get("content-type", "").partition(";")[0].strip().lower()

    async def ask(
        self, client: HttpClient, method: str, url: str, headers: Mapping[str, str], body: bytes | None
    ) -> None:
        """Send a request, and wait for the head of its response.

        Raises:
            HttpClientError: If there is none.
            ValueError: If the request can't be sent.
        """
        self._exchange = client.request(method, url, headers, body, self)
        try:
            while not self.status:
                if self._error is not None:
                    raise self._error
                await self._woken()
        except BaseException:
            self._exchange.cancel()
            raise

    async def read(self) -> bytes:
        """Return everything that has come, or wait for it; empty at the end.

        Raises:
            UpstreamError: If the connection broke or went silent, after everything that came before.
        """
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(self._silence_s, self._watch)
        while not self._pieces:
            if self._error is not None:
                raise self._broken(self._error)
            if self._is_ended:
                return b""
            self._waits_since_s = asyncio.get_running_loop().time()
            try:
                await self._woken()
            finally:
                self._waits_since_s = None
        pieces = self._pieces
        data = pieces[0] if len(pieces) == 1 else b"".join(pieces)
        pieces.clear()
        self._held_bytes = 0
        self._exchange.resume()
        return data

    async def read_all(self, bytes_max: int) -> bytes:
        """Return the whole body.

        Args:
            bytes_max: How many bytes there may be; no more than a piece beyond that is ever held.

        Raises:
            UpstreamError: If it is larger, breaks or goes silent.
        """
        pieces = []
        size = 0
        while piece := await self.read():
            size += len(piece)
            if size > bytes_max:
                raise too_large(f"{bytes_max} bytes")
            pieces.append(piece)
        return b"".join(pieces)

    def close(self, *, is_whole: bool) -> None:
        """Read no more.

        Args:
            is_whole: Whether nothing but the end of the body is left: the connection can be used again if
                that comes soon. Otherwise it is closed.
        """
        if self._timer is not None:
            self._timer.cancel()
        if is_whole:
            self._exchange.discard(_REST_S)
        else:
            self._exchange.cancel()

    def head(self, status: int, headers: Mapping[str, str]) -> None:
        """Take the head of the response."""
        self.status = status
        self.headers = headers
        self._wake()

    def data(self, piece: bytes) -> None:
        """Take a piece of the body."""
        self._pieces.append(piece)
        self._held_bytes += len(piece)
        if self._held_bytes > _HELD_BYTES_MAX:
            self._exchange.pause()
        self._wake()

    def end(self) -> None:
        """Take the end of the body."""
        self._is_ended = True
        self._wake()

    def failed(self, error: Exception) -> None:
        """Take the error that ends the response."""
        self._error = error
        self._wake()

    async def _woken(self) -> None:
        self._waiter = asyncio.get_running_loop().create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def _broken(self, error: Exception) -> Exception:
        """Return the error of an upstream for what broke in the middle of a body."""
        if isinstance(error, UnreadableError):
            return unreadable(str(error), self.status)
        if not isinstance(error, HttpClientError):
            return error
        if self._is_stream:
            return truncated("a connection that broke before")
        return unreadable("a part of one", self.status)

    def _watch(self) -> None:
        loop = asyncio.get_running_loop()
        now_s = loop.time()
        due_s = self._silence_s + (now_s if self._waits_since_s is None else self._waits_since_s)
        if due_s > now_s:
            self._timer = loop.call_at(due_s, self._watch)
        else:
            self._exchange.cancel()
            self.failed(silent(self._silence_s))


class ChunkReader:
    """Turns the pieces of an event stream into chunks.

    Attributes:
        is_done: Whether `[DONE]` came.
    """

    __slots__ = ("_decoder", "is_done")

    def __init__(self) -> None:
        self.is_done = False
        self._decoder = SseDecoder(CompletionChunk, validate=False)

    def chunks_of(self, piece: bytes) -> Iterator[CompletionChunk]:
        """Give the chunks that a piece completes; an empty piece is the end of the stream.

        Raises:
            UpstreamError: Where the stream breaks the format, says that it failed, or ends too early.
        """
        try:
            for event in self._decoder.feed(piece) if piece else self._decoder.close():
                # The usual one first, and the cheapest way to tell it.
                if type(event) is SseMessage:
                    yield event.message
                elif isinstance(event, SseDone):
                    self.is_done = True
                    return
                elif isinstance(event, SseError):
                    raise error_from_body(event.error)
        except DecodeError as error:
            raise _error_of(error) from None


def _error_of(error: DecodeError) -> UpstreamError:
    """Say what is wrong with an event, without what is in it."""
    if error.reason == Reason.STREAM_TRUNCATED:
        return truncated("its end without it")
    if error.reason == Reason.LIMIT_EXCEEDED:
        return too_large("the limits of an event")
    return unreadable("an event in its stream that is no chunk")
