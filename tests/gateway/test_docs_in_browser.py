"""The page of the docs in a browser: Debian's Chromium, without a window."""

import asyncio
import json
import shutil
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from mistralwire import text_of
from mistralwire.codec import SseBatchDecoder, from_json, json_to_binary
from mistralwire.gateway import GatewayConfig
from mistralwire.upstream import DEMONSTRATION, ReplayUpstream
from mistralwire.v1 import ChatCompletionResponse, CompletionChunk
from tests.gateway_stack import running_gateway

pytestmark = [
    pytest.mark.process,
    pytest.mark.slow,
    pytest.mark.skipif(
        not (shutil.which("chromium") and shutil.which("chromedriver")),
        reason="chromium or chromedriver is not installed",
    ),
]
WAIT_S = 60


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    """The URL of a gateway in a thread, since the driver of the browser blocks."""
    loop = asyncio.new_event_loop()
    started: asyncio.Future[str] = loop.create_future()
    stop = asyncio.Event()

    async def run() -> None:
        upstream = ReplayUpstream(DEMONSTRATION, chunks_per_second=200)
        async with running_gateway(upstream, GatewayConfig(port=0), is_embedded=True) as url:
            started.set_result(url)
            await stop.wait()

    thread = threading.Thread(target=loop.run_until_complete, args=[run()])
    thread.start()
    try:
        yield asyncio.run_coroutine_threadsafe(_result(started), loop).result(WAIT_S)
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join()
        loop.close()


async def _result(future: asyncio.Future[str]) -> str:
    return await future


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    options.binary_location = str(shutil.which("chromium"))
    for argument in ("--headless=new", "--no-sandbox", "--window-size=1400,1000"):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options, Service(shutil.which("chromedriver")))
    try:
        yield driver
    finally:
        driver.quit()


@pytest.fixture
def page(browser: Any, url: str) -> Any:
    browser.get(f"{url}/docs")
    yield browser
    # A violation of the policy and an exception of the script are there, too.
    assert [line for line in browser.get_log("browser") if line["level"] in ("WARNING", "SEVERE")] == []


def _wait(browser: Any, is_reached: Callable[[], object]) -> None:
    from selenium.webdriver.support.wait import WebDriverWait

    WebDriverWait(browser, WAIT_S, 0.05).until(lambda _: is_reached())


def _send(page: Any) -> None:
    button = page.find_element("id", "try-send")
    button.click()
    _wait(page, lambda: button.text == "Send" and page.find_element("id", "try-facts").text != "waiting …")


def _text(page: Any, name: str) -> str:
    return str(page.execute_script("return document.getElementById(arguments[0]).textContent", name))


def test_a_stream_is_shown_as_it_arrives_with_its_events_and_sizes(page: Any) -> None:
    _send(page)
    raw, facts = _text(page, "try-raw"), _text(page, "try-facts")
    decoder = SseBatchDecoder(CompletionChunk)
    batch = decoder.feed(raw.encode())
    assert raw.endswith("data: [DONE]\n\n")
    assert _text(page, "try-answer") == 'Let me look at the weather in Paris.get_weather {"city": "Paris"}'
    assert f"{batch.count} chunks" in facts
    assert f"Protobuf {len(batch.wire)} bytes" in facts
    json_bytes = sum(
        len(line) - len("data: ")
        for line in raw.encode().splitlines()
        if line.startswith(b"data: ") and line != b"data: [DONE]"
    )
    assert f"JSON {json_bytes:,} bytes" in facts
    assert "first chunk after" in facts


def test_a_response_is_shown_with_its_sizes(page: Any) -> None:
    from selenium.webdriver.support.select import Select

    Select(page.find_element("id", "try-route")).select_by_visible_text("Continue a conversation: answer")
    _send(page)
    facts = _text(page, "try-facts")
    shown = json.loads(_text(page, "try-raw"))
    response = from_json(ChatCompletionResponse, json.dumps(shown))
    assert text_of(response) in _text(page, "try-answer")
    wire = json_to_binary(ChatCompletionResponse, json.dumps(shown))
    assert facts.startswith("HTTP 200")
    assert f"Protobuf {len(wire):,} bytes" in facts


def test_an_error_says_what_is_wrong(page: Any) -> None:
    body = page.find_element("id", "try-body")
    body.clear()
    body.send_keys('{"model": 1}')
    _send(page)
    assert _text(page, "try-facts").startswith("HTTP 422")
    assert "model" in _text(page, "try-answer")
    # The browser itself reports that a request failed.
    [line] = (each for each in page.get_log("browser") if each["level"] == "SEVERE")
    assert "422" in line["message"]


def test_an_answer_of_any_shape_is_shown_as_text(page: Any) -> None:
    html = "<img src=x onerror=alert(1)>"
    thinking: list[Any] = [
        {"type": "thinking", "thinking": each} for each in ("a", [None, {"text": html}], 5)
    ]
    deltas: list[Any] = [
        *("x", None, {"content": 5}, {"content": [None, 5, *thinking]}, {"tool_calls": {}}),
        {"tool_calls": [None, {"function": {"name": html, "arguments": [1]}}]},
        {"content": html},
    ]
    choices: list[Any] = [*({}, [None]), *([{"index": 0, "delta": delta}] for delta in deltas)]
    chunks: list[Any] = [None, 5, *({"choices": each} for each in choices)]
    events = "".join(f"data: {json.dumps(chunk)}\n\n" for chunk in chunks)
    page.execute_script(
        """
        const [events] = arguments, ask = fetch, headers = {"content-type": "text/event-stream"};
        window.fetch = (url, options) =>
          String(url).includes("size") ? ask(url, options) : new Response(events, {headers});
        """,
        events,
    )
    _send(page)
    assert "complete after" in _text(page, "try-facts")
    assert _text(page, "try-answer") == f"a{html}{html} [1]{html}"


def test_types_are_filtered_by_their_names(page: Any) -> None:
    page.find_element("id", "filter").send_keys("thinkchunk")
    shown = [each.text for each in page.find_elements("css selector", "nav .types a") if each.is_displayed()]
    assert shown == ["ThinkChunk"]
    assert page.find_element("id", "type-ThinkChunk").is_displayed()
    assert not page.find_element("id", "type-TextChunk").is_displayed()


def test_an_example_is_copied(page: Any, url: str) -> None:
    page.execute_cdp_cmd(
        "Browser.grantPermissions",
        {"origin": url, "permissions": ["clipboardReadWrite", "clipboardSanitizedWrite"]},
    )
    button = page.find_element("css selector", "#createChatCompletion .copy")
    # The label is there for a moment only.
    page.execute_script(
        """
        const button = arguments[0], labels = window.labels = [];
        new MutationObserver(() => labels.push(button.textContent)).observe(button, {childList: true});
        """,
        button,
    )
    button.click()
    _wait(page, lambda: "copied" in page.execute_script("return window.labels"))
    copied = page.execute_async_script("navigator.clipboard.readText().then(arguments[0])")
    assert copied.startswith('curl -sS "$GATEWAY/v1/chat/completions"')


def test_it_asks_its_own_origin_alone(page: Any, url: str) -> None:
    _send(page)
    asked = [
        message["params"]["request"]["url"]
        for line in page.get_log("performance")
        if (message := json.loads(line["message"])["message"])["method"] == "Network.requestWillBeSent"
    ]
    assert f"{url}/v1/chat/completions" in asked
    assert {each for each in asked if not each.startswith((url, "data:", "chrome", "about:"))} == set()
