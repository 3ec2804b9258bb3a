"""Upstreams over HTTP: what is tried again and until when, connections, bounds, and keys that stay unseen."""

import asyncio
import contextlib
import datetime
import email.utils
import gc
import gzip
import json
import logging
import pathlib
import socket
import time
import traceback
import tracemalloc
from collections.abc import AsyncGenerator, Callable, Iterator, Mapping, Sequence
from typing import Any, cast

import pytest

from mistralwire import _offload, from_json, to_json
from mistralwire.errors import UpstreamError
from mistralwire.upstream import CallContext, HttpSettings, Key, MistralUpstream
from mistralwire.upstream._http._conversion import status_error
from mistralwire.v1 import ChatCompletionRequest, ChatCompletionStreamRequest, CompletionChunk, UsageInfo
from tests.upstream_server import CUT, STALL, Answer, UpstreamServer, json_answer, sse_answer

QUESTION = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}
REQUEST = from_json(ChatCompletionRequest, json.dumps(QUESTION))
STREAM_REQUEST = from_json(ChatCompletionStreamRequest, json.dumps({**QUESTION, "stream": True}))
ANSWER = json_answer(b'{"id":"1","model":"m","choices":[{"index":0}]}')
CHUNK = b'data: {"id":"1","model":"m","choices":[]}\n\n'
DONE = b"data: [DONE]\n\n"
CONTEXT = CallContext(request_id="an-id")
TWICE = HttpSettings(attempts_max=2)
SECRET = "Wq7rT2mZx9LbC4vN8sKd1fGh5jPy0aEu"
WAIT_S = 30


def _event(chunk_id: str, text: str = "") -> bytes:
    return b"data: %b\n\n" % json.dumps({"id": chunk_id, "model": "m", "choices": [], "p": text}).encode()


