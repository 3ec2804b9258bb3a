"""Where the answers of `serve` and `gateway` come from: recordings, one URL, or the tables of the file."""

import asyncio
import contextlib
import dataclasses
import os
import pathlib
from collections.abc import AsyncIterator, Sequence
from typing import Any

import click

from mistralwire._settings import setting_field
from mistralwire.cli._settings import CONFIG_VARIABLE
from mistralwire.cli._wording import counted, printable
from mistralwire.errors import MistralwireError
from mistralwire.upstream import DEMONSTRATION, ReplayUpstream, Route, Upstream, routed_from_tables

KEY_VARIABLE = "MISTRAL_API_KEY"
"""Environment variable with the key for --upstream-url."""

UPSTREAMS_META = "mistralwire.upstreams"
"""Where a run of a command keeps the tables [[upstreams]] of its file, paths in them absolute."""

_HERE = pathlib.Path()

Tables = Sequence[dict[str, Any]]


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class AnswerSettings:
    """Where answers come from; the help of each field says what it means."""

    recordings: tuple[pathlib.Path, ...] = setting_field(
        (), "Files and folders to play; without any, a demonstration.", "RECORDING"
    )
    chunks_per_second: float | None = setting_field(
        None,
        "Pace of the streams. Without it they are played with the pauses they were recorded with.",
        "N",
        0,
        1_000_000,
        is_above=True,
    )
    upstream_url: str | None = setting_field(
        None,
        f"Ask Mistral's API, or one like it, at this URL; its key, if it wants one, is in {KEY_VARIABLE}. "
        "Needs the extra gateway.",
        "URL",
    )

    def __post_init__(self) -> None:
        """Check what does not go together."""
        if self.upstream_url is not None and (self.recordings or self.chunks_per_second is not None):
            raise ValueError("expected recordings or upstream_url, found both")


@dataclasses.dataclass(frozen=True, slots=True)
class Source:
    """Where answers come from.

    Attributes:
        upstream: The upstream.
        what: What it does, for people, such as `playing the demonstration`.
        routes: What is asked over the network, with names.
    """

    upstream: Upstream
    what: str
    routes: tuple[Route, ...] = ()


def upstream_tables(ctx: click.Context, settings: AnswerSettings) -> Tables:
    """Give the tables [[upstreams]] of the file.

    Args:
        ctx: The run of the command.
        settings: What it was told beside them.

    Raises:
        click.UsageError: If it was told of other sources too.
    """
    tables: Tables = ctx.meta.get(UPSTREAMS_META, ())
    if tables and settings != AnswerSettings():
        found = "--upstream-url" if settings.upstream_url is not None else "recordings"
        place = printable(str(ctx.meta[CONFIG_VARIABLE]))
        raise click.UsageError(f"expected {found} or the [[upstreams]] of {place}, found both", ctx)
    return tables


def make_source(settings: AnswerSettings, tables: Tables) -> Source:
    """Make the upstream.

    Args:
        settings: What the command was told.
        tables: The tables [[upstreams]], with absolute paths.

    Raises:
        MistralwireError: If what they name can't be used.
    """
    if tables:
        routed = routed_from_tables(list(tables), _HERE)
        return Source(routed, f"asking {', '.join(map(_place, routed.routes))}", routed.routes)
    if settings.upstream_url is not None:
        return _one(settings.upstream_url)
    upstream = ReplayUpstream(
        settings.recordings or DEMONSTRATION, chunks_per_second=settings.chunks_per_second
    )
    what = "the demonstration"
    if settings.recordings:
        places = ", ".join(map(str, settings.recordings))
        what = f"{counted(len(upstream.files), 'recording')} from {places}"
    return Source(upstream, f"playing {what}")


def _place(route: Route) -> str:
    """Return the name of a route, with the URL that it leads to if it has one."""
    url = getattr(route.upstream, "base_url", None)
    return route.name if url is None else f"{route.name} at {url}"


def _one(url: str) -> Source:
    """Make the upstream of a URL."""
    route = route_to(url, "upstream_url", "upstream")
    without = "" if os.environ.get(KEY_VARIABLE) else f", without a key: {KEY_VARIABLE} is not set"
    # With a single one there is nothing to choose.
    return Source(route.upstream, f"asking {url}{without}", (route,))


def route_to(url: str, setting: str, name: str, key_file: pathlib.Path | None = None) -> Route:
    """Make the route of a table that has nothing in it but a URL and a key.

    Args:
        url: The URL.
        setting: Which setting has it, for the error.
        name: What the route is called.
        key_file: File with the key; None for the variable, if that is set.

    Raises:
        MistralwireError: If one of them can't be used.
    """
    key = {} if key_file is None else {"key_file": str(key_file)}
    if not key and os.environ.get(KEY_VARIABLE):
        key = {"key_env": KEY_VARIABLE}
    try:
        routed = routed_from_tables([{"kind": "mistral", "name": name, "base_url": url, **key}], _HERE)
    except MistralwireError as error:
        text = error.message.removeprefix("upstreams[0]: ").replace("base_url must", "it must", 1)
        raise MistralwireError(f"{setting}: {text}", code=error.code, reason=error.reason) from error
    return routed.routes[0]


@contextlib.asynccontextmanager
async def closing(upstream: Upstream) -> AsyncIterator[None]:
    """Close an upstream at the end of the block, if it has something to close."""
    try:
        yield
    finally:
        if close := getattr(upstream, "close", None):
            await close()


async def probe(routes: Sequence[Route]) -> list[tuple[str, str | None]]:
    """Ask all upstreams that are asked over the network whether they answer.

    Args:
        routes: Their routes.

    Returns:
        The name of each, with why it does not; None if it does.
    """
    probes = {route.name: ask for route in routes if (ask := getattr(route.upstream, "probe", None))}
    reasons = await asyncio.gather(*(ask() for ask in probes.values()))
    return list(zip(probes, reasons, strict=True))
