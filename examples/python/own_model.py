"""A gRPC service around a model of your own: `python own_model.py [PORT]`."""

import asyncio
import sys
import time
from collections.abc import AsyncIterator

from mistralwire import accumulate, from_dict
from mistralwire.errors import UpstreamError
from mistralwire.service import ServerConfig, create_server
from mistralwire.upstream import CallContext, CompletionRequest, CompletionStreamRequest
from mistralwire.v1 import (
    ChatCompletionRequest,
    ChatCompletionResponse,
    ChatCompletionStreamRequest,
    CompletionChunk,
)


async def generate(prompt: str) -> AsyncIterator[str]:
    """Stand in for your model: repeat the prompt."""
    for word in prompt.split():
        yield f"{word} "


class OwnModel:
    async def complete(self, request: CompletionRequest, context: CallContext) -> ChatCompletionResponse:
        return accumulate([chunk async for chunk in self.stream(request, context)])

    async def stream(
        self, request: CompletionStreamRequest | CompletionRequest, context: CallContext
    ) -> AsyncIterator[CompletionChunk]:
        if not isinstance(request, ChatCompletionRequest | ChatCompletionStreamRequest):
            raise UpstreamError("expected a chat completion", code="UNIMPLEMENTED")
        head = {"id": context.request_id, "object": "chat.completion.chunk", "created": int(time.time())}
        head["model"] = request.model
        async for text in generate(request.messages[-1].user.content_string):
            choice = {"index": 0, "delta": {"role": "assistant", "content": text}, "finish_reason": None}
            yield from_dict(CompletionChunk, {**head, "choices": [choice]})
        choice = {"index": 0, "delta": {"content": ""}, "finish_reason": "stop"}
        yield from_dict(CompletionChunk, {**head, "choices": [choice]})


async def main(port: str = "50051") -> None:
    async with create_server(OwnModel(), ServerConfig(port=int(port))) as server:
        print(f"listening on {server.address}", flush=True)
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
