"""The log on NATS beyond the others: several nodes, servers that come and go, proofs of durability."""

import asyncio
import contextlib
import hashlib
import itertools
import json
import logging
import pathlib
import random
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from typing import Any, Self

import nats
import pytest
import trustme
from hypothesis import HealthCheck, settings
from hypothesis.stateful import run_state_machine_as_test

from mistralwire.errors import MistralwireError, Reason, ResponseError
from mistralwire.log import End, KeyClaim, NatsLog, Opening, Query
from mistralwire.log._nats import _writer
from mistralwire.log._nats._connection import Connection
from mistralwire.log._nats._durability import DurabilityProof
from mistralwire.log._nats._records import encode
from mistralwire.v1 import ResponseState
from tests.listeners import stop_listening
from tests.log.conftest import nats_log
from tests.log.exchanges import CANCELLED, FINISHED, Follower, append, append_of, read
from tests.log.nats_servers import NatsServer, cluster, running
from tests.log.test_state_machine import LogMachine
from tests.service.certificates import issue

pytestmark = pytest.mark.process

Join = Callable[[], Awaitable[NatsLog]]


@pytest.fixture
async def join(nats_server: NatsServer) -> AsyncIterator[Join]:
    """Starts another node of the same log."""
    stream = f"s{secrets.token_hex(8)}"
    async with contextlib.AsyncExitStack() as stack:

        async def join() -> NatsLog:
            node = nats_log(nats_server, stream)
            await node.start()
            stack.push_async_callback(node.close)
            return node

        yield join


async def _until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not condition():  # noqa: ASYNC110 - no event is for this
            await asyncio.sleep(0.01)


async def _listed(log: NatsLog, *ids: str, **conditions: Any) -> None:
    """Wait until a node lists these responses, which others have changed."""
    async with asyncio.timeout(10):
        while tuple(each.id for each in await log.list(Query(**conditions))) != ids:  # noqa: ASYNC110 - no event is for this
            await asyncio.sleep(0.01)


async def test_a_response_is_followed_on_another_node(join: Join) -> None:
    here, there = await join(), await join()
    await here.open(Opening(id="r"))
    await append(here, "r", 1, "a")
    follower = Follower(there, "r")
    await follower.has("a")
    await append(here, "r", 2, "b", "c")
    await follower.has("a", "b", "c")
    await append(here, "r", 4, "d", end=FINISHED)
    assert await follower.ended() == ["a", "b", "c", "d"]
    assert follower.end == FINISHED


async def test_followers_go_on_when_another_node_takes_over(join: Join) -> None:
    here, there = await join(), await join()
    await here.open(Opening(id="r"))
    followers = [Follower(node, "r") for node in (here, there)]
    await append(here, "r", 1, "a")
    assert (await there.open(Opening(id="r", epoch=1))).node == there.node
    await append(there, "r", 2, "b", epoch=1)
    with pytest.raises(ResponseError) as caught:
        await append(here, "r", 2, "c")
    assert caught.value.reason == Reason.STALE_EPOCH
    await append(there, "r", 3, epoch=1, end=CANCELLED)
    assert [await follower.ended() for follower in followers] == [["a", "b"]] * 2


async def test_a_node_finds_what_another_one_has_just_stored(join: Join) -> None:
    here, there = await join(), await join()
    for number in range(20):
        name = f"r{number}"
        await here.open(Opening(id=name, owner="o"))
        await _listed(there, *(f"r{before}" for before in range(number, -1, -1)), owner="o")
        # As a caller has it, who does not wait for the log.
        storing = asyncio.create_task(append(here, name, 1, "a", upstream_id=f"up-{name}"))
        assert await there.find("o", f"up-{name}") == name
        await storing
    assert await there.find("o", "none") is None


async def test_what_has_no_upstream_is_not_read_to_find_an_id(
    join: Join, monkeypatch: pytest.MonkeyPatch
) -> None:
    here, there = await join(), await join()
    await here.open(Opening(id="s", space="stream"))
    await _listed(there, "s", space="stream")
    batch, read = Connection.batch, list[Any]()

    async def counted(connection: Connection, arguments: Mapping[str, Any]) -> Any:
        read.append(arguments)
        return await batch(connection, arguments)

    monkeypatch.setattr(Connection, "batch", counted)
    assert await there.find("", "none") is None
    assert not read
    await here.open(Opening(id="r"))
    await _listed(there, "r")
    read.clear()
    assert await there.find("", "none") is None
    assert read


