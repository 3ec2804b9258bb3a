"""How long requests hold the gateway's event loop, in the worst cases: `python -m benchmarks.loop`.

A gateway with its service runs in a process of its own, before a model API in this one. Hostile callers
send documents that are expensive to convert, and abandon some; a well-behaved caller sends small requests
at the same time. A timer of one millisecond in the gateway's loop records how late it is, which includes
waits for the GIL and for a processor, and the processor time of the loop's own thread since the last tick,
which does not: the hold.
"""

import argparse
import asyncio
import contextlib
import dataclasses
import functools
import json
import sys
import time
from collections.abc import AsyncIterator, Callable
from typing import Any, TypedDict

import uvloop

from benchmarks import report
from benchmarks.gateway import scenarios
from mistralwire._offload import favour_loop
from mistralwire.client import Client
from mistralwire.codec import ENGINE
from mistralwire.gateway import GatewayConfig, GatewayServer, create_app
from mistralwire.service import LocalChannel
from mistralwire.upstream import MistralUpstream

WINDOW_S = 2.0
CONNECTIONS = 2
"""Of each hostile caller, each with one request at a time."""

# Addresses of the same machine, so that they are different callers.
_LIGHT, _HOSTILE = "127.0.0.1", ("127.0.0.2", "127.0.0.3")
_TICK_S = 0.001
_ABANDON_S = 0.1
_PAUSE_S = 0.01
# What is left of abandoned work must not count for the next row.
_SETTLE_S = 1.0
_START_S_MAX = 60.0
_REQUEST_S_MAX = 120.0

_SMALL, _LARGE, _MANY, _EVENT, _EVENTS = "small", "large", "many", "event", "events"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Traffic:
    """The traffic of hostile callers.

    Attributes:
        name: What the table calls it.
        body: The body of their requests; None for no hostile callers.
        is_abandoned: Whether they hang up while it is read.
    """

    name: str
    body: bytes | None = None
    is_abandoned: bool = False


class Holds(TypedDict):
    """Figures of the loop in one window, in milliseconds.

    Attributes:
        hold_ms: The most processor time of its thread between two ticks.
        delay_ms: The longest that a tick was late.
        light_ms: The longest that a small request took.
        light: How many small requests were answered.
    """

    hold_ms: float
    delay_ms: float
    light_ms: float
    light: int


def _request(model: str = _SMALL, content: str = "", stream: bool = False, more: str = "") -> bytes:
    text = json.dumps({"model": model, "messages": [{"role": "user", "content": content}], "stream": stream})
    return f"{text[:-1]}{more}}}".encode()


