"""A gateway with a program's own upstream: prints its address, and runs until it is killed."""

import asyncio
import functools
import json
import pathlib
import random
import sys
from collections.abc import AsyncIterator

import uvloop

from benchmarks.gateway import scenarios
from mistralwire.client import Client
from mistralwire.codec import from_json
from mistralwire.gateway import GatewayConfig, GatewayServer, create_app
from mistralwire.service import LocalChannel
from mistralwire.upstream import (
    CallContext,
    CompletionRequest,
    CompletionResponse,
    CompletionStreamRequest,
)
from mistralwire.v1 import ChatCompletionResponse, ChatCompletionStreamRequest, CompletionChunk


class ProgramUpstream:
    """Answers like the model API, at the same pace, with messages that are built for each answer."""

    async def complete(self, request: CompletionRequest, context: CallContext) -> CompletionResponse:
        del request, context
        response = ChatCompletionResponse()
        response.CopyFrom(_answer())
        return response

    async def stream(
        self, request: CompletionStreamRequest, context: CallContext
    ) -> AsyncIterator[CompletionChunk]:
        del context
        assert isinstance(request, ChatCompletionStreamRequest)
        shortest_s, longest_s = scenarios.gaps_of(request.messages[-1].user.content_string)
        for template in _chunks():
            chunk = CompletionChunk()
            chunk.CopyFrom(template)
            yield chunk
            if longest_s:
                await asyncio.sleep(random.uniform(shortest_s, longest_s))


@functools.cache
def _answer() -> ChatCompletionResponse:
    return from_json(ChatCompletionResponse, json.dumps(scenarios.ANSWER))


@functools.cache
def _chunks() -> list[CompletionChunk]:
    return [from_json(CompletionChunk, json.dumps(chunk)) for chunk in scenarios.chunks()]


async def main(keys: pathlib.Path) -> None:
    config = GatewayConfig(port=0, token_file=keys)
    async with (
        Client.on(LocalChannel(ProgramUpstream())) as client,
        GatewayServer(create_app(client, config), config) as server,
    ):
        print(f"listening on http://127.0.0.1:{server.port}", flush=True)
        await asyncio.Event().wait()


if __name__ == "__main__":
    uvloop.run(main(pathlib.Path(sys.argv[1])))