async def test_each_node_knows_what_others_opened_ended_and_deleted(join: Join) -> None:
    here, there = await join(), await join()
    for name in "abc":
        await here.open(Opening(id=name, owner="o"))
        await append(here, name, 1, name, upstream_id=f"up-{name}")
    await here.open(Opening(id="named", owner="p"))
    await append(here, "named", 1, "a", model="m")
    await append(here, "c", 2, "z", end=FINISHED)
    await _listed(there, "b", "a", owner="o", is_running=True)
    assert [each.last for each in await there.list(Query(owner="o"))] == [2, 1, 1]
    assert await there.find("o", "up-b") == "b"
    assert [(each.id, each.model) for each in await there.list(Query(owner="p"))] == [("named", "m")]
    await here.delete("b")
    await _listed(there, "c", "a", owner="o")
    for node in (there, await join()):
        assert await node.find("o", "up-a") == "a"
        assert await node.find("o", "up-b") is None
        assert [each.id for each in await node.list(Query(owner="o"))] == ["c", "a"]
        assert (await node.usage("o")).total == 2


async def test_a_follower_on_another_node_ends_with_a_deleted_response(join: Join) -> None:
    here, there = await join(), await join()
    await here.open(Opening(id="r"))
    await append(here, "r", 1, "a")
    follower = Follower(there, "r")
    await follower.has("a")
    await here.delete("r")
    with pytest.raises(ResponseError) as caught:
        await follower.ended()
    assert caught.value.reason == Reason.RESPONSE_NOT_FOUND
    await there.open(Opening(id="r"))
    assert await append(there, "r", 1, "b") == 1
    assert await read(here, "r") == ["b"]


async def test_a_key_has_one_holder_among_all_nodes(join: Join) -> None:
    nodes = [await join() for _ in range(3)]
    claims = await asyncio.gather(
        *(node.claim_key("o", "k", b"digest", f"r{number}") for number, node in enumerate(nodes))
    )
    (held,) = {claim.id for claim in claims}
    assert sorted(claim.is_new for claim in claims) == [False, False, True]
    await nodes[0].release_key("o", "k", "another")
    assert await nodes[1].claim_key("o", "k", b"other", "s") == KeyClaim(held, b"digest", is_new=False)
    await nodes[0].release_key("o", "k", held)
    assert await nodes[1].claim_key("o", "k", b"other", "s") == KeyClaim("s", b"other", is_new=True)


@pytest.mark.slow
def test_each_consumer_sees_what_was_acknowledged(nats_server: NatsServer) -> None:
    class NatsMachine(LogMachine):
        def __init__(self) -> None:
            super().__init__()
            self.stream = f"s{secrets.token_hex(8)}"

        def make_log(self) -> NatsLog:
            return nats_log(nats_server, self.stream)

    checks = list(HealthCheck)
    limits = settings(max_examples=15, stateful_step_count=30, deadline=None, suppress_health_check=checks)
    run_state_machine_as_test(NatsMachine, settings=limits)


async def test_nodes_hear_and_ask_each_other(join: Join) -> None:
    async def answer(request: bytes) -> bytes:
        return b"re: " + request

    here, there = await join(), await join()
    there.serve(answer)
    assert await here.ask(there.node, b"?", 5) == b"re: ?"
    assert await here.is_alive(there.node)
    # Longer than a lease, which heartbeats renew.
    await asyncio.sleep(1)
    assert await here.is_alive(there.node)
    await there.close()
    async with asyncio.timeout(10):
        while await here.is_alive(there.node):  # noqa: ASYNC110 - no event is for this
            await asyncio.sleep(0.01)
    assert await here.ask(there.node, b"?", 5) is None


async def test_a_node_whose_heartbeats_get_lost_is_asked(nats_server: NatsServer) -> None:
    stream = f"s{secrets.token_hex(8)}"
    # It is not heard for seconds, and expected more often.
    quiet = NatsLog(nats_server.url, monitor_urls=[nats_server.monitor_url], stream=stream, lease_s=60)
    await quiet.start()
    here = nats_log(nats_server, stream)
    await here.start()
    await asyncio.sleep(1)
    assert await here.is_alive(quiet.node)
    await quiet.close()
    async with asyncio.timeout(10):
        while await here.is_alive(quiet.node):  # noqa: ASYNC110 - no event is for this
            await asyncio.sleep(0.01)
    await here.close()


