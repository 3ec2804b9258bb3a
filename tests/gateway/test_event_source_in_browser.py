"""EventSource in a browser, Debian's Chromium, while gateways and services are killed and started again."""

import asyncio
import contextlib
import json
import pathlib
import shutil
import sys
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from mistralwire.client import Client
from mistralwire.service import RelayConfig, ServerConfig, create_relay, create_server
from tests.cli.serving import serving
from tests.service.upstreams import HeldUpstream, chunk

pytestmark = [
    pytest.mark.chaos,
    pytest.mark.skipif(
        not (shutil.which("chromium") and shutil.which("chromedriver")),
        reason="chromium or chromedriver is not installed",
    ),
]
GATEWAY = (sys.executable, "-m", "mistralwire", "gateway")
WAIT_S = 60
KILLS = 1
# The page reconnects by itself, with the id of its last event; a 204 ends it for good.
FOLLOW = """
window.seen = []; window.opened = 0;
const source = new EventSource(arguments[0]);
source.onopen = () => { window.opened += 1; };
source.onmessage = (event) => { window.seen.push([event.lastEventId, event.data]); };
source.onerror = () => { window.isClosed = source.readyState === EventSource.CLOSED; };
"""


@pytest.fixture
def browser() -> Iterator[Any]:
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    options.binary_location = str(shutil.which("chromium"))
    for argument in ("--headless=new", "--no-sandbox"):
        options.add_argument(argument)
    driver = webdriver.Chrome(options, Service(shutil.which("chromedriver")))
    try:
        yield driver
    finally:
        driver.quit()


@pytest.fixture
async def service() -> AsyncIterator[str]:
    async with (
        create_relay(RelayConfig(log="memory")) as relay,
        create_server(HeldUpstream(), ServerConfig(port=0), relay=relay) as server,
    ):
        yield server.address


class Page:
    """What the browser shows."""

    def __init__(self, browser: Any) -> None:
        self._browser = browser

    async def open(self, url: str) -> None:
        await asyncio.to_thread(self._browser.get, f"{url}/docs")

    async def run(self, script: str, *arguments: Any) -> Any:
        return await asyncio.to_thread(self._browser.execute_script, script, *arguments)

    async def until(self, expression: str, value: Any) -> None:
        async with asyncio.timeout(WAIT_S):
            while await self.run(f"return {expression}") != value:  # noqa: ASYNC110 - a page
                await asyncio.sleep(0.05)


async def test_a_page_that_comes_back_before_the_service_gets_the_rest(
    browser: Any, tmp_path: pathlib.Path
) -> None:
    page = Page(browser)
    async with contextlib.AsyncExitStack() as stack:
        async with serving("--data", str(tmp_path)) as (_, service, _):
            client = await stack.enter_async_context(Client(service))
            publisher = await stack.enter_async_context(client.publish("r1"))
            await publisher.send(chunk(1))
            async with serving("--service", service, command=GATEWAY) as (_, url, _):
                await page.open(url)
                await page.run(FOLLOW, "/v1/chat/completions/r1/events")
                await page.until("window.seen.length", 1)
        # Both are killed.
        ports = [address.rpartition(":")[2] for address in (url, service)]
        async with serving("--service", service, "--port", ports[0], command=GATEWAY):
            await page.until("window.opened", 2)
            async with serving("--data", str(tmp_path), "--port", ports[1]):
                await publisher.send(chunk(2))
                await publisher.finish()
                await page.until("window.isClosed", value=True)
    assert [event_id for event_id, _ in await page.run("return window.seen")] == ["r1.1", "r1.2", "r1.2"]


async def test_a_page_gets_each_event_once_over_gateways_that_are_killed(browser: Any, service: str) -> None:
    page = Page(browser)
    port = "0"
    sent = 0
    async with Client(service) as client, client.publish("r1") as publisher:
        for opened in range(1, KILLS + 2):
            # It is killed when the block ends.
            async with serving("--service", service, "--port", port, command=GATEWAY) as (_, url, _):
                port = url.rpartition(":")[2]
                if opened == 1:
                    await page.open(url)
                    await page.run(FOLLOW, "/v1/chat/completions/r1/events")
                await page.until("window.opened", opened)
                for _ in range(5):
                    sent += 1
                    await publisher.send(chunk(sent))
                await page.until("window.seen.length", sent)
                if opened <= KILLS:
                    continue
                await publisher.finish()
                await page.until("window.isClosed", value=True)
                seen = await page.run("return window.seen")
    assert [event_id for event_id, _ in seen] == [*(f"r1.{at}" for at in range(1, sent + 1)), f"r1.{sent}"]
    assert [json.loads(data)["id"] for _, data in seen[:-1]] == [str(at) for at in range(1, sent + 1)]
    assert seen[-1][1] == "[DONE]"
