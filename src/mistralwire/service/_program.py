"""A program's own upstream as the source of an answer: the one task between coroutines and callbacks."""

import asyncio
from collections.abc import AsyncGenerator
from typing import Any

from google.protobuf.message import Message

from mistralwire.codec._varint import write_varint
from mistralwire.errors import CodecError, Reason, UpstreamError
from mistralwire.service._answers import Answers
from mistralwire.service._conventions import finish_reasons_of
from mistralwire.service._methods import Method
from mistralwire.service._record import Chunks
from mistralwire.upstream import CallContext, Receiver, Upstream
from mistralwire.v1 import ChatCompletionStreamResponse, CompletionChunk

# The tag of the field `chunks`, the same in every stream response; its wire type is 2, with a length.
_TAG = bytes([ChatCompletionStreamResponse.DESCRIPTOR.fields_by_name["chunks"].number << 3 | 2])
# The tag and the length before a chunk of so many bytes, for the lengths that nearly all chunks have.
_HEADS = tuple(_TAG + write_varint(length) for length in range(1024))
# What is ready with the first chunk and goes on with it, at most.
_FIRST_CHUNKS_MAX = 256
_FIRST_BYTES_MAX = 64 * 1024


class ProgramSource:
    """Feeds a call with what a program's upstream gives; a Source.

    Args:
        upstream: The upstream.
        method: What is asked of it.
        request: The request.
        context: What else it is told.
        receiver: The call.
        answers: Prepares what it answers.
        is_watched: Whether somebody wants to know of usage and finish reasons.
    """

    def __init__(
        self,
        upstream: Upstream,
        method: Method,
        request: Any,
        context: CallContext,
        *,
        receiver: Receiver,
        answers: Answers,
        is_watched: bool,
    ) -> None:
        self._upstream = upstream
        self._method = method
        self._request = request
        self._call_context = context
        self._receiver = receiver
        self._prepare = answers.prepare if answers.is_needed else None
        self._is_watched = is_watched
        self._may_go_on = asyncio.Event()
        self._may_go_on.set()
        # What goes with the first chunk; None once it has gone.
        self._first: list[Chunks] | None = []
        self._first_bytes = 0
        self._is_left = False
        self._loop = asyncio.get_running_loop()
        self._task = self._loop.create_task(self._run())

    def pause(self) -> None:
        """Ask for no more chunks."""
        self._may_go_on.clear()

    def resume(self) -> None:
        """Go on."""
        self._may_go_on.set()

    def cancel(self) -> None:
        """Cancel the upstream; it may take its time."""
        self._is_left = True
        self._task.cancel()

    async def _run(self) -> None:
        receiver = self._receiver
        try:
            if self._method.is_stream:
                await self._stream()
                if not self._is_left:
                    receiver.end()
            else:
                response = await self._complete()
                if not self._is_left:
                    receiver.answer(response.SerializeToString())
        except BaseException as error:
            # Whatever it makes of being cancelled.
            if not self._is_left:
                receiver.failed(of_upstream(error))
            if isinstance(error, KeyboardInterrupt | SystemExit):
                # What ends the process.
                raise
        finally:
            receiver.closed()

    async def _complete(self) -> Message:
        response = await self._upstream.complete(self._request, self._call_context)
        expected = self._method.response_type
        if type(response) is not expected:
            raise TypeError(f"expected a {expected.__name__}, not a {type(response).__name__}")
        return response if self._prepare is None else self._prepare(response)

    async def _stream(self) -> None:
        chunks = self._upstream.stream(self._request, self._call_context)
        try:
            async for chunk in chunks:
                if type(chunk) is not CompletionChunk:
                    raise TypeError(f"expected a CompletionChunk, not a {type(chunk).__name__}")
                self._give(chunk)
                if not self._may_go_on.is_set():
                    await self._may_go_on.wait()
        finally:
            self._flush()
            if isinstance(chunks, AsyncGenerator):
                await chunks.aclose()

    def _give(self, chunk: CompletionChunk) -> None:
        """Give a chunk to the call; the first one with those that are ready now."""
        if self._prepare is not None:
            chunk = self._prepare(chunk)
        if self._first is None and not self._is_watched:
            self._receiver.batch(encode_chunk(chunk), 1)
            return
        chunks = chunks_of(chunk)
        if self._first is None:
            self._receiver.batch(chunks.wire, 1, chunks.usage, chunks.finish_reasons)
            return
        self._first.append(chunks)
        self._first_bytes += len(chunks.wire)
        if len(self._first) == 1:
            self._loop.call_soon(self._flush)
        elif len(self._first) >= _FIRST_CHUNKS_MAX or self._first_bytes >= _FIRST_BYTES_MAX:
            self._flush()

    def _flush(self) -> None:
        first, self._first = self._first, None
        if first and not self._is_left:
            usages = [chunks.usage for chunks in first if chunks.usage is not None]
            reasons = [pair for chunks in first for pair in chunks.finish_reasons]
            wire = b"".join(chunks.wire for chunks in first)
            self._receiver.batch(wire, len(first), usages[-1] if usages else None, reasons)


def chunks_of(chunk: CompletionChunk) -> Chunks:
    """Return a chunk with what those who watch want to know of it."""
    usage = chunk.usage.SerializeToString() if chunk.HasField("usage") else None
    return Chunks(encode_chunk(chunk), 1, usage, tuple(finish_reasons_of(chunk).items()))


def encode_chunk(chunk: CompletionChunk) -> bytes:
    """Give the wire bytes of a chunk as one element of a stream response: its tag, its length, itself.

    Source: https://protobuf.dev/programming-guides/encoding/#length-types
    """
    data = chunk.SerializeToString()
    length = len(data)
    head = _HEADS[length] if length < len(_HEADS) else _TAG + write_varint(length)
    return head + data


def of_upstream(error: BaseException) -> BaseException:
    """Give what an error of an upstream is for its call.

    An answer that can't be read is the upstream's fault: as an error of the codec it would be the caller's.
    """
    if isinstance(error, CodecError):
        message = "the answer of the upstream could not be read"
        return UpstreamError(message, code="INTERNAL", reason=Reason.UPSTREAM_UNREADABLE)
    return error
