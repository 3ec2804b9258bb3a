"""Several processes of `mistralwire serve` on one port."""

import asyncio
import contextlib
import os
import pathlib
import re
import signal
import socket
import subprocess
import sys

import pytest

from mistralwire.client import Client, SyncClient
from tests.service.upstreams import REQUEST, STREAM_REQUEST

from ..serving import COMMAND, REPLAY, run, serving
from ..workers import TWO, Errors, gone, signal_twice, working

pytestmark = pytest.mark.process

CALL = re.compile(rb"\[(\d+)\] mistralwire\.access: ChatCompletion OK")
SLOWLY = ("--chunks-per-second", "20", str(REPLAY / "chat.sse"))
NEVER = ("--chunks-per-second", "0.01", str(REPLAY / "chat.sse"))


async def answered_by(address: str, errors: Errors) -> int:
    """Call once, on a connection of its own, and return the process that logged the call."""
    async with Client(address) as client:
        await client.complete(REQUEST)
    return await errors.logged_by(CALL)


async def test_all_workers_answer_on_one_port() -> None:
    async with working() as (process, address, errors, pids):
        seen: set[int] = set()
        # Which one gets a connection is the kernel's choice.
        while seen != set(pids.values()):
            seen.add(await answered_by(address, errors))
            assert seen <= set(pids.values())
        process.send_signal(signal.SIGTERM)
        await process.wait()
        await errors.rest()

    assert process.returncode == 0


@pytest.mark.parametrize("is_sync", [False, True])
async def test_a_client_of_several_connections_reaches_all_workers(is_sync: bool) -> None:
    def use(address: str) -> None:
        with SyncClient(address, connections=32) as client:
            for _ in range(32):
                client.complete(REQUEST)

    async with working() as (process, address, errors, pids):
        if is_sync:
            await asyncio.to_thread(use, address)
        else:
            async with Client(address, connections=32) as client:
                await asyncio.gather(*(client.complete(REQUEST) for _ in range(32)))
        process.send_signal(signal.SIGTERM)
        text = await errors.rest()

    # Which one gets a connection is the kernel's choice; that all go to one is as likely as 2 in 2 ** 32.
    assert set(map(int, CALL.findall(text))) == set(pids.values())
    assert len(CALL.findall(text)) == 32


async def test_a_running_stream_is_drained_before_all_workers_end() -> None:
    async with working(*SLOWLY) as (process, address, errors, pids), Client(address) as client:
        stream = client.stream(STREAM_REQUEST)
        first = await anext(stream)
        process.send_signal(signal.SIGTERM)
        rest = [item async for item in stream]
        await process.wait()
        text = await errors.rest()
        for pid in pids.values():
            await gone(pid)

    assert len([first, *rest]) == 12
    assert process.returncode == 0
    assert b"Traceback" not in text
    assert b"replaced" not in text


async def test_ctrl_c_in_a_terminal_is_one_signal_for_all() -> None:
    async with working(*SLOWLY) as (process, address, errors, _), Client(address) as client:
        stream = client.stream(STREAM_REQUEST)
        first = await anext(stream)
        os.killpg(process.pid, signal.SIGINT)
        rest = [item async for item in stream]
        await process.wait()
        text = await errors.rest()

    assert len([first, *rest]) == 12
    assert process.returncode == 0
    assert b"Traceback" not in text
    assert b"interrupted" not in text


async def test_a_service_manager_may_signal_every_process() -> None:
    async with working(*SLOWLY) as (process, address, errors, pids), Client(address) as client:
        stream = client.stream(STREAM_REQUEST)
        first = await anext(stream)
        for pid in (process.pid, *pids.values()):
            os.kill(pid, signal.SIGTERM)
        rest = [item async for item in stream]
        await process.wait()
        text = await errors.rest()

    assert len([first, *rest]) == 12
    assert process.returncode == 0
    assert b"ERROR" not in text


@pytest.mark.parametrize(
    ("number", "how"), [(signal.SIGKILL, b"ended with SIGKILL"), (signal.SIGTERM, b"ended with exit code 0")]
)
async def test_a_worker_that_ends_is_replaced(number: signal.Signals, how: bytes) -> None:
    async with working() as (process, address, errors, pids):
        os.kill(pids[0], number)
        index, pid = await errors.started()
        assert (index, pid not in pids.values()) == (0, True)
        expected = b"worker 0: process %d %s; it is replaced" % (pids[0], how)
        assert expected in errors.text
        seen: set[int] = set()
        while pid not in seen:
            seen.add(await answered_by(address, errors))
        process.send_signal(signal.SIGTERM)
        await process.wait()
        await errors.rest()

    assert process.returncode == 0


async def test_workers_that_die_again_and_again_end_all() -> None:
    async with working() as (process, _, errors, pids):
        pid = pids[0]
        # Those that were not quick enough do not count; then there is one more.
        while process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
            try:
                _, pid = await errors.started()
            except AssertionError:
                break
        await process.wait()
        await gone(pids[1])

    assert process.returncode == 1
    assert b"Error: worker 0 died 3 times in a row right after its start\n" in errors.text


