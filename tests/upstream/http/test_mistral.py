"""The upstream over HTTP against a server that does what it is told, misbehaviour included."""

import asyncio
import json
import logging
import pathlib
import time
from collections.abc import Iterator

import pytest

from mistralwire import from_json, to_json
from mistralwire.errors import UpstreamError
from mistralwire.upstream import (
    CallContext,
    CompletionStreamRequest,
    HttpSettings,
    Key,
    MistralUpstream,
)
from mistralwire.v1 import (
    AgentsCompletionRequest,
    AgentsCompletionStreamRequest,
    ChatCompletionRequest,
    ChatCompletionResponse,
    ChatCompletionStreamRequest,
    FIMCompletionRequest,
)
from tests.upstream_server import CUT, STALL, Answer, UpstreamServer, json_answer, sse_answer

QUESTION = {"model": "m", "messages": [{"role": "user", "content": "hi"}], "new": {"n": [1, None]}}
REQUEST = from_json(ChatCompletionRequest, json.dumps(QUESTION))
STREAM_REQUEST = from_json(ChatCompletionStreamRequest, json.dumps({**QUESTION, "stream": True}))
ANSWER = (
    b'{"id":"1","object":"chat.completion","model":"m","usage":null,"choices":[{"index":"odd"}],"new":[1]}'
)
CHUNK = b'data: {"id":"1","model":"m","choices":[],"p":"ab"}\n\n'
BEGUN = b'data: {"id":"1","model":"m","choices":[{"index":1,"delta":{}}]}\n\n'
ENDED = b'data: {"id":"1","model":"m","choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\n'
DONE = b"data: [DONE]\n\n"
CONTEXT = CallContext(request_id="an-id")
ONCE = HttpSettings(attempts_max=1)
WAIT_S = 30


async def _chunks(
    upstream: MistralUpstream, request: CompletionStreamRequest = STREAM_REQUEST
) -> list[bytes]:
    return [to_json(chunk) async for chunk in upstream.stream(request, CONTEXT)]


async def _broken(upstream: MistralUpstream) -> tuple[int, UpstreamError]:
    """Return how many chunks came before the error."""
    count = 0
    try:
        async for _ in upstream.stream(STREAM_REQUEST, CONTEXT):
            count += 1
    except UpstreamError as error:
        return count, error
    raise AssertionError("expected an error, found none")


async def _rested(upstream: MistralUpstream) -> None:
    """Wait until the end behind the last event has come, too."""
    client = upstream._client
    assert client is not None
    async with asyncio.timeout(WAIT_S):
        while not any(client._idle.values()):  # noqa: ASYNC110 - there is no event for it
            await asyncio.sleep(0)


async def _refused(upstream: MistralUpstream) -> UpstreamError:
    with pytest.raises(UpstreamError) as raised:
        await upstream.complete(REQUEST, CONTEXT)
    return raised.value


async def test_requests_and_answers_pass_unchanged(tmp_path: pathlib.Path) -> None:
    file = tmp_path / "key"
    file.write_text("a-key\n")
    async with UpstreamServer(json_answer(ANSWER)) as server:
        upstream = MistralUpstream(f"{server.url}/v1/", key=Key.from_file(file))
        response = await upstream.complete(REQUEST, CONTEXT)
        file.write_text("another-key\n")
        await upstream.complete(from_json(FIMCompletionRequest, b'{"model":"m","prompt":"a"}'), CONTEXT)
        await upstream.close()
    assert json.loads(to_json(response)) == json.loads(ANSWER)
    one, other = server.received
    assert (one.method, one.path, json.loads(one.body)) == ("POST", "/v1/chat/completions", QUESTION)
    assert one.headers["authorization"] == "Bearer a-key"
    assert one.headers["x-request-id"] == "an-id"
    assert (other.path, other.headers["authorization"]) == ("/v1/fim/completions", "Bearer another-key")
    assert server.connections == 1


async def test_a_closed_upstream_takes_no_more_requests() -> None:
    async with UpstreamServer(json_answer(ANSWER)) as server:
        upstream = MistralUpstream(server.url)
        await upstream.complete(REQUEST, CONTEXT)
        await upstream.close()
        for asking in (upstream.complete(REQUEST, CONTEXT), _chunks(upstream), upstream.list_models()):
            with pytest.raises(UpstreamError, match="the upstream is closed") as raised:
                await asking
            assert (raised.value.code, raised.value.reason) == ("CANCELLED", "CLIENT_CLOSED")
        assert await upstream.probe() == "the upstream is closed; make another for more requests"
        await upstream.close()
    assert (len(server.received), server.connections) == (1, 1)


