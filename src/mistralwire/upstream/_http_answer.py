"""The body of an answer over HTTP: read piece by piece, with a limit on silence."""

import asyncio
from collections.abc import Callable, Iterable, Iterator

import aiohttp

from mistralwire import _offload
from mistralwire.codec import SseDecoder, SseDone, SseError, SseMessage
from mistralwire.errors import DecodeError, Reason, UpstreamError
from mistralwire.upstream._http_errors import silent, too_large, truncated, unreadable
from mistralwire.upstream._upstream import error_from_body
from mistralwire.v1 import CompletionChunk


class Body:
    """Reads the body of an answer.

    One timer watches over the whole body, instead of one for each piece: it counts only while somebody waits
    for the upstream, and not while the reader is busy with what came.

    Args:
        response: The answer.
        silence_s: After how many seconds without any byte it is given up.
        cut: Makes the error of a connection that breaks.
    """

    __slots__ = ("_cut", "_error", "_response", "_silence_s", "_timer", "_waits_since_s")

    def __init__(
        self, response: aiohttp.ClientResponse, silence_s: float, cut: Callable[[], UpstreamError]
    ) -> None:
        self._response = response
        self._silence_s = silence_s
        self._cut = cut
        self._error: UpstreamError | None = None
        self._waits_since_s: float | None = None
        self._timer = asyncio.get_running_loop().call_later(silence_s, self._watch)

    async def read(self) -> bytes:
        """Give everything that has come, or wait for it; empty at the end.

        Raises:
            UpstreamError: If the connection broke or went silent, after everything that came before.
        """
        if self._error is not None:
            raise self._error
        content = self._response.content
        self._waits_since_s = asyncio.get_running_loop().time()
        try:
            return await content.readany()
        except (aiohttp.ClientError, OSError):
            # OSError: what the system says of a connection comes through as it is.
            self._error = self._error or self._cut()
        finally:
            self._waits_since_s = None
        # The reader of aiohttp refuses to give what it still has once the connection is broken.
        if left := content._read_nowait(-1):
            return left
        raise self._error

    async def read_all(self, bytes_max: int) -> bytes:
        """Give the whole body.

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
        return await _offload.join(pieces, size)

    def close(self) -> None:
        """Stop watching."""
        self._timer.cancel()

    def _watch(self) -> None:
        loop = asyncio.get_running_loop()
        now_s = loop.time()
        due_s = self._silence_s + (now_s if self._waits_since_s is None else self._waits_since_s)
        if due_s > now_s:
            self._timer = loop.call_at(due_s, self._watch)
        else:
            self._error = silent(self._silence_s)
            # Wakes the reader.
            self._response.close()


class ChunkReader:
    """Turns the pieces of an event stream into chunks.

    Attributes:
        is_done: Whether `[DONE]` came.
    """

    __slots__ = ("_begun_bytes", "_decoder", "is_done")

    def __init__(self) -> None:
        self.is_done = False
        self._decoder = SseDecoder(CompletionChunk, validate=False)
        # About the bytes of the event that is not complete.
        self._begun_bytes = 0

    def parts_of(self, piece: bytes) -> Iterator[bytes]:
        """Yield a piece in the parts to read one after the other; an empty piece is the end of the stream."""
        start, end = 0, -1
        while end < len(piece) and not self.is_done:
            end = len(piece) if self._is_large() else start + _offload.LOOP_EVENT_BYTES_MAX
            yield piece[start:end]
            start = end

    async def chunks_of(self, part: bytes) -> Iterable[CompletionChunk]:
        """Return the chunks that a part completes, to be taken before the next part is read.

        Raises:
            UpstreamError: Where the stream breaks the format, says that it failed, or ends too early; while
                the chunks are taken.
        """
        if self._is_large():
            return await _offload.in_thread(self._read_at_once, part)
        if len(part) == _offload.LOOP_EVENT_BYTES_MAX:
            # Probably not the first one of its piece, nor the last.
            await asyncio.sleep(0)
        return self._read(part)

    def _is_large(self) -> bool:
        """Check whether an event has begun that is too large for the event loop, wherever it may end."""
        return self._begun_bytes > _offload.LOOP_EVENT_BYTES_MAX

    def _read_at_once(self, piece: bytes) -> Iterable[CompletionChunk]:
        chunks: list[CompletionChunk] = []
        try:
            # In parts, since what begins behind the last event is known to a part.
            for start in range(0, len(piece) or 1, _offload.LOOP_EVENT_BYTES_MAX):
                chunks.extend(self._read(piece[start : start + _offload.LOOP_EVENT_BYTES_MAX]))
                if self.is_done:
                    break
        except UpstreamError as error:
            return _with_error(chunks, error)
        return chunks

    def _read(self, piece: bytes) -> Iterator[CompletionChunk]:
        self._begun_bytes += len(piece)
        try:
            for event in self._decoder.feed(piece) if piece else self._decoder.close():
                self._begun_bytes = 0
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


def _with_error(chunks: list[CompletionChunk], error: UpstreamError) -> Iterator[CompletionChunk]:
    yield from chunks
    raise error


def _error_of(error: DecodeError) -> UpstreamError:
    """Say what is wrong with an event, without what is in it."""
    if error.reason == Reason.STREAM_TRUNCATED:
        return truncated("its end without it")
    if error.reason == Reason.LIMIT_EXCEEDED:
        return too_large("the limits of an event")
    return unreadable("an event in its stream that is no chunk")
