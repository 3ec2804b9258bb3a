"""Chunks put together to messages, as many in one as are ready when it can be written."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from typing import Self

from mistralwire.codec._varint import write_varint
from mistralwire.v1 import ChatCompletionStreamResponse, CompletionChunk

MESSAGE_CHUNKS_MAX = 256
"""Chunks in one message."""

MESSAGE_BYTES_MAX = 1024 * 1024
"""Bytes of one message, unless a single chunk is larger: 1 MiB."""

# The tag of the field `chunks`, the same in every stream response; its wire type is 2, with a length.
_TAG = bytes([ChatCompletionStreamResponse.DESCRIPTOR.fields_by_name["chunks"].number << 3 | 2])


class CoalescedStream:
    """Reads chunks ahead while a message is being written, one message's worth at most.

    One task reads the chunks and fills the next message; `take` gives it away as soon as there is a chunk in
    it. So an idle stream has a chunk a message without delay, and a loaded one has full messages. When the
    next message is full, the chunks are read no further. Each chunk is encoded once: a message is the
    concatenation of its encoded chunks.

    As a context manager it stops reading, and closes the chunks if they are an async generator.

    Args:
        chunks: The chunks.
    """

    def __init__(self, chunks: AsyncIterator[CompletionChunk]) -> None:
        self._chunks = chunks
        self._parts: list[bytes] = []
        self._size = 0
        self._has_ended = False
        self._has_more = asyncio.Event()
        self._has_room = asyncio.Event()

    async def __aenter__(self) -> Self:
        """Start to read."""
        self._reader = asyncio.create_task(self._read())
        return self

    async def __aexit__(self, *_: object) -> None:
        """Stop to read."""
        self._reader.cancel()
        await asyncio.wait([self._reader])
        if not self._reader.cancelled():
            # An error that nobody took, because the call is over, is nobody's any more.
            self._reader.exception()

    async def take(self) -> bytes | None:
        """Wait for the next message.

        Returns:
            Its wire bytes, or None at the end.

        Raises:
            Exception: What the chunks raised, after all messages before it.
        """
        await self._has_more.wait()
        if not self._parts:
            await self._reader
            return None
        message = b"".join(self._parts)
        self._parts.clear()
        self._size = 0
        self._has_room.set()
        if not self._has_ended:
            self._has_more.clear()
        return message

    async def _read(self) -> None:
        try:
            async for chunk in self._chunks:
                await self._add(encode_chunk(chunk))
        finally:
            self._has_ended = True
            self._has_more.set()
            if isinstance(self._chunks, AsyncGenerator):
                await self._chunks.aclose()

    async def _add(self, part: bytes) -> None:
        while self._parts and (
            len(self._parts) >= MESSAGE_CHUNKS_MAX or self._size + len(part) > MESSAGE_BYTES_MAX
        ):
            self._has_room.clear()
            await self._has_room.wait()
        self._parts.append(part)
        self._size += len(part)
        self._has_more.set()


def encode_chunk(chunk: CompletionChunk) -> bytes:
    """Give the wire bytes of a chunk as one element of a stream response: its tag, its length, itself.

    Source: https://protobuf.dev/programming-guides/encoding/#length-types
    """
    data = chunk.SerializeToString()
    return _TAG + write_varint(len(data)) + data
