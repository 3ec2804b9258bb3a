"""`mistralwire publish` against a real service."""

import signal

import pytest

from mistralwire.client import Client, ResponseEvent
from mistralwire.errors import CallError, Reason
from mistralwire.v1 import ChatCompletionResponse, FIMCompletionResponse, ResponseKind, ResponseState
from tests.client.relays import relaying
from tests.service.upstreams import chunk

from .relay import CHAT, PACED, invoke, running
from .serving import REPLAY

DOCUMENT = str(REPLAY / "chat.json")


async def events_of(client: Client, response_id: str) -> list[ResponseEvent]:
    return [event async for event in client.subscribe(response_id)]


async def test_a_stream_is_published_chunk_by_chunk_under_the_id_that_is_printed() -> None:
    async with relaying() as server, Client(server.address) as client:
        code, output, errors = await invoke(server.address, "publish", CHAT)
        events = await events_of(client, output.strip())
        assert (await invoke(server.address, "publish", CHAT, "--id", "mine"))[1] == "mine\n"
        mine = await events_of(client, "mine")

    assert (code, errors) == (0, "")
    assert output.startswith("resp_")
    assert len(events) > 2
    assert mine == events


@pytest.mark.parametrize(
    ("file", "kind", "message_type"),
    [
        ("chat.json", ResponseKind.RESPONSE_KIND_CHAT, ChatCompletionResponse),
        ("fim.json", ResponseKind.RESPONSE_KIND_FIM, FIMCompletionResponse),
    ],
)
async def test_a_document_is_published_whole(file: str, kind: ResponseKind, message_type: type) -> None:
    async with relaying() as server, Client(server.address) as client:
        command = (server.address, "publish", str(REPLAY / file), "--id", "r")
        assert await invoke(*command) == (0, "r\n", "")
        again = "the service has 1 event of it already, which is not sent again\n"
        assert await invoke(*command) == (0, "r\n", again)
        events = await events_of(client, "r")
        found = (await client.get_response("r")).info

    assert [type(event.message) for event in events] == [message_type]
    assert found.kind == kind


async def test_a_recorded_error_is_the_end_of_the_response() -> None:
    async with relaying() as server, Client(server.address) as client:
        file = str(REPLAY / "error-in-the-middle.sse")
        code, output, errors = await invoke(server.address, "publish", file)
        with pytest.raises(CallError) as caught:
            await events_of(client, output.strip())

    assert code == 1
    assert errors.splitlines() == [
        f"Error: {caught.value.code} ({caught.value.reason}): {caught.value.message}",
        "  this is the recorded error; the response is published, and has failed with it",
    ]


@pytest.mark.process
async def test_the_same_command_goes_on_after_a_crash() -> None:
    async with relaying() as server, Client(server.address) as client:
        arguments = ("publish", CHAT, "--id", "r", "--chunks-per-second", "20")
        async with running(server.address, *arguments) as process:
            assert process.stdout is not None
            assert await process.stdout.readline() == b"r\n"
            events = client.subscribe("r")
            found = [await anext(events)]
            process.kill()
        assert (await invoke(server.address, *arguments[:4]))[0] == 0
        found += [event async for event in events]
        (await invoke(server.address, "publish", CHAT, "--id", "whole"))
        whole = await events_of(client, "whole")

    assert found == whole


async def test_a_recording_with_fewer_events_than_are_stored_is_another_response() -> None:
    async with relaying() as server, Client(server.address) as client:
        assert (await invoke(server.address, "publish", CHAT, "--id", "chat"))[0] == 0
        of_chat = len(await events_of(client, "chat"))
        async with client.publish("r") as publisher:
            await publisher.send([chunk(number) for number in range(1000)])
        for file, count in ((CHAT, of_chat), (DOCUMENT, 1)):
            code, output, errors = await invoke(server.address, "publish", file, "--id", "r")
            assert (code, output) == (1, "r\n")
            assert f"expected 1000 events or more in {file}, found {count}: r is another response" in errors
        events = await events_of(client, "r")

    assert len(events) == 1000


async def test_an_empty_id_is_none_of_a_response() -> None:
    async with relaying() as server:
        code, output, errors = await invoke(server.address, "publish", CHAT, "--id", "")

    assert (code, output) == (1, "")
    assert "expected 1 to 128 letters, digits and -_ characters, found ''" in errors


@pytest.mark.process
async def test_control_c_cancels_the_response() -> None:
    async with relaying() as server, Client(server.address) as client:
        async with running(server.address, "publish", PACED, "--chunks-per-second", "0.01") as process:
            assert process.stdout is not None
            response_id = (await process.stdout.readline()).decode().strip()
            await anext(client.subscribe(response_id))
            process.send_signal(signal.SIGINT)
            assert await process.wait() == 130
        found = (await client.get_response(response_id)).info

    assert found.state == ResponseState.RESPONSE_STATE_CANCELLED


async def test_an_epoch_takes_over() -> None:
    async with relaying() as server, Client(server.address) as client:
        publisher = await client.publish("r", epoch=3).__aenter__()
        refused = await invoke(server.address, "publish", CHAT, "--id", "r", "--epoch", "2")
        taken = await invoke(server.address, "publish", CHAT, "--id", "r", "--epoch", "4")
        too_high = await invoke(server.address, "publish", CHAT, "--epoch", "2000000001")
        with pytest.raises(CallError) as caught:
            await publisher.finish()

    assert refused[0] == 1
    assert refused[2].startswith("Error: ABORTED (STALE_EPOCH): ")
    assert taken == (0, "r\n", "")
    assert too_high[0] == 2
    assert "2000000000" in too_high[2]
    assert caught.value.reason == Reason.STALE_EPOCH


async def test_what_is_no_recording_is_an_error() -> None:
    code, output, errors = await invoke("127.0.0.1:1", "publish", __file__)
    assert (code, output) == (1, "")
    assert "expected a .json file, an .sse file or a folder of them" in errors
