"""The load generator, in a process of its own: prints what it measured as JSON."""

import asyncio
import collections
import json
import statistics
import sys
import time
from typing import Any, cast

import httptools
import uvloop

from benchmarks.gateway import processes, scenarios
from benchmarks.gateway.scenarios import Job

# How long the first stream may take to its end, beyond the window, in seconds.
WHOLE_S_MAX = 60.0


class Meter:
    """The results of all connections together.

    Attributes:
        job: The run to make.
        times_s: How long each request took that was answered in the window.
        requests: Requests that were answered, from the start.
        chunks: Chunks of streams, from the start.
        lengths: Numbers of chunks of the streams that have ended.
        is_measuring: Whether the window is open.
        first: Done when the first answer is complete, or one is wrong.
    """

    def __init__(self, job: Job) -> None:
        self.job = job
        self.times_s: list[float] = []
        self.requests = 0
        self.chunks = 0
        self.lengths: set[int] = set()
        self.is_measuring = False
        self.first: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._error: Exception | None = None

    def answered(self, seconds: float) -> None:
        self.requests += 1
        if self.is_measuring:
            self.times_s.append(seconds)
        if not self.first.done():
            self.first.set_result(None)

    def fail(self, message: str) -> None:
        self._error = self._error or RuntimeError(message)
        if not self.first.done():
            self.first.set_result(None)

    def check(self) -> None:
        """Raise the first error, if there was one."""
        if self._error is not None:
            raise self._error


class Caller(asyncio.Protocol):
    """One connection, which sends the next request as soon as it has a response.

    Attributes:
        chunks: Chunks that came in the window.
    """

    def __init__(self, meter: Meter, request: bytes) -> None:
        self._meter = meter
        self._request = request
        self._is_stream = meter.job.load.is_stream
        self._text = scenarios.TEXT.encode()
        self._last_byte = 0
        self.chunks = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self.port: int = transport.get_extra_info("sockname")[1]
        self._ask()

    def connection_lost(self, _: Exception | None) -> None:
        self._meter.fail("expected the end of an answer, found that of the connection")

    def data_received(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as error:
            # An exception of a callback is wrapped: the original is its cause.
            self._meter.fail(str(error.__context__ or error))
            self._transport.abort()

    def on_body(self, body: bytes) -> None:
        self._parts.append(body)
        if self._is_stream:
            # An end of an event that lies across two parts is seen with the second.
            count = body.count(b"\n\n") + (self._last_byte == 10 == body[0])
            self._last_byte = body[-1]
            self._events += count
            self._meter.chunks += count
            if self._meter.is_measuring:
                self.chunks += count

    def on_message_complete(self) -> None:
        seconds = time.perf_counter() - self._asked_s
        body = b"".join(self._parts)
        status = self._parser.get_status_code()
        if status != 200:
            raise RuntimeError(f"expected the status 200, found {status}: {body[:300]!r}")
        if self._is_stream:
            self._check_stream(body)
        elif self._text not in body:
            raise RuntimeError(f"expected the text of the answer, found {body[:300]!r}")
        self._meter.answered(seconds)
        self._ask()

    def _check_stream(self, body: bytes) -> None:
        if not body.endswith(b"data: [DONE]\n\n"):
            raise RuntimeError(f"expected a stream to end with [DONE], found {body[-300:]!r}")
        length = body.count(b"data: ") - 1
        if not self._meter.lengths and (text := _text_of(body)) != scenarios.STREAM_TEXT:
            raise RuntimeError(f"expected the text of the stream, found {text[:300]!r}")
        self._meter.lengths.add(length)
        if len(self._meter.lengths) > 1:
            raise RuntimeError(
                f"expected the same number of chunks in all streams, found {self._meter.lengths}"
            )
        if self._events < length:
            raise RuntimeError(f"expected {length} chunks to be counted, found {self._events}")
        # The last event is no chunk.
        self._meter.chunks -= self._events - length

    def _ask(self) -> None:
        self._parser: Any = httptools.HttpResponseParser(self)
        self._parts: list[bytes] = []
        self._events = 0
        self._last_byte = 0
        self._asked_s = time.perf_counter()
        self._transport.write(self._request)


def _text_of(stream: bytes) -> str:
    """Return the text that the chunks of a stream have together."""
    lines = [line for line in stream.split(b"\n") if line.startswith(b"data: {")]
    choices = [choice for line in lines for choice in json.loads(line[6:])["choices"]]
    return "".join(choice["delta"].get("content") or "" for choice in choices)


async def measure(job: Job) -> dict[str, Any]:
    """Run one load, and return its figures.

    Raises:
        RuntimeError: If an answer was wrong, or none came in the window.
    """
    meter, loop = Meter(job), asyncio.get_running_loop()
    body = scenarios.request_body(job.load.gaps_ms)
    head = (
        f"POST {scenarios.PATH} HTTP/1.1\r\nhost: 127.0.0.1:{job.port}\r\nauthorization: Bearer {job.key}\r\n"
        f"content-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
    )
    request = head.encode() + body
    loop.set_exception_handler(
        lambda _, context: meter.fail(str(context.get("exception", context["message"])))
    )
    callers = []
    for _ in range(job.load.connections):
        _, caller = await loop.create_connection(lambda: Caller(meter, request), "127.0.0.1", job.port)
        callers.append(caller)
    await asyncio.sleep(job.load.warm_s)
    figures = await _window(meter)
    await asyncio.wait_for(meter.first, WHOLE_S_MAX)
    meter.check()
    if not meter.times_s and not figures["units"]:
        raise RuntimeError("expected answers in the window, found none")
    if job.load.is_latency:
        figures["median_ms"] = statistics.median(meter.times_s) * 1000
    return figures | {"shares": _shares(job, callers)}


async def _window(meter: Meter) -> dict[str, Any]:
    """Wait for the end of the window; return the units in it, and the processor time that they took."""
    job = meter.job
    pids = processes.tree(job.pids)
    start_s, start, cpu_s = time.perf_counter(), (meter.requests, meter.chunks), processes.cpu_s(pids)
    meter.is_measuring = True
    await asyncio.sleep(job.load.window_s)
    meter.is_measuring = False
    taken_s = time.perf_counter() - start_s
    cpu_s = processes.cpu_s(pids) - cpu_s
    units = meter.chunks - start[1] if job.load.is_stream else meter.requests - start[0]
    return {"units": units, "units_per_second": units / taken_s, "cpu_us": cpu_s / max(units, 1) * 1e6}


def _shares(job: Job, callers: list[Caller]) -> list[float]:
    """Return the share of the chunks that each process of the contender has sent, the largest first."""
    pids = processes.holders(job.port, processes.tree(job.pids))
    counts = collections.Counter[int]()
    for caller in callers:
        if caller.port in pids:
            counts[pids[caller.port]] += caller.chunks
    return [count / counts.total() for _, count in counts.most_common()] if counts.total() else []


if __name__ == "__main__":
    print(json.dumps(uvloop.run(measure(Job.from_json(sys.argv[1])))))