async def test_agents_are_asked_by_their_own_path_and_answer_as_in_a_chat() -> None:
    question = {"agent_id": "ag_1", "messages": QUESTION["messages"], "new": [1, None]}
    request = from_json(AgentsCompletionRequest, json.dumps(question))
    stream_request = from_json(AgentsCompletionStreamRequest, json.dumps(question))
    async with UpstreamServer(json_answer(ANSWER), sse_answer(CHUNK, DONE)) as server:
        upstream = MistralUpstream(server.url)
        response = await upstream.complete(request, CONTEXT)
        chunks = await _chunks(upstream, stream_request)
        await upstream.close()
    assert type(response) is ChatCompletionResponse
    assert chunks == [CHUNK[6:].strip()]
    assert [(each.path, json.loads(each.body)) for each in server.received] == [
        ("/v1/agents/completions", question),
        ("/v1/agents/completions", {**question, "stream": True}),
    ]


async def test_a_stream_gives_its_chunks_and_the_connection_is_used_again() -> None:
    async with UpstreamServer(sse_answer(CHUNK[:20], CHUNK[20:] + CHUNK, DONE)) as server:
        upstream = MistralUpstream(server.url)
        for _ in range(2):
            assert await _chunks(upstream) == [CHUNK[6:].strip()] * 2
            await _rested(upstream)
        await upstream.close()
    assert server.connections == 1


@pytest.mark.parametrize("said", [None, False])
async def test_the_method_decides_whether_a_stream_is_asked_for(said: bool | None) -> None:
    text = json.dumps({**QUESTION, "stream": said})
    async with UpstreamServer(sse_answer(DONE)) as server:
        upstream = MistralUpstream(server.url)
        assert await _chunks(upstream, from_json(ChatCompletionStreamRequest, text)) == []
        server.answers[0] = json_answer(ANSWER)
        await upstream.complete(
            from_json(ChatCompletionRequest, json.dumps({**QUESTION, "stream": True})), CONTEXT
        )
        await upstream.close()
    assert [json.loads(request.body)["stream"] for request in server.received] == [True, False]


async def test_a_stream_whose_choices_have_all_ended_is_complete_without_done(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO, "mistralwire.upstream")
    async with UpstreamServer(sse_answer(CHUNK, ENDED), sse_answer(CHUNK, ENDED, DONE)) as server:
        upstream = MistralUpstream(server.url, settings=ONCE)
        for remarks in (1, 1):
            assert len(await _chunks(upstream)) == 2
            assert [record.getMessage() for record in caplog.records] == [
                "the stream ended without [DONE], but each choice had a finish_reason; treated as complete"
            ] * remarks
        await upstream.close()
    assert getattr(caplog.records[0], "request_id", None) == CONTEXT.request_id
    # The first answer has left the connection in order.
    assert (len(server.received), server.connections) == (2, 1)


@pytest.mark.parametrize(
    ("pieces", "count", "reason"),
    [
        ((CHUNK, ENDED, CUT), 2, "STREAM_TRUNCATED"),
        ((CHUNK, ENDED, CHUNK[:20]), 2, "STREAM_TRUNCATED"),
        ((BEGUN, ENDED), 2, "STREAM_TRUNCATED"),
        ((CHUNK, CHUNK[:20], CUT), 1, "STREAM_TRUNCATED"),
        ((CHUNK, CHUNK, CUT), 2, "STREAM_TRUNCATED"),
        ((CHUNK,), 1, "STREAM_TRUNCATED"),
        ((CHUNK, b"data: {not json\n\n"), 1, "UPSTREAM_UNREADABLE"),
        ((CHUNK, b'data: {"id":"\xc3"}\n\n'), 1, "UPSTREAM_UNREADABLE"),
        ((CHUNK, b'data: {"object":"error","message":"Overloaded","code":"3505"}\n\n'), 1, None),
        ((CHUNK, STALL), 1, "UPSTREAM_SILENT"),
    ],
    ids=[
        *("cut-behind-the-end", "cut-in-a-chunk-behind-the-end", "one-of-two-choices"),
        *("cut-in-a-chunk", "cut", "no-done", "no-json", "half-a-character", "error-event", "stall"),
    ],
)
async def test_chunks_before_a_break_are_delivered(
    pieces: tuple[bytes, ...], count: int, reason: str | None
) -> None:
    async with UpstreamServer(sse_answer(*pieces)) as server:
        upstream = MistralUpstream(server.url, settings=HttpSettings(silence_s=0.3))
        came, error = await _broken(upstream)
        await upstream.close()
    assert came == count
    assert reason is None or error.reason == reason
    assert len(server.received) == 1


