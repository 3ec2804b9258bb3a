"""What of an upstream's answer reaches the edge's caller: status, members, headers, and whether to retry."""

import asyncio
import contextlib
import json
import logging
import pathlib
import re
from collections.abc import AsyncIterator, Mapping
from typing import Any, NamedTuple

import aiohttp
import pytest

from mistralwire.client import Client
from mistralwire.gateway import GatewayConfig, GatewayServer, create_app
from mistralwire.service import AccessLog, LocalChannel, ServerConfig, create_server
from mistralwire.upstream import HttpSettings, MistralUpstream, Route, RoutedUpstream, Upstream
from tests.error_bodies import flat_error
from tests.upstream_server import CUT, Answer, UpstreamServer, json_answer, sse_answer

GATEWAY_PAGE = pathlib.Path(__file__).parents[2] / "docs" / "gateway.md"
QUESTION = {"model": "m", "messages": [{"role": "user", "content": "a question that nobody may quote"}]}
CHUNK = b'data: {"id":"1","model":"m","choices":[]}\n\n'
DONE = b"data: [DONE]\n\n"
ANSWER = json_answer(b'{"id":"1","model":"m","choices":[]}')
ONCE = HttpSettings(attempts_max=1)
TWICE = HttpSettings(attempts_max=2)
KEY = "Wq7rT2mZx9LbC4vN8sKd1fGh5jPy0aEu"

WAYS = [
    pytest.param(
        embedded, stream, id=f"{'embedded' if embedded else 'service'}-{'stream' if stream else 'one'}"
    )
    for embedded in (True, False)
    for stream in (False, True)
]
ways = pytest.mark.parametrize(("embedded", "stream"), WAYS)


