"""What was acknowledged survives a power loss if the log promises it; otherwise the test sees a loss."""

import asyncio
import pathlib
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import pytest

from mistralwire.errors import MistralwireError
from mistralwire.log import SqliteLog
from tests.faults import needs
from tests.faults.disks import PowerDisk, filled, power_disk, small_disk
from tests.faults.ledger import Ledger
from tests.faults.preloads import WallClock, slow_fsync
from tests.faults.programs import Program, deliver_stored, rounds
from tests.log.nats_servers import NatsServer, cluster, running

pytestmark = pytest.mark.chaos

# Of which each has a chance to show what is not synced.
LOSSES_UNTIL_CAUGHT = 20
# A day forth, two days back, and what it was.
CLOCK_JUMPS_S = (86_400, -86_400, 0)
# How much of what no fsync covered a disk has written all the same.
SHARES = (0.0, 0.5)


def sqlite(folder: pathlib.Path) -> dict[str, Any]:
    return {"folder": str(folder / "data")}


@pytest.fixture
def disk(tmp_path: pathlib.Path) -> Iterator[PowerDisk]:
    needs.fuse()
    with power_disk(tmp_path) as disk:
        yield disk


async def lose_power(
    target: Mapping[str, Any], disk: PowerDisk, ledger: Ledger, servers: Sequence[NatsServer] = ()
) -> None:
    """Lose the power while producers are at work, and read what is left."""
    appending = await Program.appending(target, ledger)
    await appending.acknowledged(random.randint(20, 400))
    for server in servers:
        server.stop()
    await appending.kill()
    disk.cut(random.choice(SHARES))
    for server in servers:
        server.launch()
    for server in servers:
        await asyncio.to_thread(server.wait)
    await deliver_stored(target, ledger)


async def test_a_power_loss_takes_nothing_from_sqlite(
    disk: PowerDisk, new_ledger: Callable[[str], Ledger], seconds: float
) -> None:
    ledger = new_ledger("power loss: sqlite")
    for _ in rounds(seconds):
        await lose_power(sqlite(disk.folder), disk, ledger)
    ledger.check_stored()


async def test_a_power_loss_catches_sqlite_that_does_not_sync_each_commit(
    disk: PowerDisk, new_ledger: Callable[[str], Ledger]
) -> None:
    ledger = new_ledger("power loss: sqlite with synchronous=NORMAL")
    for _ in range(LOSSES_UNTIL_CAUGHT):
        await lose_power(sqlite(disk.folder) | {"is_unsafe": True}, disk, ledger)
        if ledger.result().lost:
            return
    pytest.fail("nothing was lost without an fsync: the power loss is none")


def on_nats(*servers: NatsServer, **options: Any) -> dict[str, Any]:
    return {
        "url": ",".join(server.url for server in servers),
        "monitor_urls": [server.monitor_url for server in servers],
        "replicas": len(servers),
        **options,
    }


@pytest.mark.parametrize("count", [1, 3])
async def test_a_power_loss_takes_nothing_from_nats(
    tmp_path: pathlib.Path, new_ledger: Callable[[str], Ledger], seconds: float, count: int
) -> None:
    needs.fuse()
    ledger = new_ledger(f"power loss: nats R{count}, sync_interval always")
    store = tmp_path / "disk"
    store.mkdir()
    with power_disk(store, "own") as disk:
        servers = cluster(tmp_path, store=store) if count > 1 else [NatsServer(tmp_path / "n", store=store)]
        with running(*servers):
            # Three servers take long to start again.
            for _ in rounds(seconds, least=4 - count):
                await lose_power(on_nats(*servers), disk, ledger, servers)
    ledger.check_stored()


async def test_a_power_loss_catches_nats_that_syncs_later(
    tmp_path: pathlib.Path, new_ledger: Callable[[str], Ledger]
) -> None:
    needs.fuse()
    ledger = new_ledger("power loss: nats R3, sync_interval 2m")
    store = tmp_path / "disk"
    store.mkdir()
    with power_disk(store, "own") as disk:
        servers = cluster(tmp_path, store=store, sync='"2m"')
        with running(*servers):
            await lose_power(on_nats(*servers, durability="replicated"), disk, ledger, servers)
    assert ledger.result().lost


