"""Passes calls on to services; knows nothing but the generated messages, and parses and serializes them.

For each target among its arguments it listens on a port of its own, and prints the address.
"""

import asyncio
import sys
from collections.abc import AsyncIterator
from typing import Any

import grpc

from mistralwire.v1.chat_completion_service_pb2_grpc import (
    ChatCompletionServiceServicer,
    ChatCompletionServiceStub,
    add_ChatCompletionServiceServicer_to_server,
)

_NAMES = ("x-request-id", "x-contract-revision")


class Relay(ChatCompletionServiceServicer):
    """Calls one service."""

    def __init__(self, target: str) -> None:
        self._stub: Any = ChatCompletionServiceStub(grpc.aio.insecure_channel(target))

    async def ChatCompletion(self, request: Any, context: Any) -> Any:
        call = self._stub.ChatCompletion(request, **_options(context))
        try:
            response = await call
        except grpc.aio.AioRpcError as error:
            await context.abort(error.code(), error.details(), tuple(error.trailing_metadata() or ()))
        context.set_trailing_metadata(tuple(await call.trailing_metadata()))
        return response

    async def ChatCompletionStream(self, request: Any, context: Any) -> AsyncIterator[Any]:
        call = self._stub.ChatCompletionStream(request, **_options(context))
        try:
            async for message in call:
                yield message
        except grpc.aio.AioRpcError as error:
            await context.abort(error.code(), error.details(), tuple(error.trailing_metadata() or ()))
        context.set_trailing_metadata(tuple(await call.trailing_metadata()))


def _options(context: Any) -> dict[str, Any]:
    passed = tuple(pair for pair in context.invocation_metadata() if pair[0] in _NAMES)
    return {"metadata": passed, "timeout": context.time_remaining()}


async def main() -> None:
    servers = []
    for target in sys.argv[1:]:
        server = grpc.aio.server()
        add_ChatCompletionServiceServicer_to_server(Relay(target), server)
        print(f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}", flush=True)
        await server.start()
        servers.append(server)
    await asyncio.gather(*(server.wait_for_termination() for server in servers))


if __name__ == "__main__":
    asyncio.run(main())
