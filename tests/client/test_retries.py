"""Which calls are retried, how often, and which never: counted by a real server."""

import asyncio
import json
import socket
from typing import Any

import grpc
import pytest

from mistralwire.client import Client
from mistralwire.client._channel import channel_options
from mistralwire.errors import CallError, MistralwireError
from mistralwire.service import ServerConfig, create_server
from mistralwire.service._status import refuse
from tests.client.peers import ANSWER, MESSAGE, service_of
from tests.service.upstreams import REQUEST, STREAM_REQUEST, EagerUpstream, HeldUpstream, chunk

UNAVAILABLE, CANCELLED = grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED


class Failing:
    """Fails this many calls with a status, then responds.

    Attributes:
        attempts: How many calls there were.
    """

    def __init__(self, count: int, code: grpc.StatusCode = UNAVAILABLE, **trailers: str) -> None:
        self.attempts = 0
        self._count = count
        self._code = code
        self._trailers = tuple((name.replace("_", "-"), value) for name, value in trailers.items())

    async def __call__(self, context: Any) -> None:
        self.attempts += 1
        if self.attempts <= self._count:
            await context.abort(self._code, "not now", self._trailers)
        await context.write(ANSWER)


@pytest.mark.slow
@pytest.mark.parametrize("is_stream", [False, True])
async def test_a_service_that_fails_twice_is_asked_three_times(is_stream: bool) -> None:
    failing = Failing(2)
    async with asyncio.timeout(30), service_of(failing) as target, Client(target) as client:
        if is_stream:
            assert [len(batch.data) async for batch in client.stream_batches(STREAM_REQUEST)] == [len(ANSWER)]
        else:
            assert (await client.complete(REQUEST)).id == "answer"

    assert failing.attempts == 3


@pytest.mark.slow
@pytest.mark.parametrize(("attempts_max", "expected"), [(1, 1), (2, 2), (5, 5)])
async def test_the_attempts_are_bounded(attempts_max: int, expected: int) -> None:
    failing = Failing(100)
    async with (
        asyncio.timeout(30),
        service_of(failing) as target,
        Client(target, attempts_max=attempts_max) as client,
    ):
        with pytest.raises(CallError, match="not now") as caught:
            await client.complete(REQUEST)

    assert caught.value.code == "UNAVAILABLE"
    assert failing.attempts == expected


@pytest.mark.parametrize(
    "code", [code for code in grpc.StatusCode if code not in (grpc.StatusCode.OK, UNAVAILABLE, CANCELLED)]
)
async def test_no_other_status_is_tried_again(code: grpc.StatusCode) -> None:
    failing = Failing(1, code)
    async with asyncio.timeout(30), service_of(failing) as target, Client(target) as client:
        with pytest.raises(CallError) as caught:
            await client.complete(REQUEST)

    assert caught.value.code == code.name
    assert failing.attempts == 1


@pytest.mark.parametrize("chunks", [None, 0, 1], ids=["one piece", "stream", "after a chunk"])
async def test_a_call_that_its_service_cancels_is_unavailable_and_not_tried_again(
    chunks: int | None,
) -> None:
    attempts = 0

    async def cancel(context: Any) -> None:
        nonlocal attempts
        attempts += 1
        for _ in range(chunks or 0):
            await context.write(MESSAGE)
        await context.abort(CANCELLED, "")

    async with asyncio.timeout(30), service_of(cancel) as target, Client(target) as client:

        async def ask() -> None:
            if chunks is None:
                await client.complete(REQUEST, request_id="mine")
            async for _ in client.stream(STREAM_REQUEST, request_id="mine"):
                pass

        with pytest.raises(CallError) as caught:
            await ask()

    error = caught.value
    assert (error.code, error.reason, error.request_id) == ("UNAVAILABLE", "CALL_CANCELLED", "mine")
    assert attempts == 1


async def test_a_cancellation_with_a_reason_is_reported_as_it_is() -> None:
    async def cancel(context: Any) -> None:
        await refuse(context, MistralwireError("not wanted", code="CANCELLED", reason="NOT_WANTED"))

    async with asyncio.timeout(30), service_of(cancel) as target, Client(target) as client:
        with pytest.raises(CallError) as caught:
            await client.complete(REQUEST)
    assert (caught.value.code, caught.value.reason) == ("CANCELLED", "NOT_WANTED")