class Reply(NamedTuple):
    """What a gateway has answered."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def error(self) -> dict[str, Any]:
        """The members of the error body, each one once."""
        return flat_error(json.loads(self.body))


class Edge(NamedTuple):
    """A gateway to ask."""

    url: str

    async def ask(self, *, stream: bool, **headers: str) -> Reply:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        question = {**QUESTION, "stream": stream}
        async with (
            aiohttp.ClientSession() as session,
            session.post(f"{self.url}/v1/chat/completions", json=question, headers=named) as response,
        ):
            return Reply(response.status, response.headers, await response.read())


@contextlib.asynccontextmanager
async def edge_of(
    upstream: Upstream,
    *,
    embedded: bool,
    attempts_max: int = 1,
    service: Mapping[str, Any] = {},
    **settings: Any,
) -> AsyncIterator[Edge]:
    """Run a gateway, with the service in its process or behind a socket."""
    config = GatewayConfig(port=0, **settings)
    async with contextlib.AsyncExitStack() as stack:
        if embedded:
            client = Client.on(LocalChannel(upstream, ServerConfig(**service)))
        else:
            server = create_server(upstream, ServerConfig(port=0, **service), observers=[AccessLog()])
            await stack.enter_async_context(server)
            client = Client(server.address, attempts_max=attempts_max)
        await stack.enter_async_context(client)
        gateway = await stack.enter_async_context(GatewayServer(create_app(client, config), config))
        yield Edge(gateway.url)


@contextlib.asynccontextmanager
async def asking(
    answer: Answer, *answers: Answer, embedded: bool, http: HttpSettings = ONCE, **settings: Any
) -> AsyncIterator[tuple[Edge, UpstreamServer]]:
    """Run a gateway in front of a model API."""
    async with UpstreamServer(answer, *answers) as server:
        upstream = MistralUpstream(server.url, settings=http)
        async with closing(upstream), edge_of(upstream, embedded=embedded, **settings) as edge:
            yield edge, server


@contextlib.asynccontextmanager
async def closing(upstream: MistralUpstream | RoutedUpstream) -> AsyncIterator[None]:
    try:
        yield
    finally:
        await upstream.close()


def good(*, stream: bool, **headers: str) -> Answer:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    answer = sse_answer(CHUNK, DONE) if stream else ANSWER
    return Answer(200, answer.headers | named, answer.pieces)


def documented_statuses() -> list[Any]:
    """Return each status of the page's table with the edge's and what it says of retries."""
    page = GATEWAY_PAGE.read_text()
    table = page.partition("<!-- upstream statuses -->")[2].partition("<!-- /upstream statuses -->")[0]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in table.strip().splitlines()[2:]]
    assert len(rows) == 8
    return [
        pytest.param(
            int(status), int(status) if edge == "the same" else int(edge), should_retry or None, id=status
        )
        for upstream, edge, should_retry in rows
        for status in re.findall(r"\d{3}", upstream)
    ]


@ways
@pytest.mark.parametrize(("status", "edge_status", "should_retry"), documented_statuses())
async def test_the_edge_answers_an_upstreams_status_as_the_page_says(
    status: int, edge_status: int, should_retry: str | None, embedded: bool, stream: bool
) -> None:
    body = b"<p>no JSON" if status == 200 else b'{"message": "the upstream says no"}'
    answer = json_answer(body, status, location="https://elsewhere.example/")
    async with asking(answer, embedded=embedded) as (edge, server):
        reply = await edge.ask(stream=stream)
    assert (reply.status, reply.headers.get("x-should-retry")) == (edge_status, should_retry)
    assert len(server.received) == 1
    # The text of a refusal of the service itself may quote its key.
    is_quoted = status >= 400 and status not in (401, 402, 403, 407)
    assert (reply.error["message"] == "the upstream says no") is is_quoted


@ways
@pytest.mark.parametrize("status", [400, 422])
async def test_violations_of_the_upstream_are_listed_without_the_values(
    status: int, embedded: bool, stream: bool
) -> None:
    secret = "a question that nobody may quote"
    violations = [
        {
            "type": "literal_error",
            "loc": ["body", "messages", 0, "role"],
            "msg": "Input should be 'user' or 'assistant'",
            "input": secret,
            "ctx": {"expected": secret},
            "url": "https://errors.example/literal_error",
        },
        {"type": "Value Error", "loc": ["body", "top_p"], "msg": "expected 1 at most, found more"},
    ]
    body = json.dumps({"object": "error", "message": {"detail": violations}, "type": "invalid", "code": None})
    async with asking(json_answer(body.encode(), status), embedded=embedded) as (edge, _):
        reply = await edge.ask(stream=stream)
    assert reply.status == status
    assert json.loads(reply.body)["detail"] == [
        {
            "loc": ["body", "messages", 0, "role"],
            "msg": "Input should be 'user' or 'assistant'",
            "type": "literal_error",
        },
        {
            "loc": ["body", "top_p"],
            "msg": "expected 1 at most, found more",
            "type": "upstream_invalid_request",
        },
    ]
    assert reply.error["type"] == "invalid"
    assert secret.encode() not in reply.body


@ways
@pytest.mark.parametrize("body", [{"message": "no"}, {"detail": "no"}, {"error": {"message": "no"}}])
async def test_a_422_without_places_lists_the_body(
    body: dict[str, Any], embedded: bool, stream: bool
) -> None:
    async with asking(json_answer(json.dumps(body).encode(), 422), embedded=embedded) as (edge, _):
        reply = await edge.ask(stream=stream)
    assert (reply.status, reply.error["message"]) == (422, "no")
    violation = {"loc": ["body"], "msg": "no", "type": "upstream_invalid_request"}
    assert json.loads(reply.body)["detail"] == [violation]


@ways
@pytest.mark.parametrize(
    "wrap",
    [lambda error: {"object": "error", **error}, lambda error: {"error": error}],
    ids=["mistral", "openai"],
)
@pytest.mark.parametrize(
    "members",
    [
        {"type": "rate_limited", "param": None, "code": "1300"},
        {"type": "BadRequestError", "param": "messages[0].content", "code": 400},
        {"type": "Bad Request", "param": "top_p", "code": -7},
        {
            "type": "x",
            "param": None,
            "code": None,
            "retriable": False,
            "figures": {"limit": 3, "more": [1.5]},
        },
        {
            "type": "x",
            "param": None,
            "code": 1,
            "request_id": "req_" + "0a1b2c3d" * 4,
            "doc_url": "https://x.y",
        },
    ],
)
async def test_members_of_the_error_body_are_kept(
    wrap: Any, members: dict[str, Any], embedded: bool, stream: bool
) -> None:
    body = json.dumps(wrap({"message": "no", **members})).encode()
    async with asking(json_answer(body, 429), embedded=embedded) as (edge, _):
        reply = await edge.ask(stream=stream)
    assert reply.status == 429
    assert reply.error == {"object": "error", "message": "no"} | members


@ways
async def test_members_that_are_too_much_or_look_like_keys_do_not_get_through(
    embedded: bool, stream: bool
) -> None:
    error: dict[str, Any] = {"message": "no", "type": "x", "code": 5, "token": KEY, "a\nb": 1, "big": 10**30}
    error |= {f"member_{number}": "a word " * 15 for number in range(50)}
    error["deep"] = [[[[[[1]]]]]]
    async with asking(json_answer(json.dumps(error).encode(), 400), embedded=embedded) as (edge, _):
        reply = await edge.ask(stream=stream)
    kept = reply.error
    assert (kept["code"], kept["type"], kept["token"]) == (5, "x", "[redacted]")
    assert KEY.encode() not in reply.body
    assert kept.keys() & {"a\nb", "big"} == set()
    assert 2 <= sum(name.startswith("member_") for name in kept) <= 6


@ways
@pytest.mark.parametrize("is_good", [True, False], ids=["ok", "refused"])
async def test_ids_and_rate_limits_of_the_upstream_reach_the_caller(
    is_good: bool, embedded: bool, stream: bool, caplog: pytest.LogCaptureFixture
) -> None:
    passed = {
        "mistral-correlation-id": "corr-1",
        "cf-ray": "8a-AMS",
        "x-ratelimit-remaining-tokens-minute": "17",
        "x-ratelimit-reset-requests": "1s",
        "ratelimit": '"default";r=50;t=30',
        "ratelimitbysize-remaining": "0",
    }
    others = {
        "x-request-id": "the-upstreams-own",
        "set-cookie": "a=b",
        "server": "nginx",
        "x-ratelimit-limit-long": "9" * 300,
        "x-ratelimit-limit-latin": "caf\xe9",
    }
    headers = {name.replace("-", "_"): value for name, value in (passed | others).items()}
    answer = good(stream=stream, **headers) if is_good else json_answer(b"{}", 429, **headers)
    caplog.set_level(logging.INFO, "mistralwire")
    async with asking(answer, embedded=embedded) as (edge, _):
        reply = await edge.ask(stream=stream, x_request_id="the-callers")
    assert reply.status == (200 if is_good else 429)
    assert {name: reply.headers.get(name) for name in passed} == passed
    assert reply.headers.getall("x-request-id") == ["the-callers"]  # type: ignore[attr-defined]
    assert reply.headers["x-upstream-request-id"] == "the-upstreams-own"
    assert reply.headers.keys() & (others.keys() - {"x-request-id", "server"}) == set()
    lines = [record for record in caplog.records if record.name.endswith("access")]
    assert [line.upstream_request_id for line in lines] == ["corr-1"] * (1 if embedded else 2)  # type: ignore[attr-defined]


@ways
async def test_the_line_of_a_request_has_what_the_upstream_answered(
    embedded: bool, stream: bool, caplog: pytest.LogCaptureFixture
) -> None:
    answer = json_answer(b'{"message":"no","code":"3210","type":"busy","param":"model"}', 503)
    async with asking(answer, embedded=embedded) as (edge, _):
        await edge.ask(stream=stream)
    (line,) = [vars(record) for record in caplog.records if record.name == "mistralwire.gateway.access"]
    assert (line["upstream_status"], line["upstream_code"], line["upstream_type"]) == (503, "3210", "busy")


@ways
async def test_an_id_that_the_upstream_echoes_is_there_once(embedded: bool, stream: bool) -> None:
    async with asking(good(stream=stream, x_request_id="mine"), embedded=embedded) as (edge, _):
        reply = await edge.ask(stream=stream, x_request_id="mine")
    assert "x-upstream-request-id" not in reply.headers
    assert reply.headers["x-request-id"] == "mine"


@ways
@pytest.mark.parametrize("where", ["service", "gateway"])
@pytest.mark.parametrize("is_good", [True, False], ids=["ok", "refused"])
async def test_limits_of_a_shared_key_are_kept_from_callers(
    is_good: bool, where: str, embedded: bool, stream: bool
) -> None:
    headers = {"x_ratelimit_remaining": "1", "ratelimit_limit": "2", "mistral_correlation_id": "an-id"}
    headers["retry_after"] = "7"
    answer = good(stream=stream, **headers) if is_good else json_answer(b"{}", 429, **headers)
    shared = {"upstream_key_shared": True}
    settings: dict[str, Any] = shared if where == "gateway" else {"service": shared}
    async with asking(answer, embedded=embedded, **settings) as (edge, _):
        reply = await edge.ask(stream=stream)
    assert reply.headers["mistral-correlation-id"] == "an-id"
    assert not {name for name in reply.headers if "ratelimit" in name.lower()}
    assert reply.headers.getall("retry-after", []) == ([] if is_good else ["7"])  # type: ignore[attr-defined]


@ways
async def test_as_many_headers_as_fit_are_passed_on(embedded: bool, stream: bool) -> None:
    headers = {f"x_ratelimit_{number}": "9" * 200 for number in range(100)}
    headers["z_request_id"] = "the-id"
    for answer in (good(stream=stream, **headers), json_answer(b'{"message": "no"}', 429, **headers)):
        async with asking(answer, embedded=embedded) as (edge, _):
            reply = await edge.ask(stream=stream)
        assert reply.status == answer.status
        assert reply.headers["z-request-id"] == "the-id"
        assert 3 <= sum(name.startswith("x-ratelimit-") for name in reply.headers) <= 7


@ways
async def test_headers_of_an_answer_that_begins_late_come_too_late(embedded: bool, stream: bool) -> None:
    late = sse_answer(0.5, CHUNK, DONE) if stream else ANSWER
    answer = Answer(200, late.headers | {"mistral-correlation-id": "an-id"}, late.pieces)
    async with asking(answer, embedded=embedded, heartbeat_s=0.1) as (edge, _):
        reply = await edge.ask(stream=stream)
    assert reply.status == 200
    assert ("mistral-correlation-id" in reply.headers) is not stream


class Retried(NamedTuple):
    """How an upstream fails, and what becomes of it."""

    answer: Answer
    http: HttpSettings
    status: int
    should_retry: str | None
    requests: int


GARBAGE = Answer(pieces=[b"garbage\r\n\r\n"], headers={"content-length": "0"}, is_headless=True)
QUOTA = b'{"error": {"code": "insufficient_quota"}}'


@ways
@pytest.mark.parametrize(
    "case",
    [
        pytest.param(Retried(json_answer(b"{}", 503), ONCE, 503, None, 1), id="once"),
        pytest.param(Retried(json_answer(b"{}", 503), TWICE, 503, "false", 2), id="twice"),
        pytest.param(Retried(json_answer(b"{}", 429, retry_after="0"), TWICE, 429, "false", 2), id="limited"),
        # To come back then is what nobody has done for the caller.
        pytest.param(
            Retried(json_answer(b"{}", 429, retry_after="3600"), TWICE, 429, None, 1), id="for-long"
        ),
        pytest.param(Retried(json_answer(b"{}", 500), TWICE, 503, None, 1), id="not-retried"),
        pytest.param(Retried(json_answer(QUOTA, 429, retry_after="0"), TWICE, 429, "false", 1), id="quota"),
        pytest.param(Retried(GARBAGE, TWICE, 503, "false", 1), id="garbage"),
    ],
)
async def test_a_caller_is_told_not_to_retry_what_is_hopeless_or_was_retried(
    case: Retried, embedded: bool, stream: bool
) -> None:
    async with asking(case.answer, embedded=embedded, http=case.http) as (edge, server):
        reply = await edge.ask(stream=stream)
    assert (reply.status, reply.headers.get("x-should-retry")) == (case.status, case.should_retry)
    assert len(server.received) == case.requests


@ways
async def test_a_caller_is_told_that_another_upstream_was_asked(embedded: bool, stream: bool) -> None:
    async with (
        UpstreamServer(json_answer(b"{}", 500)) as first,
        UpstreamServer(json_answer(b"{}", 500)) as second,
    ):
        upstreams = [MistralUpstream(server.url, settings=ONCE) for server in (first, second)]
        routed = RoutedUpstream([Route(str(number), each) for number, each in enumerate(upstreams)])
        async with closing(routed), edge_of(routed, embedded=embedded) as edge:
            reply = await edge.ask(stream=stream)
    assert (reply.status, reply.headers.get("x-should-retry")) == (503, "false")


@pytest.mark.parametrize(("attempts_max", "should_retry"), [(1, None), (2, "false")])
@pytest.mark.parametrize("stream", [False, True])
async def test_a_service_that_can_not_be_reached_was_retried_if_the_client_does(
    attempts_max: int, should_retry: str | None, stream: bool, closed_port: int
) -> None:
    config = GatewayConfig(port=0)
    async with (
        Client(f"127.0.0.1:{closed_port}", attempts_max=attempts_max) as client,
        GatewayServer(create_app(client, config), config) as server,
    ):
        reply = await Edge(server.url).ask(stream=stream)
    assert (reply.status, reply.headers.get("x-should-retry")) == (503, should_retry)


@pytest.mark.slow
@ways
@pytest.mark.parametrize(
    "refusal",
    [json_answer(b"{}", 429, retry_after="20"), json_answer(b"{}", 503, retry_after="5")],
    ids=["limited", "overloaded"],
)
async def test_a_pause_beyond_the_heartbeat_is_an_answer_at_once(
    refusal: Answer, embedded: bool, stream: bool
) -> None:
    """The pause of a stream; an answer in one piece has no comments, and waits for half a minute."""
    soon = json_answer(b"{}", refusal.status, retry_after="1")
    answers = (refusal,) if stream else (soon, ANSWER)
    async with asking(*answers, embedded=embedded, http=TWICE, attempts_max=4, heartbeat_s=2) as (
        edge,
        server,
    ):
        reply = await edge.ask(stream=stream)
    assert (reply.status, len(server.received)) == ((refusal.status, 1) if stream else (200, 2))
    if stream:
        assert reply.headers["retry-after"] == refusal.headers["retry-after"]
        assert "x-should-retry" not in reply.headers


async def both_ways(answer: Answer, **options: Any) -> list[tuple[Reply, int]]:
    """Ask for a stream with a service elsewhere and with one in the process, at one time, since both wait.

    Returns:
        Each reply, and how many requests the upstream got.
    """

    async def ask(*, embedded: bool) -> tuple[Reply, int]:
        async with asking(answer, embedded=embedded, **options) as (edge, server):
            return await edge.ask(stream=True), len(server.received)

    return [*await asyncio.gather(ask(embedded=False), ask(embedded=True))]


@pytest.mark.slow
async def test_the_pauses_of_a_stream_together_stay_below_the_heartbeat() -> None:
    refusal = json_answer(b"{}", 429, retry_after="3")
    many = HttpSettings(attempts_max=9)
    for reply, requests in await both_ways(refusal, http=many, attempts_max=4, heartbeat_s=7.5):
        assert (reply.status, reply.headers["retry-after"]) == (429, "3")
        # A third pause would have ended behind the comment.
        assert requests == 3


@pytest.mark.slow
async def test_the_time_of_attempts_counts_as_a_pause_does() -> None:
    refusal = b"HTTP/1.1 429 No\r\nretry-after: 20\r\ncontent-length: 0\r\n\r\n"
    # The pause alone would end before the comment; with the silence before it, it would end behind it.
    silence = Answer(pieces=[4.0, refusal], headers={"content-length": "0"}, is_headless=True)
    for reply, requests in await both_ways(silence, http=TWICE, heartbeat_s=22):
        assert (reply.status, requests) == (429, 1)


@ways
async def test_a_used_connection_that_is_lost_is_no_failure_of_anybody(
    embedded: bool, stream: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """No other upstream is asked, nothing is counted or logged, and there is no pause."""
    lost = Answer(pieces=[CUT], is_headless=True)
    answer = good(stream=stream)
    caplog.set_level(logging.INFO, "mistralwire")
    async with UpstreamServer(answer, lost, answer) as first, UpstreamServer(answer) as spare:
        upstreams = MistralUpstream(first.url, settings=ONCE), MistralUpstream(spare.url, settings=ONCE)
        routed = RoutedUpstream([Route("first", upstreams[0]), Route("spare", upstreams[1], weight=0)])
        # A pause would end behind the first comment, and not be made.
        async with closing(routed), edge_of(routed, embedded=embedded, heartbeat_s=0.2, metrics=True) as edge:
            for _ in range(2):
                assert (await edge.ask(stream=stream)).status == 200
            async with aiohttp.ClientSession() as session, session.get(f"{edge.url}/metrics") as response:
                page = await response.text()
    assert (len(first.received), first.connections, len(spare.received)) == (3, 2, 0)
    assert first.received[1].body == first.received[2].body
    requests = [line for line in page.splitlines() if line.startswith("mistralwire_gateway_requests_total{")]
    assert [(line.partition('status="')[2][:3], line.split()[-1]) for line in requests] == [("200", "2.0")]
    assert {record.levelno for record in caplog.records} == {logging.INFO}
    assert not [record for record in caplog.records if record.name.startswith("mistralwire.upstream")]


@ways
async def test_a_used_connection_that_is_lost_twice_fails_as_any_other(embedded: bool, stream: bool) -> None:
    lost = Answer(pieces=[CUT], is_headless=True)
    async with asking(good(stream=stream), lost, embedded=embedded, http=ONCE) as (edge, server):
        assert (await edge.ask(stream=stream)).status == 200
        reply = await edge.ask(stream=stream)
    assert (reply.status, reply.error["type"], len(server.received)) == (503, "upstream_unreachable", 3)


@ways
@pytest.mark.parametrize(
    "head",
    [
        b"garbage\r\n\r\n",
        b"HTTP/1.1 two hundred\r\n\r\n",
        b"HTTP/3 200 OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nno colon\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: x\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nx-long: %b\r\n\r\n" % (b"a" * 65_536),
        b"HTTP/1.1 200 OK\r\n%b\r\n" % (b"x-many: 1\r\n" * 7_000),
        b"\x16\x03\x01\x02\x00",
    ],
    ids=["garbage", "status", "version", "colon", "length", "long", "many", "tls"],
)
async def test_a_response_that_can_not_be_parsed_is_unreadable_and_asked_for_once(
    head: bytes, embedded: bool, stream: bool
) -> None:
    answer = Answer(pieces=[head, CUT], headers={"content-length": "0"}, is_headless=True)
    many = HttpSettings(attempts_max=5)
    async with asking(answer, embedded=embedded, http=many, attempts_max=5) as (edge, server):
        reply = await edge.ask(stream=stream)
    assert (reply.status, reply.error["type"]) == (503, "upstream_unreadable")
    assert reply.headers["x-should-retry"] == "false"
    assert len(server.received) == 1


@ways
async def test_a_head_of_nearly_64_kib_is_read(embedded: bool, stream: bool) -> None:
    answer = good(stream=stream, x_ratelimit_long="9" * 64_000, mistral_correlation_id="an-id")
    async with asking(answer, embedded=embedded) as (edge, server):
        reply = await edge.ask(stream=stream)
    assert (reply.status, reply.headers["mistral-correlation-id"], len(server.received)) == (200, "an-id", 1)
    assert "x-ratelimit-long" not in reply.headers
