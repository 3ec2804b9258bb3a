"""The OpenAPI document: it keeps its standard, has the routes that are there, and says how they answer."""

import asyncio
import contextlib
import importlib.resources
import json
import pathlib
from typing import Any

import aiohttp
import pytest
from google.protobuf.message import Message
from jsonschema import Draft202012Validator
from openapi_spec_validator import OpenAPIV31SpecValidator
from starlette.applications import Starlette
from starlette.routing import Mount, Route

from mistralwire.client import Client
from mistralwire.codec import SseDecoder, SseDone, SseMessage, from_json
from mistralwire.errors import UpstreamError
from mistralwire.gateway import GatewayConfig, GatewayServer, create_app
from mistralwire.gateway._responses import RESPONSE_ROUTES
from mistralwire.gateway._streams import STREAM_PATH
from mistralwire.service import RelayConfig, create_relay
from mistralwire.upstream import DEMONSTRATION, ReplayUpstream, http_status
from mistralwire.upstream._error_table import FAULTS
from mistralwire.v1 import (
    AgentsCompletionRequest,
    ChatCompletionRequest,
    ChatCompletionResponse,
    CompletionChunk,
    FIMCompletionRequest,
    FIMCompletionResponse,
)
from tests.error_bodies import broken_body
from tests.gateway.producer import Producer
from tests.gateway_stack import running_gateway
from tests.service.upstreams import HeldUpstream, chunk
from tools.openapi.__main__ import written_files
from tools.openapi.page import METHODS

STREAM = f"{STREAM_PATH}/{{path}}"
FILES = importlib.resources.files("mistralwire.gateway")
DOCUMENT = json.loads((FILES / "openapi.json").read_bytes())
CHAT = "/v1/chat/completions"
VERTEX = "/v1/projects/{project}/locations/{location}/publishers/{publisher}/models/{model}"
AGENTS, FIM = "/v1/agents/completions", "/v1/fim/completions"
COMPLETIONS = (CHAT, FIM, AGENTS, f"{VERTEX}:rawPredict", f"{VERTEX}:streamRawPredict")
# By a member that no other kind has.
KINDS: dict[str, type[Message]] = {
    "agent_id": AgentsCompletionRequest,
    "prompt": FIMCompletionRequest,
    "model": ChatCompletionRequest,
}
# The beginnings of headers of responses and of streams.
OWN_HEADERS = ("x-mistralwire-", "stream-", "producer-")
# Nobody listens there; these clients call nothing.
NOWHERE = "127.0.0.1:1"


def _resolved(thing: dict[str, Any]) -> dict[str, Any]:
    if "$ref" not in thing:
        return thing
    found: Any = DOCUMENT
    for step in thing["$ref"].removeprefix("#/").split("/"):
        found = found[step]
    return dict(found)


def _validator(schema: dict[str, Any]) -> Draft202012Validator:
    return Draft202012Validator({**schema, "components": DOCUMENT["components"]})


def _check_body(path: str, method: str, status: int, media_type: str, body: bytes) -> None:
    """Check that an answer is one that the document has."""
    responses = DOCUMENT["paths"][path][method]["responses"]
    schema = _resolved(responses[str(status)])["content"][media_type]["schema"]
    _validator(schema).validate(json.loads(body))


async def _check(path: str, method: str, response: aiohttp.ClientResponse) -> None:
    _check_body(path, method, response.status, response.content_type, await response.read())


def _operations() -> list[tuple[str, str, dict[str, Any]]]:
    return [
        (path, method, item[method])
        for path, item in DOCUMENT["paths"].items()
        for method in METHODS
        if method in item
    ]


@pytest.mark.slow
def test_it_keeps_the_standard() -> None:
    assert DOCUMENT["openapi"] == "3.1.0"
    OpenAPIV31SpecValidator(DOCUMENT).validate()
    for schema in DOCUMENT["components"]["schemas"].values():
        Draft202012Validator.check_schema(schema)


