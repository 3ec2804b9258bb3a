"""What the tests of the gateway share: an HTTP client, and a relay that stores responses in memory."""

from collections.abc import AsyncIterator

import aiohttp
import pytest

from mistralwire.service import Relay, RelayConfig, create_relay


@pytest.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(60)) as session:
        yield session


@pytest.fixture
async def relay() -> AsyncIterator[Relay]:
    async with create_relay(RelayConfig(log="memory")) as made:
        yield made
