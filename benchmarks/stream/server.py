"""The server of one contender, in a process of its own: prints its port, and runs until it is killed."""

import asyncio
import pathlib
import sys
import tempfile
from collections.abc import AsyncIterator

import grpc

from benchmarks.stream.scenarios import MISTRALWIRE, STORED, Scenario
from benchmarks.stream.upstreams import upstream_of
from mistralwire.service import RelayConfig, ServerConfig, create_relay, create_server
from mistralwire.upstream import CallContext, Upstream
from mistralwire.v1 import (
    ChatCompletionRequest,
    ChatCompletionResponse,
    ChatCompletionStreamRequest,
    ChatCompletionStreamResponse,
    chat_completion_service_pb2_grpc,
)

# Enough that no limit is met; all else is the default.
CONFIG = ServerConfig(port=0, calls_max=16_384, upstream_calls_max=16_384)


class PlainServicer(chat_completion_service_pb2_grpc.ChatCompletionServiceServicer):
    """The service as plain grpcio has it: one message a chunk."""

    def __init__(self, upstream: Upstream) -> None:
        self._upstream = upstream

    async def ChatCompletion(  # noqa: N802 - the contract's name
        self, request: ChatCompletionRequest, _: grpc.aio.ServicerContext
    ) -> ChatCompletionResponse:
        response = await self._upstream.complete(request, CallContext())
        assert isinstance(response, ChatCompletionResponse)
        return response

    async def ChatCompletionStream(  # noqa: N802 - the contract's name
        self, request: ChatCompletionStreamRequest, _: grpc.aio.ServicerContext
    ) -> AsyncIterator[ChatCompletionStreamResponse]:
        async for chunk in self._upstream.stream(request, CallContext()):
            yield ChatCompletionStreamResponse(chunks=[chunk])


async def start(contender: str, upstream: Upstream, folder: pathlib.Path) -> tuple[object, int]:
    """Start the server of a contender; return it, to keep a reference, and its port."""
    if contender in {MISTRALWIRE, STORED}:
        relay = create_relay(RelayConfig(data=folder)) if contender == STORED else None
        if relay is not None:
            await relay.start()
        server = create_server(upstream, CONFIG, relay=relay)
        await server.start()
        return server, server.port
    options = (("grpc.max_receive_message_length", CONFIG.message_bytes_max), ("grpc.so_reuseport", 0))
    plain = grpc.aio.server(options=options, maximum_concurrent_rpcs=CONFIG.calls_max)
    register = chat_completion_service_pb2_grpc.add_ChatCompletionServiceServicer_to_server
    register(PlainServicer(upstream), plain)
    port = plain.add_insecure_port("127.0.0.1:0")
    await plain.start()
    return plain, port


async def main(contender: str, scenario: Scenario) -> None:
    with tempfile.TemporaryDirectory() as folder:
        upstream = upstream_of(scenario, pathlib.Path(folder))
        _server, port = await start(contender, upstream, pathlib.Path(folder) / "log")
        print(port, flush=True)
        await asyncio.Event().wait()


if __name__ == "__main__":
    this = Scenario.from_json(sys.argv[2])
    if this.has_uvloop:
        import uvloop

        uvloop.install()
    asyncio.run(main(sys.argv[1], this))
