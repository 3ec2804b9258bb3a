"""Publishing a response at a real service, over connections that break, beside other producers."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest

from mistralwire._methods import RELAY_SERVICE_NAME
from mistralwire.client import Client, Publisher, new_response_id
from mistralwire.errors import CallError, MistralwireError, Reason, UpstreamError
from mistralwire.service import LocalChannel, RelayConfig, Server, ServerConfig, create_relay, create_server
from mistralwire.v1 import (
    ChatCompletionResponse,
    CompletionChunk,
    FIMCompletionResponse,
    PublishRequest,
    PublishResponse,
    ResponseKind,
    ResponseState,
)
from tests.client.peers import started
from tests.client.relays import Cable, cabled, relaying
from tests.service.upstreams import HeldUpstream, chunk

State = ResponseState


async def delivered(client: Client, response_id: str, **options: Any) -> tuple[list[str], CallError | None]:
    """Return the ids of a response's events, which are numbered without gaps, and how it ended."""
    ids: list[str] = []
    after = options.get("after", 0)
    try:
        async for event in client.subscribe(response_id, **options):
            ids.append(event.message.id)
            assert event.sequence == after + len(ids)
    except CallError as error:
        return ids, error
    return ids, None


async def test_what_is_sent_is_stored_and_delivered_in_order_and_finished_behind_the_block() -> None:
    async with relaying() as server, Client(server.address) as client:
        async with client.publish("r", kind=ResponseKind.RESPONSE_KIND_AGENTS) as publisher:
            assert (publisher.response_id, publisher.acknowledged_sequence) == ("r", 0)
            assert await publisher.send(chunk(0)) == 1
            assert await publisher.send(iter([chunk(1), chunk(2)])) == publisher.last_sequence == 3
            await publisher.flush()
            assert publisher.acknowledged_sequence == 3
            for number in range(3, 1000):
                await publisher.send(chunk(number))
        found = (await client.get_response("r")).info
        ids, error = await delivered(client, "r")

    assert (ids, error) == ([str(number) for number in range(1000)], None)
    assert (found.state, found.kind) == (State.RESPONSE_STATE_FINISHED, ResponseKind.RESPONSE_KIND_AGENTS)


class _Relay:
    """Acknowledges a response without events, and ends the call later, or never.

    Attributes:
        has_ended: Whether the call had its status.
        was_left: Whether the client left it before.
    """

    def __init__(self, *, is_stalled: bool) -> None:
        self._is_stalled = is_stalled
        self.has_ended, self.was_left = asyncio.Event(), asyncio.Event()

    async def _publish(
        self, requests: AsyncIterator[PublishRequest], _: Any
    ) -> AsyncIterator[PublishResponse]:
        async for request in requests:
            yield PublishResponse(acknowledged_sequence=0, ended=request.HasField("end"))
        try:
            await (asyncio.Event().wait() if self._is_stalled else asyncio.sleep(0.1))
            self.has_ended.set()
        except asyncio.CancelledError:
            self.was_left.set()
            raise

    @contextlib.asynccontextmanager
    async def serving(self) -> AsyncIterator[str]:
        handler = grpc.stream_stream_rpc_method_handler(
            self._publish, PublishRequest.FromString, PublishResponse.SerializeToString
        )
        server = grpc.aio.server(options=(("grpc.so_reuseport", 0),))
        handlers = grpc.method_handlers_generic_handler(RELAY_SERVICE_NAME, {"Publish": handler})
        server.add_generic_rpc_handlers((handlers,))
        async with asyncio.timeout(30), started(server) as target:
            yield target


@pytest.mark.parametrize("is_stalled", [False, True])
async def test_a_call_is_not_left_before_its_status_but_soon_without_one(*, is_stalled: bool) -> None:
    relay = _Relay(is_stalled=is_stalled)
    async with relay.serving() as target, Client(target) as client:
        async with client.publish("r"):
            pass
        await (relay.was_left if is_stalled else relay.has_ended).wait()


