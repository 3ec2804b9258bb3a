"""Streams that outlive their connection: they go on as subscriptions to the response that is stored."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Mapping

from mistralwire._metadata import RESPONSE_ID
from mistralwire._methods import RELAY_METHODS, Method
from mistralwire.client._publisher import new_response_id
from mistralwire.client._response import ChunkBatch, response_failure
from mistralwire.client._stub import StreamOptions, Stub, completion_metadata
from mistralwire.client._subscription import RECONNECT_S, StreamCalls, event_batches, is_service_lost
from mistralwire.errors import CallError
from mistralwire.v1 import CancelResponseRequest, GetResponseRequest

_KEPT = "keep 30"
# Seconds for the cancellation of a response whose reader has left.
_CANCELLATION_S = 3.0


async def resumable_batches(
    stub: Stub, method: Method, wire: bytes, options: StreamOptions
) -> AsyncGenerator[ChunkBatch, None]:
    """Yield the batches of a stream, over lost connections if the service stores it; see `Client.stream`."""
    stream = _ResumableStream(stub, method, wire, options)
    is_over = False
    try:
        async with contextlib.aclosing(stream.called()) as batches:
            async for batch in batches:
                yield batch
        async with contextlib.aclosing(stream.followed()) as batches:
            async for batch in batches:
                yield batch
        is_over = True
    except CallError:
        is_over = True
        raise
    finally:
        # For the service, who leaves looks like who lost their connection.
        if not is_over and options.get("on_disconnect") is None:
            await stream.cancel()


class _ResumableStream:
    def __init__(self, stub: Stub, method: Method, wire: bytes, options: StreamOptions) -> None:
        self._stub = stub
        self._method = method
        self._wire = wire
        self._metadata = options.get("metadata", {})
        response_id, key = options.get("response_id"), options.get("idempotency_key")
        on_disconnect = options.get("on_disconnect")
        # Not "": the service refuses that, as in other calls.
        self._chosen_id = new_response_id() if response_id is None else response_id
        self._response_id = self._chosen_id
        policy = {
            "response_id": self._chosen_id,
            "idempotency_key": self._chosen_id if key is None else key,
            "on_disconnect": _KEPT if on_disconnect is None else on_disconnect,
        }
        reconnect_s = options.get("reconnect_s", RECONNECT_S)
        completion: StreamOptions = {**options, **policy}  # type: ignore[typeddict-item]
        completion["metadata"] = completion_metadata(completion)
        self._calls = StreamCalls(stub, reconnect_s, completion, None)
        # The service may have the request, so that it is worth to wait for it as long as later.
        self._calls.connected()
        self._last = 0
        self._is_stored = self._is_complete = False

    async def called(self) -> AsyncGenerator[ChunkBatch, None]:
        """Yield what the call delivers, which is made again until something arrives."""
        while True:
            arguments = self._calls.start()
            messages = self._stub.messages(self._method, self._wire, arguments, on_headers=self._read_headers)
            try:
                async with contextlib.aclosing(messages):
                    async for data in messages:
                        batch = ChunkBatch(data, arguments.request_id)
                        self._calls.went_on()
                        self._count(batch)
                        batch.response_id = self._response_id if self._is_stored else ""
                        yield batch
                self._is_complete = True
                return
            except CallError as error:
                if self._last and not (self._is_stored and is_service_lost(error)):
                    raise
                await self._calls.wait(error)
                if self._last:
                    return
                await self._check_log(error)

    async def followed(self) -> AsyncGenerator[ChunkBatch, None]:
        """Yield what the service has stored behind the last chunk, up to the end."""
        if self._is_complete:
            return
        calls = self._calls
        calls.metadata = self._metadata
        batches = event_batches(self._stub, self._response_id, self._last, calls)
        async with contextlib.aclosing(batches):
            async for batch in batches:
                if batch.data:
                    yield ChunkBatch(batch.data, calls.request_id, self._response_id)
                if batch.end is not None and (error := response_failure(batch.end, calls.request_id)):
                    raise error

    async def cancel(self) -> None:
        """Cancel the response, unless it is that of another call; whether that works is not known."""
        if self._response_id != self._chosen_id:
            return
        request = CancelResponseRequest(response_id=self._response_id)
        with contextlib.suppress(CallError, TimeoutError):
            async with asyncio.timeout(_CANCELLATION_S):
                arguments = self._stub.arguments(_CANCELLATION_S, self._calls.request_id, self._metadata)
                method = RELAY_METHODS["CancelResponse"]
                await self._stub.unary(method, request.SerializeToString(), arguments)

    def _read_headers(self, headers: Mapping[str, str]) -> None:
        # Another one, if the call has joined a response by its key.
        self._response_id = headers.get(RESPONSE_ID, self._response_id)

    def _count(self, batch: ChunkBatch) -> None:
        first = batch.first_sequence
        self._is_stored = first is not None
        self._last = (self._last + 1 if first is None else first) + len(batch) - 1

    async def _check_log(self, error: CallError) -> None:
        """Raise the error if the service stores no responses: another call might ask the model again."""
        request = GetResponseRequest(response_id=self._response_id)
        while True:
            try:
                arguments = self._calls.start()
                await self._stub.unary(RELAY_METHODS["GetResponse"], request.SerializeToString(), arguments)
            except CallError as found:
                if found.code == "UNIMPLEMENTED":
                    raise error from None
                if is_service_lost(found):
                    await self._calls.wait(found)
                    continue
            return
