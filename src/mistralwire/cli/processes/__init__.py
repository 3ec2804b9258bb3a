"""The processes of `serve` and `gateway`: one that serves, or a parent with workers that share a port.

A `Job` is everything that a process needs to know, and `workers.run_job` runs it. The package itself, as a
program, is a worker.
"""

import abc
import asyncio
import dataclasses
import functools
import logging
import os
import signal
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from typing import Any, Protocol, Self

import click

from mistralwire._offload import favour_loop
from mistralwire.cli._lazy_group import EXIT_INTERRUPTED
from mistralwire.cli._server_settings import LogSettings, ProcessSettings
from mistralwire.cli.processes._logging import log_loop_error

SIGNALS = (signal.SIGTERM, signal.SIGINT)
"""The signals that end a process gracefully."""

_logger = logging.getLogger(__name__)


class Listener(Protocol):
    """A server; it listens inside `async with`.

    Attributes:
        port: The port; once it listens, the one that was chosen.
    """

    port: int

    async def __aenter__(self) -> Self:
        """Listen."""
        ...

    async def __aexit__(self, *_: object) -> None:
        """Stop at once."""

    async def stop(self) -> None:
        """Refuse new calls, and let running ones end within the time that the settings allow."""


@dataclasses.dataclass(frozen=True, slots=True)
class Prepared:
    """A server before it listens.

    Attributes:
        server: The server.
        address: Where it will listen, for messages.
        announce: Prints where it listens and what answers, once it does.
    """

    server: Listener
    address: str
    announce: Callable[[], Awaitable[None]]


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Job(abc.ABC):
    """Everything that a process of a command needs to know; it can be pickled.

    Attributes:
        config: The settings of the server: among them host, port, share_port and drain_s.
        processes: The settings of its processes.
        logs: The settings of its log.
    """

    config: Any
    processes: ProcessSettings
    logs: LogSettings

    def sharing(self, port: int) -> Self:
        """Return the job of a worker, which shares a port with others."""
        return dataclasses.replace(self, config=dataclasses.replace(self.config, port=port, share_port=True))

    def listening(self, address: str, keys: str, what: str) -> str:
        """Return the first line that a command prints; `keys` is what its token file has, in the plural."""
        facts = []
        if self.config.tls_certificate is not None:
            facts.append("mutual TLS" if getattr(self.config, "tls_client_ca", None) else "TLS")
        if self.config.token_file is not None:
            facts.append(keys)
        if self.processes.workers > 1:
            facts.append(f"{self.processes.workers} workers")
        with_ = f" with {', '.join(facts)}" if facts else ""
        return f"listening on {address}{with_}, {what}; press Ctrl-C to stop"

    @abc.abstractmethod
    def new_loop(self) -> asyncio.AbstractEventLoop:
        """Return an event loop for the job."""

    @abc.abstractmethod
    def prepare(self, index: int | None) -> AbstractAsyncContextManager[Prepared]:
        """Make the server; at the end of the block everything but the server itself is closed.

        Args:
            index: The worker's index from 0; None for their parent, which never listens.

        Raises:
            MistralwireError: If something that the settings name can't be used.
        """


async def serve_job(
    job: Job, index: int, stopping: asyncio.Event, ready: Callable[[Prepared], Awaitable[None]]
) -> None:
    """Serve until an event is set, then drain; `ready` is called when the server listens.

    Raises:
        MistralwireError: If it can't listen, or something that the settings name can't be used.
    """
    async with job.prepare(index) as prepared:
        favour_loop()
        async with prepared.server:
            await ready(prepared)
            await stopping.wait()
            await prepared.server.stop()


async def serve_until_signal(job: Job) -> None:
    """Serve until SIGTERM or SIGINT, then drain; a second signal ends the process at once.

    Raises:
        MistralwireError: If it can't listen, or something that the settings name can't be used.
    """
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(log_loop_error)

    def stop(number: signal.Signals) -> None:
        stopping.set()
        # Before the log line: a second signal may follow it at once.
        _restore_signal(signal.SIGTERM)
        _on_signal(signal.SIGINT, _interrupt)
        log_drain(number.name)

    # Before the server starts, so that a signal during the start ends it gracefully too.
    for number in SIGNALS:
        _on_signal(number, functools.partial(stop, number))
    await serve_job(job, 0, stopping, lambda prepared: prepared.announce())


def log_drain(cause: str) -> None:
    """Log that the drain begins, and what caused it."""
    _logger.info("%s: refusing new calls, waiting for running calls to end", cause)


def _interrupt() -> None:
    """Exit now, as SIGTERM's default does.

    An exception would have gRPC shut down around running calls, which has crashed it.
    """
    click.echo("interrupted", err=True)
    os._exit(EXIT_INTERRUPTED)


def _on_signal(number: int, callback: Callable[[], None]) -> None:
    """Call back in the running event loop on a signal, instead of what it did before."""
    loop = asyncio.get_running_loop()
    try:
        loop.add_signal_handler(number, callback)
    except NotImplementedError:  # Windows
        signal.signal(number, lambda *_: loop.call_soon_threadsafe(callback))


def _restore_signal(number: int) -> None:
    try:
        asyncio.get_running_loop().remove_signal_handler(number)
    except NotImplementedError:  # Windows
        signal.signal(number, signal.SIG_DFL)
