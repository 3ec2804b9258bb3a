"""One process of `serve`: its server, from start to end."""

import asyncio
import contextlib
import dataclasses
import logging
import signal
from collections.abc import Callable, Iterator, Sequence

from mistralwire._offload import favour_loop
from mistralwire.cli._logging import LogSettings, log_loop_error
from mistralwire.cli._serve_settings import ServeSettings
from mistralwire.cli._upstreams import AnswerSettings, Source, Tables, closing, make_source
from mistralwire.service import AccessLog, CallObserver, Server, ServerConfig, create_server, start_prometheus

_logger = logging.getLogger(__name__)

SIGNALS = (signal.SIGTERM, signal.SIGINT)
"""What ends the service."""


@dataclasses.dataclass(frozen=True, slots=True)
class ServeJob:
    """All that a process of `serve` has to know.

    Attributes:
        answers: Where its answers come from.
        config: The settings of its server.
        settings: Those of its process.
        logs: Those of its log.
        tables: The upstreams of the file.
    """

    answers: AnswerSettings
    config: ServerConfig
    settings: ServeSettings
    logs: LogSettings
    tables: Tables = ()


@contextlib.contextmanager
def serving_metrics(settings: ServeSettings, index: int) -> Iterator[tuple[CallObserver, ...]]:
    """Serve metrics for Prometheus while the block runs, if that was asked for.

    Args:
        settings: The settings.
        index: Which of the workers this is, from 0: each has a port of its own.

    Yields:
        What the server has to tell of its calls.

    Raises:
        MistralwireError: If packages for it are missing, or the port can't be listened on.
    """
    if settings.prometheus_port is None:
        yield ()
        return

    with contextlib.closing(
        start_prometheus(settings.prometheus_host, settings.prometheus_port + index)
    ) as endpoint:
        yield (endpoint.observer,)


def make_server(job: ServeJob, observers: Sequence[CallObserver] = ()) -> tuple[Server, Source]:
    """Make the server, and what it answers from.

    Args:
        job: What it serves, and how.
        observers: Who watches its calls beside the log.

    Raises:
        MistralwireError: If a recording can't be played, an upstream can't be asked, or a file that the
            server needs can't be used.
    """
    source = make_source(job.answers, job.tables)
    return create_server(source.upstream, job.config, (AccessLog(), *observers)), source


def log_end(why: str) -> None:
    """Log that the service begins to end, and what made it."""
    _logger.info("%s: no new calls, and those that run may end", why)


async def serve_until_signal(server: Server, source: Source, announce: Callable[[], None]) -> None:
    """Run a server until SIGTERM or SIGINT, then let its calls end; a second signal has its usual effect.

    Args:
        server: The server.
        source: What it answers from; it is closed at the end.
        announce: Is called when it listens.

    Raises:
        MistralwireError: If it can't listen.
    """
    # Before the server starts: a signal that comes meanwhile ends it as it should.
    stopping = stop_on_signals()
    favour_loop()
    async with closing(source), server:
        announce()
        await stopping.wait()
        await server.stop()


def stop_on_signals() -> asyncio.Event:
    """Give an event that SIGTERM and SIGINT set; a second signal has its usual effect."""
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(log_loop_error)

    def stop(why: str) -> None:
        stopping.set()
        # Before it is told: a second signal may come as soon as it is.
        loop.remove_signal_handler(signal.SIGTERM)
        # Python's own handler would raise wherever the program is: inside of grpc it would be lost.
        loop.add_signal_handler(signal.SIGINT, _interrupt)
        log_end(why)

    for number in SIGNALS:
        loop.add_signal_handler(number, stop, number.name)
    return stopping


def _interrupt() -> None:
    raise KeyboardInterrupt
