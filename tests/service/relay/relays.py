"""A service that stores responses, on a real port, and what producers and consumers send it."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from typing import Any

import grpc
from google.rpc import error_details_pb2

from mistralwire.log import MemoryLog, ResponseLog
from mistralwire.service import CallObserver, Relay, RelayConfig, Server, ServerConfig, create_server
from mistralwire.v1 import (
    CompletionChunk,
    CompletionResponseStreamChoice,
    DeltaMessage,
    PublishBatch,
    PublishOpen,
    PublishRequest,
    PublishResponse,
    ResponseEnd,
    ResponseEvents,
    ResponseState,
    SubscribeRequest,
    SubscribeResponse,
)
from mistralwire.v1 import response_relay_service_pb2_grpc as relay_grpc
from tests.service.upstreams import HeldUpstream, status_of

# Seconds until a call that a mistake leaves running ends.
_CALL_S = 20
MEMORY = RelayConfig(log="memory")
FINISHED = ResponseEnd(state=ResponseState.RESPONSE_STATE_FINISHED)
CANCELLED = ResponseEnd(state=ResponseState.RESPONSE_STATE_CANCELLED)


@contextlib.asynccontextmanager
async def relaying(
    config: RelayConfig = MEMORY,
    service: ServerConfig | None = None,
    observers: Sequence[CallObserver] = (),
    log: ResponseLog | None = None,
) -> AsyncIterator[tuple[Relay, Server]]:
    """Run a service that stores responses in a log, by default in memory."""
    async with (
        Relay(log or MemoryLog(), config) as relay,
        create_server(HeldUpstream(), service or ServerConfig(port=0), observers, relay=relay) as server,
    ):
        yield relay, server


@contextlib.asynccontextmanager
async def calling(server: Server) -> AsyncIterator[Any]:
    """Yield a stub of the service."""
    async with grpc.aio.insecure_channel(server.address) as channel:
        yield relay_grpc.ResponseRelayServiceStub(channel)


@contextlib.asynccontextmanager
async def relay_stub(config: RelayConfig = MEMORY, **options: Any) -> AsyncIterator[Any]:
    """Run a service, and yield a stub of it."""
    async with relaying(config, **options) as (_, server), calling(server) as stub:
        yield stub


def chunk(text: str) -> CompletionChunk:
    choice = CompletionResponseStreamChoice(index=0, delta=DeltaMessage(content_string=text))
    return CompletionChunk(id="cmpl-1", model="small", choices=[choice])


def opening(response_id: str = "r", epoch: int | None = None) -> PublishRequest:
    return PublishRequest(open=PublishOpen(response_id=response_id, epoch=epoch))


def batch(first: int, *texts: str) -> PublishRequest:
    events = ResponseEvents(chunks=map(chunk, texts))
    return PublishRequest(batch=PublishBatch(first_sequence=first, events=events))


def ending(end: ResponseEnd = FINISHED) -> PublishRequest:
    return PublishRequest(end=end)


class Producer:
    """The call of a producer."""

    def __init__(self, stub: Any, *requests: PublishRequest, **options: Any) -> None:
        self.call = stub.Publish(timeout=_CALL_S, **options)
        self._requests = requests

    async def __aenter__(self) -> "Producer":
        await self.send(*self._requests)
        return self

    async def __aexit__(self, *_: object) -> None:
        self.call.cancel()

    async def send(self, *requests: PublishRequest) -> None:
        for request in requests:
            await self.call.write(request)

    async def acknowledged(self, sequence: int) -> PublishResponse:
        """Return the first answer that acknowledges an event."""
        while True:
            answer: PublishResponse = await self.call.read()
            assert answer is not grpc.aio.EOF, await self.call.code()
            if answer.acknowledged_sequence >= sequence:
                return answer

    async def ended(self) -> list[PublishResponse]:
        """Return the rest of the answers, to the end of the call; raise its status unless that is OK."""
        answers = []
        while (answer := await self.call.read()) is not grpc.aio.EOF:
            answers.append(answer)
        return answers


async def publish(stub: Any, *requests: PublishRequest, **options: Any) -> list[PublishResponse]:
    """Publish all of it in one call."""
    async with Producer(stub, *requests, **options) as producer:
        return await producer.ended()


async def follow(
    stub: Any, response_id: str = "r", after: int | None = None, **options: Any
) -> list[SubscribeResponse]:
    """Follow a response to its end."""
    request = SubscribeRequest(response_id=response_id, after_sequence=after)
    return [message async for message in stub.Subscribe(request, timeout=_CALL_S, **options)]


def events_of(messages: Sequence[SubscribeResponse], after: int = 0) -> list[bytes]:
    """Return the events of messages, which must have the right numbers, as bytes."""
    events: list[bytes] = []
    for message in messages:
        chunks = [each.SerializeToString() for each in message.events.chunks]
        if chunks:
            assert message.first_sequence == after + len(events) + 1
        events += chunks
    return events


def reason_of(error: grpc.aio.AioRpcError) -> tuple[str, dict[str, str]]:
    """Return the reason in the status of a call, and the metadata beside it."""
    info = error_details_pb2.ErrorInfo()
    assert any(detail.Unpack(info) for detail in status_of(error).details)
    return info.reason, dict(info.metadata)


async def until(condition: Any) -> None:
    """Wait until a condition is true."""
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110 - nothing reports it
            await asyncio.sleep(0.005)
