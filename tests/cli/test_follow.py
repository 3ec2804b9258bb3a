"""`mistralwire follow` against a real service."""

import json
import signal

import grpc
import pytest

from mistralwire.client import Client
from mistralwire.errors import MistralwireError
from mistralwire.v1 import CompletionChunk, CompletionResponseStreamChoice, DeltaMessage, FinishReason
from tests.client.relays import relaying
from tests.client.test_subscription import answer, delivery, relay_of
from tests.service.upstreams import chunk

from .relay import invoke, running


@pytest.mark.process
async def test_text_is_printed_as_it_is_published() -> None:
    async with relaying() as server, Client(server.address) as client, client.publish("r") as publisher:
        await publisher.send(chunk(0, "Hel"))
        async with running(server.address, "follow", "r") as process:
            assert process.stdout is not None
            assert await process.stdout.readexactly(3) == b"Hel"
            await publisher.send(chunk(1, "lo"))
            assert await process.stdout.readexactly(2) == b"lo"
            await publisher.finish()
            output, errors = await process.communicate()

    assert (process.returncode, output, errors) == (0, b"\n", b"")


@pytest.mark.process
async def test_control_c_leaves_the_response_alone() -> None:
    async with relaying() as server, Client(server.address) as client, client.publish("r") as publisher:
        await publisher.send(chunk(0, "Hel"))
        async with running(server.address, "follow", "r") as process:
            assert process.stdout is not None
            assert await process.stdout.readexactly(3) == b"Hel"
            process.send_signal(signal.SIGINT)
            output, errors = await process.communicate()
        await publisher.send(chunk(1, "lo"))

    assert (process.returncode, output, errors) == (130, b"\n", b"interrupted\n")


async def test_it_begins_behind_an_event_and_prints_json_on_request() -> None:
    async with relaying() as server, Client(server.address) as client:
        async with client.publish("r") as publisher:
            await publisher.send([chunk(0, "a"), chunk(1, "b"), chunk(2, "c")])
        assert await invoke(server.address, "follow", "r", "--after", "1") == (0, "bc\n", "")
        code, output, _ = await invoke(server.address, "follow", "r", "--after", "1", "--json")

    assert code == 0
    assert [json.loads(line)["id"] for line in output.splitlines()] == ["1", "2"]


async def test_a_response_that_breaks_off_is_an_error_behind_its_text() -> None:
    async with relaying() as server, Client(server.address) as client:
        async with client.publish("r") as publisher:
            await publisher.send([chunk(0, "a"), chunk(1, "b")])
            await publisher.cancel()
        code, output, errors = await invoke(server.address, "follow", "r")
        unknown = await invoke(server.address, "follow", "other")
        invalid = await invoke(server.address, "follow", "no id")
        truncated = await invoke(server.address, "follow", "r", "--after", "3")

    assert (code, output) == (1, "ab\n")
    assert errors.splitlines()[:2] == [
        "Error: CANCELLED (RESPONSE_CANCELLED): somebody has cancelled the response",
        "  the response has ended with this error",
    ]
    assert unknown[:2] == (1, "")
    assert unknown[2].startswith("Error: NOT_FOUND (RESPONSE_NOT_FOUND): ")
    # The only violation is the message: it is printed once.
    assert invalid[2].count("expected 1 to 128 letters") == 1
    assert truncated[2].startswith("Error: DATA_LOSS (RESPONSE_TRUNCATED): ")


@pytest.mark.parametrize("code", ["DEADLINE_EXCEEDED", "UNAVAILABLE"])
async def test_the_failure_of_a_response_is_not_taken_for_that_of_the_call(code: str) -> None:
    async with relaying() as server, Client(server.address) as client:
        async with client.publish("r") as publisher:
            await publisher.fail(MistralwireError("no room", code=code, reason=code))
        _, output, errors = await invoke(server.address, "follow", "r")

    assert output == ""
    assert errors.splitlines()[:2] == [f"Error: {code}: no room", "  the response has ended with this error"]
    assert [line.partition(":")[0] for line in errors.splitlines()[2:]] == ["  request id"]


async def test_an_error_of_the_call_names_the_position_to_resume_at() -> None:
    broken = answer(delivery(2, 0), code=grpc.StatusCode.INVALID_ARGUMENT)
    async with relay_of(broken) as (address, _):
        code, output, errors = await invoke(address, "follow", "r", "--after", "1", "--json")

    assert (code, output.count("\n")) == (1, 1)
    assert "\n  the response above is incomplete; if it continues, --after 2 prints the rest\n" in errors


async def test_a_model_that_failed_is_an_error() -> None:
    choice = CompletionResponseStreamChoice(
        delta=DeltaMessage(content_string="a"), finish_reason=FinishReason.FINISH_REASON_ERROR
    )
    async with relaying() as server, Client(server.address) as client:
        async with client.publish("r") as publisher:
            await publisher.send(CompletionChunk(id="c", model="m", choices=[choice]))
        code, output, errors = await invoke(server.address, "follow", "r")

    assert (code, output) == (1, "a\n")
    assert 'the model failed (finish_reason "error")' in errors


@pytest.mark.parametrize("value", ["-1", "x"])
async def test_a_position_that_is_none_is_a_usage_error(value: str) -> None:
    code, _, errors = await invoke("127.0.0.1:1", "follow", "r", "--after", value)
    assert code == 2
    assert f"expected an integer from 0 to 2147483647, found '{value}'" in errors
