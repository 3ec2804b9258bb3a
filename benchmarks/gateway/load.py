"""The load generator, in a process of its own: prints what it measured as JSON."""

import asyncio
import json
import statistics
import sys
import time
from typing import Any, cast

import httptools
import uvloop

from benchmarks.gateway.scenarios import Job

# How long the answers that have begun may take to their ends, in seconds.
DRAIN_S_MAX = 60.0


class Meter:
    """What all connections together have seen.

    Attributes:
        times_s: How long each request of the window took.
        requests: Requests that were answered, from the start to the end.
        events: Events of streams, from the start to the end.
        lengths: With how many events streams came to their ends.
        is_over: Whether no request is to follow.
        ended: Done when all connections have ended, or the first was wrong.
    """

    def __init__(self, job: Job) -> None:
        self.job = job
        self.times_s: list[float] = []
        self.requests = 0
        self.events = 0
        self.lengths: set[int] = set()
        self.is_measuring = False
        self.is_over = False
        self.ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._running = job.load.connections

    def answered(self, seconds: float) -> None:
        self.requests += 1
        if self.is_measuring:
            self.times_s.append(seconds)

    def has_ended(self) -> None:
        self._running -= 1
        if not self._running and not self.ended.done():
            self.ended.set_result(None)

    def fail(self, message: str) -> None:
        if not self.ended.done():
            self.ended.set_exception(RuntimeError(message))


class Caller(asyncio.Protocol):
    """One connection, that asks again as soon as it has an answer."""

    def __init__(self, meter: Meter, request: bytes) -> None:
        self._meter = meter
        self._request = request
        self._is_stream = meter.job.load.is_stream
        self._text = meter.job.text.encode()
        self._has_ended = False
        self._last_byte = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._ask()

    def connection_lost(self, _: Exception | None) -> None:
        if not self._has_ended:
            self._meter.fail("expected the end of an answer, found that of the connection")

    def data_received(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as error:
            # Whoever raises in a callback is wrapped; what it said is its cause.
            self._meter.fail(str(error.__context__ or error))
            self._transport.abort()

    def on_body(self, body: bytes) -> None:
        self._parts.append(body)
        if self._is_stream:
            # An end of an event that lies across two parts is seen with the second.
            count = body.count(b"\n\n") + (self._last_byte == 10 == body[0])
            self._last_byte = body[-1]
            self._events += count
            self._meter.events += count

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
        if self._meter.is_over:
            self._has_ended = True
            self._meter.has_ended()
            self._transport.close()
        else:
            self._ask()

    def _check_stream(self, body: bytes) -> None:
        if not body.endswith(b"data: [DONE]\n\n"):
            raise RuntimeError(f"expected a stream to end with [DONE], found {body[-300:]!r}")
        length = body.count(b"data: ") - 1
        if not self._meter.lengths and (text := _text_of(body)) != self._meter.job.text:
            raise RuntimeError(f"expected the text of the stream, found {text[:300]!r}")
        self._meter.lengths.add(length)
        if len(self._meter.lengths) > 1:
            raise RuntimeError(f"expected as many chunks in each stream, found {self._meter.lengths}")
        if self._events < length:
            raise RuntimeError(f"expected {length} chunks to be counted, found {self._events}")
        # The last event is no chunk.
        self._meter.events -= self._events - length

    def _ask(self) -> None:
        self._parser: Any = httptools.HttpResponseParser(self)
        self._parts: list[bytes] = []
        self._events = 0
        self._last_byte = 0
        self._asked_s = time.perf_counter()
        self._transport.write(self._request)


def _text_of(stream: bytes) -> str:
    """Give the text that the chunks of a stream have together."""
    lines = [line for line in stream.split(b"\n") if line.startswith(b"data: {")]
    choices = [choice for line in lines for choice in json.loads(line[6:])["choices"]]
    return "".join(choice["delta"].get("content") or "" for choice in choices)


async def measure(job: Job) -> dict[str, Any]:
    """Run one load; give its figures."""
    meter, loop = Meter(job), asyncio.get_running_loop()
    body = job.body.encode()
    head = (
        f"POST {job.path} HTTP/1.1\r\nhost: 127.0.0.1:{job.port}\r\nauthorization: Bearer {job.key}\r\n"
        f"content-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
    )
    request = head.encode() + body
    loop.set_exception_handler(
        lambda _, context: meter.fail(str(context.get("exception", context["message"])))
    )
    for _ in range(job.load.connections):
        await loop.create_connection(lambda: Caller(meter, request), "127.0.0.1", job.port)
    await _pass(meter, job.load.warm_s)
    start_s, requests, events = time.perf_counter(), meter.requests, meter.events
    meter.is_measuring = True
    await _pass(meter, job.load.window_s)
    meter.is_measuring = False
    taken_s = time.perf_counter() - start_s
    requests, events = meter.requests - requests, meter.events - events
    meter.is_over = True
    await asyncio.wait_for(meter.ended, DRAIN_S_MAX)
    return {
        "requests_per_second": requests / taken_s,
        "chunks_per_second": events / taken_s,
        "median_ms": statistics.median(meter.times_s) * 1000 if meter.times_s else None,
        "p99_ms": sorted(meter.times_s)[len(meter.times_s) * 99 // 100] * 1000 if meter.times_s else None,
        "chunks_per_stream": max(meter.lengths, default=0),
        "requests": meter.requests,
        "chunks": meter.events,
        "load_cpu": time.process_time() / taken_s,
    }


async def _pass(meter: Meter, seconds: float) -> None:
    """Let time pass, unless something is wrong."""
    await asyncio.wait([meter.ended], timeout=seconds)
    if meter.ended.done():
        meter.ended.result()


if __name__ == "__main__":
    print(json.dumps(uvloop.run(measure(Job.from_json(sys.argv[1])))))