async def test_other_nodes_are_not_taken_for_lost_while_nats_is_away(tmp_path: pathlib.Path) -> None:
    with running(NatsServer(tmp_path / "n")) as server:
        here, there = (NatsLog(server.url, monitor_urls=[server.monitor_url], lease_s=0.3) for _ in range(2))
        await here.start()
        await there.start()
        server.stop()
        # Longer than a lease.
        await asyncio.sleep(1)
        assert await here.is_alive(there.node)
        server.start()
        # nats-py would leave a connection behind that is closed while it is made.
        assert await there.describe("none") is None
        await there.close()
        async with asyncio.timeout(30):
            while await here.is_alive(there.node):  # noqa: ASYNC110 - no event is for this
                await asyncio.sleep(0.01)
        await here.close()


async def test_two_nodes_that_send_the_same_events_store_them_once(join: Join) -> None:
    nodes = [await join(), await join()]
    for node in nodes:
        await node.open(Opening(id="r"))

    async def send(node: NatsLog) -> None:
        for number in range(1, 101):
            assert await append(node, "r", number, f"e{number}") >= number

    await asyncio.gather(*map(send, nodes))
    for node in nodes:
        assert await read(node, "r") == [f"e{number}" for number in range(1, 101)]


@pytest.mark.slow
async def test_of_two_nodes_that_fight_the_higher_epoch_wins_and_nothing_acknowledged_is_lost(
    join: Join,
) -> None:
    here, there = await join(), await join()
    ids = [f"r{number}" for number in range(8)]
    acknowledged: dict[str, list[str]] = {name: [] for name in ids}

    async def send(node: NatsLog, id: str, epoch: int, count: int) -> None:
        last = (await node.open(Opening(id=id, epoch=epoch))).last
        for _ in range(count):
            text = f"{epoch}.{last + 1}"
            last = await append(node, id, last + 1, text, epoch=epoch)
            acknowledged[id].append(text)
            # As fast as a model.
            await asyncio.sleep(0.01)

    async def lose(id: str) -> None:
        with pytest.raises(ResponseError) as caught:
            await send(here, id, 0, 1_000_000)
        assert caught.value.reason == Reason.STALE_EPOCH

    losers = [asyncio.create_task(lose(name)) for name in ids]
    async with asyncio.timeout(60):
        await _until(lambda: all(acknowledged.values()))
        await asyncio.gather(*(send(there, name, 1, 20) for name in ids))
        await asyncio.gather(*losers)
    for name in ids:
        stored = await read(there, name)
        # An event of the loser may have been stored and not acknowledged.
        assert [text for text in stored if text in acknowledged[name]] == acknowledged[name]
        assert [text.partition(".")[2] for text in stored] == [str(n) for n in range(1, len(stored) + 1)]


async def test_events_beyond_a_message_are_stored_together(join: Join) -> None:
    log = await join()
    await log.open(Opening(id="r"))
    texts = [f"{number}" * 300_000 for number in range(10, 17)]
    follower = Follower(log, "r")
    assert await append(log, "r", 1, *texts, end=FINISHED) == 7
    assert await follower.ended() == texts
    assert await read(log, "r") == texts


async def test_an_event_beyond_a_message_is_refused_alone(join: Join) -> None:
    log = await join()
    for name in "rs":
        await log.open(Opening(id=name))
    appends = [append_of("r", 1, "x" * 1_100_000), append_of("s", 1, "a")]
    log.append([made for made, _ in appends])
    assert await appends[1][1] == 1
    with pytest.raises(ResponseError, match="max_payload") as caught:
        await appends[0][1]
    assert (caught.value.code, caught.value.reason) == ("INVALID_ARGUMENT", Reason.EVENT_TOO_LARGE)
    # So is a status, or a state, that leaves no room for an event.
    await append(log, "r", 1, "y")
    for large in (
        {"state": bytes(1_100_000)},
        {"end": End(ResponseState.RESPONSE_STATE_FAILED, bytes(2**20))},
    ):
        with pytest.raises(ResponseError, match="max_payload"):
            await append(log, "r", 2, "z", **large)
    assert await append(log, "r", 2, "z", end=FINISHED) == 2


async def test_a_large_state_and_status_are_stored_with_events_of_several_messages(join: Join) -> None:
    here, there = await join(), await join()
    await here.open(Opening(id="r", state=random.randbytes(100_000)))
    texts = [f"{number}" * 150_000 for number in range(10, 17)]
    follower = Follower(there, "r")
    state = random.randbytes(500_000)
    assert await append(here, "r", 1, *texts, state=state) == 7
    end = End(ResponseState.RESPONSE_STATE_FAILED, random.randbytes(100_000))
    assert await append(there, "r", 8, "x", end=end) == 8
    assert await follower.ended() == [*texts, "x"]
    assert follower.end == end
    for node in (here, there, await join()):
        stored = await node.describe("r")
        assert stored is not None
        assert (stored.state, stored.end) == (state, end)
        assert await read(node, "r") == [*texts, "x"]
        await _listed(node, "r", is_running=False)