async def test_a_caller_who_is_cancelled_before_the_status_leaves_the_call() -> None:
    relay = _Relay(is_stalled=True)

    async def publish(publisher: Publisher) -> None:
        async with publisher:
            pass

    async with relay.serving() as target, Client(target) as client:
        publisher = client.publish("r")
        caller = asyncio.create_task(publish(publisher))
        while not publisher._has_ended:  # noqa: ASYNC110 - no event is for this
            await asyncio.sleep(0)
        while not caller.done():
            caller.cancel()
            await asyncio.sleep(0.01)
        await relay.was_left.wait()


@pytest.mark.parametrize("whole", [ChatCompletionResponse(id="c"), FIMCompletionResponse(id="f")])
async def test_a_whole_response_is_the_only_event(whole: Any) -> None:
    async with relaying() as server, Client(server.address) as client:
        async with client.publish() as publisher:
            assert await publisher.send(whole) == 1
            for more in (whole, chunk(0)):
                with pytest.raises(ValueError, match="no other event beside a whole response"):
                    await publisher.send(more)
            with pytest.raises(ValueError, match="expected a chunk or more, found none"):
                await client.publish().send([])
        events = [event async for event in client.subscribe(publisher.response_id)]
        found = await client.get_response(publisher.response_id)

    assert events == [(1, whole)]
    assert getattr(found, str(found.WhichOneof("whole"))) == whole


@pytest.mark.parametrize(
    ("raised", "code", "reason", "text"),
    [
        (
            UpstreamError("no room", code="UNAVAILABLE", reason=Reason.UPSTREAM_OVERLOADED),
            "UNAVAILABLE",
            Reason.UPSTREAM_OVERLOADED,
            "no room",
        ),
        (
            ValueError("private"),
            "INTERNAL",
            Reason.INTERNAL,
            "internal error of the producer of the response",
        ),
    ],
)
async def test_an_exception_in_the_block_fails_the_response(
    raised: Exception, code: str, reason: str, text: str
) -> None:
    async def produce(client: Client) -> None:
        async with client.publish("r") as publisher:
            await publisher.send(chunk(0))
            raise raised

    async with relaying() as server, Client(server.address) as client:
        with pytest.raises(type(raised)):
            await produce(client)
        ids, error = await delivered(client, "r")

    assert ids == ["0"]
    assert error is not None
    assert (error.code, error.reason, error.message) == (code, reason, text)


async def test_the_cancellation_of_the_producer_cancels_the_response() -> None:
    sent = asyncio.Event()

    async def produce(client: Client) -> None:
        async with client.publish("r") as publisher:
            await publisher.send(chunk(0))
            sent.set()
            await asyncio.Event().wait()

    async with relaying() as server, Client(server.address) as client:
        task = asyncio.create_task(produce(client))
        await sent.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        ids, error = await delivered(client, "r")

    assert ids == ["0"]
    assert error is not None
    assert (error.code, error.reason) == ("CANCELLED", Reason.RESPONSE_CANCELLED)


async def test_the_block_may_end_the_response_itself() -> None:
    async with relaying() as server, Client(server.address) as client:
        ends: dict[str, Any] = {
            "finished": Publisher.finish,
            "cancelled": Publisher.cancel,
            "failed": lambda publisher: publisher.fail(MistralwireError("broken")),
        }
        for name, end in ends.items():
            async with client.publish(name) as publisher:
                await publisher.send(chunk(0))
                await end(publisher)
                with pytest.raises(RuntimeError, match="the response has got its end"):
                    await publisher.send(chunk(1))
                with pytest.raises(RuntimeError, match="the response has got its end"):
                    await publisher.finish()
        states = {info.response_id: info.state for info in (await client.list_responses()).responses}

    assert states == {
        "finished": State.RESPONSE_STATE_FINISHED,
        "cancelled": State.RESPONSE_STATE_CANCELLED,
        "failed": State.RESPONSE_STATE_FAILED,
    }