def _note_threads(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """Return a list of the functions that run in threads, which grows."""
    functions: list[object] = []
    in_thread = _offload.in_thread

    async def note(function: Callable[..., Any], *arguments: Any) -> Any:
        functions.append(function)
        return await in_thread(function, *arguments)

    monkeypatch.setattr(_offload, "in_thread", note)
    return functions


def _date(later_s: float) -> str:
    at = datetime.datetime.now(datetime.UTC) + datetime.timedelta(seconds=later_s)
    return email.utils.format_datetime(at, usegmt=True)


async def _error(
    server: UpstreamServer, settings: HttpSettings = TWICE, context: CallContext = CONTEXT
) -> UpstreamError:
    upstream = MistralUpstream(server.url, settings=settings)
    with pytest.raises(UpstreamError) as raised:
        await upstream.complete(REQUEST, context)
    await upstream.close()
    return raised.value


def _streaming(upstream: MistralUpstream) -> AsyncGenerator[object, None]:
    chunks = upstream.stream(STREAM_REQUEST, CONTEXT)
    assert isinstance(chunks, AsyncGenerator)
    return chunks


@pytest.mark.slow
async def test_a_conversion_that_takes_its_time_is_no_silence(monkeypatch: pytest.MonkeyPatch) -> None:
    async def in_thread(function: Callable[..., Any], *arguments: Any) -> Any:
        await asyncio.sleep(1.3)
        return function(*arguments)

    monkeypatch.setattr(_offload, "LOOP_EVENT_BYTES_MAX", 1)
    monkeypatch.setattr(_offload, "in_thread", in_thread)
    async with UpstreamServer(sse_answer(CHUNK, DONE)) as server:
        upstream = MistralUpstream(server.url, settings=HttpSettings(attempts_max=1, silence_s=1))
        assert len([chunk async for chunk in _streaming(upstream)]) == 1
        await upstream.close()


@pytest.mark.parametrize("status", [429, 502, 503, 504])
@pytest.mark.parametrize("is_stream", [False, True])
async def test_who_may_come_back_is_tried_again(status: int, is_stream: bool) -> None:
    good = sse_answer(CHUNK, DONE) if is_stream else ANSWER
    async with UpstreamServer(json_answer(b"{}", status), good) as server:
        upstream = MistralUpstream(server.url)
        if is_stream:
            assert len([chunk async for chunk in _streaming(upstream)]) == 1
        else:
            await upstream.complete(REQUEST, CONTEXT)
        await upstream.close()
    first, second = server.received
    assert first == second
    assert server.connections == 1


@pytest.mark.parametrize("status", [300, 400, 401, 403, 404, 408, 409, 413, 422, 500, 501, 529])
async def test_other_errors_are_final(status: int) -> None:
    async with UpstreamServer(json_answer(b"{}", status, retry_after="0")) as server:
        assert (await _error(server)).status == status
    assert len(server.received) == 1


@pytest.mark.parametrize("is_stream", [False, True])
async def test_an_error_body_in_an_array_is_read(is_stream: bool) -> None:
    body = b'[{\n  "error": {"code": 400, "message": "no such voice", "status": "INVALID_ARGUMENT"}\n}]\n'
    async with UpstreamServer(json_answer(body, 400)) as server:
        upstream = MistralUpstream(server.url)
        with pytest.raises(UpstreamError, match="no such voice") as raised:
            await (anext(_streaming(upstream)) if is_stream else upstream.complete(REQUEST, CONTEXT))
        await upstream.close()
    assert (raised.value.status, raised.value.upstream_type) == (400, "INVALID_ARGUMENT")
    assert raised.value.members == {"code": 400, "status": "INVALID_ARGUMENT"}


@pytest.mark.slow
async def test_attempts_have_an_end_and_the_last_error_counts(caplog: pytest.LogCaptureFixture) -> None:
    answers = json_answer(b"{}", 503), json_answer(b'{"message":"the last"}', 429, retry_after="0")
    async with UpstreamServer(*answers) as server:
        with caplog.at_level(logging.INFO, "mistralwire"):
            error = await _error(server, HttpSettings(attempts_max=3))
    assert (error.reason, error.message) == ("UPSTREAM_RATE_LIMITED", "the last")
    assert len(server.received) == 3
    first, second = caplog.messages
    name = server.url.removeprefix("http://")
    assert first.startswith(f"{name}: attempt 1 failed with UPSTREAM_OVERLOADED; retrying in ")
    assert second.startswith(f"{name}: attempt 2 failed with UPSTREAM_RATE_LIMITED; retrying in ")


async def test_a_refused_key_is_logged_by_its_place_once_until_a_request_succeeds(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("SOME_KEY", SECRET)
    refusal = json_answer(b'{"message":"Unauthorized"}', 401)
    answers = (refusal, refusal, json_answer(b"{}", 404), refusal, ANSWER, refusal)
    async with UpstreamServer(*answers) as server:
        upstream = MistralUpstream(server.url, key=Key.from_environment("SOME_KEY"), name="api")
        for answer in answers:
            with contextlib.suppress(UpstreamError) if answer is not ANSWER else contextlib.nullcontext():
                await upstream.complete(REQUEST, CONTEXT)
        await upstream.close()
    warning = "api: the key from SOME_KEY was refused (HTTP 401); replace it"
    assert caplog.messages == [warning, warning]
    assert all(record.levelname == "WARNING" for record in caplog.records)
    assert vars(caplog.records[0])["request_id"] == "an-id"


async def test_a_refused_key_of_a_file_is_logged_by_its_path(
    tmp_path: pathlib.Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = tmp_path / "mistral"
    file.write_text(SECRET)
    async with UpstreamServer(json_answer(b"{}", 401)) as server:
        upstream = MistralUpstream(server.url, key=Key.from_file(file), name="api")
        with pytest.raises(UpstreamError):
            await upstream.list_models()
        await upstream.close()
    assert caplog.messages == [f"api: the key from {file} was refused (HTTP 401); replace it"]


async def test_a_missing_key_is_logged_with_where_to_name_one(caplog: pytest.LogCaptureFixture) -> None:
    async with UpstreamServer(json_answer(b"{}", 401)) as server:
        await _error(server)
    (message,) = caplog.messages
    assert (
        "the upstream requires a key (HTTP 401), and got none; name one with key_env or key_file" in message
    )


@pytest.mark.slow
async def test_the_second_attempt_has_a_limit_of_its_own() -> None:
    busy, silent = Answer(503, {"retry-after": "0"}), Answer(pieces=[STALL], is_headless=True)
    async with UpstreamServer(busy, silent) as server, asyncio.timeout(20):
        error = await _error(server, HttpSettings(first_byte_s=1, attempts_max=2))
    assert len(server.received) == 2
    assert error.reason == "UPSTREAM_TIMEOUT"


@pytest.mark.parametrize(
    "broken",
    [
        Answer(200, {"content-length": "100"}, [b'{"id":', CUT]),
        Answer(200, {}, [b'{"id":', CUT]),
        Answer(200, {"content-length": "100"}, [CUT]),
        json_answer(b'{"object":"error","message":"no","code":"3505"}'),
        Answer(pieces=[b"HTTP/1.1 200 OK\r\n", STALL], headers={"content-length": "1"}, is_headless=True),
    ],
    ids=["cut", "cut-in-chunks", "cut-at-once", "error-body", "half-a-head"],
)
async def test_nothing_is_sent_again_behind_the_first_byte_of_an_answer(broken: Answer) -> None:
    async with UpstreamServer(broken, ANSWER) as server:
        await _error(server, HttpSettings(first_byte_s=0.5))
    assert len(server.received) == 1


async def test_a_connection_that_ends_without_an_answer_is_tried_again() -> None:
    async with UpstreamServer(Answer(pieces=[CUT], is_headless=True), ANSWER) as server:
        upstream = MistralUpstream(server.url)
        assert (await upstream.complete(REQUEST, CONTEXT)).id == "1"
        await upstream.close()
    assert server.connections == 2


async def test_a_used_connection_that_is_lost_is_replaced_and_counts_as_no_attempt(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with UpstreamServer(ANSWER, Answer(pieces=[CUT], is_headless=True), ANSWER) as server:
        upstream = MistralUpstream(server.url, settings=HttpSettings(attempts_max=1))
        with caplog.at_level(logging.INFO, "mistralwire"):
            for _ in range(2):
                assert (await upstream.complete(REQUEST, CONTEXT)).id == "1"
        await upstream.close()
    assert (len(server.received), server.connections, caplog.messages) == (3, 2, [])


@pytest.mark.parametrize(
    ("head", "found"),
    [
        (b"garbage\r\n\r\n", "a response that is not valid HTTP/1.1 (Expected HTTP/"),
        (b"HTTP/1.1 200 OK\r\nx: %b\r\n\r\n" % (b"a" * 70_000), "more than 65536 bytes of headers"),
        (b"HTTP/1.1 200 OK\r\ntransfer-encoding: gzip, chunked\r\n\r\n", "a transfer coding other than"),
        (b"HTTP/1.1 101 Switching\r\n\r\n", "a switch to another protocol"),
        (b"HTTP/1.1 200 ", "a part of one"),
    ],
    ids=["garbage", "long-head", "coding", "switch", "half-a-head"],
)
async def test_a_response_that_can_not_be_read_is_never_asked_for_again(head: bytes, found: str) -> None:
    # The headers of the answer only say that its bytes are to be sent as they are.
    answer = Answer(pieces=[head, CUT], headers={"content-length": "0"}, is_headless=True)
    async with UpstreamServer(answer, ANSWER) as server:
        error = await _error(server, HttpSettings(attempts_max=3))
    assert (error.code, error.reason) == ("UNAVAILABLE", "UPSTREAM_UNREADABLE")
    assert error.message.startswith(f"expected a completion from the upstream, found {found}")
    assert len(server.received) == 1


async def test_a_head_of_many_bytes_is_read() -> None:
    async with UpstreamServer(json_answer(b'{"choices":[]}', x="a" * 60_000)) as server:
        upstream = MistralUpstream(server.url)
        await upstream.complete(REQUEST, CONTEXT)
        await upstream.close()
    assert len(server.received) == 1


async def test_a_status_counts_even_if_its_body_can_not_be_decoded() -> None:
    refusal = json_answer(b"\x0b\x02\x80{}\x03", 429, content_encoding="br", retry_after="3600")
    async with UpstreamServer(refusal) as server:
        error = await _error(server)
    assert (error.status, error.reason, error.retry_after_s) == (429, "UPSTREAM_RATE_LIMITED", 3600)


async def test_an_answer_that_can_not_be_decoded_says_so() -> None:
    async with UpstreamServer(json_answer(b"\x28\xb5\x2f\xfd", content_encoding="zstd")) as server:
        error = await _error(server)
    assert error.reason == "UPSTREAM_UNREADABLE"
    assert error.message.endswith("found a content encoding other than gzip and deflate")


async def test_a_stream_that_is_compressed_is_read() -> None:
    stream = Answer(
        200,
        {"content-type": "text/event-stream; charset=utf-8", "content-encoding": "gzip"},
        [gzip.compress(CHUNK * 3), gzip.compress(DONE)],
    )
    async with UpstreamServer(stream) as server:
        upstream = MistralUpstream(server.url)
        assert len([chunk async for chunk in _streaming(upstream)]) == 3
        await upstream.close()


@pytest.mark.parametrize("piece_bytes", [1000, 100_000, 10_000_000])
async def test_an_event_too_large_for_the_event_loop_is_read_in_a_thread_and_in_its_place(
    piece_bytes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    large = "x" * (2 * _offload.LOOP_EVENT_BYTES_MAX)
    stream = _event("0") + _event("1", large) + _event("2") + _event("3", large) + _event("4") + DONE
    pieces = [stream[at : at + piece_bytes] for at in range(0, len(stream), piece_bytes)]
    async with UpstreamServer(sse_answer(*pieces)) as server:
        upstream = MistralUpstream(server.url)
        functions = _note_threads(monkeypatch)
        chunks = [chunk async for chunk in upstream.stream(STREAM_REQUEST, CONTEXT)]
        # The connection is there for the next request.
        again = [chunk.id async for chunk in upstream.stream(STREAM_REQUEST, CONTEXT)]
        await upstream.close()
    assert [chunk.id for chunk in chunks] == again == ["0", "1", "2", "3", "4"]
    assert [len(to_json(chunk)) > len(large) for chunk in chunks] == [False, True, False, True, False]
    assert functions
    assert server.connections == 1


async def test_events_for_the_python_engine_are_read_in_a_thread_once_one_has_come(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    odd = b"event: ping\ndata: {}\n\n"
    pieces: list[bytes | float] = [odd + _event("0"), 0.3, odd * 4000 + _event("0"), DONE]
    async with UpstreamServer(sse_answer(*pieces)) as server:
        upstream = MistralUpstream(server.url)
        functions = _note_threads(monkeypatch)
        chunks = [chunk.id async for chunk in upstream.stream(STREAM_REQUEST, CONTEXT)]
        await upstream.close()
    assert chunks == ["0", "0"]
    assert functions


@pytest.mark.parametrize("code", [429, 503])
async def test_nothing_is_asked_again_behind_a_chunk_whatever_its_error_says(code: int) -> None:
    error = b'data: {"object":"error","message":"later","code":"%d"}\n\n' % code
    async with UpstreamServer(sse_answer(_event("0"), error)) as server:
        upstream = MistralUpstream(server.url, settings=HttpSettings(attempts_max=3))
        chunks = _streaming(upstream)
        await anext(chunks)
        with pytest.raises(UpstreamError):
            await anext(chunks)
        await upstream.close()
    assert len(server.received) == 1


async def test_the_body_of_an_error_is_read_no_further_than_its_bound() -> None:
    sent = 0

    def pieces() -> Iterator[bytes]:
        nonlocal sent
        yield b'{"message":"'
        while True:
            sent += 1
            yield b"x" * 10_000

    answer = Answer(400, {"content-type": "application/json"}, pieces())
    async with UpstreamServer(answer) as server:
        assert (await _error(server)).status == 400
        await server.gone.wait()
    # What is on its way in the buffers of the sockets, and no more.
    assert sent < 2_000
    assert len(server.received) == 1


async def test_chunks_before_a_break_are_given_though_a_thread_still_converts_them() -> None:
    large = "x" * (2 * _offload.LOOP_EVENT_BYTES_MAX)
    async with UpstreamServer(sse_answer(_event("0", large) + _event("1"), CUT)) as server:
        upstream = MistralUpstream(server.url)
        chunks = _streaming(upstream)
        taken = [cast("CompletionChunk", await anext(chunks)).id for _ in range(2)]
        with pytest.raises(UpstreamError) as caught:
            await anext(chunks)
        await upstream.close()
    assert taken == ["0", "1"]
    assert caught.value.reason == "STREAM_TRUNCATED"


async def test_an_answer_in_one_piece_to_a_stream_has_its_usage_and_its_finish_reasons() -> None:
    usage = {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3}
    choice = {"index": 0, "message": {"role": "assistant", "content": "hi"}, "finish_reason": "stop"}
    document = {"id": "1", "object": "o", "model": "m", "created": 1, "usage": usage, "choices": [choice]}
    observed: list[tuple[bytes | None, Sequence[tuple[int, str]]]] = []
    has_ended = asyncio.Event()

    class Watching:
        is_watched = True

        def headers(self, headers: Mapping[str, str]) -> None:
            pass

        def batch(
            self,
            wire: bytes,
            count: int,
            usage: bytes | None = None,
            finish_reasons: Sequence[tuple[int, str]] = (),
        ) -> None:
            observed.append((usage, finish_reasons))

        def answer(self, wire: bytes) -> None:
            raise AssertionError("a stream has no answer in one piece")

        def end(self) -> None:
            pass

        def failed(self, error: BaseException) -> None:
            raise error

        def closed(self) -> None:
            has_ended.set()

    async with UpstreamServer(json_answer(json.dumps(document).encode())) as server:
        upstream = MistralUpstream(server.url)
        wire = STREAM_REQUEST.SerializeToString()
        upstream.start(STREAM_REQUEST, wire, CONTEXT, Watching(), contract_revision=1)
        await has_ended.wait()
        await upstream.close()
    usages = [UsageInfo.FromString(found) for found, _ in observed if found is not None]
    assert [found.total_tokens for found in usages] == [3]
    assert [pair for _, reasons in observed for pair in reasons] == [(0, "stop")]


async def test_an_error_behind_a_large_event_comes_behind_it() -> None:
    large = "x" * (2 * _offload.LOOP_EVENT_BYTES_MAX)
    for broken, reason in ((b'data: {"detail":"no"}\n\n', "UPSTREAM_FAILED"), (CUT, "STREAM_TRUNCATED")):
        async with UpstreamServer(sse_answer(_event("0", large), broken)) as server:
            upstream = MistralUpstream(server.url)
            chunks = _streaming(upstream)
            assert len(to_json(cast("CompletionChunk", await anext(chunks)))) > len(large)
            with pytest.raises(UpstreamError) as caught:
                await anext(chunks)
            await upstream.close()
        assert caught.value.reason == reason


async def test_a_slow_reader_holds_the_upstream() -> None:
    chunk = b'data: {"choices":[],"p":"%b"}\n\n' % (b"a" * 20_000)
    sent = 0

    def pieces() -> Iterator[bytes]:
        nonlocal sent
        for _ in range(2000):
            sent += 1
            yield chunk
        yield DONE

    async with UpstreamServer(Answer(200, {"content-type": "text/event-stream"}, pieces())) as server:
        upstream = MistralUpstream(server.url)
        chunks = _streaming(upstream)
        await anext(chunks)
        before = -1
        while before != sent:
            before = sent
            await asyncio.sleep(0.05)
        assert sent < 2000
        assert sum([1 async for _ in chunks]) == 1999
        await upstream.close()


async def test_nobody_there_is_tried_again_and_then_told(
    closed_port: int, caplog: pytest.LogCaptureFixture
) -> None:
    upstream = MistralUpstream(f"http://127.0.0.1:{closed_port}", settings=TWICE)
    with caplog.at_level(logging.INFO, "mistralwire"), pytest.raises(UpstreamError) as raised:
        await upstream.complete(REQUEST, CONTEXT)
    await upstream.close()
    assert (raised.value.code, raised.value.reason) == ("UNAVAILABLE", "UPSTREAM_UNREACHABLE")
    assert raised.value.message == ("the upstream can't be reached: the connection was refused")
    assert len(caplog.messages) == 1


async def test_a_name_that_nobody_has_is_told() -> None:
    upstream = MistralUpstream("http://nobody.invalid", settings=HttpSettings(attempts_max=1))
    with pytest.raises(UpstreamError, match=r"its host name is unknown"):
        await upstream.complete(REQUEST, CONTEXT)
    await upstream.close()


async def test_nothing_is_tried_again_where_another_upstream_can_be_asked() -> None:
    async with UpstreamServer(json_answer(b"{}", 503), ANSWER) as server:
        error = await _error(server, context=CallContext(has_alternative=True))
    assert error.reason == "UPSTREAM_OVERLOADED"
    assert len(server.received) == 1


@pytest.mark.slow
async def test_a_connection_that_takes_too_long_is_tried_again() -> None:
    # A socket whose queue is full: what comes then is left without an answer.
    with socket.create_server(("127.0.0.1", 0), backlog=0) as full, contextlib.ExitStack() as stack:
        address = full.getsockname()
        for _ in range(8):
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(address)
        settings = HttpSettings(connect_s=0.2, attempts_max=2)
        upstream = MistralUpstream(f"http://127.0.0.1:{address[1]}", settings=settings)
        with pytest.raises(UpstreamError, match=r"no connection within 0\.2 s") as raised:
            await upstream.complete(REQUEST, CONTEXT)
        await upstream.close()
    assert (raised.value.code, raised.value.reason) == ("UNAVAILABLE", "UPSTREAM_UNREACHABLE")


async def test_a_large_request_arrives_whole() -> None:
    request = ChatCompletionRequest()
    request.CopyFrom(REQUEST)
    request.model = "m" * 3_000_000
    async with UpstreamServer(json_answer(b"{}", 503), ANSWER) as server:
        upstream = MistralUpstream(server.url)
        await upstream.complete(request, CONTEXT)
        await upstream.close()
    assert [json.loads(each.body)["model"] for each in server.received] == [request.model] * 2
    assert all(each.headers["content-length"] == str(len(each.body)) for each in server.received)


@pytest.mark.parametrize("host", ["a..b", "a" * 64 + ".example", "xn--.\ud800"])
def test_a_host_that_no_name_can_be_is_status_error(host: str) -> None:
    with pytest.raises(ValueError, match="base_url must be a URL"):
        MistralUpstream(f"http://{host}")


@pytest.mark.parametrize("headers", [{"retry_after": _date(-60)}, {"retry_after_ms": "1"}])
async def test_a_date_that_is_over_or_a_moment_is_waited_for(headers: dict[str, str]) -> None:
    async with UpstreamServer(json_answer(b"{}", 429, **headers), ANSWER) as server:
        upstream = MistralUpstream(server.url)
        await upstream.complete(REQUEST, CONTEXT)
        await upstream.close()
    assert len(server.received) == 2


@pytest.mark.parametrize(
    ("retry_after", "deadline_s"),
    [("10", 5), (20, 5), (3600, None), ("31", None), ("", 0.01)],
    ids=["seconds", "date", "far-date", "far", "the-pause-of-our-own"],
)
async def test_no_attempt_is_made_behind_the_deadline_or_in_half_a_minute(
    retry_after: str | int, deadline_s: float | None
) -> None:
    # A date is counted from now, and not from when the tests were collected.
    after = _date(retry_after) if isinstance(retry_after, int) else retry_after
    async with UpstreamServer(json_answer(b"{}", 503, retry_after=after)) as server:
        deadline_s = None if deadline_s is None else time.monotonic() + deadline_s
        error = await _error(server, context=CallContext(deadline_s=deadline_s))
    assert error.reason == "UPSTREAM_OVERLOADED"
    assert len(server.received) == 1


@pytest.mark.parametrize(
    ("headers", "retry_after_s"),
    [
        ({"retry-after": "7"}, 7),
        ({"retry-after": " 1.5 "}, 1.5),
        ({"retry-after-ms": "250", "retry-after": "7"}, 0.25),
        ({"retry-after-ms": "soon", "retry-after": "7"}, 7),
        ({"retry-after": "Wed, 21 Oct 2015 07:28:00 GMT"}, 0),
        ({"retry-after": "Wednesday, 21-Oct-15 07:28:00 GMT"}, 0),
        ({"retry-after": "Wed Oct 21 07:28:00 2015"}, 0),
        ({"retry-after": "999999999999"}, 86_400),
        ({"retry-after": "Fri, 31 Dec 9999 23:59:59 GMT"}, 86_400),
        ({}, None),
        *(
            ({"retry-after": text}, None)
            for text in (
                "",
                "soon",
                "-1",
                "1e9",
                "nan",
                "\u0661",
                "9" * 5000,
                "Wed, 99 Oct 2015 07:28:00 GMT",
            )
        ),
        ({"retry-after": "Wed, 21 Oct 2015 99999999999:28:00 GMT"}, None),
        ({"retry-after": "Wed, 21 Oct 99999999999999999999 07:28:00 GMT"}, None),
        ({"retry-after": "Wed, 21 Oct 2015 07:28:00 +999999999999999999"}, None),
        ({"retry-after": "Mon, 01 Jan 0001 00:00:00 +2359"}, 0),
    ],
)
def test_when_to_come_back_is_seconds_or_a_date(headers: dict[str, str], retry_after_s: float | None) -> None:
    assert status_error(429, b"", headers).retry_after_s == retry_after_s


def test_a_date_to_come_back_is_counted_from_now() -> None:
    assert status_error(503, b"", {"retry-after": _date(3600)}).retry_after_s == pytest.approx(3600, abs=60)


async def test_a_pause_ends_when_the_call_is_cancelled() -> None:
    async with UpstreamServer(json_answer(b"{}", 429, retry_after="29")) as server:
        upstream = MistralUpstream(server.url)
        call = asyncio.create_task(upstream.complete(REQUEST, CONTEXT))
        await asyncio.wait_for(server.arrived.wait(), WAIT_S)
        call.cancel()
        await asyncio.wait([call])
        await upstream.close()
    assert call.cancelled()
    assert len(server.received) == 1


async def test_an_abandoned_stream_closes_its_socket() -> None:
    async with UpstreamServer(sse_answer(CHUNK, STALL)) as server:
        upstream = MistralUpstream(server.url)
        chunks = _streaming(upstream)
        await anext(chunks)
        await chunks.aclose()
        await asyncio.wait_for(server.gone.wait(), WAIT_S)
        await upstream.close()


def test_closing_does_not_wait_for_the_end_behind_the_last_event() -> None:
    async def stream_and_close() -> None:
        async with UpstreamServer(sse_answer(CHUNK, DONE, STALL)) as server:
            upstream = MistralUpstream(server.url)
            assert len([chunk async for chunk in _streaming(upstream)]) == 1
            await upstream.close()
            await asyncio.wait_for(server.gone.wait(), WAIT_S)

    # A transport that nobody closed warns when it is collected.
    asyncio.run(stream_and_close(), debug=True)
    gc.collect()


async def test_calls_one_after_the_other_share_a_connection() -> None:
    answers = [ANSWER, json_answer(b"{}", 404), json_answer(b"{}", 503), ANSWER, ANSWER]
    async with UpstreamServer(*answers) as server:
        upstream = MistralUpstream(server.url)
        await upstream.complete(REQUEST, CONTEXT)
        with pytest.raises(UpstreamError):
            await upstream.complete(REQUEST, CONTEXT)
        for _ in range(2):
            await upstream.complete(REQUEST, CONTEXT)
        await upstream.close()
    assert (len(server.received), server.connections) == (5, 1)


async def test_calls_at_one_time_have_a_connection_each_without_a_limit() -> None:
    async with UpstreamServer(sse_answer(CHUNK, STALL)) as server:
        upstream = MistralUpstream(server.url)
        streams = [_streaming(upstream) for _ in range(150)]
        await asyncio.wait_for(asyncio.gather(*map(anext, streams)), WAIT_S)
        assert server.connections == 150
        for chunks in streams:
            await chunks.aclose()
        await upstream.close()


async def test_a_connection_that_the_upstream_ends_is_made_anew() -> None:
    async with UpstreamServer(json_answer(b"{}", connection="close"), ANSWER) as server:
        upstream = MistralUpstream(server.url, settings=HttpSettings(attempts_max=1))
        for _ in range(2):
            await upstream.complete(REQUEST, CONTEXT)
        await upstream.close()
    assert server.connections == 2


@pytest.mark.parametrize("status", [200, 500])
@pytest.mark.parametrize("headers", [{}, {"content-length": "100000000"}], ids=["chunked", "length"])
async def test_a_body_beyond_the_bound_is_refused_and_never_held(
    status: int, headers: dict[str, str]
) -> None:
    sent = 0

    def endless() -> Iterator[bytes]:
        nonlocal sent
        piece = b" " * 100_000
        for _ in range(1000):
            sent += len(piece)
            yield piece

    answer = Answer(status, {"content-type": "application/json", **headers}, endless())
    tracemalloc.start()
    try:
        async with UpstreamServer(answer) as server:
            error = await _error(server, HttpSettings(answer_bytes_max=1_000_000))
            await asyncio.wait_for(server.gone.wait(), WAIT_S)
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert error.reason == ("UPSTREAM_ANSWER_TOO_LARGE" if status == 200 else "UPSTREAM_FAILED")
    assert len(server.received) == 1
    # What is under way between two sockets counts as sent.
    assert sent < 50_000_000
    assert peak_bytes < 10_000_000


async def test_the_bound_counts_what_a_compressed_body_becomes() -> None:
    body = gzip.compress(b" " * 3_000_000)
    async with UpstreamServer(json_answer(body, content_encoding="gzip")) as server:
        error = await _error(server, HttpSettings(answer_bytes_max=2_000_000))
    assert error.reason == "UPSTREAM_ANSWER_TOO_LARGE"


async def test_an_answer_beyond_the_limits_of_a_document_is_too_large() -> None:
    body = b'{"x": %b1%b}' % (b"[" * 300, b"]" * 300)
    async with UpstreamServer(json_answer(body)) as server:
        error = await _error(server)
    assert (error.reason, error.should_retry) == ("UPSTREAM_ANSWER_TOO_LARGE", False)
    assert error.message == (
        "expected an answer of the upstream within the limits of a document, found a larger one"
    )


async def test_a_body_that_says_it_is_compressed_and_is_not_is_an_error() -> None:
    async with UpstreamServer(json_answer(b"{}", content_encoding="gzip")) as server:
        error = await _error(server)
    assert (error.code, error.reason) == ("UNAVAILABLE", "UPSTREAM_UNREADABLE")


@pytest.mark.parametrize(
    "answer",
    [
        json_answer(b'{"message":"key %b is no good"}' % SECRET.encode(), 401),
        json_answer(b'{"message":"key %b is no good"}' % SECRET.encode(), 429, retry_after="0"),
        json_answer(b'{"error":{"message":"%b","code":"%b"}}' % (SECRET.encode(), SECRET.encode()), 400),
        Answer(502, {}, [b"<html>Bearer %b</html>" % SECRET.encode()]),
        Answer(302, {"location": f"http://127.0.0.1:9/?key={SECRET}", "content-length": "0"}),
        json_answer(f"no JSON, but {SECRET}".encode()),
        sse_answer(b"data: %b\n\n" % SECRET.encode()),
        Answer(pieces=[f"HTTP/1.1 {SECRET}\r\n\r\n".encode()], is_headless=True),
    ],
    ids=["401", "429", "400", "html", "redirect", "no-json", "no-chunk", "no-http"],
)
@pytest.mark.parametrize("is_stream", [False, True])
async def test_no_error_or_log_has_the_key(
    answer: Answer, is_stream: bool, tmp_path: pathlib.Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = tmp_path / "key"
    file.write_text(SECRET)
    caplog.set_level(logging.DEBUG)
    async with UpstreamServer(answer) as server:
        upstream = MistralUpstream(server.url, key=Key.from_file(file), settings=TWICE)
        with pytest.raises(UpstreamError) as raised:
            await (anext(_streaming(upstream)) if is_stream else upstream.complete(REQUEST, CONTEXT))
        await upstream.close()
    assert server.received[0].headers["authorization"] == f"Bearer {SECRET}"
    shown = [*traceback.format_exception(raised.value), repr(raised.value), caplog.text, repr(vars(upstream))]
    shown += [repr(vars(raised.value))]
    assert SECRET not in "".join(shown)


async def test_a_key_that_is_exchanged_between_attempts_is_used_at_once(tmp_path: pathlib.Path) -> None:
    file = tmp_path / "key"
    file.write_text("first")
    async with UpstreamServer(json_answer(b"{}", 503), ANSWER) as server:
        upstream = MistralUpstream(server.url, key=Key.from_file(file))
        call = asyncio.create_task(upstream.complete(REQUEST, CONTEXT))
        await asyncio.wait_for(server.arrived.wait(), WAIT_S)
        file.write_text("second")
        await call
        await upstream.close()
    assert [request.headers["authorization"] for request in server.received] == [
        "Bearer first",
        "Bearer second",
    ]
