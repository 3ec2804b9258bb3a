"""Several processes of `mistralwire gateway` on one port; what they share with `serve` is in test_workers."""

import asyncio
import collections
import contextlib
import os
import re
import signal
import socket
import subprocess
from asyncio.subprocess import Process
from collections.abc import AsyncIterator

import aiohttp
import pytest

from ..serving import REPLAY, serving
from ..test_gateway import CHAT, QUESTION, failed, lines_until_curl, needs_curl, refused, unusable
from ..test_gateway import COMMAND as GATEWAY
from ..test_serve_metrics import page
from ..workers import TWO, Errors, gone, signal_twice, working
from .test_workers import CALL

pytestmark = pytest.mark.process

REQUEST = re.compile(rb"\[(\d+)\] mistralwire\.gateway\.access: POST /v1/chat/completions .*http_status=200")
SLOWLY = (str(REPLAY / "chat.sse"), "--chunks-per-second", "20")
NEVER = (str(REPLAY / "chat.sse"), "--chunks-per-second", "0.01")
Gateways = tuple[Process, str, Errors, dict[int, int]]


def gateways(*arguments: str) -> contextlib.AbstractAsyncContextManager[Gateways]:
    return working(*arguments, command=GATEWAY)


@contextlib.asynccontextmanager
async def streaming(url: str) -> AsyncIterator[aiohttp.StreamReader]:
    """Begin a stream, and yield the rest of it."""
    async with (
        aiohttp.ClientSession() as http,
        http.post(url + CHAT, json={**QUESTION, "stream": True}) as response,
    ):
        assert await response.content.readline() == b"id: 0\n"
        yield response.content


async def ask(url: str) -> None:
    """Ask once, on a connection of its own."""
    async with aiohttp.ClientSession() as http, http.post(url + CHAT, json=QUESTION) as response:
        assert response.status == 200
        await response.read()


async def test_each_of_two_workers_takes_its_share_of_200_connections() -> None:
    async with gateways() as (process, url, errors, pids):
        reading = asyncio.create_task(errors.rest())
        # One after the other: each is closed before the next, and the kernel has no full queue to go by.
        for _ in range(10):
            await asyncio.gather(*(ask(url) for _ in range(20)))
        process.send_signal(signal.SIGTERM)
        await process.wait()
        text = await reading

    counts = collections.Counter(map(int, REQUEST.findall(text)))
    assert counts.total() == 200
    assert set(counts) == set(pids.values())
    # Beyond that a fair coin comes in one of 50,000 runs.
    assert all(70 <= count <= 130 for count in counts.values())
    assert process.returncode == 0


async def test_a_running_stream_is_drained_before_all_workers_end() -> None:
    async with gateways(*SLOWLY) as (process, url, errors, pids):
        async with streaming(url) as stream:
            os.killpg(process.pid, signal.SIGINT)
            rest = await stream.read()
        await process.wait()
        text = await errors.rest()
        for pid in pids.values():
            await gone(pid)

    assert rest.endswith(b"data: [DONE]\n\n")
    assert process.returncode == 0
    assert b"Traceback" not in text
    assert b"replaced" not in text
    assert b"SIGINT: refusing new calls" in text


async def test_workers_end_themselves_when_the_process_above_them_dies() -> None:
    async with gateways(*SLOWLY) as (process, url, errors, pids), streaming(url) as stream:
        process.kill()
        rest = await stream.read()
        text = await errors.rest()
        for pid in pids.values():
            await gone(pid)

    assert rest.endswith(b"data: [DONE]\n\n")
    assert text.count(b"the parent process ends: refusing new calls") == 2


async def test_a_worker_that_ends_is_replaced() -> None:
    async with gateways() as (process, url, errors, pids):
        os.kill(pids[0], signal.SIGKILL)
        index, pid = await errors.started()
        assert (index, pid not in pids.values()) == (0, True)
        assert b"worker 0: process %d ended with SIGKILL; it is replaced" % pids[0] in errors.text
        seen: set[int] = set()
        while pid not in seen:
            await ask(url)
            seen.add(await errors.logged_by(REQUEST))
        process.send_signal(signal.SIGTERM)
        await process.wait()
        await errors.rest()

    assert process.returncode == 0


async def test_a_second_signal_ends_all_workers_at_once() -> None:
    async with gateways("--drain-s", "600", *NEVER) as (process, url, errors, pids), streaming(url) as stream:
        await signal_twice(process, pids, signal.SIGTERM)
        text = await errors.rest()
        with pytest.raises(aiohttp.ClientError):
            await stream.read()

    assert process.returncode == -signal.SIGTERM
    assert b"Traceback" not in text


