"""`mistralwire publish`: a recorded response, published at the pace of the recording."""

import pathlib
from typing import TYPE_CHECKING, Any

import click

from mistralwire._settings import EPOCH_MAX, Setting
from mistralwire.cli._options import check_environment, connection_options, number_type, target_option

if TYPE_CHECKING:
    from mistralwire.client import Client
    from mistralwire.upstream import ReplayUpstream

_PUBLISH_HELP = """Publish a recorded response at a service that stores it.

FILE is a recording as "mistralwire serve" replays it: an .sse file is published chunk by chunk, at the pace
of its comments such as ": delay 120" or of --chunks-per-second; a .json file as a whole. A recorded error, or
a recording that breaks off, is the end of the response too: it fails.

The id is printed once the response is open; "mistralwire follow" prints the response with it. A lost
connection is opened again, and what the service has not stored is sent again. If the process dies, run the
same command with the same --id: it resumes, within the seconds that the service waits for it (lease_s).
Ctrl-C cancels the response.

\b
Examples:
  mistralwire publish answer.sse --id greeting
  mistralwire publish answer.sse --chunks-per-second 50
  mistralwire publish response.json --target llm.example.com:443 --token-file token

\b
Exit codes:
  0    all of the response is stored
  1    it could not be published, or it failed as recorded: standard error says why
  2    the command line was invalid
  130  interrupted by Ctrl-C; the response is cancelled, unless the service is away
"""


@click.command(help=_PUBLISH_HELP)
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=pathlib.Path))
@target_option("publish", default="127.0.0.1:50051", show_default=True)
@click.option("--id", "response_id", metavar="ID", help="Id of the response; a new one by default.")
@click.option(
    "--epoch",
    type=number_type(int, Setting(least=0, most=EPOCH_MAX)),
    default=0,
    metavar="N",
    help="Epoch of the producer: a higher one than before takes over a response of another producer.",
)
@click.option(
    "--chunks-per-second",
    type=number_type(float, Setting(least=0, most=1_000_000, is_above=True)),
    metavar="N",
    help="Pace of the chunks, instead of the recorded pauses.",
)
@connection_options("publish")
@click.pass_context
def publish(
    ctx: click.Context,
    /,
    *,
    file: pathlib.Path,
    target: str,
    response_id: str | None,
    epoch: int,
    chunks_per_second: float | None,
    **client_options: Any,
) -> None:
    """Publish a recording."""
    check_environment(ctx)
    from mistralwire.cli._answers import call_service  # noqa: PLC0415 - with grpc
    from mistralwire.errors import UpstreamError  # noqa: PLC0415
    from mistralwire.upstream import ReplayUpstream  # noqa: PLC0415

    try:
        recording = ReplayUpstream(file, chunks_per_second=chunks_per_second)
    except UpstreamError as error:
        raise click.ClickException(error.message) from error

    async def send(client: "Client") -> None:
        try:
            await _send(client, recording, file, response_id, epoch)
        except UpstreamError as error:
            error.add_note("this is the recorded error; the response is published, and has failed with it")
            raise

    call_service(target, client_options, send)


async def _send(
    client: "Client", recording: "ReplayUpstream", file: pathlib.Path, response_id: str | None, epoch: int
) -> None:
    from mistralwire.upstream import CallContext  # noqa: PLC0415 - with grpc
    from mistralwire.v1 import (  # noqa: PLC0415
        ChatCompletionRequest,
        ChatCompletionStreamRequest,
        FIMCompletionRequest,
        ResponseKind,
    )

    is_fim = file.name.startswith("fim")
    kind = ResponseKind.RESPONSE_KIND_FIM if is_fim else ResponseKind.RESPONSE_KIND_CHAT
    async with client.publish(response_id, epoch=epoch, kind=kind) as publisher:
        click.echo(publisher.response_id)
        stored = publisher.acknowledged_sequence
        if stored:
            known = (
                "1 event of it already, which is"
                if stored == 1
                else f"{stored} events of it already, which are"
            )
            click.echo(f"the service has {known} not sent again", err=True)
        number = 0
        if file.suffix == ".json":
            number = 1
            if not stored:
                request = FIMCompletionRequest() if is_fim else ChatCompletionRequest()
                await publisher.send(await recording.complete(request, CallContext()))
        else:
            async for chunk in recording.stream(ChatCompletionStreamRequest(), CallContext()):
                number += 1
                if number > stored:
                    await publisher.send(chunk)
        if number < stored:
            raise click.ClickException(
                f"expected {stored} events or more in {file}, found {number}: {publisher.response_id} is "
                "another response; use another --id"
            )