async def test_broken_connections_lose_and_double_nothing() -> None:
    async with (
        relaying() as server,
        cabled(server.address) as (near, producer),
        cabled(server.address) as (far, consumer),
    ):

        async def shake() -> None:
            while True:
                await asyncio.sleep(0.02)
                near.shake()
                await asyncio.sleep(0.02)
                far.shake()

        async def produce() -> None:
            async with producer.publish("r") as publisher:
                for number in range(300):
                    await publisher.send(chunk(number))
                    if number % 3 == 0:
                        await asyncio.sleep(0.001)

        shaking = asyncio.create_task(shake())
        await asyncio.gather(produce())
        following = asyncio.create_task(delivered(consumer, "r"))
        ids, error = await following
        shaking.cancel()

    assert (ids, error) == ([str(number) for number in range(300)], None)
    assert near.connections > 3


async def test_a_consumer_goes_on_behind_its_last_event_while_the_producer_works() -> None:
    async with relaying() as server, cabled(server.address) as (cable, consumer):
        async with Client(server.address) as client, client.publish("r") as publisher:
            await publisher.send(chunk(0))
            events = consumer.subscribe("r")
            for number in range(1, 20):
                assert (await anext(events)).sequence == number
                cable.shake()
                await publisher.send(chunk(number))
            await publisher.finish()
            assert [event.sequence async for event in events] == [20]
        assert cable.connections > 10


async def test_a_producer_waits_while_a_megabyte_is_not_acknowledged() -> None:
    large = CompletionChunk(id="x" * 300_000, model="m")
    async with relaying() as server, cabled(server.address) as (cable, client):
        async with client.publish("r") as publisher:
            await publisher.send(chunk(0))
            await publisher.flush()
            cable.pull()
            for _ in range(4):
                await publisher.send(large)
            waiting = asyncio.create_task(publisher.send(large))
            await asyncio.sleep(0)
            assert (waiting.done(), publisher.acknowledged_sequence, publisher.last_sequence) == (False, 1, 5)
            cable.plug()
            assert await waiting == 6
        ids, _ = await delivered(client, "r")

    assert ids == ["0", *["x" * 300_000] * 5]


async def test_what_a_producer_sends_goes_out_even_if_it_waits_for_nothing_else() -> None:
    async with relaying() as server, Client(server.address) as client, client.publish("r") as publisher:
        for number in range(500):
            await publisher.send(chunk(number))
            if publisher.acknowledged_sequence:
                break
            time.sleep(0.01)  # noqa: ASYNC251 - a model that computes

        assert publisher.acknowledged_sequence > 0


async def test_of_sends_at_the_same_time_each_finds_what_the_one_before_has_sent() -> None:
    async with relaying() as server, Client(server.address) as client, client.publish("r") as publisher:
        whole = ChatCompletionResponse(id="w")
        first, second = await asyncio.gather(
            publisher.send(chunk(0)), publisher.send(whole), return_exceptions=True
        )
        assert first == 1
        assert "found some before" in str(second)


async def test_a_send_that_is_cancelled_has_sent_nothing() -> None:
    async with relaying() as server, Client(server.address) as client:
        async with client.publish("r") as publisher:
            sending = asyncio.create_task(publisher.send(ChatCompletionResponse(id="w")))
            await asyncio.sleep(0)
            sending.cancel()
            with pytest.raises(asyncio.CancelledError):
                await sending
            assert await publisher.send(chunk(0)) == 1
        ids, error = await delivered(client, "r")

    assert (ids, error) == (["0"], None)


async def test_what_was_kept_is_sent_in_messages_that_the_service_takes() -> None:
    large = CompletionChunk(id="x" * 700_000, model="m")
    config = ServerConfig(port=0, message_bytes_max=1_200_000)
    async with relaying(config=config) as server, cabled(server.address) as (cable, client):
        async with client.publish("r") as publisher:
            await publisher.flush()
            cable.pull()
            for _ in range(2):
                await publisher.send(large)
            cable.plug()
            await publisher.send(large)
        found = (await client.get_response("r", deadline_s=10)).info

    assert (found.last_sequence, found.state) == (3, State.RESPONSE_STATE_FINISHED)