async def test_a_stream_is_never_tried_again_after_its_first_chunk() -> None:
    attempts = 0

    async def break_off(context: Any) -> None:
        nonlocal attempts
        attempts += 1
        await context.write(MESSAGE)
        await context.abort(UNAVAILABLE, "gone")

    async with asyncio.timeout(30), service_of(break_off) as target, Client(target) as client:
        chunks = client.stream(STREAM_REQUEST)
        assert await anext(chunks) == chunk(0)
        with pytest.raises(CallError, match="gone") as caught:
            await anext(chunks)

    assert caught.value.code == "UNAVAILABLE"
    assert attempts == 1


async def test_a_server_that_dies_after_the_first_chunk_is_not_asked_again() -> None:
    upstream = HeldUpstream()
    upstream.items.put_nowait(chunk(0))
    server = create_server(upstream, ServerConfig(port=0))
    await server.start()
    async with asyncio.timeout(30), Client(server.address) as client:
        chunks = client.stream(STREAM_REQUEST)
        assert await anext(chunks) == chunk(0)
        await server.stop(0)
        other = EagerUpstream(1)
        async with create_server(other, ServerConfig(port=server.port)):
            with pytest.raises(CallError) as caught:
                await anext(chunks)

    assert caught.value.code == "UNAVAILABLE"
    assert (len(upstream.requests), other.produced) == (1, 0)


async def test_a_service_that_asks_for_no_retry_gets_none() -> None:
    failing = Failing(1, grpc_retry_pushback_ms="-1")
    async with asyncio.timeout(30), service_of(failing) as target, Client(target) as client:
        with pytest.raises(CallError, match="not now"):
            await client.complete(REQUEST)

    assert failing.attempts == 1


@pytest.mark.slow
async def test_a_service_that_is_not_there_yet_is_found_when_it_is() -> None:
    upstream = EagerUpstream(1)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setblocking(False)
        port = listener.getsockname()[1]
        async with asyncio.timeout(60), Client(f"127.0.0.1:{port}") as client:
            first = asyncio.ensure_future(anext(client.stream(STREAM_REQUEST)))
            connection, _ = await asyncio.get_running_loop().sock_accept(listener)
            connection.close()
            listener.close()
            async with create_server(upstream, ServerConfig(port=port)):
                assert await first == chunk(0)

    assert upstream.produced == 1


async def test_a_request_of_megabytes_is_tried_again_too() -> None:
    failing = Failing(1)
    request = type(REQUEST)()
    request.CopyFrom(REQUEST)
    request.messages[0].user.content_string = "x" * 3_000_000
    async with asyncio.timeout(30), service_of(failing) as target, Client(target) as client:
        assert (await client.complete(request)).id == "answer"

    assert failing.attempts == 2


def test_a_call_that_finds_no_connection_outlasts_the_pause_before_the_next_one() -> None:
    options = dict(
        channel_options(
            "localhost:1",
            attempts_max=4,
            keepalive_s=30,
            keepalive_timeout_s=10,
            message_bytes_max=1,
            is_gzip_enabled=False,
            is_shared=True,
        )
    )
    policy = json.loads(options["grpc.service_config"])["methodConfig"][0]["retryPolicy"]
    first_s = float(policy["initialBackoff"].rstrip("s"))
    pauses_s = sum(first_s * policy["backoffMultiplier"] ** number for number in range(3))
    # gRPC draws a fifth more or less: gRFC A6, and its document on connection backoff.
    assert options["grpc.max_reconnect_backoff_ms"] / 1000 * 1.2 < pauses_s * 0.8


async def test_where_nothing_succeeds_retries_stop() -> None:
    failing = Failing(10_000)
    async with (
        asyncio.timeout(60),
        service_of(failing) as target,
        Client(target, attempts_max=2) as client,
    ):
        calls = [client.complete(REQUEST) for _ in range(200)]
        results = await asyncio.gather(*calls, return_exceptions=True)

    assert all(isinstance(result, CallError) for result in results)
    # 50 failures use up half of the tokens; from then on each call is one attempt.
    assert 200 <= failing.attempts <= 260


@pytest.mark.slow
async def test_the_attempts_share_one_deadline() -> None:
    failing = Failing(100, grpc_retry_pushback_ms="100000")
    async with asyncio.timeout(30), service_of(failing) as target, Client(target, deadline_s=1) as client:
        with pytest.raises(CallError) as caught:
            await client.complete(REQUEST)

    assert caught.value.code in ("DEADLINE_EXCEEDED", "UNAVAILABLE")
    assert failing.attempts == 1