@pytest.mark.parametrize(
    ("answer", "code", "reason"),
    [
        (
            json_answer(b'{"message":"slow"}', 429, retry_after="0"),
            "RESOURCE_EXHAUSTED",
            "UPSTREAM_RATE_LIMITED",
        ),
        (json_answer(b"{}", 500), "UNAVAILABLE", "UPSTREAM_FAILED"),
        (Answer(502, {}, [b"<html>"]), "UNAVAILABLE", "UPSTREAM_FAILED"),
        (Answer(200, {"content-type": "text/html"}, [b"<html>"]), "UNAVAILABLE", "UPSTREAM_UNREADABLE"),
        (json_answer(b'{"id":"\xc3'), "UNAVAILABLE", "UPSTREAM_UNREADABLE"),
        (json_answer(b'{"object":"error","message":"no"}'), "UNAVAILABLE", "UPSTREAM_FAILED"),
        (Answer(302, {"location": "http://127.0.0.1:9/"}, []), "FAILED_PRECONDITION", "UPSTREAM_REDIRECTED"),
        (Answer(200, {}, [ANSWER[:10], CUT]), "UNAVAILABLE", "UPSTREAM_UNREADABLE"),
        (Answer(200, {}, [ANSWER[:10], STALL]), "DEADLINE_EXCEEDED", "UPSTREAM_SILENT"),
        (Answer(pieces=[CUT], is_headless=True), "UNAVAILABLE", "UPSTREAM_UNREACHABLE"),
        (Answer(pieces=[STALL], is_headless=True), "DEADLINE_EXCEEDED", "UPSTREAM_TIMEOUT"),
    ],
)
async def test_what_is_no_answer_is_an_error(answer: Answer, code: str, reason: str) -> None:
    settings = HttpSettings(attempts_max=1, first_byte_s=0.5, silence_s=0.5)
    async with UpstreamServer(answer) as server:
        upstream = MistralUpstream(server.url, settings=settings)
        error = await _refused(upstream)
        await upstream.close()
    assert (error.code, error.reason) == (code, reason)
    assert "127.0.0.1" not in str(error)


async def test_an_endless_answer_is_given_up() -> None:
    def endless() -> Iterator[bytes]:
        for _ in range(100):
            yield b" " * 1_000_000

    async with UpstreamServer(Answer(200, {"content-type": "application/json"}, endless())) as server:
        upstream = MistralUpstream(server.url, settings=HttpSettings(answer_bytes_max=2_000_000))
        error = await _refused(upstream)
        await asyncio.wait_for(server.gone.wait(), WAIT_S)
        await upstream.close()
    assert error.reason == "UPSTREAM_ANSWER_TOO_LARGE"


@pytest.mark.slow
async def test_a_rate_limit_is_tried_again_after_the_time_it_asks_for() -> None:
    async with UpstreamServer(json_answer(b"{}", 429, retry_after="1"), json_answer(ANSWER)) as server:
        upstream = MistralUpstream(server.url)
        started_s = time.monotonic()
        await upstream.complete(REQUEST, CONTEXT)
        waited_s = time.monotonic() - started_s
        await upstream.close()
    assert len(server.received) == 2
    assert waited_s >= 1.0


@pytest.mark.parametrize("context", [CONTEXT, CallContext(deadline_s=time.monotonic())], ids=["far", "late"])
async def test_who_asks_for_a_long_wait_is_not_tried_again(context: CallContext) -> None:
    async with UpstreamServer(json_answer(b"{}", 429, retry_after="3600")) as server:
        upstream = MistralUpstream(server.url)
        with pytest.raises(UpstreamError) as raised:
            await upstream.complete(REQUEST, context)
        await upstream.close()
    assert raised.value.retry_after_s == 3600
    assert len(server.received) == 1


@pytest.mark.parametrize("is_stream", [False, True])
async def test_a_cancelled_call_closes_the_socket(is_stream: bool) -> None:
    async with UpstreamServer(sse_answer(CHUNK, STALL) if is_stream else sse_answer(STALL)) as server:
        upstream = MistralUpstream(server.url)
        call = asyncio.create_task(_chunks(upstream) if is_stream else upstream.complete(REQUEST, CONTEXT))
        await asyncio.wait_for(server.arrived.wait(), WAIT_S)
        call.cancel()
        await asyncio.wait([call])
        assert call.cancelled()
        await asyncio.wait_for(server.gone.wait(), WAIT_S)
        await upstream.close()


async def test_nobody_there_is_said_without_the_address(closed_port: int) -> None:
    upstream = MistralUpstream(f"http://127.0.0.1:{closed_port}", settings=ONCE)
    error = await _refused(upstream)
    assert (error.reason, str(closed_port) in str(error)) == ("UPSTREAM_UNREACHABLE", False)
    assert await upstream.probe() == "the connection was refused"
    await upstream.close()


async def test_a_probe_takes_any_answer() -> None:
    async with UpstreamServer(json_answer(b"{}", 401)) as server:
        upstream = MistralUpstream(server.url)
        assert await upstream.probe() is None
        await upstream.close()


async def test_a_server_that_does_not_stream_is_cut_into_chunks() -> None:
    message = b'{"index":0,"finish_reason":"stop","message":{"role":"assistant","content":"hi"}}'
    whole = b'{"id":"1","object":"x","model":"m","created":1,"usage":{},"choices":[%b]}' % message
    async with UpstreamServer(json_answer(whole)) as server:
        upstream = MistralUpstream(server.url)
        assert any(b'"hi"' in chunk for chunk in await _chunks(upstream))
        await upstream.close()


@pytest.mark.parametrize(
    "url", ["", "ftp://x", "http://", "http://u:p@host", "http://h?q", "http://[x", "h:80"]
)
def test_what_is_no_url_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match=r"base_url must be a URL"):
        MistralUpstream(url)


def test_a_key_is_never_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOME_KEY", "the-secret")
    assert "the-secret" not in repr(Key.from_environment("SOME_KEY"))