async def test_a_service_that_stays_away_is_an_error_of_what_waits_for_it() -> None:
    async def produce(client: Client, cable: Cable) -> None:
        async with client.publish("r", reconnect_s=0.1) as publisher:
            await publisher.send(chunk(0))
            await publisher.flush()
            cable.pull()
            await publisher.send(chunk(1))
            await publisher.flush()

    async with relaying() as server, cabled(server.address) as (cable, client):
        with pytest.raises(CallError) as lost:
            await produce(client, cable)
        with pytest.raises(CallError) as unopened:
            await client.publish("r", deadline_s=0.1).__aenter__()

    assert (lost.value.code, unopened.value.code) == ("UNAVAILABLE", "UNAVAILABLE")


async def send_on(publisher: Publisher, number: int) -> None:
    """Send until that fails."""
    while True:
        await publisher.send(chunk(number))
        await publisher.flush()


async def test_a_producer_with_a_higher_epoch_takes_over_behind_the_last_event() -> None:
    async def produce(client: Client) -> None:
        async with client.publish("r") as first:
            await first.send(chunk(0))
            await first.flush()
            second = await client.publish("r", epoch=1).__aenter__()
            assert (second.acknowledged_sequence, second.last_sequence) == (1, 1)
            assert await second.send(chunk(1)) == 2
            await second.flush()
            await send_on(first, -1)

    async with relaying() as server, Client(server.address) as client:
        with pytest.raises(CallError) as overtaken:
            await produce(client)
        with pytest.raises(CallError) as refused:
            await client.publish("r").__aenter__()
        async with client.publish("r", epoch=2) as third:
            assert await third.send(chunk(2)) == 3
        ids, error = await delivered(client, "r")

    for caught in (overtaken, refused):
        assert (caught.value.code, caught.value.reason) == ("ABORTED", Reason.STALE_EPOCH)
        assert caught.value.metadata["epoch"] == "1"
    assert (ids, error) == (["0", "1", "2"], None)


async def test_a_producer_that_comes_back_goes_on_behind_the_last_event() -> None:
    async with relaying() as server, Client(server.address) as client:
        async with Client(server.address) as lost:
            publisher = await lost.publish("r").__aenter__()
            await publisher.send([chunk(0), chunk(1)])
            await publisher.flush()
        async with client.publish("r") as publisher:
            assert publisher.acknowledged_sequence == 2
            assert await publisher.send(chunk(2)) == 3
        # Once more, as if the end had not been acknowledged.
        async with client.publish("r") as publisher:
            assert publisher.acknowledged_sequence == 3
        ids, error = await delivered(client, "r")
        publisher = await client.publish("r").__aenter__()
        with pytest.raises(CallError) as caught:
            await send_on(publisher, 3)

    assert (ids, error) == (["0", "1", "2"], None)
    assert (caught.value.code, caught.value.reason) == ("FAILED_PRECONDITION", Reason.RESPONSE_ENDED)


async def test_who_cancels_a_response_stops_its_producer() -> None:
    async def produce(client: Client) -> None:
        async with client.publish("r") as publisher:
            await publisher.send(chunk(0))
            await publisher.flush()
            assert (await client.cancel_response("r")).info.state == State.RESPONSE_STATE_CANCELLED
            await send_on(publisher, 1)

    async with relaying() as server, Client(server.address) as client:
        with pytest.raises(CallError) as caught:
            await produce(client)
        ids, error = await delivered(client, "r")

    assert (caught.value.code, caught.value.reason) == ("CANCELLED", Reason.RESPONSE_CANCELLED)
    assert error is not None
    assert (ids, error.reason) == (["0"], Reason.RESPONSE_CANCELLED)


async def test_two_producers_with_one_epoch_are_an_error_of_the_one_that_is_behind() -> None:
    async def produce(client: Client, cable: Cable, address: str) -> None:
        async with client.publish("r") as behind:
            await behind.send(chunk(0))
            await behind.flush()
            cable.pull()
            async with Client(address) as other:
                publisher = await other.publish("r").__aenter__()
                await publisher.send([chunk(1), chunk(2)])
                await publisher.flush()
            cable.plug()
            await send_on(behind, 3)

    async with relaying() as server, cabled(server.address) as (cable, client):
        with pytest.raises(CallError, match="another producer publishes with the epoch 0 too") as caught:
            await produce(client, cable, server.address)

    assert (caught.value.code, caught.value.reason) == ("ABORTED", Reason.STALE_EPOCH)


