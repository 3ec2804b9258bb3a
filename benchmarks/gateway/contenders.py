"""The contenders: each is started once, all in front of the same model API."""

import contextlib
import dataclasses
import functools
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

import trustme

from benchmarks.gateway import litellm, rivals, scenarios
from benchmarks.gateway.scenarios import (
    DIRECT,
    EMBEDDED,
    ENVOY,
    FERROGW,
    LITELLM,
    PROGRAM,
    SEPARATE,
    SMG,
    TLS,
    WORKERS,
)

MISTRALWIRE = (sys.executable, "-m", "mistralwire")
# LiteLLM reads much before it listens.
START_S_MAX = 120.0
_POLL_S = 0.1
_LISTENING = re.compile(r"listening on (?:http://)?127\.0\.0\.1:(\d+)")
_PORTS = re.compile(r"(\d+) (\d+)\n")
_Process = subprocess.Popen[bytes]


def has_workers() -> bool:
    """Return whether this gateway runs in several processes."""
    done = subprocess.run([*MISTRALWIRE, "gateway", "--help"], capture_output=True, text=True, check=True)
    return "--workers" in done.stdout


@dataclasses.dataclass(frozen=True, slots=True)
class Contender:
    """A contender that is running.

    Attributes:
        port: Where it listens.
        pids: Its processes, without the children that they have started.
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
        yield {name: starter.start(name) for name in names}


class _Starter:
    """Starts contenders, which end with the exit stack.

    Args:
        stack: The exit stack that ends them.
        folder: For their configurations and logs.
    """

    def __init__(self, stack: contextlib.ExitStack, folder: pathlib.Path) -> None:
        self._stack = stack
        self._folder = folder
        self._key = f"sk-{secrets.token_hex(16)}"
        self._keys = folder / "keys"
        self._keys.touch(0o600)
        self._keys.write_text(f"{self._key}\n")
        authority = trustme.CA()
        certificate, self._authority = folder / "upstream.pem", folder / "authority.pem"
        authority.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(certificate)
        authority.cert_pem.write_to_path(self._authority)
        command = [sys.executable, "-m", "benchmarks.gateway.upstream", str(certificate)]
        match = self._search("upstream", self._run("upstream", command), _PORTS)
        self._upstream_port, self._tls_port = int(match[1]), int(match[2])

    def start(self, name: str) -> Contender:
        """Start a contender, and return once it listens."""
        starts: dict[str, Callable[[], Contender]] = {
            DIRECT: lambda: Contender(self._upstream_port, (), self._key),
            EMBEDDED: functools.partial(self._embedded, EMBEDDED),
            TLS: self._tls,
            SEPARATE: self._separate,
            PROGRAM: self._program,
            SMG: self._smg,
            FERROGW: self._ferrogw,
            ENVOY: self._envoy,
            LITELLM: self._litellm,
        }
        starts |= {
            title: functools.partial(self._embedded, title, "--workers", str(workers))
            for workers, title in WORKERS.items()
        }
        return starts[name]()

    def _embedded(self, name: str, *options: str) -> Contender:
        return self._gateway(name, "--embedded", "--upstream-url", self._upstream_url, *options)

    def _tls(self) -> Contender:
        url = f"https://127.0.0.1:{self._tls_port}"
        environment = {"SSL_CERT_FILE": str(self._authority)}
        return self._gateway(TLS, "--embedded", "--upstream-url", url, environment=environment)

    def _separate(self) -> Contender:
        port, pid = self._serve()
        gateway = self._gateway(SEPARATE, "--service", f"127.0.0.1:{port}")
        return dataclasses.replace(gateway, pids=(*gateway.pids, pid))

    def _program(self) -> Contender:
        process = self._run(PROGRAM, [sys.executable, "-m", "benchmarks.gateway.program", str(self._keys)])
        return Contender(int(self._search(PROGRAM, process, _LISTENING)[1]), (process.pid,), self._key)

    def _gateway(self, name: str, *arguments: str, environment: Mapping[str, str] | None = None) -> Contender:
        options = ("--port", "0", "--token-file", str(self._keys), "--log-level", "warning")
        own = {**os.environ, "MISTRAL_API_KEY": "unused", **(environment or {})}
        process = self._run(name, [*MISTRALWIRE, "gateway", *arguments, *options], own)
        return Contender(int(self._search(name, process, _LISTENING)[1]), (process.pid,), self._key)

    def _serve(self) -> tuple[int, int]:
        """Return the port and the process of the service."""
        options = ("--port", "0", "--log-level", "warning")
        command = [*MISTRALWIRE, "serve", "--upstream-url", self._upstream_url, *options]
        process = self._run("service", command, {**os.environ, "MISTRAL_API_KEY": "unused"})
        return int(self._search("service", process, _LISTENING)[1]), process.pid

    def _smg(self) -> Contender:
        port = _free_port()
        return self._rival(SMG, port, *rivals.smg(self._upstream_port, port, self._key, _free_port()))

    def _ferrogw(self) -> Contender:
        port = _free_port()
        return self._rival(FERROGW, port, *rivals.ferrogw(self._upstream_port, port, self._key, self._folder))

    def _envoy(self) -> Contender:
        port = _free_port()
        return self._rival(ENVOY, port, *rivals.envoy(self._upstream_port, port, self._folder))

    def _litellm(self) -> Contender:
        port = _free_port()
        command = litellm.command(self._upstream_port, port, self._folder)
        return self._rival(LITELLM, port, command, litellm.environment(self._key, self._folder))

    def _rival(
        self, name: str, port: int, command: Sequence[str], environment: Mapping[str, str]
    ) -> Contender:
        if not pathlib.Path(command[0]).exists():
            raise RuntimeError(f"expected {name} at {command[0]}, found none; use 'make bench-gateway'")
        process = self._run(name, command, environment)
        self._wait_until(lambda: _answers(port, self._key), name, process)
        return Contender(port, (process.pid,), self._key)

    @property
    def _upstream_url(self) -> str:
        return f"http://127.0.0.1:{self._upstream_port}"

    def _run(
        self, name: str, command: Sequence[str], environment: Mapping[str, str] | None = None
    ) -> _Process:
        """Start a process whose output goes to its log."""
        with self._log(name).open("wb") as log:
            process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, env=environment)
        self._stack.callback(_end, process)
        return process

    def _log(self, name: str) -> pathlib.Path:
        return self._folder / f"{name}.log"

    def _search(self, name: str, process: _Process, pattern: re.Pattern[str]) -> re.Match[str]:
        """Wait until a process prints where it listens."""
        log = self._log(name)
        self._wait_until(lambda: bool(pattern.search(log.read_text())), name, process)
        match = pattern.search(log.read_text())
        assert match is not None
        return match

    def _wait_until(self, is_ready: Callable[[], bool], name: str, process: _Process) -> None:
        """Wait for a process that starts."""
        end_s = time.monotonic() + START_S_MAX
        while not is_ready():
            if process.poll() is not None or time.monotonic() > end_s:
                raise RuntimeError(f"{name} did not start:\n{self._log(name).read_text()[-2000:]}")
            time.sleep(_POLL_S)


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port: int = free.getsockname()[1]
    return port


def _answers(port: int, key: str) -> bool:
    """Check whether completions are answered."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    headers = {"authorization": f"Bearer {key}", "content-type": "application/json"}
    try:
        connection.request("POST", scenarios.PATH, scenarios.request_body(None), headers)
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def _end(process: _Process) -> None:
    process.terminate()
    try:
        process.wait(10)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
