"""Services that are killed while producers publish, consumers follow, and a model answers."""

import asyncio
import contextlib
import pathlib

import pytest

from mistralwire.client import Client
from mistralwire.errors import CallError, Reason
from mistralwire.v1 import ResponseState
from tests.cli.serving import REPLAY, serving
from tests.client.relays import Cable
from tests.service.upstreams import STREAM_REQUEST, chunk

EVENTS = 300


async def publish(client: Client) -> None:
    async with client.publish("published") as publisher:
        for number in range(EVENTS):
            await publisher.send(chunk(number))
            await asyncio.sleep(0.01)


async def follow(client: Client) -> list[tuple[int, str]]:
    while True:
        with contextlib.suppress(CallError):  # not open yet
            return [(event.sequence, event.message.id) async for event in client.subscribe("published")]


async def ask(client: Client, texts: list[str], has_begun: asyncio.Event) -> CallError | None:
    try:
        async for item in client.stream(STREAM_REQUEST, resumable=True, response_id="asked"):
            texts.append(item.choices[0].delta.content_string)
            has_begun.set()
    except CallError as error:
        return error
    return None


@pytest.mark.slow
@pytest.mark.process
async def test_nothing_is_lost_or_doubled_when_the_service_is_killed(tmp_path: pathlib.Path) -> None:
    arguments = (str(REPLAY / "chat.sse"), "--chunks-per-second", "2", "--data", str(tmp_path / "data"))
    cable = Cable("")
    texts: list[str] = []
    async with asyncio.timeout(60), cable.plugged() as address, Client(address) as client:
        async with serving(*arguments) as (process, cable.target, _):
            has_begun = asyncio.Event()
            asking = asyncio.create_task(ask(client, texts, has_begun))
            publishing = asyncio.create_task(publish(client))
            following = asyncio.create_task(follow(client))
            await has_begun.wait()
            process.kill()
        async with serving(*arguments) as (process, cable.target, _):
            await asyncio.sleep(0.5)
            process.kill()
        async with serving(*arguments) as (_, cable.target, _):
            await publishing
            events, error = await asyncio.gather(following, asking)
            infos = (await client.list_responses()).responses

    assert events == [(number + 1, str(number)) for number in range(EVENTS)]
    # The producer of the other one was the service.
    assert error is not None
    assert error.reason in (Reason.PRODUCER_LOST, Reason.RESPONSE_TRUNCATED)
    assert "The quick brown fox".startswith("".join(texts))
    assert {info.response_id: info.state for info in infos} == {
        "published": ResponseState.RESPONSE_STATE_FINISHED,
        "asked": ResponseState.RESPONSE_STATE_FAILED,
    }
