"""Processes that the tests talk to: servers, and Envoy in front of them."""

import asyncio
import contextlib
import dataclasses
import http.client
import json
import pathlib
import shutil
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import Any

ROOT = pathlib.Path(__file__).parents[2]
ENVOY_CONFIG = ROOT / "deploy" / "envoy.yaml"
# How long a process or a state may be waited for, on a machine that does much else.
WAIT_S = 60
_POLL_S = 0.05


def find_program(name: str) -> str | None:
    """Find a program that this environment has; one of the machine may be of any version."""
    return shutil.which(name, path=f"{sys.prefix}/bin")


async def run(
    *command: str | pathlib.Path,
    stdin: bytes = b"",
    cwd: pathlib.Path | None = None,
    env: Mapping[str, str] | None = None,
    wait_s: float = WAIT_S,
) -> tuple[int, str, str]:
    """Run a command to its end, and return its exit code and what it wrote to its two outputs."""
    process = await asyncio.create_subprocess_exec(
        *command, stdin=PIPE, stdout=PIPE, stderr=PIPE, cwd=cwd, env=env
    )
    try:
        async with asyncio.timeout(wait_s):
            output, errors = await process.communicate(stdin)
    finally:
        await end(process)
    assert process.returncode is not None
    return process.returncode, output.decode(), errors.decode()


@contextlib.asynccontextmanager
async def listening(
    *command: str | pathlib.Path, cwd: pathlib.Path | None = None, env: Mapping[str, str] | None = None
) -> AsyncIterator[tuple[Process, str]]:
    """Run a program that prints `listening on ADDRESS`, and yield the process and that address."""
    process = await asyncio.create_subprocess_exec(*command, stdout=PIPE, cwd=cwd, env=env)
    try:
        async with asyncio.timeout(WAIT_S):
            assert process.stdout is not None
            line = (await process.stdout.readline()).decode()
        assert line.startswith("listening on "), line
        yield process, line.split()[2].rstrip(",")
    finally:
        await end(process)


@contextlib.asynccontextmanager
async def serving(
    *arguments: str | pathlib.Path, command: str = "serve"
) -> AsyncIterator[tuple[Process, str]]:
    """Run `mistralwire serve`, or `gateway`, on a free port, and yield the process and its address."""
    program = (sys.executable, "-m", "mistralwire", command, "--port", "0")
    async with listening(*program, *arguments) as running:
        yield running


@dataclasses.dataclass(frozen=True, slots=True)
class Envoy:
    """A running Envoy.

    Attributes:
        process: Its process.
        address: Where it takes calls.
        admin: Where its admin interface is.
    """

    process: Process
    address: str
    admin: str

    async def ask(self, path: str) -> Any:
        """Return the admin interface's response at a path, as JSON."""
        return json.loads(await asyncio.to_thread(_request, self.admin, "GET", path))

    async def post(self, path: str) -> None:
        """Send a command to the admin interface."""
        await asyncio.to_thread(_request, self.admin, "POST", path)

    async def wait_until_closed(self) -> None:
        """Wait until it takes no new connections."""
        host, port = self.address.split(":")
        async with asyncio.timeout(WAIT_S):
            while True:
                try:
                    _, writer = await asyncio.open_connection(host, int(port))
                except ConnectionRefusedError:
                    return
                writer.close()
                await asyncio.sleep(_POLL_S)

    async def stop(self) -> str:
        """End it gracefully, and return its access log."""
        self.process.terminate()
        async with asyncio.timeout(WAIT_S):
            output, _ = await self.process.communicate()
        return output.decode()

    async def wait_until(self, server: str, is_so: Callable[[dict[str, Any]], bool]) -> None:
        """Wait until what Envoy says of a server is so.

        Args:
            server: Address of the server.
            is_so: Told Envoy's `host_status` of it, with its numbers in `stats` by their names.
        """
        async with asyncio.timeout(WAIT_S):
            while not is_so(await self._status_of(server)):  # noqa: ASYNC110 - Envoy tells when asked
                await asyncio.sleep(_POLL_S)

    async def _status_of(self, server: str) -> dict[str, Any]:
        for cluster in (await self.ask("/clusters?format=json"))["cluster_statuses"]:
            for status in cluster["host_statuses"]:
                if _address_of(status["address"]) == server:
                    stats = {stat["name"]: int(stat.get("value", 0)) for stat in status["stats"]}
                    return {**status, "stats": stats}
        return {"health_status": {}, "stats": {}}