async def test_workers_end_themselves_when_the_process_above_them_dies() -> None:
    async with working(*SLOWLY) as (process, address, errors, pids), Client(address) as client:
        stream = client.stream(STREAM_REQUEST)
        first = await anext(stream)
        process.kill()
        rest = [item async for item in stream]
        text = await errors.rest()
        for pid in pids.values():
            await gone(pid)

    assert len([first, *rest]) == 12
    assert text.count(b"the parent process ends: refusing new calls") == 2


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, -signal.SIGTERM), (signal.SIGINT, 130)])
async def test_a_second_signal_ends_all_workers_at_once(number: signal.Signals, code: int) -> None:
    async with (
        working("--drain-s", "600", *NEVER) as (process, address, errors, pids),
        Client(address) as client,
    ):
        stream = client.stream(STREAM_REQUEST)
        await anext(stream)
        await signal_twice(process, pids, number)
        text = await errors.rest()
        await stream.aclose()

    assert process.returncode == code
    assert b"Traceback" not in text


async def test_a_worker_that_hangs_does_not_stop_the_end() -> None:
    program = (
        "import mistralwire.cli.processes.workers as workers; workers._KILL_AFTER_S = 1; "
        "from mistralwire.cli import main; main(['serve', '--workers', '2', '--drain-s', '0', *sys.argv[1:]])"
    )
    command = (sys.executable, "-c", f"import sys; {program}")
    async with asyncio.timeout(60), serving(command=command) as (process, _, _line):
        errors = Errors(process)
        pids = dict([await errors.started(), await errors.started()])
        os.kill(pids[1], signal.SIGSTOP)
        process.send_signal(signal.SIGTERM)
        await process.wait()
        text = await errors.rest()
        await gone(pids[1])

    assert process.returncode == 1
    assert re.search(rb"workers did not end in time and were killed: .*\b%d\b" % pids[1], text)


async def test_an_error_that_nobody_expected_ends_all_instead_of_hanging() -> None:
    program = (
        "import sys, mistralwire.cli.processes.workers as workers; workers.pack_job = None; "
        "from mistralwire.cli import main; main(['serve', '--workers', '2', '--port', '0'])"
    )
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", program, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    try:
        async with asyncio.timeout(30):
            output, errors = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.communicate()

    assert (process.returncode, output) == (1, b"")
    assert b"builtins.TypeError" in errors


def test_a_worker_that_gets_nothing_to_do_just_ends() -> None:
    command = [sys.executable, "-m", "mistralwire.cli.processes"]
    result = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=60, check=False)

    assert (result.returncode, result.stdout, result.stderr) == (1, b"", b"")


async def test_a_port_that_is_taken_is_said_as_without_workers() -> None:
    async with serving() as (_, address, _line):
        port = address.rpartition(":")[2]
        alone = await asyncio.to_thread(run, "--port", port)
        several = await asyncio.to_thread(run, "--port", port, *TWO)

    assert several.returncode == alone.returncode == 1
    in_use = f"Error: {address} is in use; stop what listens there, or take another port\n"
    assert several.stderr == alone.stderr == in_use


async def test_a_port_that_others_share_is_taken_too() -> None:
    async with working() as (_, address, *_rest):
        result = await asyncio.to_thread(run, "--port", address.rpartition(":")[2], *TWO)

    assert result.returncode == 1
    assert f"Error: {address} is in use" in result.stderr


async def test_a_port_is_shared_with_others_when_both_want_it() -> None:
    with socket.socket() as taken:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        taken.bind(("127.0.0.1", 0))
        port = str(taken.getsockname()[1])
        arguments = ("--share-port", "--port", port)
        async with (
            working(*arguments) as (_, first, *_rest),
            serving(*arguments) as (_process, second, _line),
        ):
            assert first == second == f"127.0.0.1:{port}"


@pytest.mark.parametrize("host", ["localhost", "::1"])
async def test_a_free_port_is_one_port_for_all_addresses_of_the_host(host: str) -> None:
    async with working("--host", host) as (_, address, errors, pids):
        assert await answered_by(address, errors) in pids.values()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--token-file", "nowhere"], "nowhere"),
        (["--host", "name.invalid", "--insecure"], "'name.invalid', which does not resolve"),
        ([str(pathlib.Path(__file__))], ""),
    ],
)
def test_what_keeps_the_workers_from_starting_is_said_once(arguments: list[str], said: str) -> None:
    result = run("--port", "0", "--log-level", "error", *TWO, *arguments)

    assert (result.returncode, result.stdout) == (1, "")
    assert result.stderr.splitlines()[-1].startswith("Error: ")
    assert said in result.stderr.splitlines()[-1]
    assert result.stderr.count(" ERROR ") <= 1
    assert "Traceback" not in result.stderr


async def test_workers_whose_address_can_not_be_printed_are_stopped() -> None:
    with pathlib.Path("/dev/full").open("wb") as full:  # noqa: ASYNC230 - a device, which opens at once
        process = await asyncio.create_subprocess_exec(
            *COMMAND, "--port", "0", *TWO, stdout=full, stderr=asyncio.subprocess.PIPE
        )
    errors = Errors(process)
    async with asyncio.timeout(60):
        pids = [(await errors.started())[1] for _ in range(2)]
        text = await errors.rest()
        await process.communicate()
        for pid in pids:
            await gone(pid)

    assert process.returncode == 1
    assert text.endswith(b"Error: standard output: No space left on device\n")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_stop_while_the_workers_start_ends_all(number: signal.Signals) -> None:
    process = await asyncio.create_subprocess_exec(
        *(*COMMAND, "--port", "0", "--workers", "3"),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        process_group=0,
    )
    errors = Errors(process)
    async with asyncio.timeout(60):
        # One of them listens, the others mostly do not.
        await errors.started()
        if number == signal.SIGINT:
            os.killpg(process.pid, number)
        else:
            process.send_signal(number)
        text = await errors.rest()
        await process.communicate()

    assert process.returncode == 0
    assert b"Traceback" not in text
    assert b"an exception" not in text
    assert b"replaced" not in text
