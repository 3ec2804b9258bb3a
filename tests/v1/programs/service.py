"""A program with servicers and stubs of both kinds, with the types that a checker must see."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, assert_type

import grpc  # type: ignore[import-untyped, unused-ignore]
import grpc.aio  # type: ignore[import-untyped, unused-ignore]

from mistralwire.v1 import (
    ChatCompletionRequest,
    ChatCompletionResponse,
    ChatCompletionStreamRequest,
    ChatCompletionStreamResponse,
    CompletionChunk,
)
from mistralwire.v1.chat_completion_service_pb2_grpc import (
    ChatCompletionServiceAsyncStub,
    ChatCompletionServiceServicer,
    ChatCompletionServiceStub,
    add_ChatCompletionServiceServicer_to_server,
)


class Servicer(ChatCompletionServiceServicer):
    def ChatCompletion(
        self, request: ChatCompletionRequest, context: grpc.ServicerContext
    ) -> ChatCompletionResponse:
        return ChatCompletionResponse(id=request.model)

    def ChatCompletionStream(
        self, request: ChatCompletionStreamRequest, context: grpc.ServicerContext
    ) -> Iterator[ChatCompletionStreamResponse]:
        yield ChatCompletionStreamResponse(chunks=[CompletionChunk(id=request.model)])


class AsyncServicer(ChatCompletionServiceServicer):
    async def ChatCompletion(
        self, request: ChatCompletionRequest, context: "grpc.aio.ServicerContext[Any, Any]"
    ) -> ChatCompletionResponse:
        return ChatCompletionResponse(id=request.model)

    async def ChatCompletionStream(
        self, request: ChatCompletionStreamRequest, context: "grpc.aio.ServicerContext[Any, Any]"
    ) -> AsyncIterator[ChatCompletionStreamResponse]:
        yield ChatCompletionStreamResponse(chunks=[CompletionChunk(id=request.model)])


def call(channel: grpc.Channel) -> None:
    stub = ChatCompletionServiceStub(channel)
    response = stub.ChatCompletion(ChatCompletionRequest(model="a"), timeout=30, metadata=(("k", "v"),))
    assert_type(response, ChatCompletionResponse)
    future = stub.ChatCompletion.future(ChatCompletionRequest(model="a"), timeout=30)
    assert_type(future.result(), ChatCompletionResponse)
    again, _ = stub.ChatCompletion.with_call(ChatCompletionRequest(model="a"), timeout=30)
    assert_type(again, ChatCompletionResponse)
    assert response == future.result() == again == ChatCompletionResponse(id="a")
    for message in stub.ChatCompletionStream(ChatCompletionStreamRequest(model="a"), timeout=30):
        assert_type(message, ChatCompletionStreamResponse)
        assert message.chunks[0].id == "a"


async def call_async(channel: grpc.aio.Channel) -> None:
    stub = ChatCompletionServiceAsyncStub(channel)
    unary = stub.ChatCompletion(ChatCompletionRequest(model="a"), timeout=30, metadata=(("k", "v"),))
    assert_type(await unary, ChatCompletionResponse)
    assert (await unary).id == "a"
    assert await unary.details() == ""
    stream = stub.ChatCompletionStream(ChatCompletionStreamRequest(model="a"), timeout=30)
    async for message in stream:
        assert_type(message, ChatCompletionStreamResponse)
        assert message.chunks[0].id == "a"
    assert await stream.code() == grpc.StatusCode.OK


def run() -> None:
    server = grpc.server(ThreadPoolExecutor(2))
    add_ChatCompletionServiceServicer_to_server(Servicer(), server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        call(channel)
    server.stop(None).wait()


async def run_async() -> None:
    server = grpc.aio.server()
    add_ChatCompletionServiceServicer_to_server(AsyncServicer(), server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        await call_async(channel)
    await server.stop(None)


if __name__ == "__main__":
    run()
    asyncio.run(run_async())
