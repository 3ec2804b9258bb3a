"""Streams that go on after their connection was lost, at a real service."""

import asyncio
import contextlib
from typing import Any

import pytest

from mistralwire.client import Client
from mistralwire.errors import CallError, Reason, UpstreamError
from mistralwire.service import ServerConfig, create_server
from mistralwire.v1 import ResponseState
from tests.client.relays import cabled, relaying
from tests.service.upstreams import STREAM_REQUEST, HeldUpstream, chunk


async def test_a_stream_goes_on_behind_its_last_chunk() -> None:
    upstream = HeldUpstream()
    async with relaying(upstream) as server, cabled(server.address) as (cable, client):
        stream = client.stream(STREAM_REQUEST, resumable=True)
        for number in range(5):
            upstream.items.put_nowait(chunk(number))
            assert (await anext(stream)).id == str(number)
            cable.shake()
        for item in (chunk(5), chunk(6), None):
            upstream.items.put_nowait(item)
        assert [item.id async for item in stream] == ["5", "6"]

    assert len(upstream.contexts) == 1
    assert cable.connections > 3


async def test_a_call_that_is_lost_before_anything_arrived_joins_itself() -> None:
    upstream = HeldUpstream()
    async with relaying(upstream) as server, cabled(server.address) as (cable, client):
        stream = client.stream(STREAM_REQUEST, resumable=True, response_id="r")
        first = asyncio.create_task(anext(stream))
        await upstream.started.wait()
        cable.shake()
        for item in (chunk(0), chunk(1), None):
            upstream.items.put_nowait(item)
        assert (await first).id == "0"
        assert [item.id async for item in stream] == ["1"]
        found = await client.get_response("r")

    assert len(upstream.contexts) == 1
    assert found.info.state == ResponseState.RESPONSE_STATE_FINISHED


async def test_a_response_under_the_same_key_is_joined_whatever_its_id_is() -> None:
    upstream = HeldUpstream()
    async with relaying(upstream) as server, cabled(server.address) as (cable, client):
        options = {"resumable": True, "idempotency_key": "order 1"}
        async with contextlib.aclosing(client.stream(STREAM_REQUEST, response_id="r", **options)) as first:  # type: ignore[arg-type]
            upstream.items.put_nowait(chunk(0))
            await anext(first)
            second = client.stream(STREAM_REQUEST, **options)  # type: ignore[arg-type]
            assert (await anext(second)).id == "0"
            cable.shake()
            for item in (chunk(1), None):
                upstream.items.put_nowait(item)
            assert [item.id async for item in second] == ["1"]
            assert [item.id async for item in first] == ["1"]

    assert len(upstream.contexts) == 1


async def test_the_failure_of_the_model_is_that_of_the_stream_before_and_after_a_break() -> None:
    for is_broken in (False, True):
        upstream = HeldUpstream()
        async with relaying(upstream) as server, cabled(server.address) as (cable, client):
            stream = client.stream(STREAM_REQUEST, resumable=True)
            upstream.items.put_nowait(chunk(0))
            await anext(stream)
            if is_broken:
                cable.shake()
            failure = UpstreamError("full", code="UNAVAILABLE", reason=Reason.UPSTREAM_OVERLOADED)
            upstream.items.put_nowait(failure)
            with pytest.raises(CallError) as caught:
                await anext(stream)

        assert (caught.value.code, caught.value.reason) == ("UNAVAILABLE", Reason.UPSTREAM_OVERLOADED)
        assert len(upstream.contexts) == 1


async def test_leaving_a_stream_early_cancels_the_response() -> None:
    upstream = HeldUpstream()
    async with relaying(upstream) as server, Client(server.address) as client:
        async with contextlib.aclosing(
            client.stream(STREAM_REQUEST, resumable=True, response_id="r")
        ) as stream:
            upstream.items.put_nowait(chunk(0))
            await anext(stream)
        await upstream.closed.wait()
        found = await client.get_response("r")

    assert found.info.state == ResponseState.RESPONSE_STATE_CANCELLED


async def test_leaving_a_response_that_another_call_has_opened_cancels_nothing() -> None:
    upstream = HeldUpstream()
    async with relaying(upstream) as server, Client(server.address) as client:
        first = client.stream(STREAM_REQUEST, resumable=True, idempotency_key="order 1")
        upstream.items.put_nowait(chunk(0))
        await anext(first)
        async with contextlib.aclosing(
            client.stream(STREAM_REQUEST, resumable=True, idempotency_key="order 1")
        ) as second:
            assert (await anext(second)).id == "0"
        for item in (chunk(1), None):
            upstream.items.put_nowait(item)
        assert [item.id async for item in first] == ["1"]


async def test_a_policy_of_the_caller_decides_about_a_stream_that_is_left() -> None:
    upstream = HeldUpstream()
    async with relaying(upstream) as server, Client(server.address) as client:
        stream = client.stream(STREAM_REQUEST, resumable=True, response_id="r", on_disconnect="finish")
        async with contextlib.aclosing(stream):
            upstream.items.put_nowait(chunk(0))
            await anext(stream)
        for item in (chunk(1), None):
            upstream.items.put_nowait(item)
        events = [event async for event in client.subscribe("r")]

    assert [event.sequence for event in events] == [1, 2]


@pytest.mark.parametrize("name", ["response_id", "idempotency_key", "on_disconnect"])
async def test_an_empty_argument_is_refused_as_in_other_calls(name: str) -> None:
    upstream = HeldUpstream()
    options: Any = {name: ""}
    async with relaying(upstream) as server, Client(server.address) as client:
        with pytest.raises(CallError) as caught:
            await anext(client.stream(STREAM_REQUEST, resumable=True, **options))

    assert caught.value.reason == Reason.CONTRACT_VIOLATION
    assert upstream.contexts == []


@pytest.mark.parametrize("has_begun", [False, True])
async def test_at_a_service_that_stores_nothing_a_break_is_the_end_and_the_model_is_asked_once(
    has_begun: bool,
) -> None:
    upstream = HeldUpstream()
    async with (
        asyncio.timeout(30),
        create_server(upstream, ServerConfig(port=0)) as server,
        cabled(server.address, attempts_max=1) as (cable, client),
    ):
        stream = client.stream(STREAM_REQUEST, resumable=True)
        first = asyncio.create_task(anext(stream))
        await upstream.started.wait()
        if has_begun:
            upstream.items.put_nowait(chunk(0))
            await first
        cable.pull()
        # Not before the client has tried to reach the service again.
        connections = cable.connections
        asyncio.get_running_loop().call_later(0.5, cable.plug)
        with pytest.raises(CallError) as caught:
            await (anext(stream) if has_begun else first)

    assert caught.value.code == "UNAVAILABLE"
    assert len(upstream.contexts) == 1
    assert has_begun or cable.connections > connections


async def test_what_was_never_stored_is_an_error_with_the_last_event() -> None:
    upstream = HeldUpstream()
    async with relaying(upstream, response_events_max=2) as server, cabled(server.address) as (cable, client):
        stream = client.stream(STREAM_REQUEST, resumable=True)
        for number in range(4):
            upstream.items.put_nowait(chunk(number))
            assert (await anext(stream)).id == str(number)
        cable.shake()
        with pytest.raises(CallError) as caught:
            await anext(stream)

    assert (caught.value.code, caught.value.reason) == ("DATA_LOSS", Reason.RESPONSE_TRUNCATED)
    assert caught.value.metadata["last_sequence"] == "2"
