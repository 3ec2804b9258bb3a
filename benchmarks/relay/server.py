"""The server of a contender, in a process of its own: prints its port, and runs until killed."""

import asyncio
import pathlib
import socket
import sys
from collections.abc import AsyncIterator, Mapping
from typing import Any

import grpc
import rakaia
import uvicorn

from mistralwire._settings import BYTES_MAX, INT32_MAX
from mistralwire.service import RelayConfig, ServerConfig, create_relay, create_server
from mistralwire.upstream import ReplayUpstream
from mistralwire.v1 import (
    PublishResponse,
    ResponseEvents,
    SubscribeRequest,
    SubscribeResponse,
    response_relay_service_pb2_grpc,
)

SQLITE, PLAIN, RAKAIA = "sqlite", "plain grpcio", "rakaia"
# Enough that no limit is met; all else is the default.
_CONFIG = ServerConfig(port=0, calls_max=16_384)
_LIMITS: Mapping[str, Any] = {
    "response_events_max": INT32_MAX,
    "response_bytes_max": BYTES_MAX,
    "caller_responses_max": 16_384,
    "caller_bytes_max": BYTES_MAX,
}


class PlainServicer(response_relay_service_pb2_grpc.ResponseRelayServiceServicer):
    """Relays as the gRPC documentation teaches it: in memory, a message for each chunk and each consumer."""

    def __init__(self) -> None:
        self._queues: dict[str, list[asyncio.Queue[SubscribeResponse]]] = {}

    async def Publish(  # noqa: N802 - the contract's name
        self, request_iterator: Any, _: grpc.aio.ServicerContext
    ) -> AsyncIterator[PublishResponse]:
        response, last = "", 0
        async for request in request_iterator:
            if request.HasField("open"):
                response = request.open.response_id
            else:
                batch = request.batch
                last = batch.first_sequence + len(batch.events.chunks) - 1
                for number, chunk in enumerate(batch.events.chunks, batch.first_sequence):
                    message = SubscribeResponse(first_sequence=number, events=ResponseEvents(chunks=[chunk]))
                    for queue in self._queues.get(response, ()):
                        queue.put_nowait(message)
            yield PublishResponse(acknowledged_sequence=last)

    async def Subscribe(  # noqa: N802 - the contract's name
        self, request: SubscribeRequest, _: grpc.aio.ServicerContext
    ) -> AsyncIterator[SubscribeResponse]:
        queue: asyncio.Queue[SubscribeResponse] = asyncio.Queue()
        self._queues.setdefault(request.response_id, []).append(queue)
        while True:
            yield await queue.get()


async def _serve_plain() -> None:
    server = grpc.aio.server(options=(("grpc.so_reuseport", 0),))
    register = response_relay_service_pb2_grpc.add_ResponseRelayServiceServicer_to_server
    register(PlainServicer(), server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    print(port, flush=True)
    await asyncio.Event().wait()


async def _serve_rakaia(folder: str) -> None:
    app = rakaia.create_app(rakaia.JsonlStreamStore(folder))
    with socket.create_server(("127.0.0.1", 0)) as listener:
        print(listener.getsockname()[1], flush=True)
        await uvicorn.Server(uvicorn.Config(app, log_level="warning")).serve([listener])


async def main(name: str, folder: str) -> None:
    """Serve a contender by its name; its log is in a folder."""
    if name == PLAIN:
        await _serve_plain()
    if name == RAKAIA:
        await _serve_rakaia(folder)
        return
    place: Mapping[str, Any] = {"data": pathlib.Path(folder)} if name == SQLITE else {"log": name}
    # Nobody asks it for completions.
    recording = pathlib.Path(folder) / "chat.json"
    recording.write_text('{"choices": []}')
    async with (
        create_relay(RelayConfig(**place, **_LIMITS)) as relay,
        create_server(ReplayUpstream([recording]), _CONFIG, relay=relay) as server,
    ):
        print(server.port, flush=True)
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
