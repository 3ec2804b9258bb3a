"""The revision of the contract on both sides of a call."""

from typing import Any

import pytest

from mistralwire.client import Client
from mistralwire.errors import CallError
from mistralwire.service import LocalChannel, ServerConfig, create_server
from mistralwire.v1 import CONTRACT_REVISION, ChatCompletionResponse
from tests.client.peers import ANSWER, MESSAGE, service_of
from tests.service.upstreams import REQUEST, STREAM_REQUEST, HeldUpstream, chunk

NEXT = CONTRACT_REVISION + 1


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.name == "mistralwire.client._stub"]


async def test_a_call_says_the_revision_of_the_client_s_contract() -> None:
    seen: list[dict[str, Any]] = []

    async def behave(context: Any) -> None:
        seen.append(dict(context.invocation_metadata()))
        await context.write(ANSWER)

    for revision in (1, NEXT):
        async with service_of(behave) as target, Client(target, contract_revision=revision) as client:
            await client.complete(REQUEST)
    # That of its own contract, not that of the contract it writes for.
    assert [metadata["x-contract-revision"] for metadata in seen] == [str(CONTRACT_REVISION)] * 2


async def test_a_caller_can_not_send_it() -> None:
    async with Client("127.0.0.1:1") as client:
        with pytest.raises(ValueError, match="x-contract-revision is sent by the client; leave it out"):
            await client.complete(REQUEST, metadata={"x-contract-revision": "2"})


async def test_a_service_that_is_older_than_what_is_written_is_logged_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    upstream = HeldUpstream()
    async with (
        create_server(upstream, ServerConfig(port=0)) as server,
        Client(server.address, contract_revision=NEXT) as client,
    ):
        for _ in range(2):
            upstream.items.put_nowait(ChatCompletionResponse())
            await client.complete(REQUEST)
            for item in (chunk(0), None):
                upstream.items.put_nowait(item)
            assert len([item async for item in client.stream(STREAM_REQUEST)]) == 1
    assert warnings(caplog) == [
        f"the service at {server.address} has revision {CONTRACT_REVISION} of the contract, and requests are "
        f"written for {NEXT}; lower contract_revision until all services are upgraded"
    ]


@pytest.mark.parametrize("call", ["stream", "batches", "error"])
async def test_it_is_seen_at_the_end_of_every_kind_of_call(
    call: str, caplog: pytest.LogCaptureFixture
) -> None:
    upstream = HeldUpstream()
    async with (
        create_server(upstream, ServerConfig(port=0)) as server,
        Client(server.address, contract_revision=NEXT) as client,
    ):
        upstream.items.put_nowait(RuntimeError() if call == "error" else None)
        if call == "error":
            with pytest.raises(CallError) as caught:
                await client.complete(REQUEST)
            assert caught.value.metadata["contract_revision"] == str(CONTRACT_REVISION)
        else:
            make = client.stream if call == "stream" else client.stream_batches
            assert [item async for item in make(STREAM_REQUEST)] == []
    assert len(warnings(caplog)) == 1


@pytest.mark.parametrize("said", [None, "", "x", "-1", "1.0", "9" * 30, str(NEXT)])
async def test_a_service_that_says_nothing_of_use_is_not_logged(
    said: str | None, caplog: pytest.LogCaptureFixture
) -> None:
    async def behave(context: Any) -> None:
        if said is not None:
            context.set_trailing_metadata((("x-contract-revision", said),))
        await context.write(MESSAGE)

    async with service_of(behave) as target, Client(target, contract_revision=NEXT) as client:
        assert len([item async for item in client.stream(STREAM_REQUEST)]) == 1
    assert warnings(caplog) == []


async def test_who_writes_for_the_first_revision_can_not_be_too_early(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def behave(context: Any) -> None:
        context.set_trailing_metadata((("x-contract-revision", "0"),))
        await context.write(ANSWER)

    async with service_of(behave) as target, Client(target) as client:
        await client.complete(REQUEST)
    assert warnings(caplog) == []


@pytest.mark.parametrize(
    ("revision", "error"), [(0, ValueError), (2**31, ValueError), ("1", TypeError), (True, TypeError)]
)
def test_a_revision_is_a_number_from_1(revision: Any, error: type[Exception]) -> None:
    with pytest.raises(error, match="contract_revision must be"):
        Client("127.0.0.1:1", contract_revision=revision)
    with pytest.raises(error, match="contract_revision must be"):
        Client.on(LocalChannel(HeldUpstream()), contract_revision=revision)


async def test_in_one_process_nothing_is_written_for_older_readers() -> None:
    async with Client.on(LocalChannel(HeldUpstream(), ServerConfig(contract_revision=1))) as client:
        assert client.contract_revision == CONTRACT_REVISION
