"""One gateway for all tests of a module: to start and stop one takes longer than most of them."""

from collections.abc import AsyncIterator

import pytest_asyncio

from tests.sdk.both_ways import Stack, gateway_to
from tests.upstream_server import UpstreamServer


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def stack() -> AsyncIterator[Stack]:
    """Give a gateway in front of a model API."""
    async with UpstreamServer() as server, gateway_to(server) as url:
        yield Stack(server, url)