def test_the_package_has_what_the_generator_writes() -> None:
    texts = written_files()
    assert {name: (FILES / name).read_text(encoding="utf-8") for name in texts} == texts


async def test_it_has_the_routes_that_are_there() -> None:
    async with Client(NOWHERE) as client:
        app = create_app(client, GatewayConfig(metrics=True))
    routes = {
        (route.path.replace(":path}", "}"), method.lower())
        for route in app.routes
        if isinstance(route, Route)
        for method in route.methods or ()
        if method != "HEAD"
    }
    assert len({path for path, _ in routes}) == len(app.routes)
    # The last one is for the page alone.
    assert {(path, method) for path, method, _ in _operations()} == routes - {("/docs/size", "post")}


def test_each_operation_is_explained_and_has_a_name_of_its_own() -> None:
    names = [operation["operationId"] for _, _, operation in _operations()]
    assert len(set(names)) == len(names)
    tags = {tag["name"] for tag in DOCUMENT["tags"]}
    for _, _, operation in _operations():
        assert operation["summary"]
        assert set(operation["tags"]) <= tags


def test_a_key_may_be_sent_to_all_that_look_at_it() -> None:
    with_key = {path for path, _, operation in _operations() if operation["security"]}
    assert with_key == {*COMPLETIONS, *RESPONSE_ROUTES, STREAM, "/v1/models", "/v1/models/{model}"}
    for path, _, operation in _operations():
        assert operation["security"] == ([{"key": []}, {}] if path in with_key else [])


@pytest.mark.parametrize("path", COMPLETIONS)
def test_completions_have_every_status_that_an_upstream_may_cause(path: str) -> None:
    responses = DOCUMENT["paths"][path]["post"]["responses"]
    assert {str(http_status(fault.code)) for fault in FAULTS} <= set(responses)
    assert {"401", "403", "408", "413", "415", "422", "429"} <= set(responses)


@pytest.mark.parametrize("path", COMPLETIONS)
def test_examples_are_requests(path: str) -> None:
    body = DOCUMENT["paths"][path]["post"]["requestBody"]["content"]["application/json"]
    assert len(body["examples"]) == 2
    for example in body["examples"].values():
        value = example["value"]
        kind = next(kind for member, kind in KINDS.items() if member in value)
        from_json(kind, json.dumps(value))
        _validator(body["schema"]).validate(value)


@pytest.mark.parametrize("path", COMPLETIONS)
def test_example_answers_are_answers(path: str) -> None:
    answers = DOCUMENT["paths"][path]["post"]["responses"]["200"]["content"]
    kind = FIMCompletionResponse if path == FIM else ChatCompletionResponse
    if answer := answers.get("application/json"):
        _validator(answer["schema"]).validate(answer["example"])
        from_json(kind, json.dumps(answer["example"]))
    if stream := answers.get("text/event-stream"):
        decoder = SseDecoder(CompletionChunk)
        events = [*decoder.feed(stream["example"].encode()), *decoder.close()]
        assert [type(event) for event in events] == [SseMessage, SseMessage, SseDone]


@pytest.mark.parametrize(
    ("path", "media_types"),
    [
        (CHAT, {"application/json", "text/event-stream"}),
        (FIM, {"application/json", "text/event-stream"}),
        (AGENTS, {"application/json", "text/event-stream"}),
        (f"{VERTEX}:rawPredict", {"application/json"}),
        (f"{VERTEX}:streamRawPredict", {"text/event-stream"}),
    ],
)
async def test_examples_are_answered_as_documented(
    http: aiohttp.ClientSession, path: str, media_types: set[str]
) -> None:
    operation = DOCUMENT["paths"][path]["post"]
    seen = set()
    async with running_gateway(ReplayUpstream(DEMONSTRATION)) as url:
        for example in operation["requestBody"]["content"]["application/json"]["examples"].values():
            async with http.post(url + path.format_map(_Names()), json=example["value"]) as response:
                assert response.status == 200
                assert "x-request-id" in response.headers
                seen.add(response.content_type)
                if response.content_type == "application/json":
                    await _check(path, "post", response)
                else:
                    *events, done = (await response.read()).split(b"\n\n")[:-1]
                    assert done == b"data: [DONE]"
                    for event in events:
                        data = event.partition(b"data: ")[2]
                        _check_body(path, "post", 200, response.content_type, data)
    assert seen == media_types == set(operation["responses"]["200"]["content"])