async def test_a_store_at_its_limit_refuses_until_something_is_deleted(tmp_path: pathlib.Path) -> None:
    with running(NatsServer(tmp_path / "n", store_bytes_max=2_000_000)) as server:
        log = nats_log(server)
        await log.start()
        text = "x" * 400_000

        async def fill() -> None:
            for number in itertools.count():
                await log.open(Opening(id=f"{number}"))
                await append(log, f"{number}", 1, text)

        with pytest.raises(ResponseError, match="insufficient resources") as caught:
            await fill()
        assert (caught.value.code, caught.value.reason) == ("RESOURCE_EXHAUSTED", Reason.LOG_FULL)
        await log.delete("0")
        assert await log.describe("0") is None
        await log.open(Opening(id="new"))
        assert await append(log, "new", 1, "a") == 1
        assert await read(log, "1") == [text]
        await log.close()


async def test_what_is_deleted_without_room_is_gone_on_all_nodes(join: Join) -> None:
    here, there = await join(), await join()
    for name in "ab":
        await here.open(Opening(id=name, owner="o"))
        await append(here, name, 1, name)
    follower = Follower(there, "a")
    await follower.has("a")
    # As after a write to a disk that was full, until the node has seen that it no longer is.
    here._writer.refusal = ResponseError("full", code="RESOURCE_EXHAUSTED", reason=Reason.LOG_FULL)
    await here.delete("a")
    with pytest.raises(ResponseError) as caught:
        await follower.ended()
    assert caught.value.reason == Reason.RESPONSE_NOT_FOUND
    for node in (here, there, await join()):
        await _listed(node, "b", owner="o")
        assert (await node.usage("o")).total == 1
        assert await node.describe("a") is None
    refused = await asyncio.gather(*(here.open(Opening(id="c")) for _ in range(2)), return_exceptions=True)
    assert [getattr(error, "reason", None) for error in refused] == [Reason.LOG_FULL] * 2
    assert refused[0] is not refused[1]


async def test_a_state_that_leaves_no_room_for_events_is_not_copied_for_each(
    join: Join, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_writer, "_BATCH_MESSAGES_MAX", 10)
    log = await join()
    await log.open(Opening(id="r"))
    made = []

    def counted(*arguments: Any) -> tuple[str, bytes]:
        made.append(arguments)
        return encode(*arguments)

    monkeypatch.setattr(_writer, "encode", counted)
    with pytest.raises(ResponseError, match="max_payload"):
        await append(log, "r", 1, *["x"] * 50, state=bytes(1_100_000))
    assert len(made) == 11


