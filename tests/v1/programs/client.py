"""A program that calls a service, with the types that a checker and an editor must see."""

import asyncio
from typing import assert_type

from mistralwire import accumulate, from_json, text_of, to_json, tool_calls_of
from mistralwire.client import ChunkBatch, Client, SyncClient
from mistralwire.service import LocalChannel
from mistralwire.upstream import DEMONSTRATION, ReplayUpstream
from mistralwire.v1 import (
    ChatCompletionRequest,
    ChatCompletionResponse,
    ChatCompletionStreamRequest,
    CompletionChunk,
    FIMCompletionRequest,
    FIMCompletionResponse,
    ToolCall,
)

TEXT = b'{"model": "m", "messages": [{"role": "user", "content": "What is the weather in Paris?"}]}'
FIM = b'{"model": "m", "prompt": "def add(a, b):"}'


async def call(client: Client) -> None:
    answer = await client.complete(from_json(ChatCompletionRequest, TEXT), deadline_s=30)
    assert_type(answer, ChatCompletionResponse)
    assert_type(await client.complete(from_json(FIMCompletionRequest, FIM)), FIMCompletionResponse)
    either = await client.complete({"model": "m", "messages": [{"role": "user", "content": "Hello"}]})
    assert_type(either, ChatCompletionResponse | FIMCompletionResponse)
    assert_type(either.choices[0].message.content_string, str)
    assert_type(to_json(either), bytes)
    assert_type(text_of(either), str)
    assert text_of(either) == text_of(answer)

    chunks: list[CompletionChunk] = []
    async for chunk in client.stream({"model": "m", "messages": [{"role": "user", "content": "Hello"}]}):
        assert_type(chunk, CompletionChunk)
        assert_type(text_of(chunk), str)
        chunks.append(chunk)
    async for batch in client.stream_batches(from_json(ChatCompletionStreamRequest, TEXT)):
        assert_type(batch, ChunkBatch)
    whole = accumulate(chunks)
    assert_type(whole, ChatCompletionResponse)
    assert_type(tool_calls_of(whole), list[ToolCall])
    assert [each.function.name for each in tool_calls_of(whole, index=0)] == ["get_weather"]


def call_without_an_event_loop(client: SyncClient) -> None:
    assert_type(client.complete(from_json(ChatCompletionRequest, TEXT)), ChatCompletionResponse)
    assert_type(client.complete({"prompt": ""}), ChatCompletionResponse | FIMCompletionResponse)
    for chunk in client.stream({"messages": []}):
        assert_type(chunk, CompletionChunk)


async def run() -> None:
    async with Client.on(LocalChannel(ReplayUpstream(DEMONSTRATION))) as client:
        await call(client)


if __name__ == "__main__":
    asyncio.run(run())
