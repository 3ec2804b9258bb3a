"""Real NATS servers, each a process with a folder of its own."""

import contextlib
import pathlib
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence

_START_TIMEOUT_S = 20.0


class NatsServer:
    """A process of nats-server, which may be killed and started again.

    Args:
        folder: Where its configuration, its log and its store are; its name is that of the server.
        sync: Its sync_interval.
        settings: Further lines of its configuration.
        store: Where it stores; in its folder by default.
        store_bytes_max: What it stores at most.
        inside: What the command begins with, to run elsewhere.
        host: Where it listens; on another host than this one, at the usual ports.
        command: Arguments with a configuration, instead of the one that the others describe.
    """

    def __init__(
        self,
        folder: pathlib.Path,
        *,
        sync: str = "always",
        settings: str = "",
        store: pathlib.Path | None = None,
        store_bytes_max: int = 2**30,
        inside: Sequence[str] = (),
        host: str = "127.0.0.1",
        command: Sequence[str] | None = None,
    ) -> None:
        self.name = folder.name
        self._store = store or folder / "store"
        self._store_bytes_max = store_bytes_max
        self._settings = settings
        self._folder = folder
        self._inside = inside
        self._host = host
        self._command = command or ("-c", str(folder / "server.conf"))
        self._port, self._monitor_port = (4222, 8222) if inside else free_ports(2)
        self._process: subprocess.Popen[bytes] | None = None
        folder.mkdir(parents=True, exist_ok=True)
        self.configure(sync=sync)

    def configure(self, *, sync: str) -> None:
        """Write the configuration for the next start."""
        (self._folder / "server.conf").write_text(
            f'server_name: "{self.name}"\n'
            f'jetstream {{ store_dir: "{self._store}", max_file_store: {self._store_bytes_max}, '
            f"sync_interval: {sync} }}\n"
            f"{self._settings}\n"
        )

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    @property
    def url(self) -> str:
        return f"nats://{self._host}:{self._port}"

    @property
    def monitor_url(self) -> str:
        return f"http://{self._host}:{self._monitor_port}"

    def start(self) -> None:
        """Start the process, and wait until JetStream answers."""
        self.launch()
        self.wait()

    def launch(self) -> None:
        """Start the process."""
        program = pathlib.Path(sys.executable).with_name("nats-server")
        address = ("-a", self._host, "-p", str(self._port), "-m", str(self._monitor_port))
        with (self._folder / "server.log").open("ab") as log:
            self._process = subprocess.Popen(
                [*self._inside, program, *self._command, *address], stdout=log, stderr=log
            )

    def wait(self) -> None:
        """Wait until JetStream answers."""
        deadline_s = time.monotonic() + _START_TIMEOUT_S
        while not self._is_healthy():
            assert time.monotonic() < deadline_s, (self._folder / "server.log").read_text()
            time.sleep(0.02)

    def _is_healthy(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.monitor_url}/healthz", timeout=1) as answer:
                return bool(answer.status == 200)
        except (urllib.error.URLError, OSError):
            return False

    def stop(self, by: signal.Signals = signal.SIGKILL) -> None:
        """End the process, without a chance to store anything by default."""
        if self._process is not None:
            self._process.send_signal(by)
            self._process.wait()
            self._process = None


def free_ports(count: int) -> list[int]:
    """Return ports that nobody listens on."""
    with contextlib.ExitStack() as stack:
        bound = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in bound:
            each.bind(("127.0.0.1", 0))
        return [int(each.getsockname()[1]) for each in bound]


@contextlib.contextmanager
def running(*servers: NatsServer) -> Iterator[NatsServer]:
    """Run servers; the first one is returned."""
    try:
        for server in servers:
            server.launch()
        for server in servers:
            server.wait()
        yield servers[0]
    finally:
        for server in servers:
            server.stop()


def cluster(
    folder: pathlib.Path, *, sync: str = "always", store: pathlib.Path | None = None
) -> list[NatsServer]:
    """Return three servers of one cluster; see `NatsServer`."""
    ports = free_ports(3)
    routes = ", ".join(f'"nats://127.0.0.1:{port}"' for port in ports)
    return [
        NatsServer(
            folder / f"n{number}",
            sync=sync,
            store=store and store / str(number),
            settings=f'cluster {{ name: c, listen: "127.0.0.1:{port}", routes: [{routes}] }}',
        )
        for number, port in enumerate(ports)
    ]
