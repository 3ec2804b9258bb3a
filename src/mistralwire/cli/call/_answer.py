"""The call of `mistralwire call`, and what is printed if it fails."""

import asyncio
import contextlib
import sys
from collections.abc import Mapping
from typing import Any, TypeAlias

import click

from mistralwire.cli._wording import printable
from mistralwire.cli.call._printers import JsonPrinter, Response, TextPrinter
from mistralwire.cli.call._request import Request, StreamedRequest
from mistralwire.client import Client
from mistralwire.errors import CallError, MistralwireError, Reason
from mistralwire.v1 import CompletionChunk, FinishReason

Printer: TypeAlias = JsonPrinter | TextPrinter


def print_answer(
    target: str, options: Mapping[str, Any], request: Request, request_id: str | None, *, as_json: bool
) -> None:
    """Call a service, and print the answer to standard output.

    Args:
        target: The service.
        options: The other arguments of the client.
        request: The request.
        request_id: Id of the call; None for a new one.
        as_json: Whether to print JSON.

    Raises:
        click.UsageError: If the target or the options are invalid.
        click.ClickException: If the call, or the model, failed.
    """
    printer = JsonPrinter(sys.stdout) if as_json else TextPrinter(sys.stdout)
    try:
        client = Client(target, **options)
    except ValueError as error:
        raise click.UsageError(str(error)) from error
    try:
        asyncio.run(_print(client, request, printer, request_id))
    except MistralwireError as error:
        raise click.ClickException(_failure_text(error, target)) from error


async def _print(client: Client, request: Request, printer: Printer, request_id: str | None) -> None:
    is_complete = has_failed = False
    try:
        async with client:
            if isinstance(request, StreamedRequest):
                has_failed = await _print_stream(client, request, printer, request_id)
            else:
                response = await client.complete(request, request_id=request_id)
                printer.add(response)
                has_failed = _has_failed(response)
        is_complete = True
    finally:
        printer.end(is_complete=is_complete)
    if has_failed:
        raise click.ClickException('the model failed (finish_reason "error"): the answer above is incomplete')


def _has_failed(part: Response | CompletionChunk) -> bool:
    return any(choice.finish_reason == FinishReason.FINISH_REASON_ERROR for choice in part.choices)


async def _print_stream(
    client: Client, request: StreamedRequest, printer: Printer, request_id: str | None
) -> bool:
    """Print a stream; return whether its model failed."""
    has_begun = has_failed = False
    try:
        async with contextlib.aclosing(client.stream_batches(request, request_id=request_id)) as batches:
            async for batch in batches:
                for chunk in batch:
                    printer.add(chunk)
                    has_failed |= _has_failed(chunk)
                printer.flush()
                has_begun = True
    except CallError as error:
        if has_begun:
            error.add_note("the answer above is incomplete")
        raise
    return has_failed


# By reason. If gRPC itself ended the call, the code stands for the reason.
_REMEDIES = {
    "DEADLINE_EXCEEDED": "allow more with --deadline, or check that the service at {target} answers others",
    Reason.TOKEN_INVALID: "name the file with a token of this service with --token-file",
    Reason.TOKEN_MISSING: "name the file with a token of this service with --token-file",
    "UNAVAILABLE": "check that a service runs at {target}, and that both ends use TLS, or both plaintext "
    "(--tls-ca, --insecure); a service may require a client certificate (--tls-certificate)",
}


def _failure_text(error: MistralwireError, target: str) -> str:
    """Return code and reason, the message, each violation, a remedy, and the id for the service's logs."""
    reason = "" if error.reason == error.code else f" ({printable(error.reason)})"
    lines = [f"{error.code}{reason}: {printable(error.message)}"]
    if isinstance(error, CallError):
        lines += [printable(str(violation)) for violation in (*error.violations, *error.upstream_violations)]
        if error.retry_after_s is not None:
            lines.append(f"retry after {error.retry_after_s:g} s")
        if notes := getattr(error, "__notes__", None):
            lines += notes
            if error.reason == "DEADLINE_EXCEEDED":
                lines.append("allow more with --deadline")
        elif remedy := _REMEDIES.get(error.reason):
            lines.append(remedy.format(target=printable(target)))
        if error.request_id:
            lines.append(f"request id: {printable(error.request_id)}")
    return "\n  ".join(lines)
