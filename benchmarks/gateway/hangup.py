"""How long a caller's hang-up in mid-stream takes to close the connection to the model API."""

import asyncio
import re
import statistics
import sys
import time

from benchmarks.gateway import scenarios

COUNT = 100
# What is to be reached: the longest of all, in milliseconds.
LONGEST_MS_MAX = 100.0

_START_S_MAX = 60.0
_CHUNK = (
    b'data: {"id":"1","model":"m","choices":[{"index":0,"delta":{"content":"a"},"finish_reason":null}]}\n\n'
)
_HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n"


def measure() -> dict[str, float]:
    """Measure the gateway with its service in the same process; return the median and the maximum, in ms."""
    times_ms = asyncio.run(_hang_ups())
    return {"median_ms": statistics.median(times_ms), "longest_ms": max(times_ms)}


async def _hang_ups() -> list[float]:
    over: asyncio.Queue[float] = asyncio.Queue()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Send one chunk, then nothing more until the peer has gone."""
        head = await reader.readuntil(b"\r\n\r\n")
        length = re.search(rb"content-length: (\d+)", head, re.IGNORECASE)
        await reader.readexactly(int(length[1]) if length else 0)
        writer.write(_HEAD + _CHUNK)
        await reader.read()
        if head.startswith(b"POST"):
            over.put_nowait(time.perf_counter())
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        upstream = server.sockets[0].getsockname()[1]
        gateway, port = await _gateway(f"http://127.0.0.1:{upstream}")
        try:
            return [await _hang_up(port, over) for _ in range(COUNT)]
        finally:
            gateway.terminate()
            await gateway.communicate()


async def _gateway(upstream_url: str) -> tuple[asyncio.subprocess.Process, int]:
    options = ("--embedded", "--upstream-url", upstream_url, "--port", "0", "--log-level", "warning")
    gateway = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "mistralwire", "gateway", *options, stdout=asyncio.subprocess.PIPE
    )
    assert gateway.stdout is not None
    line = await asyncio.wait_for(gateway.stdout.readline(), _START_S_MAX)
    port = re.search(rb"listening on http://127\.0\.0\.1:(\d+)", line)
    if port is None:
        raise RuntimeError("the gateway did not start")
    return gateway, int(port[1])


async def _hang_up(port: int, over: "asyncio.Queue[float]") -> float:
    """Take one chunk and cut the connection; return the time until the model API sees it, in milliseconds."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    body = scenarios.request_body((0, 0))
    head = f"POST {scenarios.PATH} HTTP/1.1\r\nhost: localhost\r\ncontent-length: {len(body)}\r\n\r\n"
    writer.write(head.encode() + body)
    await reader.readuntil(b"\n\n")
    cut_s = time.perf_counter()
    writer.transport.abort()
    return (await over.get() - cut_s) * 1000
