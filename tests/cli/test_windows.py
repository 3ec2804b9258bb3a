"""The commands on a system like Windows: without the names that only POSIX has, and without uvloop.

What is removed here is what Windows lacks: https://docs.python.org/3/library/ marks it 'Availability: Unix'.
"""

import asyncio
import json
import pathlib
import signal
import subprocess
import sys

import pytest

from .commands import DATA, TIMEOUT_S
from .serving import serving

pytestmark = pytest.mark.process

_WITHOUT_POSIX = """
import asyncio, os, signal, socket, sys
import asyncio.unix_events

for module, names in {
    signal: "SIGHUP SIGKILL SIGQUIT SIGTTIN SIGTTOU SIGTSTP SIGCONT SIGUSR1 SIGUSR2 SIGPIPE SIGALRM SIGCHLD "
    "pthread_sigmask sigwait setitimer alarm pause",
    socket: "SO_REUSEPORT",
    os: "fork forkpty getuid geteuid getgid getpgid setsid killpg chown fchown fchmod nice uname sysconf "
    "mkfifo O_CLOEXEC O_NONBLOCK O_NOFOLLOW O_DIRECTORY set_blocking pipe2 posix_spawn sched_getaffinity "
    "sched_yield wait waitid register_at_fork getloadavg statvfs",
}.items():
    for name in names.split():
        if hasattr(module, name):
            delattr(module, name)
for name in ("fcntl", "grp", "pwd", "resource", "termios", "uvloop"):
    sys.modules[name] = None


def refuse(*arguments, **options):
    raise NotImplementedError


asyncio.unix_events._UnixSelectorEventLoop.add_signal_handler = refuse
asyncio.unix_events._UnixSelectorEventLoop.remove_signal_handler = refuse

from mistralwire.cli import main
main()
"""
COMMAND = [sys.executable, "-c", _WITHOUT_POSIX]


def run(*arguments: str | pathlib.Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*COMMAND, *map(str, arguments)], capture_output=True, text=True, check=False, timeout=TIMEOUT_S
    )


def test_the_codec_and_the_contract(tmp_path: pathlib.Path) -> None:
    wire, text = tmp_path / "response.binpb", tmp_path / "response.json"
    assert run("convert", DATA / "response.json", "-o", wire).stderr == ""
    result = run("convert", wire, "--type", "ChatCompletionResponse", "-o", text)
    assert (result.returncode, result.stderr) == (0, "")
    assert json.loads(text.read_bytes()) == json.loads((DATA / "response.json").read_bytes())

    result = run("proto", "--out", tmp_path / "contract")
    assert (result.returncode, result.stderr) == (0, "")
    assert (tmp_path / "contract" / "buf.yaml").exists()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_a_service_that_a_signal_ends(number: signal.Signals) -> None:
    async with serving(command=[*COMMAND, "serve"]) as (process, address, _):
        answer = await asyncio.to_thread(run, "call", "--target", address, "What is the weather in Paris?")
        assert (answer.returncode, answer.stderr) == (0, "")
        assert answer.stdout
        process.send_signal(number)
        assert await process.wait() == 0


async def test_a_gateway_and_its_second_signal() -> None:
    stalled = json.dumps({"model": "m", "messages": [{"role": "user", "content": "x"}], "stream": True})
    async with serving("--chunks-per-second", "0.1", command=[*COMMAND, "gateway"]) as (process, url, _):
        reader, writer = await asyncio.open_connection("127.0.0.1", int(url.rpartition(":")[2]))
        head = f"host: localhost\r\ncontent-type: application/json\r\ncontent-length: {len(stalled)}"
        writer.write(f"POST /v1/chat/completions HTTP/1.1\r\n{head}\r\n\r\n{stalled}".encode())
        assert (await reader.readline()).startswith(b"HTTP/1.1 200")
        process.send_signal(signal.SIGTERM)
        assert process.stderr is not None
        async for line in process.stderr:
            if b"SIGTERM" in line:
                break
        # The stream still runs: only a second signal ends it before its time.
        process.send_signal(signal.SIGTERM)
        assert await process.wait() == -signal.SIGTERM
        writer.close()


@pytest.mark.parametrize(
    ("command", "flag", "setting"),
    [
        ("serve", ["--workers", "2"], "--workers"),
        ("gateway", ["--workers", "2"], "--workers"),
        ("serve", ["--share-port"], "--share-port"),
        ("gateway", ["--share-port"], "--share-port"),
    ],
)
def test_what_the_system_can_not_do_is_said_in_one_line(command: str, flag: list[str], setting: str) -> None:
    result = run(command, *flag)
    assert result.returncode == 2
    expected = f"{setting} is not possible on this system, which has no SO_REUSEPORT; leave it out"
    assert result.stderr.splitlines()[-1] == f"Error: {expected}"
