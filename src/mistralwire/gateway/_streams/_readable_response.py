"""The responses of the service as durable streams that can be read."""

import contextlib
from collections.abc import AsyncGenerator, Callable
from typing import Any

from google.protobuf.message import Message

from mistralwire import _offload
from mistralwire.client import Client, is_service_lost, response_failure
from mistralwire.codec import binary_to_json, to_json
from mistralwire.errors import CallError, CodecError, MistralwireError
from mistralwire.gateway._errors import error_body, unencodable_answer, unknown_response_error
from mistralwire.gateway._streams._store import StreamPiece
from mistralwire.gateway._streams._stream import JSON
from mistralwire.log import split
from mistralwire.v1 import (
    ChatCompletionResponse,
    CompletionChunk,
    FIMCompletionResponse,
    ResponseInfo,
    ResponseState,
)

# Of the messages in one piece; events are small.
_RESPONSE_PIECE_BYTES = 1024 * 1024
# By the first byte of an event: its tag as a field of ResponseEvents.
_EVENT_TYPES: dict[int, type[Message]] = {
    0x0A: CompletionChunk,
    0x12: ChatCompletionResponse,
    0x1A: FIMCompletionResponse,
}


class ReadableResponse:
    """A response as a stream of JSON messages, an event each; a failure is the last one.

    Args:
        client: Calls the service.
        options: Those of each call.
        visible: Maps an error of the service to that which the caller sees.
        info: What the service says about the response.
    """

    content_type = JSON
    ttl_s: int | None = None
    expires_at: str | None = None

    def __init__(
        self,
        client: Client,
        options: Any,
        visible: Callable[[MistralwireError], MistralwireError],
        info: ResponseInfo,
    ) -> None:
        self._client, self._options, self._visible = client, options, visible
        self.tag = info.response_id
        self.tail = info.last_sequence + (response_failure(info) is not None)
        self.is_closed = info.state != ResponseState.RESPONSE_STATE_RUNNING

    @classmethod
    async def find(
        cls,
        client: Client,
        response_id: str,
        options: Any,
        visible: Callable[[MistralwireError], MistralwireError],
    ) -> "ReadableResponse":
        """Find a response by its id, or by that of its upstream; the errors are those of the service."""
        try:
            found = await client.get_response(response_id, info_only=True, **options)
        except CallError as error:
            raise (unknown_response_error() if error.violations else error) from None
        return cls(client, options, visible, found.info)

    async def refresh(self) -> "ReadableResponse":
        try:
            return await self.find(self._client, self.tag, self._options, self._visible)
        except CallError as error:
            if not is_service_lost(error):
                raise
            # Whoever follows it waits for the service.
            return self

    async def read(self, after: int) -> StreamPiece:
        contents: list[bytes] = []
        if after < self.tail:
            async with contextlib.aclosing(self.follow(after)) as pieces:
                async for piece in pieces:
                    contents += piece.contents
                    after = piece.last
                    if after >= self.tail or sum(map(len, contents)) >= _RESPONSE_PIECE_BYTES:
                        break
        return StreamPiece(contents, after, self.is_closed and after >= self.tail)

    async def follow(self, after: int) -> AsyncGenerator[StreamPiece, None]:
        batches = self._client.subscribe_batches(self.tag, after=after, **self._options)
        async with contextlib.aclosing(batches):
            async for batch in batches:
                contents = await _offload.in_thread_if_heavy(batch.data, _messages_of, batch.data)
                last = batch.last_sequence
                failure = None if batch.end is None else response_failure(batch.end)
                if failure is not None:
                    contents.append(to_json(error_body(self._visible(failure))))
                    last += 1
                yield StreamPiece(contents, last, batch.end is not None)


def _messages_of(events: bytes) -> list[bytes]:
    """Return events as JSON; all are chunks, or there is one whole response.

    Raises:
        MistralwireError: If one has no JSON form.
    """
    if not events:
        return []
    try:
        message_type = _EVENT_TYPES[events[0]]
        return [binary_to_json(message_type, event) for event in split(events)]
    except (KeyError, CodecError):
        raise unencodable_answer() from None