def is_serving(status: dict[str, Any]) -> bool:
    """Check whether calls go to a server, by its status."""
    return bool(status["health_status"] == {"eds_health_status": "HEALTHY"})


def is_taken_out(status: dict[str, Any]) -> bool:
    """Check whether its health checks took a server out, by its status."""
    return "failed_active_health_check" in status["health_status"]


def is_disconnected(status: dict[str, Any]) -> bool:
    """Check whether a server that was called once has no connection any more, by its status."""
    return bool(status["stats"]["cx_total"] and not status["stats"]["cx_active"])


@contextlib.asynccontextmanager
async def running_envoy(
    servers: Sequence[str], folder: pathlib.Path, edit: Callable[[str], str] = str
) -> AsyncIterator[Envoy]:
    """Run Envoy with the shipped configuration on free ports; it is there when its two servers take calls.

    Args:
        servers: Addresses of the servers.
        folder: Where to write what Envoy needs.
        edit: Told the text of the configuration; gives it as an operator would edit it.
    """
    config, admin = folder / "envoy.yaml", folder / "admin"
    config.write_text(edit(_with_ports(servers)))
    command = (
        *(find_program("envoy") or "envoy", "--config-path", config, "--admin-address-path", admin),
        *("--use-dynamic-base-id", "--concurrency", "1", "--log-level", "warning", "--drain-time-s", "1"),
    )
    process = await asyncio.create_subprocess_exec(*command, stdout=PIPE)
    try:
        async with asyncio.timeout(WAIT_S):
            while not (admin.exists() and admin.read_text()):
                assert process.returncode is None
                await asyncio.sleep(_POLL_S)
        envoy = Envoy(process, "", admin.read_text().strip())
        [listener] = (await envoy.ask("/listeners?format=json"))["listener_statuses"]
        envoy = dataclasses.replace(envoy, address=_address_of(listener["local_address"]))
        for server in servers:
            await envoy.wait_until(server, is_serving)
        yield envoy
    finally:
        await end(process)


def _with_ports(servers: Sequence[str]) -> str:
    """Return the shipped configuration with the ports of this run, and nothing else changed."""
    text = ENVOY_CONFIG.read_text()
    ports = {"9901": "0", "8080": "0"}
    ports |= {
        port: server.rpartition(":")[2] for port, server in zip(("50051", "50052"), servers, strict=True)
    }
    for old, new in ports.items():
        place = f"{{ address: 127.0.0.1, port_value: {old} }}"
        assert text.count(place) == 1, place
        text = text.replace(place, f"{{ address: 127.0.0.1, port_value: {new} }}")
    return text


def _address_of(address: dict[str, Any]) -> str:
    place = address["socket_address"]
    return f"{place['address']}:{place['port_value']}"


def _request(address: str, method: str, path: str) -> bytes:
    connection = http.client.HTTPConnection(address, timeout=WAIT_S)
    try:
        connection.request(method, path)
        response = connection.getresponse()
        assert response.status == http.HTTPStatus.OK, path
        return response.read()
    finally:
        connection.close()


async def end(process: Process) -> None:
    """End a process for certain, and close its pipes while the loop is still there."""
    if process.returncode is None:
        process.kill()
    async with asyncio.timeout(WAIT_S):
        await process.communicate()
