"""The cost of a chunk in the gateway, in iterations and callbacks of the event loop."""

import asyncio
import collections
import contextlib
import socket
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from mistralwire.gateway import GatewayConfig, GatewayServer, create_app
from tests.gateway.clients import DrivenCall, DrivenClient, batch, until
from tests.gateway.test_protocol import QUESTION, request_of

CHUNKS = 50
WAIT_S = 30


@contextlib.asynccontextmanager
async def streaming() -> AsyncIterator[tuple[DrivenCall, socket.socket]]:
    """Return the call of a stream whose first event was sent, and its caller's socket."""
    client, config = DrivenClient(), GatewayConfig(port=0)
    async with GatewayServer(create_app(client.as_client(), config), config) as server:
        with socket.create_connection(("127.0.0.1", server.port)) as caller:
            caller.sendall(request_of({**QUESTION, "stream": True}))
            await until(lambda: bool(client.calls))
            [call] = client.calls
            caller.settimeout(WAIT_S)
            call.sink.batch(*batch(0))
            assert b"\r\n\r\n" in read_event(caller)
            yield call, caller


def read_event(caller: socket.socket) -> bytes:
    """Read to the end of an event, without the event loop."""
    data = b""
    while not data.endswith((b"\n\n\r\n", b"0\r\n\r\n")):
        data += caller.recv(65536)
    return data


async def test_a_chunk_is_written_at_once_without_a_turn_of_the_loop_a_task_or_a_timer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with streaming() as (call, caller):
        done: collections.Counter[str] = collections.Counter()
        loop: Any = asyncio.get_running_loop()
        for name in ("call_soon", "call_soon_threadsafe", "call_at", "create_task", "create_future"):
            monkeypatch.setattr(loop, name, counting(name, getattr(loop, name), done))
        for number in range(1, CHUNKS):
            call.sink.batch(*batch(number))
            # No turn of the loop has come since.
            assert b"id: %d\n" % number in read_event(caller)
        assert not done
        monkeypatch.undo()
        call.sink.end()
        assert b"data: [DONE]\n\n" in read_event(caller)
    assert call.asked == []


async def test_chunks_that_come_together_leave_in_one_write() -> None:
    async with streaming() as (call, caller):
        call.sink.batch(*batch(*range(1, CHUNKS)))
        length, _, events = read_event(caller).partition(b"\r\n")
        assert int(length, 16) == len(events) - 2
        assert events.count(b"\n\n") == CHUNKS - 1
        call.sink.end()


async def test_a_caller_who_half_closes_the_connection_has_hung_up() -> None:
    async with streaming() as (call, caller):
        caller.shutdown(socket.SHUT_WR)
        await until(lambda: bool(call.asked))
        assert call.asked == ["cancel"]
        assert caller.recv(65536) == b""


def counting(name: str, function: Callable[..., Any], done: collections.Counter[str]) -> Callable[..., Any]:
    def call(*arguments: Any, **options: Any) -> Any:
        done[name] += 1
        return function(*arguments, **options)

    return call