async def test_a_full_disk_refuses_and_then_goes_on_with_sqlite(
    tmp_path: pathlib.Path, new_ledger: Callable[[str], Ledger], seconds: float
) -> None:
    needs.mounts()
    ledger = new_ledger("full disk: sqlite")
    target = sqlite(tmp_path)
    with small_disk(tmp_path, 4096):
        ballast = tmp_path / "ballast"
        ballast.write_bytes(bytes(2_500_000))
        appending = await Program.appending(target, ledger)
        await appending.refused("LOG_FULL")
        ledger.fault()
        ballast.unlink()
        await appending.recovered()
        await appending.kill()
        await deliver_stored(target, ledger)
    assert set(appending.errors) == {"LOG_FULL"}
    ledger.check_stored()


async def test_a_log_on_a_full_disk_is_not_taken_for_a_damaged_one(tmp_path: pathlib.Path) -> None:
    needs.mounts()
    with small_disk(tmp_path, 1024):
        log = SqliteLog(tmp_path / "data")
        await log.start()
        await log.close()
        with filled(tmp_path), pytest.raises(MistralwireError) as caught:
            await SqliteLog(tmp_path / "data").start()
        again = SqliteLog(tmp_path / "data")
        await again.start()
        await again.close()
    assert caught.value.message.endswith("is on a full disk; make room on it")


async def test_a_full_disk_refuses_and_nats_goes_on_once_it_is_restarted(
    tmp_path: pathlib.Path, new_ledger: Callable[[str], Ledger]
) -> None:
    needs.mounts()
    ledger = new_ledger("full disk: nats")
    store = tmp_path / "disk"
    store.mkdir()
    with small_disk(store, 64 * 1024), running(NatsServer(tmp_path / "n", store=store)) as server:
        appending = await Program.appending(on_nats(server), ledger)
        await appending.acknowledged(200)
        with filled(store):
            await appending.refused("LOG_FULL")
            ledger.fault()
        # JetStream stores nothing in a stream for which there was no room, until it reads that anew.
        server.stop()
        await asyncio.to_thread(server.start)
        await appending.recovered()
        await appending.kill()
        await deliver_stored(on_nats(server), ledger)
    assert set(appending.errors) == {"LOG_FULL"}
    ledger.check_stored()


@pytest.mark.parametrize("delay_ms", [2, 10])
async def test_a_slow_disk_loses_nothing_of_sqlite(
    tmp_path: pathlib.Path, new_ledger: Callable[[str], Ledger], seconds: float, delay_ms: int
) -> None:
    needs.compiler()
    ledger = new_ledger(f"slow disk: sqlite, fsync + {delay_ms} ms, and a kill")
    target = sqlite(tmp_path)
    env = slow_fsync(tmp_path, delay_ms)
    for _ in rounds(seconds):
        appending = await Program.appending(target, ledger, env=env)
        await appending.acknowledged(random.randint(20, 4000))
        await appending.kill()
        await deliver_stored(target, ledger)
    ledger.check_stored()


async def test_a_clock_that_jumps_does_not_stop_sqlite(
    tmp_path: pathlib.Path, new_ledger: Callable[[str], Ledger], seconds: float
) -> None:
    needs.compiler()
    ledger = new_ledger("clock that jumps: sqlite")
    target = sqlite(tmp_path)
    clock = WallClock(tmp_path)
    appending = await Program.appending(target, ledger, env=clock.env)
    for number in rounds(seconds):
        await appending.acknowledged(100)
        ledger.fault()
        clock.jump(CLOCK_JUMPS_S[number % len(CLOCK_JUMPS_S)])
        await appending.recovered()
    await appending.kill()
    await deliver_stored(target, ledger)
    assert appending.errors == []
    ledger.check_stored()
