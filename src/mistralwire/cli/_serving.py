"""One process of `serve`: its server, from start to end."""

import asyncio
import contextlib
import logging
import signal
from collections.abc import Callable, Iterator, Sequence

from mistralwire.cli._logging import log_loop_error
from mistralwire.cli._settings import ServeSettings
from mistralwire.cli._wording import counted
from mistralwire.service import AccessLog, CallObserver, Server, ServerConfig, create_server, start_prometheus
from mistralwire.upstream import DEMONSTRATION, ReplayUpstream

_logger = logging.getLogger(__name__)

SIGNALS = (signal.SIGTERM, signal.SIGINT)
"""What ends the service."""


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


def make_server(
    settings: ServeSettings, config: ServerConfig, observers: Sequence[CallObserver] = ()
) -> tuple[Server, str]:
    """Make the server, and say what it will answer with.

    Args:
        settings: What it plays, and how.
        config: Its own settings.
        observers: Who watches its calls beside the log.

    Raises:
        MistralwireError: If a recording can't be played, or a file that the server needs can't be used.
    """
    upstream = ReplayUpstream(
        settings.recordings or DEMONSTRATION, chunks_per_second=settings.chunks_per_second
    )
    what = "the demonstration"
    if settings.recordings:
        places = ", ".join(map(str, settings.recordings))
        what = f"{counted(len(upstream.files), 'recording')} from {places}"
    return create_server(upstream, config, (AccessLog(), *observers)), what


def log_end(why: str) -> None:
    """Log that the service begins to end, and what made it."""
    _logger.info("%s: no new calls, and those that run may end", why)


async def run_until_signal(server: Server, announce: Callable[[], None]) -> None:
    """Run a server until SIGTERM or SIGINT, then let its calls end; a second signal has its usual effect.

    Args:
        server: The server.
        announce: Is called when it listens.

    Raises:
        MistralwireError: If it can't listen.
    """
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(log_loop_error)

    def stop(why: str) -> None:
        log_end(why)
        stopping.set()

    for number in SIGNALS:
        loop.add_signal_handler(number, stop, number.name)
    async with server:
        announce()
        await stopping.wait()
        loop.remove_signal_handler(signal.SIGTERM)
        # Python's own handler would raise wherever the program is: inside of grpc it would be lost.
        loop.add_signal_handler(signal.SIGINT, _interrupt)
        await server.stop()


def _interrupt() -> None:
    raise KeyboardInterrupt
