"""Where the answers of `serve` and `gateway` come from: recordings, one URL, or the tables of the file."""

import asyncio
import contextlib
import dataclasses
import os
import pathlib
from collections.abc import AsyncIterator, Sequence

from mistralwire.cli._server_settings import KEY_VARIABLE, AnswerSettings, Tables
from mistralwire.cli._wording import counted
from mistralwire.cli.settings import SettingsError
from mistralwire.errors import MistralwireError
from mistralwire.upstream import DEMONSTRATION, ReplayUpstream, Route, Upstream, routed_from_tables

_HERE = pathlib.Path()


@dataclasses.dataclass(frozen=True, slots=True)
class AnswerSource:
    """An upstream, and how messages describe it.

    Attributes:
        upstream: The upstream.
        what: What it does, such as `replaying the demonstration`.
        routes: The upstreams behind it that are asked over the network.
    """

    upstream: Upstream
    what: str
    routes: tuple[Route, ...] = ()


def make_answers(settings: AnswerSettings, tables: Tables) -> AnswerSource:
    """Make the upstream that the settings, or the tables [[upstreams]] with absolute paths, describe.

    Raises:
        MistralwireError: If something that they name can't be used.
    """
    if tables:
        routed = routed_from_tables(list(tables), _HERE)
        return AnswerSource(routed, f"calling {', '.join(map(_place, routed.routes))}", routed.routes)
    if (url := settings.upstream_url) is not None:
        route = route_to(url, "upstream_url", "upstream")
        without = "" if os.environ.get(KEY_VARIABLE) else f", without a key: {KEY_VARIABLE} is not set"
        # Not behind a RoutedUpstream: there is no other one to fall back to.
        return AnswerSource(route.upstream, f"calling {url}{without}", (route,))
    upstream = ReplayUpstream(
        settings.recordings or DEMONSTRATION, chunks_per_second=settings.chunks_per_second
    )
    what = "the demonstration"
    if settings.recordings:
        places = ", ".join(map(str, settings.recordings))
        what = f"{counted(len(upstream.files), 'recording')} from {places}"
    return AnswerSource(upstream, f"replaying {what}")


def _place(route: Route) -> str:
    url = getattr(route.upstream, "base_url", None)
    return route.name if url is None else f"{route.name} at {url}"


def route_to(url: str, setting: str, name: str, key_file: pathlib.Path | None = None) -> Route:
    """Make a route to the URL of a setting; without a file, the key is the variable's, if that is set.

    Raises:
        MistralwireError: If the key can't be used.
        SettingsError: If it is no such URL.
    """
    key = {} if key_file is None else {"key_file": str(key_file)}
    if not key and os.environ.get(KEY_VARIABLE):
        key = {"key_env": KEY_VARIABLE}
    try:
        routed = routed_from_tables([{"kind": "mistral", "name": name, "base_url": url, **key}], _HERE)
    except MistralwireError as error:
        text = error.message.removeprefix("upstreams[0]: ")
        if text.startswith("base_url must be"):
            raise SettingsError(f"{setting}: {text.replace('base_url must be', 'expected', 1)}") from error
        raise MistralwireError(f"{setting}: {text}", code=error.code, reason=error.reason) from error
    return routed.routes[0]


@contextlib.asynccontextmanager
async def closing(upstream: Upstream) -> AsyncIterator[None]:
    """Close an upstream at the end of the block, if it can be closed."""
    try:
        yield
    finally:
        if close := getattr(upstream, "close", None):
            await close()


async def probe(routes: Sequence[Route]) -> list[tuple[str, str | None]]:
    """Return the name of each upstream that can be probed, with why it does not answer, or None."""
    probes = {route.name: ask for route in routes if (ask := getattr(route.upstream, "probe", None))}
    reasons = await asyncio.gather(*(ask() for ask in probes.values()))
    return list(zip(probes, reasons, strict=True))
