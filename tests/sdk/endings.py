"""How a call ends when the model API misbehaves, as the two sides see it: HTTP at the edge, and gRPC."""

import contextlib
import json
from collections.abc import AsyncIterator
from typing import Any, NamedTuple

import aiohttp
import pytest

from mistralwire import from_json, to_json
from mistralwire.client import Client
from mistralwire.errors import CallError
from mistralwire.service import ServerConfig, create_server
from mistralwire.upstream import HttpSettings, MistralUpstream
from mistralwire.v1 import ChatCompletionRequest, ChatCompletionStreamRequest
from tests.error_bodies import broken_body, flat_error
from tests.sdk.both_ways import ONCE, Stack, gateway_to
from tests.upstream_server import Answer, UpstreamServer

CHAT = "/v1/chat/completions"
QUESTION = {"model": "m", "messages": [{"role": "user", "content": "hello"}]}
STREAM_QUESTION = {**QUESTION, "stream": True}
REQUEST = from_json(ChatCompletionRequest, json.dumps(QUESTION))
STREAM_REQUEST = from_json(ChatCompletionStreamRequest, json.dumps(STREAM_QUESTION))


class Ending(NamedTuple):
    """The end of a call that failed.

    Attributes:
        chunks: The documents that came before.
        status: HTTP status, or name of the gRPC code.
        kind: Type of the error body, or reason of the gRPC status.
        message: What is said to people.
        retry_after_s: When to try again, in seconds, if that is said.
    """

    chunks: list[Any]
    status: int | str
    kind: str
    message: str
    retry_after_s: float | None


class Sides(NamedTuple):
    """A model API with a gateway and a service in front of it, for many calls one after another.

    Attributes:
        stack: The model API and the gateway.
        embedded: The model API and a gateway with its service in the same process.
        client: A client of the service.
    """

    stack: Stack
    embedded: Stack
    client: Client

    async def ending(self, side: str, answer: Answer, *, stream: bool) -> Ending:
        """Make a call that must fail, of a gateway (`edge`, `embedded`) or of the service (`grpc`)."""

        async def call(url: str) -> Ending:
            return await (by_grpc(self.client, stream) if side == "grpc" else at_the_edge(url, stream))

        stack = self.embedded if side == "embedded" else self.stack
        ending, received = await stack.through(call, answer)
        # One that is lost without a byte may have been a used connection, which is replaced once.
        assert len(received) in ((1, 2) if answer.is_headless else (1,))
        found: Ending = ending
        return found


async def at_the_edge(url: str, is_stream: bool) -> Ending:
    """Make a call of a gateway that must fail."""
    question = STREAM_QUESTION if is_stream else QUESTION
    async with aiohttp.ClientSession() as session, session.post(url + CHAT, json=question) as response:
        is_events = response.content_type == "text/event-stream"
        body = await (broken_body(response) if is_events else response.read())
    *chunks, document = documents_of(body) if is_events else [json.loads(body)]
    error = flat_error(document)
    retry_after = response.headers.get("retry-after")
    retry_after_s = None if retry_after is None else float(retry_after)
    return Ending(chunks, response.status, error["type"], error["message"], retry_after_s)


async def by_grpc(client: Client, is_stream: bool) -> Ending:
    """Make a call of a service that must fail."""
    chunks: list[Any] = []

    async def asked() -> None:
        if is_stream:
            async for chunk in client.stream(STREAM_REQUEST):
                chunks.append(json.loads(to_json(chunk)))  # noqa: PERF401 - those before the error count
        else:
            await client.complete(REQUEST)

    with pytest.raises(CallError) as raised:
        await asked()
    error = raised.value
    return Ending(chunks, error.code, error.reason, error.message, error.retry_after_s)


@contextlib.asynccontextmanager
async def both_sides(server: UpstreamServer, settings: HttpSettings) -> AsyncIterator[Sides]:
    """Run gateways and a service whose upstream is a server."""
    async with (
        gateway_to(server, settings=settings) as url,
        gateway_to(server, settings=settings, is_embedded=True) as embedded_url,
        service_client(server, settings) as client,
    ):
        yield Sides(Stack(server, url), Stack(server, embedded_url), client)


def documents_of(text: bytes) -> list[Any]:
    """Return the documents of an event stream that must end neither with `[DONE]` nor within an event."""
    *events, rest = text.split(b"\n\n")
    assert not rest
    assert b"data: [DONE]" not in events
    return [json.loads(event.rpartition(b"data: ")[2]) for event in events]


@contextlib.asynccontextmanager
async def service_client(server: UpstreamServer, settings: HttpSettings = ONCE) -> AsyncIterator[Client]:
    """Return a client of a service whose upstream is a server."""
    upstream = MistralUpstream(server.url, settings=settings)
    try:
        async with (
            create_server(upstream, ServerConfig(port=0)) as service,
            Client(service.address, attempts_max=1) as client,
        ):
            yield client
    finally:
        await upstream.close()
