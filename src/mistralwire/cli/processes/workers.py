"""Running a job: in this process, or in workers that share a port and are started, watched and replaced."""

import asyncio
import contextlib
import logging
import os
import pickle
import signal
import socket
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, cast

from mistralwire._addresses import why_not
from mistralwire._serving.metrics_page import metrics_address
from mistralwire.cli._server_settings import ProcessSettings
from mistralwire.cli.processes import SIGNALS, Job, log_drain, serve_until_signal
from mistralwire.cli.processes._logging import configure_logging
from mistralwire.errors import MistralwireError, Reason

READY = b"ready\n"
"""What a worker writes to standard output when it listens."""

QUICK_DEATHS_MAX = 3
"""How many times in a row a worker may die soon after its start before the command gives up."""

_SOON_S = 1.0
# Workers are killed so many seconds after the time for running calls is over. Cancelled calls have a few
# seconds to end.
_KILL_AFTER_S = 15.0

_logger = logging.getLogger(__name__)


def run_job(job: Job) -> None:
    """Serve in this process or in workers until SIGTERM or SIGINT; a second signal ends it at once.

    Raises:
        MistralwireError: If it can't listen, something that the settings name can't be used, or the workers
            fail.
    """
    configure_logging(job.logs)
    if job.processes.workers == 1:
        with asyncio.Runner(loop_factory=job.new_loop) as runner:
            runner.run(serve_until_signal(job))
        return
    last_signal = asyncio.run(_run_workers(job))
    if last_signal == signal.SIGINT:
        raise KeyboardInterrupt
    if last_signal is not None:
        signal.signal(last_signal, signal.SIG_DFL)
        os.kill(os.getpid(), last_signal)


async def _run_workers(job: Job) -> signal.Signals | None:
    await _check_metrics_ports(job.processes)
    # The parent prepares a server that never listens, to find out what can't be used, and what answers.
    async with job.prepare(None) as prepared, reserved_port(job.config, prepared.address) as port:
        prepared.server.port = port
        return await Workers(job.sharing(port)).run(prepared.announce)


async def _check_metrics_ports(processes: ProcessSettings) -> None:
    first, host = processes.prometheus_port, processes.prometheus_host
    for port in range(first, first + processes.workers) if first else ():
        if message := await why_not(host, port, metrics_address(host, port), share_port=False):
            raise MistralwireError(message, code="UNAVAILABLE", reason=Reason.CANNOT_LISTEN)


@contextlib.asynccontextmanager
async def reserved_port(config: Any, address: str) -> AsyncIterator[int]:
    """Reserve the port of a server, or a free one, for workers; messages have the address.

    The sockets that reserve it do not listen, so that they get no connections.

    Raises:
        MistralwireError: If it can't be reserved, with the reason CANNOT_LISTEN.
    """
    host, port = config.host.removeprefix("[").removesuffix("]"), config.port
    # Without SO_REUSEPORT: nothing else would reveal other programs that share their port.
    if message := await why_not(host, port, address, share_port=config.share_port):
        raise MistralwireError(message, code="UNAVAILABLE", reason=Reason.CANNOT_LISTEN)
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    with contextlib.ExitStack() as stack:
        for family, kind, protocol, _, place in found:
            keeper = stack.enter_context(socket.socket(family, kind, protocol))
            keeper.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            keeper.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            keeper.bind((place[0], port, *place[2:]))
            port = keeper.getsockname()[1]
        yield port


