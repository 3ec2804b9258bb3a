"""Each consumer gets what was acknowledged, in order and once, whatever happens around the services."""

import asyncio
import contextlib
import pathlib
import random
from collections.abc import Callable
from typing import Literal

import pytest

from mistralwire.errors import CallError
from mistralwire.v1 import CompletionChunk
from tests.faults import needs
from tests.faults.disks import filled, power_disk, small_disk
from tests.faults.ledger import Ledger
from tests.faults.networks import Namespace, namespace
from tests.faults.preloads import WallClock
from tests.faults.programs import rounds
from tests.faults.services import Load, Service
from tests.log.nats_servers import NatsServer, free_ports, running
from tests.service.upstreams import STREAM_REQUEST

pytestmark = pytest.mark.chaos

NewLedger = Callable[[str], Ledger]
# Seconds without a network: some connections survive it, others are given up.
CUTS_S = (2.0, 15.0, 45.0)
# Eight days forth, by which ended responses are deleted, and back.
CLOCK_JUMPS_S = (8 * 86_400, -8 * 86_400, 0)


async def cut_off(
    cut: Namespace, load: Load, ledger: Ledger, seconds: float, *, goes_on: bool = False
) -> None:
    """Pull the cable again and again, while producers and consumers are at work.

    Args:
        cut: What is cut off.
        load: The producers and consumers.
        ledger: Theirs.
        seconds: How long this goes on.
        goes_on: Whether enough is left for all to go on meanwhile.
    """
    await load.begin()
    for number in rounds(seconds, least=1):
        cut.pull()
        if goes_on:
            ledger.fault()
            await load.recovered()
        await asyncio.sleep(CUTS_S[number % len(CUTS_S)])
        if not goes_on:
            ledger.fault()
        cut.plug()
        await load.recovered()
        if number == 0:
            await load.join()
    await load.finish()
    ledger.check()


async def test_callers_are_cut_off_from_the_service(
    tmp_path: pathlib.Path, new_ledger: NewLedger, seconds: float
) -> None:
    needs.namespaces()
    ledger = new_ledger("partition: callers and the server")
    data = str(tmp_path / "data")
    with namespace() as other:
        service = Service(
            tmp_path,
            "--insecure",
            "--data",
            data,
            "--lease-s",
            "120",
            inside=other.command,
            host=other.address,
        )
        async with service, Load(service.address, ledger) as load:
            await cut_off(other, load, ledger, seconds)


async def test_the_service_is_cut_off_from_nats(
    tmp_path: pathlib.Path, new_ledger: NewLedger, seconds: float
) -> None:
    needs.namespaces()
    ledger = new_ledger("partition: the server and nats R1")
    with namespace() as other:
        server = NatsServer(tmp_path / "nats", inside=other.command, host=other.address)
        service = Service(tmp_path, "--log", server.url)
        with running(server):
            async with service, Load(service.address, ledger) as load:
                await cut_off(other, load, ledger, seconds)


async def test_one_of_two_services_is_cut_off_with_its_nats_server(
    tmp_path: pathlib.Path, new_ledger: NewLedger, seconds: float
) -> None:
    needs.namespaces()
    ledger = new_ledger("partition: one of three NATS servers, and its server")
    with namespace() as other:
        servers = split_cluster(tmp_path, other)
        monitors = ",".join(server.monitor_url for server in servers)
        first, second = (
            Service(tmp_path, "--log", url, "--log-monitors", monitors, "--log-replicas", "3")
            for url in (f"{servers[0].url},{servers[1].url}", servers[2].url)
        )
        with running(*servers):
            async with first, second, Load(f"ipv4:{first.address},{second.address}", ledger) as load:
                await cut_off(other, load, ledger, seconds, goes_on=True)


def split_cluster(folder: pathlib.Path, other: Namespace) -> list[NatsServer]:
    """Return three NATS servers, of which the last one is in another network."""
    places = [*((other.outside, port) for port in free_ports(2)), (other.address, 6222)]
    routes = ", ".join(f'"nats://{host}:{port}"' for host, port in places)
    return [
        NatsServer(
            folder / f"n{port}",
            host=host,
            inside=other.command if host == other.address else (),
            settings=f'cluster {{ name: c, listen: "{host}:{port}", routes: [{routes}] }}',
        )
        for host, port in places
    ]


async def test_a_power_loss_under_the_service(
    tmp_path: pathlib.Path, new_ledger: NewLedger, seconds: float
) -> None:
    needs.fuse()
    ledger = new_ledger("power loss: the server, on sqlite")
    folder = tmp_path / "disk"
    folder.mkdir()
    with power_disk(folder) as disk:
        service = Service(tmp_path, "--data", str(folder / "data"))
        async with service, Load(service.address, ledger) as load:
            await load.begin()
            for number in rounds(seconds, least=2):
                ledger.fault()
                await service.kill()
                disk.cut(random.random())
                await service.start()
                await load.recovered()
                if number == 0:
                    await load.join()
            await load.finish()
    ledger.check()


@pytest.mark.parametrize("log", ["sqlite", "nats"])
async def test_a_full_disk_stops_no_answer(
    tmp_path: pathlib.Path, new_ledger: NewLedger, log: Literal["sqlite", "nats"]
) -> None:
    needs.mounts()
    ledger = new_ledger(f"full disk: the server, on {log}")
    disk = tmp_path / "disk"
    disk.mkdir()
    with small_disk(disk, 128 * 1024), contextlib.ExitStack() as stack:
        options = ["--data", str(disk / "data")]
        servers = [NatsServer(tmp_path / "n", store=disk)] if log == "nats" else []
        for server in servers:
            stack.enter_context(running(server))
            options = ["--log", server.url, "--log-monitors", server.monitor_url]
        service = Service(tmp_path, *options, "--chunks-per-second", "1000")
        async with service, Load(service.address, ledger) as load:
            await load.begin()
            # Not for longer: what fits in spite of it stays, so that the disk would really be full.
            for number in range(3):
                with filled(disk):
                    with pytest.raises(CallError) as caught:
                        await publish_until_full(load)
                    assert caught.value.code == "RESOURCE_EXHAUSTED"
                    # When it opens the response, or later.
                    assert caught.value.reason in ("LOG_FULL", "NOT_STORED")
                    ledger.fault()
                    chunks = [chunk async for chunk in load.producing.stream(STREAM_REQUEST)]
                    assert chunks[-1].choices[0].HasField("finish_reason")
                for server in servers:
                    # It stores nothing in a stream for which there was no room, until it reads that anew.
                    server.stop()
                    await asyncio.to_thread(server.start)
                await load.recovered()
                if number == 0:
                    await load.join()
            await load.finish()
    ledger.check()


async def publish_until_full(load: Load) -> None:
    """Publish until there is no room."""
    async with load.producing.publish(reconnect_s=0) as publisher:
        for _ in range(100):
            await publisher.send(CompletionChunk(id="x" * 100_000))
            await publisher.flush()


async def test_a_clock_that_jumps_ends_no_response(
    tmp_path: pathlib.Path, new_ledger: NewLedger, seconds: float
) -> None:
    needs.compiler()
    ledger = new_ledger("clock that jumps: the server, on sqlite")
    clock = WallClock(tmp_path)
    service = Service(tmp_path, "--data", str(tmp_path / "data"), env=clock.env)
    async with service, Load(service.address, ledger) as load:
        await load.begin()
        for number in rounds(seconds):
            ledger.fault()
            clock.jump(CLOCK_JUMPS_S[number % len(CLOCK_JUMPS_S)])
            await load.recovered()
            if number == 0:
                await load.join()
        await load.finish()
    ledger.check()
