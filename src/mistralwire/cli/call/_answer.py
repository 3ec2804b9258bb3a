"""What `mistralwire call` prints: the answer as it arrives, as text or as JSON, or why there is none."""

import contextlib
import functools
import shlex
import sys
from collections.abc import Mapping
from typing import Any

from mistralwire.cli._answers import Printer, call_service, has_failed, model_failure, new_printer
from mistralwire.cli._wording import printable
from mistralwire.cli.call._request import Request, StreamedRequest
from mistralwire.client import Client
from mistralwire.errors import CallError


def print_answer(
    target: str, options: Mapping[str, Any], request: Request, request_id: str | None, *, as_json: bool
) -> None:
    """Call a service with a client of these options, and print the answer to standard output.

    Raises:
        click.UsageError: If the target or the options are invalid.
        click.ClickException: If the call, or the model, failed.
    """
    printer = new_printer(sys.stdout, as_json=as_json)
    call_service(
        target,
        options,
        functools.partial(
            _print_response, request=request, printer=printer, request_id=request_id, target=target
        ),
    )


async def _print_response(
    client: Client, *, request: Request, printer: Printer, request_id: str | None, target: str
) -> None:
    is_complete = is_failed = False
    try:
        if isinstance(request, StreamedRequest):
            is_failed = await _print_stream(client, request, printer, request_id, target)
        else:
            response = await client.complete(request, request_id=request_id)
            printer.add(response)
            is_failed = has_failed(response)
        is_complete = True
    finally:
        printer.end(is_complete=is_complete)
        sys.stdout.flush()
    if is_failed:
        raise model_failure()


async def _print_stream(
    client: Client, request: StreamedRequest, printer: Printer, request_id: str | None, target: str
) -> bool:
    """Print a stream; return whether its model failed."""
    is_failed = False
    last = 0
    response_id = ""
    try:
        async with contextlib.aclosing(client.stream_batches(request, request_id=request_id)) as batches:
            async for batch in batches:
                for chunk in batch:
                    printer.add(chunk)
                    is_failed |= has_failed(chunk)
                sys.stdout.flush()
                last += len(batch)
                response_id = batch.response_id
    except CallError as error:
        if last:
            error.add_note("the answer above is incomplete")
            # The service has sent no end: the response may go on, and what is stored of it can be read.
            if response_id and error.reason == error.code:
                words = ["mistralwire", "follow", "--target", target, response_id, "--after", str(last)]
                error.add_note(f"what is stored of the rest: {shlex.join(map(printable, words))}")
        raise
    return is_failed
