"""The page of the docs: it says what the document says, loads nothing, and its links lead somewhere."""

import asyncio
import base64
import hashlib
import html.parser
import importlib.resources
import io
import json
import pathlib
import re
import shlex
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
from starlette.applications import Starlette
from starlette.routing import Mount

from mistralwire.client import Client
from mistralwire.codec import SseBatchDecoder, json_to_binary
from mistralwire.gateway import GatewayConfig, GatewayServer, create_app
from mistralwire.service import LocalChannel
from mistralwire.upstream import DEMONSTRATION, ReplayUpstream
from mistralwire.v1 import ChatCompletionResponse, CompletionChunk, FIMCompletionResponse
from tests.gateway_stack import running_gateway
from tools.openapi.page import METHODS, docs_page

FILES = importlib.resources.files("mistralwire.gateway")
DOCUMENT = json.loads((FILES / "openapi.json").read_bytes())
VOID = {"meta", "br", "hr", "img", "input", "link"}


class _Page(html.parser.HTMLParser):
    """Takes a page apart: ids, links, texts; tags must be closed in order."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.ids: list[str] = []
        self.links: list[str] = []
        self.tags: set[str] = set()
        self.attributes: set[str] = set()
        self.blocks: list[str] = []
        self.is_command = False
        self.scripts: list[str] = []
        self.text = ""
        self._open: list[str] = []
        self.feed(page)
        self.close()
        assert not self._open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        if tag not in VOID:
            self._open.append(tag)
        if tag == "pre":
            self.is_command = not attrs
            if self.is_command:
                self.blocks.append("")
        for name, value in attrs:
            self.attributes.add(name)
            if name == "id":
                self.ids.append(value or "")
            if name == "href":
                self.links.append(value or "")

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self._open[-1:] == ["script"]:
            self.scripts.append(data)
            return
        self.text += data
        if "pre" in self._open and self.is_command:
            self.blocks[-1] += data


CHAT = "/v1/chat/completions"
ADDRESS = "http://127.0.0.1:8080"
TEXT = (FILES / "docs.html").read_text(encoding="utf-8")


def _filled_in(address: str, document_url: str = "openapi.json") -> str:
    return TEXT.replace("{{document}}", document_url).replace("{{address}}", address)


PAGE = _Page(_filled_in(ADDRESS))


def test_ids_are_unique_and_links_lead_somewhere() -> None:
    assert len(set(PAGE.ids)) == len(PAGE.ids)
    anchors = {f"#{each}" for each in PAGE.ids}
    assert set(PAGE.links) - anchors == {"openapi.json"}


def test_it_loads_nothing_and_runs_one_script_of_its_own() -> None:
    assert not PAGE.tags & {"link", "img", "iframe", "object", "embed", "form", "base"}
    assert not {name for name in PAGE.attributes if name in ("src", "style") or name.startswith("on")}
    assert not re.search(r"url\(|@import|https?://", TEXT)
    [script] = PAGE.scripts
    assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(", script)


def test_every_type_is_there_and_linked_from_what_holds_it() -> None:
    names = DOCUMENT["components"]["schemas"]
    assert {f"type-{name}" for name in names} <= set(PAGE.ids)
    assert {f"#type-{name}" for name in names} <= set(PAGE.links)
    for name, schema in names.items():
        assert schema["description"].replace("`", "") in PAGE.text, name
        for member, described in schema.get("properties", {}).items():
            assert member in PAGE.text
            assert described["description"] in PAGE.text, member


def test_every_route_is_there_with_an_example() -> None:
    commands = [shlex.split(block) for block in PAGE.blocks[1:]]
    for path, item in DOCUMENT["paths"].items():
        assert path in PAGE.text
        example = re.sub(r"\{\w+\}", "[^/{}]+", path)
        urls = [word for command in commands for word in command if word.startswith("$GATEWAY/")]
        assert any(re.fullmatch(re.escape("$GATEWAY") + example, url) for url in urls), path
        for operation in (item[method] for method in METHODS if method in item):
            assert operation["operationId"] in PAGE.ids
            assert operation["summary"] in PAGE.text
    assert all(command[0] == "curl" for command in commands)


def test_a_type_is_shown_as_people_read_it() -> None:
    schemas = {
        "Thing": {
            "description": "A `thing`.",
            "type": "object",
            "properties": {
                "a": {"description": "Text.", "type": ["string", "null"]},
                "b": {"description": "Any."},
                "c": {"type": "array", "items": {"anyOf": [{"type": "integer"}, {"const": "x"}]}},
            },
            "required": ["a"],
        }
    }
    page = docs_page(_document(schemas=schemas))
    assert "<p>A <code>thing</code>.</p>" in page
    assert (
        "<tr><td><code>a</code></td><td>string or null</td><td>required</td><td><p>Text.</p></td></tr>"
        in page
    )
    assert "<tr><td><code>b</code></td><td>any value</td><td></td><td><p>Any.</p></td></tr>" in page
    assert "<td>array of (integer or <code>&quot;x&quot;</code>)</td>" in page


def test_texts_are_no_html() -> None:
    evil = "</style><script>alert('1')</script>\""
    operation = {
        "operationId": evil,
        "tags": ["t"],
        "summary": evil,
        "description": evil,
        "security": [],
        "parameters": [{"name": evil, "in": evil, "description": evil}],
        "responses": {evil: {"description": evil, "headers": {evil: {}}, "content": {}}},
    }
    schema = {
        "type": "object",
        "description": evil,
        "properties": {evil: {"const": evil, "description": evil}},
    }
    document = _document(paths={f"/{evil}": {"get": operation}}, schemas={evil: schema}, text=evil)
    page = _Page(docs_page(document))
    assert page.scripts == PAGE.scripts
    assert page.text.count(evil) > 10


def _document(
    *, paths: dict[str, Any] | None = None, schemas: dict[str, Any], text: str = "text"
) -> dict[str, Any]:
    return {
        "info": {"title": text, "version": text, "description": text},
        "tags": [{"name": "t", "description": text}],
        "paths": paths or {},
        "components": {"schemas": schemas},
    }


async def test_its_policy_allows_its_own_style_and_script_alone(http: aiohttp.ClientSession) -> None:
    async with (
        running_gateway(ReplayUpstream(DEMONSTRATION)) as url,
        http.get(f"{url}/docs") as response,
    ):
        assert response.status == 200
        assert response.headers["content-type"] == "text/html; charset=utf-8"
        policy = dict(part.split(" ", 1) for part in response.headers["content-security-policy"].split("; "))
        assert policy == {
            "default-src": "'none'",
            "style-src": f"'sha256-{_sha256('style')}'",
            "script-src": f"'sha256-{_sha256('script')}'",
            "connect-src": "'self'",
            "base-uri": "'none'",
            "form-action": "'none'",
            "frame-ancestors": "'none'",
            "require-trusted-types-for": "'script'",
        }
        assert await response.text() == _filled_in(url)


def _sha256(tag: str) -> str:
    [text] = re.findall(f"<{tag}>(.*?)</{tag}>", TEXT, re.DOTALL)
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


async def test_what_is_in_the_address_stays_text(http: aiohttp.ClientSession) -> None:
    config = GatewayConfig(port=0)
    async with Client.on(LocalChannel(ReplayUpstream(DEMONSTRATION))) as client:
        app = Starlette(routes=[Mount("/a'&b", create_app(client, config))])
        async with (
            GatewayServer(app, config) as gateway,
            http.get(f"{gateway.url}/a'&b/docs/") as response,
        ):
            assert response.status == 200
            address = f"&#x27;{gateway.url}/a&#x27;&quot;&#x27;&quot;&#x27;&amp;b&#x27;"
            assert await response.text() == _filled_in(address, "../openapi.json")


async def _measure(
    http: aiohttp.ClientSession, url: str, body: bytes, content_type: str, path: str = CHAT
) -> tuple[int, Any]:
    async with http.post(
        f"{url}/docs/size",
        params={"path": path},
        data=io.BytesIO(body),
        headers={"content-type": content_type},
    ) as response:
        return response.status, await response.json()


async def test_an_answer_is_measured_as_protobuf(http: aiohttp.ClientSession) -> None:
    whole = b'{"id":"a","choices":[],"new":1}'
    events = b'data: {"id":"a","choices":[]}\n\ndata: {"id":"b","choices":[]}\n\ndata: [DONE]\n\n'
    decoder = SseBatchDecoder(CompletionChunk, validate=False)
    async with running_gateway(ReplayUpstream(DEMONSTRATION)) as url:
        for path, kind in (
            (CHAT, ChatCompletionResponse),
            ("/v1/fim/completions", FIMCompletionResponse),
            ("/v1/x", ChatCompletionResponse),
        ):
            size = len(json_to_binary(kind, whole, validate=False))
            found = await _measure(http, url, whole, "application/json", path)
            assert found == (200, {"protobuf": size})
        wire = decoder.feed(events).wire
        found = await _measure(http, url, events, "text/event-stream; charset=utf-8")
        assert found == (200, {"protobuf": len(wire)})


async def test_what_can_not_be_measured_is_refused(http: aiohttp.ClientSession) -> None:
    async with running_gateway(ReplayUpstream(DEMONSTRATION)) as url:
        status, body = await _measure(http, url, b"{", "application/json")
        assert (status, body["type"]) == (422, "not_json")
        status, body = await _measure(http, url, b" " * (1024 * 1024 + 1), "application/json")
        assert (status, body["type"]) == (413, "body_too_large")

    async def silent() -> AsyncIterator[bytes]:
        yield b"{"
        await asyncio.sleep(60)

    async with running_gateway(ReplayUpstream(DEMONSTRATION), GatewayConfig(port=0, request_s=0.2)) as url:
        headers = {"content-type": "application/json"}
        async with http.post(f"{url}/docs/size", data=silent(), headers=headers) as response:
            assert response.status == 408
            assert (await response.json())["type"] == "caller_silent"
    async with running_gateway(
        ReplayUpstream(DEMONSTRATION), GatewayConfig(port=0, bodies_bytes_max=9)
    ) as url:
        for body, expected in ((b" " * 10, 503), (b" " * 7 + b"{}", 200), (b" " * 7 + b"{}", 200)):
            assert (await _measure(http, url, body, "application/json"))[0] == expected


async def test_a_caller_who_leaves_while_they_send_what_to_measure_is_no_error() -> None:
    async def receive() -> dict[str, Any]:
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        assert message["type"].startswith("http.response.")

    scope = {"type": "http", "method": "POST", "path": "/docs/size", "query_string": b"", "headers": []}
    async with Client.on(LocalChannel(ReplayUpstream(DEMONSTRATION))) as client:
        await create_app(client, GatewayConfig(port=0))(scope, receive, send)


async def test_a_key_is_needed_to_measure_where_the_gateway_has_keys(
    http: aiohttp.ClientSession, tmp_path: pathlib.Path
) -> None:
    keys = tmp_path / "keys"
    keys.write_text("a-key-that-is-long-enough-to-be-one\n")
    keys.chmod(0o600)
    async with running_gateway(ReplayUpstream(DEMONSTRATION), GatewayConfig(port=0, token_file=keys)) as url:
        status, _ = await _measure(http, url, b"{}", "application/json")
        assert status == 401