class Workers:
    """The worker processes of a job.

    A worker that ends unexpectedly is replaced. If one dies again and again right after its start, all are
    stopped. When this process dies, the workers read the end of their input, and drain.

    Args:
        job: What each of them serves, on a port that they share.
    """

    def __init__(self, job: Job) -> None:
        self._job = job
        self._processes: dict[int, Process] = {}
        self._ready: set[int] = set()
        self._started = asyncio.Event()
        self._is_stopping = False
        self._last_signal: signal.Signals | None = None
        self._failure = ""

    async def run(self, announce: Callable[[], Awaitable[None]]) -> signal.Signals | None:
        """Run until SIGTERM or SIGINT, then drain all workers; `announce` is called when all listen.

        Returns:
            The second signal, if there was one and the workers were killed; None if all ended by themselves.

        Raises:
            MistralwireError: If the workers can't start, keep dying, or do not end.
        """
        loop = asyncio.get_running_loop()
        for number in SIGNALS:
            loop.add_signal_handler(number, self._on_signal, number)
        keepers = [asyncio.create_task(self._keep(index)) for index in range(self._job.processes.workers)]
        started = asyncio.create_task(self._started.wait())
        try:
            # An unexpected exception ends a keeper before all workers have started.
            await asyncio.wait([started, *keepers], return_when=asyncio.FIRST_COMPLETED)
            if self._started.is_set() and not self._is_stopping:
                await announce()
                await asyncio.wait(keepers, return_when=asyncio.FIRST_COMPLETED)
        finally:
            started.cancel()
            self._stop()
            await asyncio.wait(keepers)
        for keeper in keepers:
            keeper.result()
        if self._failure and self._last_signal is None:
            raise MistralwireError(self._failure, code="UNAVAILABLE", reason=Reason.WORKERS_FAILED)
        return self._last_signal

    def _on_signal(self, number: signal.Signals) -> None:
        if self._is_stopping:
            self._last_signal = number
            self._kill()
        else:
            log_drain(number.name)
            self._stop()

    def _stop(self) -> None:
        """Let all workers drain, and kill those that take too long."""
        if self._is_stopping:
            return
        self._is_stopping = True
        self._started.set()
        for process in self._processes.values():
            _input_of(process).close()
        asyncio.get_running_loop().call_later(self._job.config.drain_s + _KILL_AFTER_S, self._give_up)

    def _give_up(self) -> None:
        if pids := [str(process.pid) for process in self._processes.values()]:
            self._fail(f"workers did not end in time and were killed: {', '.join(pids)}")
            self._kill()

    def _kill(self) -> None:
        for process in self._processes.values():
            with contextlib.suppress(ProcessLookupError):
                process.kill()

    def _fail(self, message: str) -> None:
        self._failure = self._failure or message
        _logger.error("%s", message)
        self._stop()

    async def _keep(self, index: int) -> None:
        quick_deaths = 0
        while not self._is_stopping:
            try:
                lived_s, how = await self._run_worker(index)
            except OSError as error:
                self._fail(f"a worker can't be started: {(error.strerror or 'unknown error').lower()}")
                return
            if self._is_stopping:
                return
            if lived_s is None and not self._started.is_set():
                # At the first start the environment is at fault, and a retry would not help.
                self._fail(how)
                return
            quick_deaths = quick_deaths + 1 if lived_s is None or lived_s < _SOON_S else 0
            if quick_deaths == QUICK_DEATHS_MAX:
                self._fail(f"worker {index} died {QUICK_DEATHS_MAX} times in a row right after its start")
                return
            _logger.warning("worker %d: %s; it is replaced", index, how)

    async def _run_worker(self, index: int) -> tuple[float | None, str]:
        """Run one process; return the seconds for which it listened, None for never, and how it ended."""
        process = await _start()
        self._processes[index] = process
        try:
            _input_of(process).write(pack_job(index, self._job))
            if self._is_stopping:
                _input_of(process).close()
            line = await cast("asyncio.StreamReader", process.stdout).readline()
            began_s = asyncio.get_running_loop().time()
            if line == READY:
                _logger.info("worker %d is process %d", index, process.pid)
                self._ready.add(index)
                if len(self._ready) == self._job.processes.workers:
                    self._started.set()
            code = await process.wait()
        finally:
            del self._processes[index]
            _input_of(process).close()
        # A worker that never listened has reported why, and the first such report was logged.
        if self._is_stopping and line == READY and code not in (0, -signal.SIGTERM, -signal.SIGKILL):
            self._fail(f"worker process {process.pid} ended with {code} instead of 0")
        how = line.decode(errors="replace").strip() if code and line not in (b"", READY) else ""
        how = how or f"process {process.pid} ended with {_ending(code)}"
        return (asyncio.get_running_loop().time() - began_s if line == READY else None), how


def pack_job(index: int, job: Job) -> bytes:
    """Return a job as a worker reads it from its standard input."""
    return pickle.dumps((index, job))


def _input_of(process: Process) -> asyncio.StreamWriter:
    return cast("asyncio.StreamWriter", process.stdin)


def _ending(code: int) -> str:
    return f"exit code {code}" if code >= 0 else signal.Signals(-code).name


async def _start() -> Process:
    # The worker imports from where this process does; from the working folder only if that is included.
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    return await asyncio.create_subprocess_exec(
        sys.executable,
        "-P",
        "-m",
        "mistralwire.cli.processes",
        stdin=PIPE,
        stdout=PIPE,
        env=environment,
        process_group=0,  # Ctrl-C in a terminal reaches the parent alone, which drains its workers
    )