async def test_both_workers_of_a_service_get_calls() -> None:
    async with working() as (service, target, errors, pids):
        arguments = ("--service", target, "--service-connections", "16")
        async with gateways(*arguments) as (gateway, url, _, _pids):
            for _ in range(5):
                await asyncio.gather(*(ask(url) for _ in range(20)))
            gateway.send_signal(signal.SIGTERM)
            await gateway.wait()
        service.send_signal(signal.SIGTERM)
        text = await errors.rest()

    # Two gateways with 16 connections each: that all lead to one is as likely as 2 in 2 ** 32.
    assert set(map(int, CALL.findall(text))) == set(pids.values())
    assert len(CALL.findall(text)) == 100


@needs_curl
async def test_what_is_printed_is_printed_once_and_works() -> None:
    async with serving(*TWO, command=GATEWAY) as (process, url, line):
        lines, curl = await lines_until_curl(process)
        done = await asyncio.to_thread(
            subprocess.run, ["sh", "-c", curl], capture_output=True, timeout=60, check=True
        )
        process.send_signal(signal.SIGTERM)
        output, _ = await process.communicate()

    assert line == f"listening on {url} with 2 workers, replaying the demonstration; press Ctrl-C to stop\n"
    assert (lines, output.strip()) == ([], b"")
    assert done.stdout.endswith(b"data: [DONE]\n\n")


async def test_the_service_is_asked_whether_it_answers() -> None:
    async with serving(*TWO, "--service", "127.0.0.1:1", command=GATEWAY) as (process, _, _):
        lines, _ = await lines_until_curl(process)

    assert lines == ["service: not serving: connection refused"]


async def test_each_worker_has_a_page_of_metrics(free_ports: int) -> None:
    async with gateways("--prometheus-port", str(free_ports)) as (_, url, *_rest):
        await ask(url)
        async with aiohttp.ClientSession() as http, http.get(f"{url}/metrics") as response:
            assert response.status == 404
        pages = [await page(free_ports), await page(free_ports + 1)]

    count = 'mistralwire_gateway_requests_total{route="/v1/chat/completions",status="200"} 1.0'
    assert [count in text for text in pages].count(True) == 1
    assert all("process_resident_memory_bytes" in text for text in pages)


async def test_one_process_has_a_page_elsewhere_too(free_ports: int) -> None:
    async with serving("--prometheus-port", str(free_ports), command=GATEWAY) as (_, url, _line):
        await ask(url)
        text = await page(free_ports)

    assert 'mistralwire_gateway_requests_total{route="/v1/chat/completions",status="200"} 1.0' in text


def test_a_page_of_one_worker_for_all_is_refused() -> None:
    said = "--metrics serves the page of one process; set --prometheus-port for one page per worker"
    assert refused("--metrics", *TWO) == said


def test_a_port_in_use_is_said_alike_with_workers_and_without(free_ports: int) -> None:
    port = str(free_ports + 1)
    with socket.create_server(("127.0.0.1", free_ports + 1)):
        in_use = [failed("--workers", workers, "--port", port) for workers in "12"]
        metrics = [failed("--workers", workers, "--prometheus-port", port) for workers in "12"]
        second = failed("--prometheus-port", str(free_ports), *TWO)

    said = f"127.0.0.1 port {port} is in use; stop what listens there, or take another port"
    assert in_use == [said, said]
    assert second.startswith(f"the address of the metrics, port {port} of 127.0.0.1, is in use;")
    assert metrics == [second, second]


@pytest.mark.parametrize("workers", ["1", "2"])
def test_what_can_not_be_used_is_said_alike_with_workers_and_without(workers: str) -> None:
    two = ("--workers", workers)
    assert unusable(*two, "--token-file", "/nowhere").startswith("--token-file: ")
    assert "/nowhere: No such file" in unusable(
        *two, "--service", "127.0.0.1:1", "--service-token-file", "/nowhere"
    )
    tls = ("--tls-certificate", "/nowhere", "--tls-key", "/nowhere")
    assert unusable(*two, *tls).startswith("--tls-certificate: expected a file, found none at /nowhere")
    assert "--service must be an address such as" in refused(*two, "--service", "http://a")


def test_the_setting_is_in_the_printed_configuration() -> None:
    command = [*GATEWAY, *TWO, "--service-connections", "8", "--service", "a:1", "--print-config"]
    printed = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout

    assert "workers = 2  # --workers\n" in printed
    assert "service_connections = 8  # --service-connections\n" in printed
