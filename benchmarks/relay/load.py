"""One run in a process of its own: prints what it measured as JSON."""

import array
import asyncio
import dataclasses
import json
import os
import pathlib
import statistics
import sys
import tempfile
import time
from collections import deque
from typing import Any, Self

from uvloop import new_event_loop

from benchmarks.relay.contenders import Contender, opened

_TICKS = os.sysconf("SC_CLK_TCK")
# Events that followers may be behind, together.
_BEHIND_MAX = 100_000


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """The work of one run.

    Attributes:
        streams: Responses that run.
        batch: Events of one append.
        in_flight: Appends of each response that are not acknowledged.
        followers: Followers of each response.
        rate: Appends a second of each response; 0 for one after the other.
        fsync_ms: Milliseconds that each fsync takes longer.
        warm_s: Seconds before the window.
        window_s: Seconds that are measured.
    """

    streams: int
    batch: int = 1
    in_flight: int = 1
    followers: int = 0
    rate: float = 0.0
    fsync_ms: float = 0.0
    warm_s: float = 0.7
    window_s: float = 2.5

    def with_fsync(self, delay_ms: float) -> Self:
        return dataclasses.replace(self, fsync_ms=delay_ms)

    def to_json(self) -> str:
        return json.dumps(dataclasses.asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Self:
        return cls(**json.loads(text))


class Load:
    """Producers and followers of one contender.

    Attributes:
        stored: Events that were acknowledged.
        delivered: Events that followers got, all followers together.
    """

    def __init__(self, contender: Contender, scenario: Scenario) -> None:
        self._contender = contender
        self._scenario = scenario
        self.stored = self.delivered = 0
        self._acknowledged_s = array.array("d")
        self._delivered_s = array.array("d")
        # redis-py swallows cancellations now and then.
        self._is_over = False
        # When each event of a paced load was made.
        self._made: dict[str, array.array[float]] = {}

    async def run(self) -> dict[str, Any]:
        scenario = self._scenario
        names = [str(number) for number in range(scenario.streams)]
        self._made = {name: array.array("d", [0.0]) for name in names}
        tasks = [asyncio.create_task(self._follow(name)) for name in names for _ in range(scenario.followers)]
        await asyncio.sleep(0.3)
        produce = self._pace if scenario.rate else self._produce
        tasks += [asyncio.create_task(produce(name)) for name in names]
        await asyncio.sleep(scenario.warm_s)
        self._acknowledged_s, self._delivered_s = array.array("d"), array.array("d")
        before = self._figures()
        await asyncio.sleep(scenario.window_s)
        window = {name: value - before[name] for name, value in self._figures().items()}
        self._is_over = True
        for task in tasks:
            if task.done():
                task.result()
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        return {
            "stored_per_second": window["stored"] / window["time_s"],
            "delivered_per_second": window["delivered"] / window["time_s"],
            "cpu_us": window["cpu_s"] / max(1, window["stored"]) * 1e6,
            **_percentiles("acknowledged", self._acknowledged_s),
            **_percentiles("delivered", self._delivered_s),
        }

    def _figures(self) -> dict[str, float]:
        return {
            "stored": self.stored,
            "delivered": self.delivered,
            "time_s": time.perf_counter(),
            "cpu_s": time.process_time() + sum(map(_cpu_s, self._contender.pids)),
        }

    async def _produce(self, name: str) -> None:
        batch, followers = self._scenario.batch, self._scenario.followers
        first = 1
        pending: deque[asyncio.Task[None]] = deque()
        try:
            while not self._is_over:
                if self._scenario.in_flight == 1:
                    await self._append(name, first, batch)
                else:
                    pending.append(asyncio.create_task(self._append(name, first, batch)))
                    if len(pending) == self._scenario.in_flight:
                        await pending.popleft()
                first += batch
                if self.stored * followers - self.delivered > _BEHIND_MAX:
                    await asyncio.sleep(0.001)
        finally:
            # The load is over: what becomes of them does not matter.
            for task in pending:
                task.cancel()
            await asyncio.gather(*pending, return_exceptions=True)

    async def _append(self, name: str, first: int, batch: int) -> None:
        made_s = time.perf_counter()
        await self._contender.append(name, first, batch)
        self._acknowledged_s.append(time.perf_counter() - made_s)
        self.stored += batch

    async def _pace(self, name: str) -> None:
        interval_s = 1 / self._scenario.rate
        # Producers are spread over the interval.
        due_s = time.perf_counter() + interval_s * (int(name) + 1) / self._scenario.streams
        while not self._is_over:
            await asyncio.sleep(due_s - time.perf_counter())
            self._made[name].append(due_s)
            await self._contender.append(name, len(self._made[name]) - 1, 1)
            self._acknowledged_s.append(time.perf_counter() - due_s)
            self.stored += 1
            due_s += interval_s

    async def _follow(self, name: str) -> None:
        made, is_paced = self._made[name], bool(self._scenario.rate)
        before = 0
        async for last in self._contender.follow(name):
            self.delivered += last - before
            if is_paced:
                now_s = time.perf_counter()
                self._delivered_s.extend(now_s - made[number] for number in range(before + 1, last + 1))
            before = last
            if self._is_over:
                break


def _percentiles(name: str, values_s: "array.array[float]") -> dict[str, float]:
    if len(values_s) < 2:
        return {}
    percentiles = statistics.quantiles(values_s, n=100)
    return {f"{name}_p50_ms": percentiles[49] * 1e3, f"{name}_p99_ms": percentiles[98] * 1e3}


def _cpu_s(pid: int) -> float:
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


async def _main(contender: str, scenario: Scenario, folder: pathlib.Path) -> None:
    async with opened(contender, folder, scenario.streams, scenario.batch) as log:
        print(json.dumps(await Load(log, scenario).run()))


def main() -> None:
    contender, scenario = sys.argv[1], Scenario.from_json(sys.argv[2])
    with tempfile.TemporaryDirectory() as folder, asyncio.Runner(loop_factory=new_event_loop) as runner:
        runner.run(_main(contender, scenario, pathlib.Path(folder)))


if __name__ == "__main__":
    main()
