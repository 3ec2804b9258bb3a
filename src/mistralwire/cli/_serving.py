"""What `serve` and `gateway` have in common: a job for a process, and the process from start to end."""

import abc
import asyncio
import dataclasses
import functools
import logging
import signal
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from typing import Any, Protocol, Self

from mistralwire._offload import favour_loop
from mistralwire.cli._logging import LogSettings, log_loop_error
from mistralwire.cli._process_settings import ProcessSettings
from mistralwire.cli._signals import on_signal, restore_signal
from mistralwire.cli._upstreams import AnswerSettings, Tables

_logger = logging.getLogger(__name__)

SIGNALS = (signal.SIGTERM, signal.SIGINT)
"""What ends a command that serves."""


class Listener(Protocol):
    """A server; inside of `async with` it listens.

    Attributes:
        port: The port; the one that was found free, once it listens.
    """

    port: int

    async def __aenter__(self) -> Self:
        """Listen."""
        ...

    async def __aexit__(self, *_: object) -> None:
        """Stop at once."""

    async def stop(self) -> None:
        """Take nothing new, and let end what runs, as long as the settings say."""


@dataclasses.dataclass(frozen=True, slots=True)
class Prepared:
    """What a process serves, before it listens.

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
    """All that a process of a command has to know; it can be pickled.

    Attributes:
        answers: Where answers come from.
        config: The settings of the server: among them host, port, share_port and drain_s.
        processes: Those of its processes.
        logs: Those of its log.
        tables: The upstreams of the file.
    """

    answers: AnswerSettings
    config: Any
    processes: ProcessSettings
    logs: LogSettings
    tables: Tables = ()

    def sharing(self, port: int) -> Self:
        """Return the job of a worker, which shares a port with others."""
        return dataclasses.replace(self, config=dataclasses.replace(self.config, port=port, share_port=True))

    @abc.abstractmethod
    def new_loop(self) -> asyncio.AbstractEventLoop:
        """Return the event loop that it runs in."""

    @abc.abstractmethod
    def prepare(self, index: int | None) -> AbstractAsyncContextManager[Prepared]:
        """Make what the process serves; at the end of the block all but the server is closed.

        Args:
            index: Which of the workers this is, from 0; None for the process above them, which never
                listens.

        Raises:
            MistralwireError: If something that the settings name can't be used.
        """


async def serve(
    job: Job, index: int, stopping: asyncio.Event, ready: Callable[[Prepared], Awaitable[None]]
) -> None:
    """Serve until an event is set, then let what runs end.

    Args:
        job: What is served.
        index: Which of the workers this is, from 0.
        stopping: The event.
        ready: Is called when the server listens.

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
    """Serve until SIGTERM or SIGINT, then let what runs end; a second signal has its usual effect.

    Args:
        job: What is served.

    Raises:
        MistralwireError: As for `serve`.
    """
    # Before the server starts: a signal that comes meanwhile ends it as it should.
    stopping = stop_on_signals()
    await serve(job, 0, stopping, lambda prepared: prepared.announce())


def log_end(why: str) -> None:
    """Log that the service begins to end, and what made it."""
    _logger.info("%s: no new calls, and those that run may end", why)


def stop_on_signals() -> asyncio.Event:
    """Give an event that SIGTERM and SIGINT set; a second signal has its usual effect."""
    stopping = asyncio.Event()
    asyncio.get_running_loop().set_exception_handler(log_loop_error)

    def stop(why: str) -> None:
        stopping.set()
        # Before it is told: a second signal may come as soon as it is.
        restore_signal(signal.SIGTERM)
        # Python's own handler would raise wherever the program is: inside of grpc it would be lost.
        on_signal(signal.SIGINT, _interrupt)
        log_end(why)

    for number in SIGNALS:
        on_signal(number, functools.partial(stop, number.name))
    return stopping


def _interrupt() -> None:
    raise KeyboardInterrupt