def _filled(unit: str, size: int) -> str:
    return unit * (size // len(unit))


def _values(unit: str, size: int) -> bytes:
    return _request(more=f',"metadata":{{"a":[{_filled(unit + ",", size)}{unit}]}}')


def _traffic() -> list[Traffic]:
    kb, mb = 1024, 1024 * 1024
    messages = f'{{"model":"m","messages":[{_filled("{},", 64 * kb)}{{}}]}}'.encode()
    return [
        Traffic(name="small requests alone"),
        Traffic(name="64 KB of [1,1,...]", body=_values("1", 64 * kb)),
        Traffic(name="64 KB of [{},{},...]", body=_values("{}", 64 * kb)),
        Traffic(name="64 KB of messages {}", body=messages),
        Traffic(name="64 KB of text '1e100 '", body=_request(content=_filled("1e100 ", 64 * kb))),
        Traffic(
            name="3 MB of text, abandoned",
            body=_request(content=_filled("1e100 ", 3 * mb)),
            is_abandoned=True,
        ),
        Traffic(name="200 KB of values, abandoned", body=_values("1", 190 * kb), is_abandoned=True),
        Traffic(name="12 MB of text", body=_request(content=_filled("hello, world ", 12 * mb))),
        Traffic(name="12 MB of [1,1,...]", body=_values("1", 12 * mb)),
        Traffic(name="answers of 4 MB", body=_request(_LARGE)),
        Traffic(name="answers of 20,000 tool calls", body=_request(_MANY)),
        Traffic(name="streams of one 1 MB event", body=_request(_EVENT, stream=True)),
        Traffic(name="streams of 5,000 events at once", body=_request(_EVENTS, stream=True)),
    ]


def longest_holds(window_s: float = WINDOW_S) -> dict[str, Holds]:
    """Measure all kinds of traffic.

    Args:
        window_s: How long each is measured, in seconds.

    Returns:
        The figures, by the name of the traffic.
    """
    return asyncio.run(_measure_all(window_s))


async def _measure_all(window_s: float) -> dict[str, Holds]:
    async with (
        await asyncio.start_server(
            functools.partial(_answer, _answers()), "127.0.0.1", 0, limit=2**20
        ) as upstream,
        _gateway(upstream.sockets[0].getsockname()[1]) as (port, holds),
    ):
        await _ask(port, _LIGHT, _request())
        return {each.name: await _measure(each, port, holds, window_s) for each in _traffic()}


Probe = Callable[[], Any]


async def _measure(traffic: Traffic, port: int, holds: Probe, window_s: float) -> Holds:
    times_ms: list[float] = []
    hostile = [
        asyncio.create_task(_attack(port, address, traffic))
        for address in _HOSTILE
        for _ in range(CONNECTIONS if traffic.body is not None else 0)
    ]
    await holds()
    light = asyncio.create_task(_ask_again_and_again(port, times_ms))
    await asyncio.sleep(window_s)
    tasks = [*hostile, light]
    for task in tasks:
        task.cancel()
    for result in await asyncio.gather(*tasks, return_exceptions=True):
        if not isinstance(result, asyncio.CancelledError):
            raise RuntimeError(f"{traffic.name}: a caller ended") from result
    hold_ms, delay_ms = await holds()
    await asyncio.sleep(_SETTLE_S if hostile else 0)
    return Holds(hold_ms=hold_ms, delay_ms=delay_ms, light_ms=max(times_ms), light=len(times_ms) - 1)


async def _attack(port: int, address: str, traffic: Traffic) -> None:
    assert traffic.body is not None
    while True:
        if traffic.is_abandoned:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(_ask(port, address, traffic.body), _ABANDON_S)
        else:
            await _ask(port, address, traffic.body)


async def _ask_again_and_again(port: int, times_ms: list[float]) -> None:
    while True:
        start_s = time.perf_counter()
        try:
            status = await _ask(port, _LIGHT, _request())
        finally:
            # One that is cut short at the end counts as long as it has waited.
            times_ms.append((time.perf_counter() - start_s) * 1000)
        if status != 200:
            raise RuntimeError(f"a small request was answered with {status}")
        await asyncio.sleep(_PAUSE_S)


async def _ask(port: int, address: str, body: bytes) -> int:
    """Send a request on a connection of its own; return the status once the answer has come."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port, local_addr=(address, 0))
    try:
        head = f"POST {scenarios.PATH} HTTP/1.1\r\nhost: 127.0.0.1\r\nconnection: close\r\n"
        writer.write(f"{head}content-length: {len(body)}\r\n\r\n".encode() + body)
        async with asyncio.timeout(_REQUEST_S_MAX):
            answer = await reader.read(2**16)
            while await reader.read(2**20):
                continue
    finally:
        writer.transport.abort()
    return int(answer.split(b" ", 2)[1])


@contextlib.asynccontextmanager
async def _gateway(upstream_port: int) -> AsyncIterator[tuple[int, Probe]]:
    """Run the gateway; yield its port, and what returns its holds and delays since the last time."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "benchmarks.loop", "--upstream-port", str(upstream_port)),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    stdin, stdout = process.stdin, process.stdout

    async def holds() -> Any:
        stdin.write(b"\n")
        return json.loads(await stdout.readline())

    try:
        line = await asyncio.wait_for(stdout.readline(), _START_S_MAX)
        if not line:
            raise RuntimeError("the gateway did not start")
        yield int(line), holds
    finally:
        stdin.close()
        await process.wait()


class _Ticks:
    """Looks at the loop every millisecond.

    Attributes:
        hold_s: The most processor time of this thread from one look to the next.
        delay_s: The longest that a look was late.
    """

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self.restart()
        self._arm()

    def restart(self) -> None:
        self.hold_s = self.delay_s = 0.0

    def _arm(self) -> None:
        self._due_s = time.perf_counter() + _TICK_S
        self._thread_s = time.thread_time()
        self._loop.call_later(_TICK_S, self._look)

    def _look(self) -> None:
        self.delay_s = max(self.delay_s, time.perf_counter() - self._due_s)
        self.hold_s = max(self.hold_s, time.thread_time() - self._thread_s)
        self._arm()


async def _serve(upstream_port: int) -> None:
    """Run a gateway in this process until its input ends; each line is answered with what was measured."""
    loop = asyncio.get_running_loop()
    # As the command line does.
    favour_loop()
    upstream = MistralUpstream(f"http://127.0.0.1:{upstream_port}", key=None)
    config = GatewayConfig(port=0)
    lines = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
    try:
        async with (
            Client.on(LocalChannel(upstream)) as client,
            GatewayServer(create_app(client, config), config) as server,
        ):
            print(server.port, flush=True)
            ticks = _Ticks()
            while await lines.readline():
                print(json.dumps([ticks.hold_s * 1000, ticks.delay_s * 1000]), flush=True)
                ticks.restart()
    finally:
        await upstream.close()


def _answers() -> dict[str, bytes]:
    """Return what the model API answers, with its head, by the name of the model."""
    message = {"role": "assistant", "content": "hello"}
    calls = [
        {"id": f"call{number}", "function": {"name": "f", "arguments": "{}"}} for number in range(20_000)
    ]
    chunk = {"id": "1", "model": "m", "choices": [{"index": 0, "delta": message, "finish_reason": None}]}
    event = b"data: %s\n\n"
    done = event % b"[DONE]"
    large_delta = {"content": _filled("hello, world 1 ", 2**20)}
    large_chunk = {**chunk, "choices": [{"index": 0, "delta": large_delta, "finish_reason": None}]}
    return {
        _SMALL: _whole(message),
        _LARGE: _whole({**message, "content": _filled("hello, world 1 ", 4 * 2**20)}),
        _MANY: _whole({**message, "tool_calls": calls}),
        _EVENT: _streamed(event % _text(large_chunk) + done),
        _EVENTS: _streamed(event % _text(chunk) * 5_000 + done),
    }


def _text(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


def _whole(message: dict[str, Any]) -> bytes:
    choice = {"index": 0, "message": message, "finish_reason": "stop"}
    usage = {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}
    answer = {"id": "1", "object": "chat.completion", "created": 1, "model": "m", "choices": [choice]}
    return _with_head("application/json", _text({**answer, "usage": usage}))


def _streamed(events: bytes) -> bytes:
    return _with_head("text/event-stream", events)


def _with_head(kind: str, body: bytes) -> bytes:
    return f"HTTP/1.1 200 OK\r\ncontent-type: {kind}\r\ncontent-length: {len(body)}\r\n\r\n".encode() + body


async def _answer(
    answers: dict[str, bytes], reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> None:
    """Answer the requests of one connection to the model API."""
    with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
        while True:
            head = (await reader.readuntil(b"\r\n\r\n")).lower()
            length = int(head.partition(b"content-length: ")[2].partition(b"\r\n")[0] or 0)
            body = await reader.readexactly(length)
            # The first member of the bodies above.
            model = body[:40].partition(b'"model":')[2].partition(b",")[0].strip(b' "').decode()
            writer.write(answers.get(model, answers[_SMALL]))
            await writer.drain()
    writer.close()


def main() -> None:
    """Measure and print, or run the gateway that is measured."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=WINDOW_S, help="for each kind of traffic (2)")
    parser.add_argument("--upstream-port", type=int, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.upstream_port is not None:
        uvloop.run(_serve(arguments.upstream_port))
    else:
        report.loop(ENGINE, longest_holds(arguments.seconds))


if __name__ == "__main__":
    main()
