"""The load generator, in a process of its own: prints what it measured as JSON."""

import array
import asyncio
import contextlib
import json
import math
import os
import pathlib
import re
import statistics
import sys
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable
from typing import Any

import grpc

from benchmarks.stream.scenarios import MISTRALWIRE, STORED, Scenario
from benchmarks.stream.upstreams import request_of
from mistralwire.client import MESSAGE_BYTES_MAX, Client
from mistralwire.v1 import (
    ChatCompletionRequest,
    ChatCompletionResponse,
    ChatCompletionStreamRequest,
    CompletionChunk,
    chat_completion_service_pb2_grpc,
)

DEADLINE_S = 600.0
START_S_MAX = 20.0
_TICKS = os.sysconf("SC_CLK_TCK")

Stream = Callable[[ChatCompletionStreamRequest], AsyncGenerator[CompletionChunk, None]]
Figures = dict[str, Any]


class PlainClient:
    """The calls as plain grpcio has them."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._stub = chat_completion_service_pb2_grpc.ChatCompletionServiceAsyncStub(channel)

    async def complete(self, request: ChatCompletionRequest) -> ChatCompletionResponse:
        return await self._stub.ChatCompletion(request, timeout=DEADLINE_S)

    async def stream(self, request: ChatCompletionStreamRequest) -> AsyncGenerator[CompletionChunk, None]:
        call = self._stub.ChatCompletionStream(request, timeout=DEADLINE_S)
        try:
            async for message in call:
                for chunk in message.chunks:
                    yield chunk
        finally:
            # Leaving the loop early does not end the call.
            call.cancel()


@contextlib.asynccontextmanager
async def connect(contender: str, port: int) -> AsyncIterator[Client | PlainClient]:
    target = f"127.0.0.1:{port}"
    if contender in {MISTRALWIRE, STORED}:
        async with Client(target, deadline_s=DEADLINE_S) as client:
            yield client
        return
    options = (("grpc.max_receive_message_length", MESSAGE_BYTES_MAX), ("grpc.enable_http_proxy", 0))
    async with grpc.aio.insecure_channel(target, options=options) as channel:
        yield PlainClient(channel)


class Meter:
    """Counts delivered chunks, and keeps the delays of the current second.

    Attributes:
        count: Chunks.
        delays_ns: From when each was due, in nanoseconds.
        transits_ns: From when the upstream gave it.
        all_run: Set when each stream had a chunk.
    """

    def __init__(self, streams: int) -> None:
        self.count = 0
        self.delays_ns = array.array("q")
        self.transits_ns = array.array("q")
        self._missing = streams
        self.all_run = asyncio.Event()

    async def follow(self, stream: Stream, number: int) -> None:
        """Count the chunks of one stream after the other."""
        while True:
            chunks = stream(request_of(number))
            await anext(chunks)
            self._has_begun()
            async for _ in chunks:
                self.count += 1
            self.count += 1

    async def follow_paced(self, stream: Stream, number: int) -> None:
        """Note the delay of each chunk of a stream without end."""
        chunks = stream(request_of(number))
        await anext(chunks)
        self._has_begun()
        async for chunk in chunks:
            now_ns = time.monotonic_ns()
            self.delays_ns.append(now_ns - int(chunk.id))
            self.transits_ns.append(now_ns - chunk.created)
            self.count += 1

    async def hold(self, stream: Stream, number: int) -> None:
        """Take the first chunk, and then no more."""
        async with contextlib.aclosing(stream(request_of(number))) as chunks:
            await anext(chunks)
            self._has_begun()
            await asyncio.Event().wait()

    def _has_begun(self) -> None:
        self._missing -= 1
        if not self._missing:
            self.all_run.set()


class Process:
    """The system's figures of a process."""

    def __init__(self, pid: int) -> None:
        self._folder = pathlib.Path(f"/proc/{pid}")

    def rss_mb(self) -> float:
        match = re.search(r"VmRSS:\s+(\d+)", (self._folder / "status").read_text())
        return int(match[1]) / 1024 if match else 0.0

    def cpu_s(self) -> float:
        fields = (self._folder / "stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / _TICKS


async def flow(client: Client | PlainClient, server: Process, scenario: Scenario) -> Figures:
    """Measure streams that deliver: chunks a second, their delays, memory and processor time."""
    meter, client_process = Meter(scenario.streams), Process(os.getpid())
    follow = meter.follow_paced if scenario.kind == "paced" else meter.follow
    tasks = [asyncio.create_task(follow(client.stream, number)) for number in range(scenario.streams)]
    # An overloaded contender may not start all streams; that shows in what is delivered.
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(meter.all_run.wait(), START_S_MAX)
    await asyncio.sleep(scenario.warm_s)
    seconds, rss_mb = [], [server.rss_mb()]
    meter.delays_ns, meter.transits_ns = array.array("q"), array.array("q")
    start_s, start_count, cpu_s = time.monotonic(), meter.count, (server.cpu_s(), client_process.cpu_s())
    for second in range(1, round(scenario.window_s) + 1):
        await asyncio.sleep(start_s + second - time.monotonic())
        seconds.append(meter.delays_ns)
        meter.delays_ns = array.array("q")
        rss_mb.append(server.rss_mb())
    taken_s, count = time.monotonic() - start_s, meter.count - start_count
    figures = {
        "chunks_per_second": count / taken_s,
        "server_cpu": (server.cpu_s() - cpu_s[0]) / taken_s,
        "client_cpu": (client_process.cpu_s() - cpu_s[1]) / taken_s,
        "server_rss_mb": rss_mb,
    }
    await _cancel(tasks)
    if scenario.kind != "paced":
        return figures
    delays = [delay for second in seconds for delay in second]
    medians = [statistics.median(second) / 1e6 if second else math.inf for second in seconds]
    return (
        figures
        | _percentiles("delay", delays)
        | _percentiles("transit", meter.transits_ns)
        | {"delay_by_second_ms": medians}
    )


def _percentiles(name: str, times_ns: Iterable[int]) -> Figures:
    ordered = sorted(times_ns)
    return {
        f"{name}_median_ms": ordered[len(ordered) // 2] / 1e6,
        f"{name}_p99_ms": ordered[len(ordered) * 99 // 100] / 1e6,
    }


async def memory(client: Client | PlainClient, server: Process, scenario: Scenario) -> Figures:
    """Measure what an open stream adds to the memory of both sides, in KB, early and at the end."""
    this = Process(os.getpid())
    # What the first calls leave behind for good is not a stream's.
    await _cancel(await _open(client, range(scenario.streams, scenario.streams + 10)))
    before = server.rss_mb(), this.rss_mb()
    tasks = await _open(client, range(scenario.streams))
    figures: Figures = {}
    for name in ("early", "end"):
        await asyncio.sleep(scenario.window_s / 2)
        for side, process, mb in (("server", server, before[0]), ("client", this, before[1])):
            figures[f"{side}_kb_{name}"] = (process.rss_mb() - mb) * 1024 / scenario.streams
    await _cancel(tasks)
    return figures


async def _open(client: Client | PlainClient, numbers: range) -> list["asyncio.Task[None]"]:
    meter = Meter(len(numbers))
    tasks = [asyncio.create_task(meter.hold(client.stream, number)) for number in numbers]
    await meter.all_run.wait()
    return tasks


async def cancel(client: Client | PlainClient, _: Process, scenario: Scenario) -> Figures:
    """Measure the time from cancelling a call to its upstream being closed."""
    delays_ms = []
    for number in range(scenario.streams):
        tasks = await _open(client, range(number, number + 1))
        cancelled_ns = time.monotonic_ns()
        await _cancel(tasks)
        # The upstream answers when the stream with this seed was closed.
        request = ChatCompletionRequest.FromString(request_of(number).SerializeToString())
        closed_ns = int((await client.complete(request)).id)
        delays_ms.append((closed_ns - cancelled_ns) / 1e6)
    return {"cancel_median_ms": statistics.median(delays_ms), "cancel_max_ms": max(delays_ms)}


async def _cancel(tasks: list["asyncio.Task[None]"]) -> None:
    for task in tasks:
        task.cancel()
    for result in await asyncio.gather(*tasks, return_exceptions=True):
        if not isinstance(result, asyncio.CancelledError):
            raise RuntimeError("a stream ended early") from result


async def main(contender: str, scenario: Scenario, port: int, server: Process) -> Figures:
    measure = {"idle": memory, "unread": memory, "cancel": cancel}.get(scenario.kind, flow)
    async with connect(contender, port) as client:
        return await measure(client, server, scenario)


if __name__ == "__main__":
    this_scenario = Scenario.from_json(sys.argv[2])
    if this_scenario.has_uvloop:
        import uvloop

        uvloop.install()
    server_process = Process(int(sys.argv[4]))
    print(json.dumps(asyncio.run(main(sys.argv[1], this_scenario, int(sys.argv[3]), server_process))))