class _Names(dict[str, str]):
    def __missing__(self, name: str) -> str:
        return name


@pytest.mark.parametrize(
    ("body", "headers", "status"),
    [
        (b'{"model":"m"}', {}, 422),
        (b"{", {}, 422),
        (b'{"model":"m","messages":[{"role":"user","content":7}]}', {}, 422),
        (b"{}", {"content-encoding": "gzip"}, 415),
        (b"x" * 2000, {}, 413),
        (b"{}", {"origin": "https://elsewhere.example"}, 403),
    ],
)
async def test_refusals_are_as_documented(
    http: aiohttp.ClientSession, body: bytes, headers: dict[str, str], status: int
) -> None:
    config = GatewayConfig(port=0, body_bytes_max=1000)
    async with (
        running_gateway(ReplayUpstream(DEMONSTRATION), config) as url,
        http.post(url + CHAT, data=body, headers=headers) as response,
    ):
        assert response.status == status
        await _check(CHAT, "post", response)


async def test_errors_of_the_upstream_are_as_documented(http: aiohttp.ClientSession) -> None:
    upstream = HeldUpstream()
    error = UpstreamError("slowly", code="RESOURCE_EXHAUSTED", retry_after_s=2.0)
    upstream.items.put_nowait(error)
    question = {"model": "m", "messages": []}
    async with running_gateway(upstream) as url:
        async with http.post(url + CHAT, json=question) as response:
            assert response.status == 429
            [header] = _resolved(DOCUMENT["paths"][CHAT]["post"]["responses"]["429"])["headers"]
            assert response.headers[header] == "2"
            await _check(CHAT, "post", response)
        upstream.items.put_nowait(chunk(1))
        upstream.items.put_nowait(error)
        async with http.post(url + CHAT, json={**question, "stream": True}) as response:
            *_, event = (await broken_body(response)).split(b"\n\n")[:-1]
            _check_body(CHAT, "post", 200, response.content_type, event.partition(b"data: ")[2])
            assert json.loads(event.partition(b"data: ")[2])["object"] == "error"


async def test_what_the_gateway_says_of_itself_is_as_documented(http: aiohttp.ClientSession) -> None:
    config = GatewayConfig(port=0, metrics=True)
    async with running_gateway(ReplayUpstream(DEMONSTRATION), config, models=("a",)) as url:
        for path in ("/v1/models", "/healthz", "/readyz", "/openapi.json"):
            async with http.get(url + path) as response:
                assert response.status == 200
                await _check(path, "get", response)
        for name, status in (("a", 200), ("b", 404)):
            async with http.get(f"{url}/v1/models/{name}") as response:
                assert response.status == status
                await _check("/v1/models/{model}", "get", response)
        for path in ("/metrics", "/docs"):
            async with http.get(url + path) as response:
                assert response.status == 200
                [media_type] = DOCUMENT["paths"][path]["get"]["responses"]["200"]["content"]
                assert response.content_type == media_type


async def test_a_service_that_is_gone_is_as_documented(http: aiohttp.ClientSession) -> None:
    config = GatewayConfig(port=0)
    async with (
        Client(NOWHERE, attempts_max=1) as client,
        GatewayServer(create_app(client, config), config) as gateway,
        http.get(f"{gateway.url}/readyz") as response,
    ):
        assert response.status == 503
        await _check("/readyz", "get", response)


RESPONSE = f"{CHAT}/{{response_id}}"
JSON_TYPE = {"content-type": "application/json"}
FORKED = {**JSON_TYPE, "stream-forked-from": f"{STREAM_PATH}/s"}


