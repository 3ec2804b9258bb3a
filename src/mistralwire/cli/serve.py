"""`mistralwire serve`: a gRPC service that plays recorded answers."""

import asyncio
import math
import pathlib
import signal
from typing import Any

import click

from mistralwire._loopback import is_loopback
from mistralwire.errors import MistralwireError
from mistralwire.service import Server, ServerConfig, create_server
from mistralwire.upstream import DEMONSTRATION, ReplayUpstream

_SIGNALS = (signal.SIGTERM, signal.SIGINT)


class _FiniteRange(click.FloatRange):
    """A range that means it: NaN is beyond no bound, and infinity is below none."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        number: float = super().convert(value, param, ctx)
        if not math.isfinite(number):
            self.fail(f"{number} is not a finite number.", param, ctx)
        return number


@click.command()
@click.argument(
    "recordings", type=click.Path(exists=True, path_type=pathlib.Path), nargs=-1, metavar="[RECORDING]..."
)
@click.option("--host", default=ServerConfig().host, show_default=True, help="Address to listen on.")
@click.option(
    "--port",
    type=click.IntRange(0, 65_535),
    default=ServerConfig().port,
    show_default=True,
    help="Port to listen on; 0 for any that is free.",
)
@click.option(
    "--chunks-per-second",
    type=_FiniteRange(min=0, min_open=True),
    metavar="N",
    help="Pace of the streams. Without it they are played with the pauses they were recorded with.",
)
@click.option(
    "--drain-seconds",
    type=_FiniteRange(min=0),
    default=ServerConfig().drain_s,
    show_default=True,
    metavar="N",
    help="How long running calls may go on after SIGTERM or Ctrl-C, before they are cancelled.",
)
@click.option(
    "--insecure", is_flag=True, help="Serve plain text to other machines too, on the address of --host."
)
def serve(
    *,
    recordings: tuple[pathlib.Path, ...],
    host: str,
    port: int,
    chunks_per_second: float | None,
    drain_seconds: float,
    insecure: bool,
) -> None:
    """Serve chat completions over gRPC, from recordings.

    Answers all methods of mistralwire.v1.ChatCompletionService with what each RECORDING holds, or, without
    one, with a small demonstration. Health checking and reflection are included.

    \b
    A RECORDING is one of
      a .json file  the body of an answer
      an .sse file  the bytes of a stream; a comment line ": delay 120" is a
                    pause of 120 milliseconds before the next event
      a folder      all the .json and .sse files in it

    Files whose name begins with "fim" answer fill-in-the-middle requests, the others chat requests; several
    take turns. Streaming requests are answered from .sse files and the rest from .json files, but either
    answers for the other if need be.

    The service ends on SIGTERM or Ctrl-C: it takes no new calls, lets those that run end, and exits with 0.
    A second signal ends it at once.

    \b
    Examples:
      mistralwire serve
      mistralwire serve recordings/ --port 8080 --chunks-per-second 50
      curl -sN https://... > answer.sse && mistralwire serve answer.sse

    \b
    Exit codes:
      0  ended by a signal
      1  a recording can't be played, or the address can't be listened on
      2  the command line was wrong
    """  # noqa: D301 - click's mark for lines that stay as they are is the character itself
    try:
        upstream = ReplayUpstream(recordings or DEMONSTRATION, chunks_per_second=chunks_per_second)
        server = _create_server(upstream, host, port, insecure)
        asyncio.run(_run(server, _describe(recordings, len(upstream.files)), drain_seconds))
    except MistralwireError as error:
        raise click.ClickException(error.message) from error


def _create_server(upstream: ReplayUpstream, host: str, port: int, insecure: bool) -> Server:
    if host and not insecure and not is_loopback(host):
        raise click.BadParameter(
            f"expected a loopback address such as 127.0.0.1, found {host!r}: calls from other machines would "
            "travel in plain text; add --insecure to allow that",
            param_hint="--host",
        )
    try:
        return create_server(upstream, ServerConfig(host=host, port=port, insecure=insecure))
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--host") from error


def _describe(recordings: tuple[pathlib.Path, ...], count: int) -> str:
    if not recordings:
        return "the demonstration"
    files = "1 recording" if count == 1 else f"{count} recordings"
    return f"{files} from {', '.join(map(str, recordings))}"


async def _run(server: Server, description: str, drain_s: float) -> None:
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in _SIGNALS:
        loop.add_signal_handler(number, stopping.set)
    async with server:
        click.echo(f"listening on {server.address}, playing {description}; Ctrl-C ends it")
        await stopping.wait()
        # From here on a second signal has its usual effect.
        for number in _SIGNALS:
            loop.remove_signal_handler(number)
        await server.stop(drain_s)
