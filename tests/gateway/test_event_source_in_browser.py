"""EventSource in a browser, Debian's Chromium, while gateways are killed and started again."""

import asyncio
import json
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
    relay = create_relay(RelayConfig(log="memory"))
    assert relay is not None
    async with relay, create_server(HeldUpstream(), ServerConfig(port=0), relay=relay) as server:
        yield server.address


async def test_a_page_gets_each_event_once_over_gateways_that_are_killed(browser: Any, service: str) -> None:
    def run(script: str, *arguments: Any) -> Any:
        return browser.execute_script(script, *arguments)

    async def until(expression: str, value: Any) -> None:
        async with asyncio.timeout(WAIT_S):
            while await asyncio.to_thread(run, f"return {expression}") != value:  # noqa: ASYNC110 - a page
                await asyncio.sleep(0.05)

    port = "0"
    sent = 0
    async with Client(service) as client, client.publish("r1") as publisher:
        for opened in range(1, KILLS + 2):
            # It is killed when the block ends.
            async with serving("--service", service, "--port", port, command=GATEWAY) as (_, url, _):
                port = url.rpartition(":")[2]
                if opened == 1:
                    await asyncio.to_thread(browser.get, f"{url}/docs")
                    await asyncio.to_thread(run, FOLLOW, "/v1/chat/completions/r1/events")
                await until("window.opened", opened)
                for _ in range(5):
                    sent += 1
                    await publisher.send(chunk(sent))
                await until("window.seen.length", sent)
                if opened <= KILLS:
                    continue
                await publisher.finish()
                await until("window.isClosed", value=True)
                seen = await asyncio.to_thread(run, "return window.seen")
    assert [event_id for event_id, _ in seen] == [*(f"r1.{at}" for at in range(1, sent + 1)), f"r1.{sent}"]
    assert [json.loads(data)["id"] for _, data in seen[:-1]] == [str(at) for at in range(1, sent + 1)]
    assert seen[-1][1] == "[DONE]"