def _producer(epoch: int, seq: int) -> dict[str, str]:
    numbers = {"producer-epoch": str(epoch), "producer-seq": str(seq)}
    return {**JSON_TYPE, "producer-id": "p", **numbers}


BEYOND_END = f"{0:016d}_{9:016d}"
# Method, path of the document, target, headers and body of a request, and the status of its answer; in order.
EXCHANGES: list[tuple[str, str, str, dict[str, str], bytes, int]] = [
    ("get", CHAT, "", {}, b"", 200),
    ("get", CHAT, "?limit=0", {}, b"", 400),
    ("get", RESPONSE, "/ended", {}, b"", 200),
    ("get", RESPONSE, "/failed", {}, b"", 200),
    ("get", RESPONSE, "/none", {}, b"", 404),
    ("get", RESPONSE, f"/{'x' * 200}", {}, b"", 404),
    ("get", RESPONSE, "/ended", {"content-encoding": "gzip"}, b"", 415),
    ("get", RESPONSE, "/ended?token=a", {}, b"", 401),
    ("get", f"{RESPONSE}/events", "/ended/events", {}, b"", 200),
    ("get", f"{RESPONSE}/events", "/ended/events", {"last-event-id": "ended.1"}, b"", 204),
    ("get", f"{RESPONSE}/events", "/failed/events?starting_after=2", {}, b"", 204),
    ("get", f"{RESPONSE}/events", "/failed/events", {"last-event-id": "ended.1"}, b"", 400),
    ("post", f"{RESPONSE}/token", "/ended/token", {}, b"", 200),
    ("post", f"{RESPONSE}/cancel", "/ended/cancel", {}, b"", 200),
    ("post", f"{RESPONSE}/cancel", "/ended/cancel", {}, b"x" * 1001, 413),
    ("delete", RESPONSE, "/running", {}, b"", 409),
    ("get", STREAM, "/responses/failed", {}, b"", 200),
    ("get", STREAM, "/responses", {}, b"", 404),
    ("put", STREAM, "/responses/failed", {}, b"", 405),
    ("post", STREAM, "/responses/failed", {}, b"", 405),
    ("delete", STREAM, "/responses/failed", {}, b"", 405),
    ("delete", RESPONSE, "/failed", {}, b"", 200),
    ("put", STREAM, "/s", {**JSON_TYPE, "stream-ttl": "100"}, b"[1]", 201),
    ("put", STREAM, "/s", {**JSON_TYPE, "stream-ttl": "100"}, b"", 200),
    ("put", STREAM, "/s", {}, b"", 409),
    ("put", STREAM, "/s", {"stream-ttl": "x"}, b"", 400),
    ("head", STREAM, "/s", {}, b"", 200),
    ("get", STREAM, "/s", {}, b"", 200),
    ("get", STREAM, "/s", {"if-none-match": "*"}, b"", 304),
    ("get", STREAM, f"/s?offset={BEYOND_END}", {}, b"", 400),
    ("get", STREAM, "/s?offset=now&live=long-poll", {}, b"", 204),
    ("post", STREAM, "/s", JSON_TYPE, b"2", 204),
    ("post", STREAM, "/s", JSON_TYPE, b"", 400),
    ("post", STREAM, "/s", {"content-type": "text/plain"}, b"2", 409),
    ("post", STREAM, "/s", _producer(1, 0), b"2", 200),
    ("post", STREAM, "/s", _producer(1, 0), b"2", 204),
    ("post", STREAM, "/s", _producer(1, 5), b"2", 409),
    ("post", STREAM, "/s", _producer(0, 0), b"2", 403),
    ("put", STREAM, "/fork", FORKED, b"", 201),
    ("post", STREAM, "/s", {"stream-closed": "true"}, b"", 204),
    ("post", STREAM, "/s", JSON_TYPE, b"2", 409),
    ("get", STREAM, "/s?offset=-1&live=sse", {}, b"", 200),
    ("get", STREAM, "/s?offset=now&live=long-poll", {}, b"", 204),
    ("put", STREAM, "/bytes", {"stream-closed": "true"}, b"a", 201),
    ("get", STREAM, "/bytes?offset=-1&live=sse", {}, b"", 200),
    ("delete", STREAM, "/s", {}, b"", 204),
    *((method, STREAM, "/s", JSON_TYPE, b"1", 410) for method in ("get", "head", "post", "delete")),
    ("put", STREAM, "/another", FORKED, b"", 409),
]


