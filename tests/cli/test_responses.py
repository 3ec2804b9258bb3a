"""`mistralwire responses` against a real service."""

import asyncio
import contextlib
import datetime
import json
from collections.abc import AsyncIterator

import click.testing
import pytest

from mistralwire.cli import main
from mistralwire.client import Client
from mistralwire.errors import CallError, MistralwireError, Reason
from tests.client.relays import relaying
from tests.service.upstreams import chunk

from .relay import invoke
from .serving import SETTINGS


@contextlib.asynccontextmanager
async def responding() -> AsyncIterator[str]:
    """Serve a response in each state; yield the address."""
    async with relaying() as server, Client(server.address) as client:
        async with client.publish("finished") as publisher:
            await publisher.send([chunk(0, "Hel"), chunk(1, "lo")])
        async with client.publish("cancelled") as publisher:
            await publisher.cancel()
        async with client.publish("failed") as publisher:
            error = MistralwireError("no room\x1b", code="UNAVAILABLE", reason=Reason.OVERLOADED)
            await publisher.fail(error)
        # A test may cancel it.
        with contextlib.suppress(CallError):
            async with client.publish("running"):
                yield server.address


async def test_the_list_is_a_table_for_people() -> None:
    async with responding() as address:
        code, output, errors = await invoke(address, "responses")
        one = await invoke(address, "responses", "list", "--state", "failed")
        oldest = await invoke(address, "responses", "list", "--oldest-first", "--limit", "2")

    assert (code, errors) == (0, "")
    rows = [line.split() for line in output.splitlines()]
    assert rows[0] == ["ID", "STATE", "EVENTS", "CREATED", "MODEL"]
    assert sorted(row[:3] for row in rows[1:]) == [
        ["cancelled", "cancelled", "0"],
        ["failed", "failed", "0"],
        ["finished", "finished", "2"],
        ["running", "running", "0"],
    ]
    assert len({line.index(row[1]) for line, row in zip(output.splitlines(), rows, strict=True)}) <= 4
    assert [line.split()[0] for line in one[1].splitlines()] == ["ID", "failed"]
    assert [line.split()[0] for line in oldest[1].splitlines()] == ["ID", "finished", "cancelled"]


async def test_times_are_utc_and_say_so() -> None:
    async with responding() as address:
        _, output, _ = await invoke(address, "responses", "show", "finished")
        _, shown, _ = await invoke(address, "responses", "show", "finished", "--json")

    created = datetime.datetime.fromtimestamp(json.loads(shown)["created"], datetime.UTC)
    assert f"\ncreated: {created.isoformat().removesuffix('+00:00')}Z\n" in output


async def test_programs_get_an_object_a_line() -> None:
    async with responding() as address:
        _, output, _ = await invoke(address, "responses", "list", "--json", "--oldest-first")
        _, shown, _ = await invoke(address, "responses", "show", "finished", "running", "--json")

    finished, cancelled, failed, running = map(json.loads, output.splitlines())
    assert [item["state"] for item in (cancelled, failed, running)] == ["cancelled", "failed", "running"]
    assert failed["error"] == {"code": "UNAVAILABLE", "reason": "OVERLOADED", "message": "no room\\x1b"}
    assert (running["ended"], running["model"], "error" in running) == (None, None, False)
    assert finished == {
        "id": "finished",
        "kind": "chat",
        "state": "finished",
        "events": 2,
        "epoch": 0,
        "created": finished["created"],
        "ended": finished["ended"],
        "upstream_id": "0",
        "model": "m",
    }
    first, second = map(json.loads, shown.splitlines())
    assert first["response"]["choices"][0]["message"]["content"] == "Hello"
    assert second["response"] is None


async def test_people_see_what_there_is_of_a_response() -> None:
    async with responding() as address:
        _, finished, _ = await invoke(address, "responses", "show", "finished")
        _, failed, _ = await invoke(address, "responses", "show", "failed")

    assert finished.endswith("\nupstream_id: 0\nmodel: m\n\nHello\n")
    assert "error: UNAVAILABLE (OVERLOADED): no room\\x1b\n" in failed


async def test_responses_are_cancelled_and_deleted() -> None:
    async with responding() as address:
        refused = await invoke(address, "responses", "delete", "running")
        cancelled = await invoke(address, "responses", "cancel", "running", "finished")
        deleted = await invoke(address, "responses", "delete", "running", "finished")
        gone = await invoke(address, "responses", "show", "running")
        _, output, _ = await invoke(address, "responses", "delete", "failed", "--json")
        several = await invoke(address, "responses", "show", "cancelled", "gone", "finished")

    assert refused[0] == 1
    assert refused[2].startswith("Error: FAILED_PRECONDITION (RESPONSE_RUNNING): ")
    assert cancelled == (0, "running cancelled\nfinished finished\n", "")
    assert deleted == (0, "running deleted\nfinished deleted\n", "")
    assert gone[2].startswith("Error: NOT_FOUND (RESPONSE_NOT_FOUND): ")
    assert json.loads(output)["id"] == "failed"
    assert several[1].startswith("id: cancelled\n")
    assert several[2].splitlines()[1:3] == ["  the ID is gone", "  not tried: finished"]


@pytest.mark.parametrize(("env", "is_colored"), [({}, True), ({"NO_COLOR": "1"}, False)])
async def test_states_have_colors_unless_nobody_wants_them(env: dict[str, str], is_colored: bool) -> None:
    runner = click.testing.CliRunner(env={**dict.fromkeys(SETTINGS), "NO_COLOR": None, **env})
    async with responding() as address:
        words = ["responses", "--target", address]
        result = await asyncio.to_thread(runner.invoke, main, words, color=True)

    assert ("\x1b[" in result.output) == is_colored
    assert "\x1b[" not in result.output.splitlines()[0]


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["show"], "expected an ID to show, found none"),
        (["list", "r"], "list takes no ID; show prints single responses"),
        (["list", "--limit", "0"], "expected an integer from 1 to 2147483647, found '0'"),
        (
            ["delete", "r", "--state", "failed"],
            "--state is for list; delete takes the responses by their IDs",
        ),
        (["show", "r", "--limit", "20"], "--limit is for list; show takes the responses by their IDs"),
        (["list", "--state", "gone"], "'gone' is not one of 'running', 'finished', 'cancelled', 'failed'"),
    ],
)
async def test_what_makes_no_sense_is_a_usage_error(arguments: list[str], problem: str) -> None:
    code, _, errors = await invoke("127.0.0.1:1", "responses", *arguments)
    assert code == 2
    assert problem in " ".join(errors.split())