async def test_a_service_that_has_lost_what_it_acknowledged_is_an_error_never_silence() -> None:
    async def produce(client: Client, servers: list[Server]) -> None:
        async with client.publish("r") as publisher:
            await publisher.send(chunk(0))
            await publisher.flush()
            # Neither knows the other's responses.
            await servers[0 if await has(servers[0], "r") else 1].stop(0)
            await send_on(publisher, 1)

    async with (
        relaying() as one,
        relaying() as other,
        Client(f"ipv4:{one.address},{other.address}") as client,
    ):
        with pytest.raises(CallError, match="has lost events that it had acknowledged") as caught:
            await produce(client, [one, other])

    assert (caught.value.code, caught.value.reason) == ("DATA_LOSS", Reason.RESPONSE_TRUNCATED)


async def has(server: Server, response_id: str) -> bool:
    async with Client(server.address) as client:
        return any(info.response_id == response_id for info in (await client.list_responses()).responses)


async def test_a_service_in_this_process_does_the_same() -> None:
    async with (
        asyncio.timeout(30),
        create_relay(RelayConfig(log="memory")) as relay,
        Client.on(LocalChannel(HeldUpstream(), relay=relay)) as client,
    ):
        async with client.publish("r") as publisher:
            await publisher.send([chunk(0), chunk(1)])
        assert await delivered(client, "r") == (["0", "1"], None)
        publisher = await client.publish("cancelled").__aenter__()
        events = client.subscribe("cancelled")
        await publisher.send(chunk(0))
        assert await anext(events) == (1, chunk(0))
        assert (await client.cancel_response("cancelled")).info.state == State.RESPONSE_STATE_CANCELLED
        for ended in (anext(events), send_on(publisher, 1)):
            with pytest.raises(CallError) as caught:
                await ended
            assert caught.value.reason == Reason.RESPONSE_CANCELLED


async def test_a_service_that_stores_nothing_says_how_it_would() -> None:
    async with (
        asyncio.timeout(30),
        create_server(HeldUpstream(), ServerConfig(port=0)) as server,
        Client(server.address) as client,
    ):
        with pytest.raises(CallError, match="start it with --data or --log") as caught:
            await client.publish().__aenter__()

    assert (caught.value.code, caught.value.reason) == ("UNIMPLEMENTED", Reason.NO_RESPONSE_LOG)


async def test_what_is_no_event_is_not_sent() -> None:
    whole = ChatCompletionResponse(id="w")
    async with relaying() as server, Client(server.address) as client:
        async with client.publish("r") as publisher:
            for events in ([chunk(0), whole], "text", [None]):
                with pytest.raises(TypeError, match="expected chunks or a whole response, found "):
                    await publisher.send(events)  # type: ignore[arg-type]
            await publisher.send(chunk(0))
        ids, error = await delivered(client, "r")

    assert (ids, error) == (["0"], None)


async def test_events_are_sent_in_the_block_alone() -> None:
    async with Client("127.0.0.1:1") as client:
        publisher = client.publish("r")
        with pytest.raises(RuntimeError, match="not open; send its events in the publisher's block"):
            await publisher.send(chunk(0))
        with pytest.raises(RuntimeError, match="not open"):
            await publisher.finish()


async def test_arguments_are_checked_before_anything_is_sent() -> None:
    async with Client("127.0.0.1:1") as client:
        for options, error in (
            ({"reconnect_s": -1}, ValueError),
            ({"epoch": "x"}, TypeError),
            ({"deadline_s": 0}, ValueError),
            ({"metadata": {"A": "b"}}, ValueError),
        ):
            with pytest.raises(error):
                client.publish(**options)

    assert len({new_response_id() for _ in range(100)}) == 100
