"""Who takes part: each started once, all before the same model API."""

import contextlib
import dataclasses
import http.client
import os
import pathlib
import re
import secrets
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence

from benchmarks.gateway import envoy, litellm, scenarios
from benchmarks.gateway.scenarios import CONTENDERS, DIRECT, EMBEDDED, ENVOY, LITELLM, SEPARATE

MISTRALWIRE = (sys.executable, "-m", "mistralwire")
# LiteLLM reads much before it listens.
START_S_MAX = 120.0
_POLL_S = 0.1
_LISTENING = re.compile(r"listening on (?:http://)?127\.0\.0\.1:(\d+)")
_Process = subprocess.Popen[bytes]


@dataclasses.dataclass(frozen=True, slots=True)
class Contender:
    """One that can be asked.

    Attributes:
        port: Where it listens.
        pids: Its processes.
        key: The key of its callers.
    """

    port: int
    pids: tuple[int, ...]
    key: str


@contextlib.contextmanager
def running(names: Sequence[str], folder: pathlib.Path) -> Iterator[dict[str, Contender]]:
    """Run contenders, and the model API behind them.

    Args:
        names: Their names.
        folder: For their configurations and logs.

    Raises:
        RuntimeError: If one does not start; the message has the end of its log.
    """
    with contextlib.ExitStack() as stack:
        starter = _Starter(stack, folder)
        yield {name: starter.start(name) for name in CONTENDERS if name in names}


class _Starter:
    """Starts contenders; they end with the stack.

    Args:
        stack: What ends them.
        folder: For their configurations and logs.
    """

    def __init__(self, stack: contextlib.ExitStack, folder: pathlib.Path) -> None:
        self._stack = stack
        self._folder = folder
        self._key = f"sk-{secrets.token_hex(16)}"
        self._keys = folder / "keys"
        self._keys.touch(0o600)
        self._keys.write_text(f"{self._key}\n")
        upstream = self._run("upstream", [sys.executable, "-m", "benchmarks.gateway.upstream"])
        self._upstream = Contender(self._port_of("upstream", upstream, re.compile(r"(\d+)\n")), (), self._key)
        self._service: tuple[int, int] | None = None

    def start(self, name: str) -> Contender:
        """Start one; it listens when this returns."""
        starts = {
            EMBEDDED: self._embedded,
            SEPARATE: self._separate,
            LITELLM: self._litellm,
            ENVOY: self._envoy,
        }
        return self._upstream if name == DIRECT else starts[name]()

    def _embedded(self) -> Contender:
        return self._gateway(EMBEDDED, "--embedded", "--upstream-url", self._upstream_url)

    def _separate(self) -> Contender:
        port, pid = self._serve()
        gateway = self._gateway(SEPARATE, "--service", f"127.0.0.1:{port}")
        return dataclasses.replace(gateway, pids=(*gateway.pids, pid))

    def _gateway(self, name: str, *arguments: str) -> Contender:
        options = ("--port", "0", "--token-file", str(self._keys), "--log-level", "warning")
        process = self._run(name, [*MISTRALWIRE, "gateway", *arguments, *options])
        return Contender(self._port_of(name, process), (process.pid,), self._key)

    def _serve(self) -> tuple[int, int]:
        """Give port and process of the service; it is one for all that need it."""
        if self._service is None:
            options = ("--port", "0", "--log-level", "warning")
            command = [*MISTRALWIRE, "serve", "--upstream-url", self._upstream_url, *options]
            process = self._run("service", command)
            self._service = self._port_of("service", process), process.pid
        return self._service

    def _litellm(self) -> Contender:
        if not litellm.FOLDER.exists():
            raise RuntimeError(f"expected LiteLLM in {litellm.FOLDER}, found none; use 'make bench-gateway'")
        port = _free_port()
        command = litellm.command(self._upstream.port, port, self._folder)
        process = self._run(LITELLM, command, litellm.environment(self._key, self._folder))
        self._wait_until_answering(LITELLM, process, port)
        return Contender(port, (process.pid,), self._key)

    def _envoy(self) -> Contender:
        service_port, pid = self._serve()
        port = _free_port()
        process = self._run(ENVOY, envoy.command(service_port, port, self._folder))
        self._wait_until_answering(ENVOY, process, port)
        return Contender(port, (process.pid, pid), self._key)

    @property
    def _upstream_url(self) -> str:
        return f"http://127.0.0.1:{self._upstream.port}"

    def _run(
        self, name: str, command: Sequence[str], environment: Mapping[str, str] | None = None
    ) -> _Process:
        """Start a process; what it says goes to its log."""
        own = environment or {**os.environ, "MISTRAL_API_KEY": "unused"}
        with self._log(name).open("wb") as log:
            process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, env=own)
        self._stack.callback(_end, process)
        return process

    def _log(self, name: str) -> pathlib.Path:
        return self._folder / f"{name}.log"

    def _port_of(self, name: str, process: _Process, pattern: re.Pattern[str] = _LISTENING) -> int:
        """Wait until a process says where it listens."""
        log = self._log(name)
        self._wait_until(lambda: bool(pattern.search(log.read_text())), name, process)
        match = pattern.search(log.read_text())
        assert match is not None
        return int(match[1])

    def _wait_until_answering(self, name: str, process: _Process, port: int) -> None:
        self._wait_until(lambda: _answers(port), name, process)

    def _wait_until(self, is_ready: Callable[[], bool], name: str, process: _Process) -> None:
        """Wait for a process that starts."""
        end_s = time.monotonic() + START_S_MAX
        while not is_ready():
            if process.poll() is not None or time.monotonic() > end_s:
                raise RuntimeError(f"{name} did not start:\n{self._log(name).read_text()[-2000:]}")
            time.sleep(_POLL_S)


def body_of(name: str, *, is_stream: bool) -> str:
    """Give the body of a request to a contender."""
    return envoy.request_body() if name == ENVOY else scenarios.request_body(is_stream=is_stream)


def path_of(name: str) -> str:
    """Give the path of a request to a contender."""
    return envoy.PATH if name == ENVOY else scenarios.PATH


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port: int = free.getsockname()[1]
    return port


def _answers(port: int) -> bool:
    """Tell whether anybody answers HTTP, with whatever status."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=1)
    try:
        connection.request("GET", "/")
        connection.getresponse()
    except (OSError, http.client.HTTPException):
        return False
    else:
        return True
    finally:
        connection.close()


def _end(process: _Process) -> None:
    process.terminate()
    try:
        process.wait(10)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