async def test_answers_about_responses_and_streams_are_as_documented(http: aiohttp.ClientSession) -> None:
    """Each status, and each header that is not HTTP's own."""
    relay = create_relay(RelayConfig(log="memory"))
    config = GatewayConfig(port=0, body_bytes_max=1000, heartbeat_s=0.1)
    async with contextlib.AsyncExitStack() as stack:
        await stack.enter_async_context(relay)
        gateway = running_gateway(HeldUpstream(), config, is_embedded=True, relay=relay, log=relay.log)
        url = await stack.enter_async_context(gateway)
        for name in ("ended", "failed", "running"):
            producer = await Producer(relay.log, name).open()
            await producer.add(chunk(1))
            if name != "running":
                await (producer.finish() if name == "ended" else producer.fail())
        for method, path, target, headers, body, status in EXCHANGES:
            start = STREAM_PATH if path == STREAM else CHAT
            async with http.request(method, f"{url}{start}{target}", headers=headers, data=body) as response:
                described = f"{method} {target} {status}"
                assert response.status == status, described
                answer = _resolved(DOCUMENT["paths"][path][method]["responses"][str(status)])
                own = {name.lower() for name in response.headers if name.lower().startswith(OWN_HEADERS)}
                if status < 400:
                    own |= {name for name in ("etag", "location", "x-request-id") if name in response.headers}
                assert own <= {*answer.get("headers", ())}, described
                if status >= 400 and method != "head":
                    await _check(path, method, response)


async def test_an_answer_that_somebody_else_cancels_is_as_documented(http: aiohttp.ClientSession) -> None:
    relay, upstream = create_relay(RelayConfig(log="memory")), HeldUpstream()
    question = {"model": "m", "messages": []}
    # With a key, the model is asked once the response is open.
    headers = {"x-mistralwire-response-id": "r", "idempotency-key": "k"}
    async with (
        relay,
        running_gateway(upstream, is_embedded=True, relay=relay) as url,
        asyncio.TaskGroup() as tasks,
    ):
        asking = tasks.create_task(http.post(url + CHAT, json=question, headers=headers))
        await upstream.started.wait()
        async with http.post(f"{url}{CHAT}/r/cancel") as response:
            assert response.status == 200
        async with await asking as response:
            assert response.status == 499
            await _check(CHAT, "post", response)


async def test_it_is_served_to_those_without_a_key(
    http: aiohttp.ClientSession, tmp_path: pathlib.Path
) -> None:
    file = tmp_path / "keys"
    file.write_text("one-of-the-keys-of-callers\n")
    file.chmod(0o600)
    config = GatewayConfig(port=0, token_file=file)
    async with running_gateway(ReplayUpstream(DEMONSTRATION), config) as url:
        async with http.get(f"{url}/v1/models") as response:
            assert response.status == 401
            await _check("/v1/models", "get", response)
        async with http.get(f"{url}/openapi.json") as response:
            assert response.status == 200
            assert await response.json() == DOCUMENT


async def test_mounted_it_says_where_its_paths_begin(http: aiohttp.ClientSession) -> None:
    config = GatewayConfig(port=0)
    async with Client(NOWHERE) as client:
        outer = Starlette(routes=[Mount("/edge", create_app(client, config))])
        async with (
            GatewayServer(outer, config) as gateway,
            http.get(f"{gateway.url}/edge/openapi.json") as response,
        ):
            assert await response.json() == {**DOCUMENT, "servers": [{"url": "/edge"}]}
