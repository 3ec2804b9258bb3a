"""Following a response at a real service: whole responses, positions, and how it ends."""

import asyncio

import pytest

from mistralwire.client import Client, SyncClient, _subscription
from mistralwire.client._subscription import StreamCalls
from mistralwire.errors import CallError, Reason
from tests.client.relays import Cable, relaying
from tests.service.upstreams import chunk


async def test_a_response_is_followed_from_any_event_on_by_as_many_as_like() -> None:
    async with relaying() as server, Client(server.address) as client, client.publish("r") as publisher:
        await publisher.send([chunk(number) for number in range(4)])
        early, late = client.subscribe("r"), client.subscribe("r", after=3)
        assert [await anext(early) for _ in range(4)] == [(at + 1, chunk(at)) for at in range(4)]
        assert await anext(late) == (4, chunk(3))
        await publisher.send(chunk(4))
        for events in (early, late):
            assert await anext(events) == (5, chunk(4))
        await publisher.finish()
        assert [[event async for event in events] for events in (early, late)] == [[], []]
        assert [event async for event in client.subscribe("r", after=5)] == []


@pytest.mark.parametrize(
    ("response_id", "after", "code", "reason"),
    [
        ("other", 0, "NOT_FOUND", Reason.RESPONSE_NOT_FOUND),
        ("r", 2, "DATA_LOSS", Reason.RESPONSE_TRUNCATED),
        ("r", -1, "INVALID_ARGUMENT", Reason.CONTRACT_VIOLATION),
        ("/", 0, "INVALID_ARGUMENT", Reason.CONTRACT_VIOLATION),
    ],
)
async def test_a_response_or_a_position_that_does_not_exist_is_an_error(
    response_id: str, after: int, code: str, reason: str
) -> None:
    async with relaying() as server, Client(server.address) as client:
        async with client.publish("r") as publisher:
            await publisher.send(chunk(0))
        with pytest.raises(CallError) as caught:
            await anext(client.subscribe(response_id, after=after, request_id="mine"))

    assert (caught.value.code, caught.value.reason, caught.value.request_id) == (code, reason, "mine")
    if reason == Reason.RESPONSE_TRUNCATED:
        assert caught.value.metadata["last_sequence"] == "1"


async def followed(address: str, *, is_sync: bool) -> list[int]:
    """Follow a response to its end; return the numbers of its events."""
    if is_sync:

        def follow() -> list[int]:
            with SyncClient(address) as client:
                return [event.sequence for event in client.subscribe("r")]

        return await asyncio.to_thread(follow)
    async with Client(address) as client:
        return [event.sequence async for event in client.subscribe("r")]


@pytest.mark.parametrize("is_sync", [False, True], ids=["async", "sync"])
async def test_a_consumer_without_an_event_yet_waits_as_long_for_a_lost_server_as_others(
    is_sync: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    # What a service gets that was never there.
    monkeypatch.setattr(_subscription, "_CONNECT_S", 0.0)
    loop, connections = asyncio.get_running_loop(), asyncio.Semaphore(0)
    connected = StreamCalls.connected

    def counted(calls: StreamCalls) -> None:
        connected(calls)
        loop.call_soon_threadsafe(connections.release)

    async with (
        relaying() as server,
        Client(server.address) as client,
        client.publish("r") as publisher,
    ):
        # From now on: the publisher has its connection.
        monkeypatch.setattr(StreamCalls, "connected", counted)
        cable = Cable(server.address)
        async with cable.plugged() as address:
            following = asyncio.create_task(followed(address, is_sync=is_sync))
            for _ in range(2):
                await connections.acquire()
                cable.pull()
                await asyncio.wait([following], timeout=0.5)
                cable.plug()
            await publisher.send(chunk(0))
            await publisher.finish()
            assert await following == [1]
