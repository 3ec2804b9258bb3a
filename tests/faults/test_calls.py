"""The service is killed under calls: callers and followers get what is stored, and nobody hangs."""

import json
import pathlib
import secrets
from collections.abc import Callable

import pytest

from mistralwire.client import Client
from mistralwire.errors import CallError
from mistralwire.v1 import ResponseState
from tests.faults.ledger import Consumer, Ledger
from tests.faults.programs import rounds
from tests.faults.services import RECONNECT_S, RESPONSES, Load, Service, consume, responses_of
from tests.service.upstreams import STREAM_REQUEST

pytestmark = pytest.mark.chaos

# More than a service lives to send.
CHUNKS = 2_000


def recorded(number: int) -> str:
    choice = {"index": 0, "delta": {"content": "x"}, "finish_reason": None}
    chunk = {"id": str(number), "object": "chat.completion.chunk", "created": 1, "model": "m"}
    return f"data: {json.dumps(chunk | {'choices': [choice]})}\n\n"


async def call(client: Client, caller: Consumer) -> None:
    """Make a call whose service is killed."""
    chunks = client.stream(
        STREAM_REQUEST, resumable=True, response_id=caller.response, reconnect_s=RECONNECT_S
    )
    try:
        async for chunk in chunks:
            caller.got(caller.last + 1, [chunk.id])
    except CallError as error:
        # The caller does not wait for the disk, so it may have more than was stored.
        assert error.reason in ("PRODUCER_LOST", "RESPONSE_TRUNCATED")  # noqa: PT017 - it has to end so
        caller.has_ended = True


async def test_the_server_is_killed_under_calls(
    tmp_path: pathlib.Path, new_ledger: Callable[[str], Ledger], seconds: float
) -> None:
    ledger = new_ledger("kills: the server, under calls")
    ledger.content = lambda response, epoch, sequence: str(sequence)
    recording = tmp_path / "recording.sse"
    recording.write_text("".join(map(recorded, range(1, CHUNKS + 1))) + "data: [DONE]\n\n")
    data = str(tmp_path / "data")
    service = Service(tmp_path, str(recording), "--chunks-per-second", "20", "--data", data)
    async with service, Load(service.address, ledger) as load:
        for _ in rounds(seconds, least=1):
            responses = responses_of(secrets.token_hex(4), RESPONSES)
            callers = [ledger.consumer(response) for response in responses]
            load.run(call(load.producing, caller) for caller in callers)
            await load.begun(callers)
            followers = [ledger.consumer(response) for response in responses]
            load.run(consume(load.consuming, follower) for follower in followers)
            await load.begun(followers)
            await service.kill()
            await service.start()
            await load.finish()
            assert all(consumer.has_ended for consumer in (*callers, *followers))
            for response in responses:
                info = (await load.consuming.get_response(response)).info
                assert info.state == ResponseState.RESPONSE_STATE_FAILED
                ledger.acknowledge(response, info.last_sequence)
    ledger.check_stored()