async def test_a_node_reads_on_from_any_position(join: Join) -> None:
    here = await join()
    for name in "rs":
        await here.open(Opening(id=name))
    texts = [f"e{number}" for number in range(1, 301)]
    for first in range(0, 300, 3):
        await asyncio.gather(*(append(here, name, first + 1, *texts[first : first + 3]) for name in "rs"))
    there = await join()
    for after in (0, 1, 150, 298, 299, 300, *random.sample(range(300), 10)):
        batches = await there.read("r", after, 1)
        assert [batch.last for batch in batches] == ([(after // 3 + 1) * 3] if after < 300 else [])
        follower = Follower(there, "r", after)
        await follower.has(*texts[after:])
        await follower.stop()


async def _producing(log: NatsLog, count: int, acknowledged: dict[str, int]) -> None:
    """Append a few events at a time to many responses, until their end."""

    async def produce(id: str) -> None:
        await log.open(Opening(id=id))
        last = 0
        while last < count:
            new = min(count - last, random.randint(1, 3))
            texts = [f"{id}.{number}" for number in range(last + 1, last + new + 1)]
            last = await append(log, id, last + 1, *texts, end=FINISHED if last + new == count else None)
            acknowledged[id] = last

    await asyncio.gather(*map(produce, acknowledged))


async def _survives(
    url: str, monitor_urls: Sequence[str], faults: Callable[[dict[str, int]], Awaitable[None]], count: int
) -> None:
    """Produce on one node and follow on another one during faults: all arrives, in order and once."""
    options: dict[str, Any] = {"monitor_urls": monitor_urls, "replicas": len(monitor_urls), "away_s": 60}
    logs = [NatsLog(url, **options) for _ in range(2)]
    for log in logs:
        await log.start()
    acknowledged = {f"r{number}": 0 for number in range(30)}
    try:
        producing = asyncio.create_task(_producing(logs[0], count, acknowledged))
        async with asyncio.timeout(120):
            await _until(lambda: all(acknowledged.values()))
            followers = {name: Follower(logs[1], name) for name in acknowledged}
            await faults(acknowledged)
            await producing
            for name, follower in followers.items():
                expected = [f"{name}.{number}" for number in range(1, count + 1)]
                assert await follower.ended() == expected
                assert await read(logs[0], name) == expected
    finally:
        for log in logs:
            await log.close()


async def _going_on(acknowledged: dict[str, int], count: int) -> None:
    """Wait until something new of each response is acknowledged."""
    before = dict(acknowledged)
    await _until(lambda: all(last == count or acknowledged[name] > last for name, last in before.items()))


@pytest.mark.slow
async def test_a_killed_server_loses_and_doubles_nothing(tmp_path: pathlib.Path) -> None:
    server = NatsServer(tmp_path / "n")

    async def kill_twice(acknowledged: dict[str, int]) -> None:
        for _ in range(2):
            server.stop()
            await asyncio.to_thread(server.start)
            await _going_on(acknowledged, 400)

    with running(server):
        await _survives(server.url, [server.monitor_url], kill_twice, 400)


@pytest.mark.chaos
async def test_each_of_three_servers_may_be_killed(tmp_path: pathlib.Path) -> None:
    servers = cluster(tmp_path)

    async def kill_each(acknowledged: dict[str, int]) -> None:
        for server in servers:
            server.stop()
            await _going_on(acknowledged, 3000)
            await asyncio.to_thread(server.start)

    with running(*servers):
        urls = ",".join(server.url for server in servers)
        await _survives(urls, [server.monitor_url for server in servers], kill_each, 3000)


async def test_without_its_server_the_log_is_unavailable_after_a_while(tmp_path: pathlib.Path) -> None:
    server = NatsServer(tmp_path / "n")
    with running(server):
        log = NatsLog(server.url, monitor_urls=[server.monitor_url], away_s=0.3)
        await log.start()
        await log.open(Opening(id="r"))
        follower = Follower(log, "r")
        await follower.has()
        server.stop()
        calls = [append(log, "r", 1, "a"), log.open(Opening(id="s")), log.read("r"), log.describe("r")]
        for call in (*calls, log.claim_key("o", "k", b"", "r")):
            with pytest.raises(ResponseError) as caught:
                await call
            assert (caught.value.code, caught.value.reason) == ("UNAVAILABLE", Reason.LOG_UNAVAILABLE)
        async with asyncio.timeout(30):
            with pytest.raises(ResponseError) as caught:
                await follower.task
        assert caught.value.reason == Reason.LOG_UNAVAILABLE
        server.start()
        async with asyncio.timeout(10):
            while True:
                with contextlib.suppress(ResponseError):
                    assert await append(log, "r", 1, "b", end=FINISHED) == 1
                    break
        assert await read(log, "r") == ["b"]
        await log.close()


class _Proxy:
    """A way to a server, which can be cut.

    Attributes:
        url: Where it is.
        is_deaf: Whether nothing comes back from the server.
    """

    def __init__(self, server: NatsServer) -> None:
        self.url = ""
        self.is_deaf = False
        self._server = server
        self._clients: set[asyncio.StreamWriter] = set()
        self._serving: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        self._proxy = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.url = f"nats://127.0.0.1:{self._proxy.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(self, *_: object) -> None:
        await stop_listening(self._proxy)
        self.cut()
        await asyncio.gather(*self._serving)

    def cut(self, last_words: bytes = b"") -> None:
        """End all connections."""
        for client in self._clients:
            client.write(last_words)
            client.close()
        self._clients.clear()
        self.is_deaf = False

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._serving.add(asyncio.create_task(self._serve(reader, writer)))

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        host, _, port = self._server.url.removeprefix("nats://").partition(":")
        its_reader, its_writer = await asyncio.open_connection(host, int(port))
        self._clients.add(writer)

        async def copy(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
            with contextlib.suppress(ConnectionError):
                while data := await source.read(65536):
                    if sink is its_writer or not self.is_deaf:
                        sink.write(data)
            sink.close()
            with contextlib.suppress(ConnectionError):
                await sink.wait_closed()

        await asyncio.gather(copy(reader, its_writer), copy(its_reader, writer))


@pytest.fixture
async def cut_off(nats_server: NatsServer) -> AsyncIterator[tuple[NatsLog, NatsLog, _Proxy]]:
    """Two nodes of one log; the second one's way to the server is a proxy."""
    stream, monitor_urls = f"s{secrets.token_hex(8)}", [nats_server.monitor_url]
    async with _Proxy(nats_server) as proxy:
        here, there = (
            NatsLog(url, monitor_urls=monitor_urls, stream=stream) for url in (nats_server.url, proxy.url)
        )
        for node in (here, there):
            await node.start()
        yield here, there, proxy
        for node in (here, there):
            await node.close()


@pytest.mark.parametrize("last_words", [b"", b"-ERR 'Unknown Protocol Operation'\r\n"])
async def test_a_node_goes_on_after_any_end_of_its_connection(
    cut_off: tuple[NatsLog, NatsLog, _Proxy], last_words: bytes
) -> None:
    _, log, proxy = cut_off
    await log.open(Opening(id="r"))
    follower = Follower(log, "r")
    for number in range(1, 4):
        assert await append(log, "r", number, str(number)) == number
        proxy.cut(last_words)
    await append(log, "r", 4, "4", end=FINISHED)
    assert await follower.ended() == ["1", "2", "3", "4"]


async def test_what_happened_while_a_node_was_cut_off_reaches_it(
    cut_off: tuple[NatsLog, NatsLog, _Proxy],
) -> None:
    here, there, proxy = cut_off
    for name in "abc":
        await here.open(Opening(id=name))
        await append(here, name, 1, name)
    followers = {name: Follower(there, name) for name in "ab"}
    for name, follower in followers.items():
        await follower.has(name)
    proxy.cut()
    await append(here, "a", 2, "z", end=FINISHED)
    await asyncio.gather(*(here.delete(name) for name in "bc"))
    # Long before the time at which all that is followed is looked at.
    async with asyncio.timeout(15):
        assert await followers["a"].ended() == ["a", "z"]
        with pytest.raises(ResponseError) as caught:
            await followers["b"].ended()
    assert caught.value.reason == Reason.RESPONSE_NOT_FOUND
    await _listed(there, "a")
    assert (await there.usage("")).total == 1


async def test_a_write_whose_answer_is_lost_is_not_taken_for_a_foreign_one(
    cut_off: tuple[NatsLog, NatsLog, _Proxy],
) -> None:
    here, there, proxy = cut_off
    revision = (await there.open(Opening(id="a"))).revision
    proxy.is_deaf = True
    claiming = asyncio.ensure_future(there.claim_key("o", "k", b"digest", "b"))
    appending = asyncio.ensure_future(append(there, "a", 1, "x", revision=revision))
    opening = asyncio.ensure_future(there.open(Opening(id="b", is_new=True)))
    async with asyncio.timeout(10):
        # The claim was sent before.
        while not (await here.read("a") and await here.describe("b")):  # noqa: ASYNC110 - no event is for this
            await asyncio.sleep(0.01)
    proxy.cut()
    assert await claiming == KeyClaim("b", b"digest", is_new=True)
    assert await appending == 1
    assert (await opening).node == there.node


async def test_what_a_newer_version_has_stored_is_not_misread(nats_server: NatsServer) -> None:
    stream = f"s{secrets.token_hex(8)}"
    log = NatsLog(nats_server.url, monitor_urls=[nats_server.monitor_url], stream=stream, away_s=0.3)
    await log.start()
    client = await nats.connect(nats_server.url)
    name = hashlib.blake2b(b"r", digest_size=16).hexdigest()
    await client.request(f"{stream}.r.{name}", b"", headers={"Mistralwire-Response": '[2,"t","r",{}]'})
    for call in (log.describe("r"), log.open(Opening(id="r")), append(log, "r", 1, "a")):
        with pytest.raises(ResponseError, match="expected the layout 1, found 2; upgrade") as caught:
            await call
        assert caught.value.reason == Reason.LOG_UNAVAILABLE
    await client.close()
    await log.close()


async def _refused(log: NatsLog) -> str:
    with pytest.raises(MistralwireError) as caught:
        await log.start()
    assert (caught.value.code, caught.value.reason) == ("FAILED_PRECONDITION", Reason.RESPONSE_LOG)
    return caught.value.message


async def test_a_server_that_syncs_later_is_refused_unless_that_is_wanted(
    tmp_path: pathlib.Path, caplog: pytest.LogCaptureFixture
) -> None:
    servers = cluster(tmp_path, sync='"2m"')
    with running(*servers):
        urls = ",".join(server.url for server in servers)
        monitor_urls = [server.monitor_url for server in servers]
        message = await _refused(NatsLog(urls, replicas=3, monitor_urls=monitor_urls))
        assert message.startswith("expected `sync_interval: always` in the jetstream block")
        with caplog.at_level(logging.WARNING, "mistralwire"):
            log = NatsLog(urls, replicas=3, durability="replicated")
            await log.start()
            await log.close()
        assert "but not a power loss" in caplog.text


@pytest.mark.slow
async def test_nothing_is_stored_while_a_server_syncs_later(
    tmp_path: pathlib.Path, caplog: pytest.LogCaptureFixture
) -> None:
    server = NatsServer(tmp_path / "n")
    with running(server):
        log = NatsLog(server.url, monitor_urls=[server.monitor_url])
        await log.start()
        await log.open(Opening(id="r"))

        async def is_refused() -> bool:
            await asyncio.sleep(0.05)
            outcome = (await asyncio.gather(append(log, "r", 1, "a"), return_exceptions=True))[0]
            return (
                isinstance(outcome, ResponseError) and "expected `sync_interval: always`" in outcome.message
            )

        for sync in ('"2m"', "always"):
            server.stop()
            server.configure(sync=sync)
            server.start()
            async with asyncio.timeout(30):
                while await is_refused() == (sync == "always"):
                    pass
        await log.close()
    said = [record.getMessage() for record in caplog.records if " stored " in record.getMessage()]
    assert said[0].startswith("nothing is stored any more: expected `sync_interval: always`")
    assert said[1:] == ["events are stored again"]


@pytest.mark.slow
async def test_a_server_that_is_away_proves_how_it_stores_once_it_is_back(
    tmp_path: pathlib.Path, caplog: pytest.LogCaptureFixture
) -> None:
    servers = cluster(tmp_path)
    lost, urls = servers[2], ",".join(server.url for server in servers)
    log = NatsLog(urls, replicas=3, monitor_urls=[server.monitor_url for server in servers])

    async def opens() -> bool:
        await asyncio.sleep(0.1)
        opening = log.open(Opening(id=secrets.token_hex(8)))
        (error,) = await asyncio.gather(opening, return_exceptions=True)
        if not isinstance(error, ResponseError):
            return True
        assert "expected `sync_interval: always`" in error.message
        return False

    with running(*servers):
        creating = NatsLog(urls, replicas=3, durability="replicated")
        await creating.start()
        await creating.close()
        lost.stop()
        await log.start()
        assert await opens()
        for sync in ('"2m"', "always"):
            lost.stop()
            lost.configure(sync=sync)
            lost.start()
            async with asyncio.timeout(60):
                while await opens() != (sync == "always"):
                    pass
        await log.close()
    said = [record.getMessage() for record in caplog.records if record.name.endswith("_durability")]
    assert f"back: {lost.name}" in said[-1]


@pytest.mark.slow
async def test_servers_are_looked_for_more_often_than_what_is_followed(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mistralwire.log._nats._log._AWAY_INTERVAL_S", 0.1)
    servers = cluster(tmp_path)
    urls = ",".join(server.url for server in servers)
    log = NatsLog(urls, replicas=3, monitor_urls=[server.monitor_url for server in servers])
    done = list[str]()

    def note(name: str, of: type) -> None:
        method = getattr(of, name)

        async def noted(*arguments: Any) -> None:
            await method(*arguments)
            done.append(name)

        monkeypatch.setattr(of, name, noted)

    with running(*servers):
        creating = NatsLog(urls, replicas=3, durability="replicated")
        await creating.start()
        await creating.close()
        servers[2].stop()
        await log.start()
        note("check", DurabilityProof)
        note("_check_followed", NatsLog)
        # Once: what is asked for the first time follows a pause as before.
        log._on_recovered()
        await _until(lambda: len(done) > 10)
        await log.close()
    assert done.count("check") > 2 * done.count("_check_followed") > 0


async def test_a_server_without_proof_is_refused(nats_server: NatsServer, closed_port: int) -> None:
    silent = f"http://127.0.0.1:{closed_port}"
    for monitor_urls in ([silent], [nats_server.url]):
        message = await _refused(NatsLog(nats_server.url, monitor_urls=monitor_urls))
        assert monitor_urls[0] in message
        assert "monitoring" in message


async def test_the_proof_of_one_server_is_none_for_another(
    nats_server: NatsServer, tmp_path: pathlib.Path
) -> None:
    with running(NatsServer(tmp_path / "other")) as other:
        message = await _refused(NatsLog(nats_server.url, monitor_urls=[other.monitor_url]))
    assert f"found none for {nats_server.name}; name its monitoring URL" in message


async def test_replicated_events_need_replicas(nats_server: NatsServer) -> None:
    message = await _refused(NatsLog(nats_server.url, durability="replicated"))
    assert message.startswith("expected 3 replicas")


async def test_a_stream_with_other_settings_is_refused(nats_server: NatsServer) -> None:
    log = nats_log(nats_server, "settings")
    await log.start()
    await log.close()
    others = NatsLog(nats_server.url, monitor_urls=[nats_server.monitor_url], stream="settings", replicas=3)
    message = await _refused(others)
    assert message.startswith("expected num_replicas of the stream settings to be 3, found 1; change it with")
    assert message.endswith("`nats stream edit settings --replicas 3`, or set log_replicas to 1")


@pytest.mark.parametrize(
    ("setting", "value", "expected"), [("max_age", 10**12, "0"), ("max_msgs_per_subject", 1, "-1")]
)
async def test_a_stream_that_would_drop_acknowledged_events_is_refused(
    nats_server: NatsServer, setting: str, value: int, expected: str
) -> None:
    log = nats_log(nats_server, f"drops-{setting}")
    await log.start()
    await log.close()
    client = await nats.connect(nats_server.url)
    config = (await client.jetstream().stream_info(f"drops-{setting}")).config.as_dict()
    answer = await client.request(
        f"$JS.API.STREAM.UPDATE.drops-{setting}", json.dumps({**config, setting: value}).encode()
    )
    await client.close()
    assert "error" not in json.loads(answer.data)
    message = await _refused(nats_log(nats_server, f"drops-{setting}"))
    assert f"expected {setting} of the stream drops-{setting} to be {expected}, found {value}" in message


async def test_an_older_server_is_refused() -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        info = {"version": "2.11.4", "max_payload": 1_048_576, "headers": True}
        writer.write(f"INFO {json.dumps(info)}\r\n".encode())
        while line := await reader.readline():
            if line == b"PING\r\n":
                writer.write(b"PONG\r\n")
        writer.transport.abort()
        gone.set()

    gone = asyncio.Event()
    async with asyncio.timeout(10), await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        message = await _refused(NatsLog(f"nats://127.0.0.1:{port}"))
        await gone.wait()
    assert message == "expected nats-server 2.12 or newer, found 2.11.4; upgrade it"


async def test_no_error_has_a_password(closed_port: int, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        log = NatsLog(f"nats://user:secret@127.0.0.1:{closed_port}", away_s=0.3)
        assert f"a NATS server at 127.0.0.1:{closed_port}, found none" in await _refused(log)
        with pytest.raises(MistralwireError) as caught:
            NatsLog("nats://user:secret@127.0.0.1:port")
        assert "secret" not in caught.value.message
    assert "secret" not in caplog.text


@pytest.mark.parametrize(
    ("is_for", "missing", "refused"),
    [
        ("publish", "t.>", 'publish to "t.none"'),
        ("publish", "_INBOX.>", "publish to"),
        ("subscribe", "t-live.>", 'subscription to "t-live.i.*"'),
        ("subscribe", "$JS.EVENT.ADVISORY.STREAM.>", "subscription to"),
    ],
)
async def test_an_account_that_may_not_do_all_that_the_log_does_is_refused(
    tmp_path: pathlib.Path, is_for: str, missing: str, refused: str
) -> None:
    subjects = [*(f"t{part}.>" for part in ("", "-live", "-node", "-beat")), "_INBOX.>", "$JS.API.>"]
    subjects.append("$JS.EVENT.ADVISORY.STREAM.>")
    permitted = {"publish": subjects, "subscribe": subjects}
    limited = {**permitted, is_for: [each for each in subjects if each != missing]}
    users = [
        f"{{ user: {user}, password: secret, permissions: {json.dumps(permissions)} }}"
        for user, permissions in (("all", permitted), ("some", limited))
    ]
    settings = f"authorization {{ users: [{', '.join(users)}] }}"
    with running(NatsServer(tmp_path / "n", settings=settings)) as server:
        for user in ("all", "some"):
            url = server.url.replace("nats://", f"nats://{user}:secret@")
            log = NatsLog(url, monitor_urls=[server.monitor_url], stream="t")
            if user == "all":
                await log.start()
                await log.close()
            else:
                message = await _refused(log)
    assert f"found: nats: permissions violation for {refused}" in message


async def test_credentials_and_tls_come_from_the_url(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    files = issue(authority, tmp_path, "127.0.0.1")
    lines = (
        f'tls {{ cert_file: "{files.certificate}", key_file: "{files.key}" }}\n'
        "authorization { user: u, password: secret }"
    )
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
    with running(NatsServer(tmp_path / "n", settings=lines)) as server:
        log = NatsLog(
            server.url.replace("nats://", "tls://u:secret@"), monitor_urls=[server.monitor_url], stream="t"
        )
        await log.start()
        await log.open(Opening(id="r"))
        assert await append(log, "r", 1, "a") == 1
        await log.close()
