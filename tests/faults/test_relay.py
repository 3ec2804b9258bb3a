"""Each consumer gets what was acknowledged, in order and once, whatever is killed meanwhile."""

import asyncio
import pathlib
from collections.abc import Callable, Iterator
from functools import partial

import pytest

from mistralwire.errors import CallError
from tests.faults.ledger import Ledger
from tests.faults.programs import Program, rounds
from tests.faults.services import RESPONSES, Load, Service, produce
from tests.log.nats_servers import NatsServer, cluster, running

pytestmark = pytest.mark.chaos

NewLedger = Callable[[str], Ledger]


@pytest.fixture
def service(tmp_path: pathlib.Path) -> Service:
    return Service(tmp_path, "--data", str(tmp_path / "data"), "--lease-s", "5")


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[NatsServer]]:
    """Three NATS servers."""
    made = cluster(tmp_path_factory.mktemp("nats"))
    with running(*made):
        yield made


def on_nats(folder: pathlib.Path, servers: list[NatsServer]) -> Service:
    urls = ",".join(server.url for server in servers)
    monitors = ",".join(server.monitor_url for server in servers)
    return Service(folder, "--log", urls, "--log-monitors", monitors, "--log-replicas", "3")


async def test_the_server_is_killed(service: Service, new_ledger: NewLedger, seconds: float) -> None:
    ledger = new_ledger("kills: the server, on sqlite")
    async with service, Load(service.address, ledger) as load:
        await load.begin()
        for number in rounds(seconds, least=2):
            ledger.fault()
            await service.kill()
            await service.start()
            await load.recovered()
            if number == 0:
                await load.join()
        await load.finish()
    assert len(ledger.consumers) == 2 * RESPONSES
    ledger.check()


async def test_a_producer_is_killed(service: Service, new_ledger: NewLedger, seconds: float) -> None:
    ledger = new_ledger("kills: a producer; another one takes over")
    async with service, Load(service.address, ledger) as load:
        program = await Program.publishing(service.address, ledger, 0, load.responses)
        await load.join()
        for epoch in rounds(seconds, least=2):
            await program.kill()
            program = await Program.publishing(service.address, ledger, epoch + 1, load.responses)
            await program.recovered()
            if epoch == 0:
                await load.join()
        await program.kill()
        # Nobody takes over any more: the responses end with PRODUCER_LOST.
        await load.finish()
    assert len(ledger.consumers) == 2 * RESPONSES
    assert all(consumer.has_ended for consumer in ledger.consumers)
    ledger.check_stored()


async def test_one_of_two_services_is_killed(
    tmp_path: pathlib.Path, servers: list[NatsServer], new_ledger: NewLedger, seconds: float
) -> None:
    ledger = new_ledger("kills: each of two servers, on nats R3")
    both = on_nats(tmp_path, servers), on_nats(tmp_path, servers)
    target = f"ipv4:{both[0].address},{both[1].address}"
    async with both[0], both[1], Load(target, ledger) as load:
        await load.begin()
        for number in rounds(seconds, least=2):
            ledger.fault()
            await both[number % 2].kill()
            await load.recovered()
            await both[number % 2].start()
            if number == 0:
                await load.join()
        await load.finish()
    assert len(ledger.consumers) == 2 * RESPONSES
    ledger.check()


async def test_each_nats_server_is_killed(
    tmp_path: pathlib.Path, servers: list[NatsServer], new_ledger: NewLedger, seconds: float
) -> None:
    ledger = new_ledger("kills: each of three NATS servers in turn")
    async with on_nats(tmp_path, servers) as service, Load(service.address, ledger) as load:
        await load.begin()
        for number in rounds(seconds):
            ledger.fault()
            server = servers[number % 3]
            server.stop()
            await load.recovered()
            await asyncio.to_thread(server.start)
            if number == 0:
                await load.join()
        await load.finish()
    assert len(ledger.consumers) == 2 * RESPONSES
    ledger.check()


async def test_producers_take_over(service: Service, new_ledger: NewLedger, seconds: float) -> None:
    ledger = new_ledger("two producers: one takes over")
    async with service, Load(service.address, ledger, responses=10) as load:
        stop = asyncio.Event()
        producers: list[asyncio.Task[None]] = []
        for epoch in rounds(seconds):
            replaced = producers
            producers = [
                asyncio.create_task(produce(load.producing, ledger, response, stop, epoch=epoch))
                for response in load.responses
            ]
            for task in replaced:
                with pytest.raises(CallError) as caught:
                    await task
                assert (caught.value.code, caught.value.reason) == ("ABORTED", "STALE_EPOCH")
            await load.until(partial(ledger.has_acknowledged, (epoch + 1) * 50))
            if epoch == 0:
                await load.join()
        stop.set()
        await asyncio.gather(*producers)
        await load.join()
        await load.finish()
    ledger.check()
