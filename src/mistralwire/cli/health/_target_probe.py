"""Asking a service by gRPC's health checking protocol."""

import asyncio
from typing import Any

import click

from mistralwire.client import Client
from mistralwire.errors import MistralwireError


def probe_target(target: str, service: str | None, *, timeout_s: float, **options: Any) -> str | None:
    """Return why a service takes no calls; None if it takes calls.

    Args:
        target: The service.
        service: Name of the gRPC service to ask for; None for this package's own.
        timeout_s: Seconds for the whole check.
        options: The other arguments of the client.

    Raises:
        click.UsageError: If the target or the options are invalid.
    """
    try:
        client = Client(target, deadline_s=timeout_s, attempts_max=1, **options)
    except (ValueError, MistralwireError) as error:
        raise click.UsageError(str(error)) from error
    return asyncio.run(_ask(client, service, timeout_s))


async def _ask(client: Client, service: str | None, timeout_s: float) -> str | None:
    async with client:
        try:
            async with asyncio.timeout(timeout_s):
                return await client.why_not_serving(service=service)
        except TimeoutError:
            return "timed out"
