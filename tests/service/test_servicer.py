"""The servicer, over a real socket."""

import asyncio
import contextlib
import json
import logging
import os
import pathlib
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Mapping
from typing import Any, Self

import grpc
import pytest
from google.protobuf.message import Message
from google.rpc import error_details_pb2

from mistralwire import to_json
from mistralwire._offload import PYTHON_WEIGHT_MAX, is_light
from mistralwire.client import Client
from mistralwire.errors import CallError, DecodeError, UpstreamError, Violation
from mistralwire.service import SERVICE_NAME, ChatCompletionServicer, ServerConfig, create_server
from mistralwire.service import _request as request_module
from mistralwire.upstream import (
    CallContext,
    CompletionStreamRequest,
    MistralUpstream,
    Receiver,
    ReplayUpstream,
    Upstream,
)
from mistralwire.upstream._coroutines import encode_chunk
from mistralwire.v1 import (
    AgentsCompletionRequest,
    AgentsCompletionStreamRequest,
    ChatCompletionRequest,
    ChatCompletionResponse,
    ChatCompletionStreamRequest,
    ChatCompletionStreamResponse,
    ChatMessage,
    CompletionChunk,
    DeltaMessage,
    FIMCompletionRequest,
    FIMCompletionStreamRequest,
    UserMessage,
)
from mistralwire.v1 import chat_completion_service_pb2_grpc as service_grpc
from tests.service.upstreams import (
    MESSAGES,
    REQUEST,
    STREAM_REQUEST,
    EagerUpstream,
    HeldUpstream,
    chunk,
    status_of,
)
from tests.upstream_server import UpstreamServer, json_answer, sse_answer

REPLAY = pathlib.Path(__file__).parent.parent / "data" / "replay"


@contextlib.asynccontextmanager
async def serving(upstream: Upstream) -> AsyncIterator[Client]:
    # The timeout only matters when the test fails: nothing waits for it.
    async with (
        asyncio.timeout(30),
        create_server(upstream, ServerConfig(port=0)) as server,
        Client(server.address) as client,
    ):
        yield client


@contextlib.asynccontextmanager
async def channel_to(upstream: Upstream, **settings: Any) -> AsyncIterator[Any]:
    """Return a plain grpc channel, for what another client would see."""
    async with (
        asyncio.timeout(30),
        create_server(upstream, ServerConfig(port=0, **settings)) as server,
        grpc.aio.insecure_channel(server.address) as channel,
    ):
        yield channel


async def read_to_error(chunks: AsyncIterator[CompletionChunk]) -> tuple[list[CompletionChunk], CallError]:
    received: list[CompletionChunk] = []
    try:
        while True:
            received.append(await anext(chunks))
    except CallError as error:
        return received, error


def as_json(message: Any) -> Any:
    return json.loads(to_json(message))


def recorded(name: str) -> Any:
    text = (REPLAY / name).read_text()
    if name.endswith(".json"):
        return json.loads(text)
    return [json.loads(line[6:]) for line in text.splitlines() if line.startswith("data: {")]


def new_stub(channel: Any) -> service_grpc.ChatCompletionServiceAsyncStub:
    return service_grpc.ChatCompletionServiceAsyncStub(channel)


async def test_a_response_arrives_as_it_was_recorded() -> None:
    async with serving(ReplayUpstream(REPLAY / "chat.json")) as client:
        assert as_json(await client.complete(REQUEST)) == recorded("chat.json")


async def test_a_fim_response_arrives_as_it_was_recorded() -> None:
    async with serving(ReplayUpstream(REPLAY / "fim.json")) as client:
        response = await client.complete(FIMCompletionRequest(model="m", prompt="def f"))
        assert as_json(response) == recorded("fim.json")


async def test_an_agents_response_arrives_as_it_was_recorded() -> None:
    async with serving(ReplayUpstream(REPLAY / "chat.json")) as client:
        response = await client.complete(AgentsCompletionRequest(agent_id="ag_1", messages=MESSAGES))
        assert as_json(response) == recorded("chat.json")


@pytest.mark.parametrize("name", ["chat.sse", "tool-calls.sse", "paced.sse"])
@pytest.mark.parametrize(
    "request_",
    [
        STREAM_REQUEST,
        FIMCompletionStreamRequest(model="m", prompt="def f"),
        AgentsCompletionStreamRequest(agent_id="ag_1", messages=MESSAGES),
    ],
    ids=["chat", "fim", "agents"],
)
async def test_a_stream_arrives_as_it_was_recorded(name: str, request_: CompletionStreamRequest) -> None:
    async with serving(ReplayUpstream(REPLAY / name)) as client:
        assert [as_json(item) async for item in client.stream(request_)] == recorded(name)


async def test_each_chunk_arrives_while_the_upstream_is_held() -> None:
    upstream = HeldUpstream()
    async with serving(upstream) as client:
        chunks = client.stream(STREAM_REQUEST)
        for number in range(5):
            upstream.items.put_nowait(chunk(number))
            assert await anext(chunks) == chunk(number)
            assert not upstream.closed.is_set()
        upstream.items.put_nowait(None)
        with pytest.raises(StopAsyncIteration):
            await anext(chunks)


async def test_the_upstream_gets_the_request_as_it_was_sent() -> None:
    upstream = HeldUpstream()
    async with serving(upstream) as client:
        upstream.items.put_nowait(ChatCompletionResponse(id="1"))
        await client.complete(REQUEST)
        upstream.items.put_nowait(None)
        assert [item async for item in client.stream(STREAM_REQUEST)] == []

    assert upstream.requests == [REQUEST, STREAM_REQUEST]


async def test_a_loaded_stream_comes_in_full_messages_in_order_and_exactly_once() -> None:
    async with channel_to(EagerUpstream(10_000)) as channel:
        call = new_stub(channel).ChatCompletionStream(STREAM_REQUEST, timeout=30)
        messages = [list(message.chunks) async for message in call]

    assert [len(message) for message in messages] == [256] * 39 + [16]
    assert [int(item.id) for message in messages for item in message] == list(range(10_000))


async def test_many_streams_at_once_do_not_mix() -> None:
    async with serving(ReplayUpstream([REPLAY / "chat.sse", REPLAY / "tool-calls.sse"])) as client:

        async def read() -> list[Any]:
            return [as_json(item) async for item in client.stream(STREAM_REQUEST)]

        results = await asyncio.gather(*(read() for _ in range(40)))

    assert all(result in (recorded("chat.sse"), recorded("tool-calls.sse")) for result in results)
    assert sum(result == recorded("chat.sse") for result in results) == 20


async def test_a_reader_that_stops_reading_stops_the_upstream() -> None:
    upstream = EagerUpstream(None, "x" * 10_000)
    async with channel_to(upstream) as channel:
        call = new_stub(channel).ChatCompletionStream(STREAM_REQUEST, timeout=30)
        await call.read()
        call.cancel()
        # It is endless, and would fill the memory if it were read further.
        await upstream.closed.wait()


async def test_leaving_the_loop_cancels_the_upstream() -> None:
    upstream = HeldUpstream()
    upstream.items.put_nowait(chunk(0))
    async with serving(upstream) as client:
        async for _ in client.stream(STREAM_REQUEST):
            break
        await upstream.closed.wait()


async def test_cancelling_a_unary_call_cancels_the_upstream() -> None:
    upstream = HeldUpstream()
    async with serving(upstream) as client:
        call = asyncio.create_task(client.complete(REQUEST))
        await upstream.started.wait()
        call.cancel()
        await upstream.closed.wait()
        with pytest.raises(asyncio.CancelledError):
            await call


@pytest.mark.slow
async def test_a_deadline_ends_a_unary_call_and_its_upstream() -> None:
    upstream = HeldUpstream()
    async with serving(upstream) as client:
        with pytest.raises(CallError) as caught:
            await client.complete(REQUEST, deadline_s=1)
        await upstream.closed.wait()

    assert caught.value.code == "DEADLINE_EXCEEDED"


@pytest.mark.slow
async def test_a_deadline_ends_a_stream_and_its_upstream() -> None:
    upstream = HeldUpstream()
    upstream.items.put_nowait(chunk(0))
    async with serving(upstream) as client:
        received, error = await read_to_error(client.stream(STREAM_REQUEST, deadline_s=3))
        await upstream.closed.wait()

    assert received == [chunk(0)]
    assert error.code == "DEADLINE_EXCEEDED"


class HeldChecks:
    """Blocks the check of each large request until the test releases it; small ones pass."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.entered = asyncio.Event()
        self.sizes: list[int] = []
        self._may_go_on = threading.Event()
        self._loop = asyncio.get_running_loop()
        self._parse_checked = request_module.parse_checked
        monkeypatch.setattr(request_module, "parse_checked", self._read)

    def _read(self, request_type: type[Any], data: bytes, oldest_revision: int) -> Any:
        if not is_light(data, PYTHON_WEIGHT_MAX):
            self.sizes.append(len(data))
            self._loop.call_soon_threadsafe(self.entered.set)
            # In the event loop nobody could release it: the limit only matters when the test fails.
            assert self._may_go_on.wait(10)
        return self._parse_checked(request_type, data, oldest_revision)

    def let_go_on(self) -> None:
        self._may_go_on.set()


def large_request(**arguments: Any) -> ChatCompletionRequest:
    message = ChatMessage(user=UserMessage(role="user", content_string="x" * 64 * 1024))
    return ChatCompletionRequest(messages=[message], **arguments)


async def test_the_check_of_a_large_request_holds_up_no_other_call(monkeypatch: pytest.MonkeyPatch) -> None:
    upstream = HeldUpstream()
    async with serving(upstream) as client:
        checks = HeldChecks(monkeypatch)
        large = asyncio.create_task(client.complete(large_request(model="m")))
        try:
            await checks.entered.wait()
            stream = client.stream(STREAM_REQUEST)
            for number in range(3):
                upstream.items.put_nowait(chunk(number))
                assert await anext(stream) == chunk(number)
            upstream.items.put_nowait(None)
            assert [item async for item in stream] == []
            assert not large.done()
        finally:
            checks.let_go_on()
        upstream.items.put_nowait(ChatCompletionResponse(id="1"))
        assert (await large).id == "1"

    assert upstream.requests == [STREAM_REQUEST, large_request(model="m")]


async def test_a_cancelled_call_does_not_wait_for_its_check(monkeypatch: pytest.MonkeyPatch) -> None:
    upstream = HeldUpstream()
    upstream.items.put_nowait(ChatCompletionResponse(id="1"))
    async with (
        asyncio.timeout(30),
        create_server(upstream, ServerConfig(port=0, calls_max=1)) as server,
        Client(server.address) as client,
    ):
        checks = HeldChecks(monkeypatch)
        try:
            large = asyncio.create_task(client.complete(large_request(model="m")))
            await checks.entered.wait()
            large.cancel()
            with pytest.raises(asyncio.CancelledError):
                await large
            # There is room for one call: this one is answered once the other is over.
            while True:
                with contextlib.suppress(CallError):
                    assert (await client.complete(REQUEST)).id == "1"
                    break
        finally:
            checks.let_go_on()

    assert upstream.requests == [REQUEST]


async def test_a_large_request_that_breaks_the_contract_gets_its_status() -> None:
    upstream = HeldUpstream()
    async with serving(upstream) as client:
        with pytest.raises(CallError) as caught:
            await client.complete(large_request())

    assert caught.value.code == "INVALID_ARGUMENT"
    assert [violation.path for violation in caught.value.violations] == ["model"]
    assert upstream.requests == []


EXTRA = {"members": '{"temperature": "warm", "max_tokens": []}'}
BROKEN_REQUESTS = {
    "a member missing": (ChatCompletionRequest(messages=MESSAGES), {"model"}),
    "all members missing": (ChatCompletionRequest(), {"model", "messages"}),
    "a FIM request": (FIMCompletionRequest(model="m"), {"prompt"}),
    "an agents request": (AgentsCompletionRequest(), {"agent_id", "messages"}),
    "no JSON text": (ChatCompletionRequest(model="m", messages=MESSAGES, metadata="{oops"), {"metadata"}),
    "NaN": (ChatCompletionRequest(model="m", messages=MESSAGES, temperature=float("nan")), {"temperature"}),
    "several without a JSON form, and others": (
        ChatCompletionRequest(
            messages=[ChatMessage(), *MESSAGES, ChatMessage(user=UserMessage())],
            temperature=float("nan"),
            top_p=float("inf"),
            metadata="[1]",
        ),
        {"model", "messages[0]", "messages[2].content", "temperature", "top_p", "metadata"},
    ),
    "values that no field could hold": (
        ChatCompletionRequest(model="m", messages=MESSAGES, json_extra=EXTRA),
        {"temperature", "max_tokens"},
    ),
}


@pytest.mark.parametrize(("request_", "paths"), BROKEN_REQUESTS.values(), ids=BROKEN_REQUESTS)
async def test_a_request_that_breaks_the_contract_names_every_place(
    request_: ChatCompletionRequest, paths: set[str]
) -> None:
    upstream = HeldUpstream()
    async with serving(upstream) as client:
        with pytest.raises(CallError) as caught:
            await client.complete(request_)

    assert caught.value.code == "INVALID_ARGUMENT"
    assert {violation.path for violation in caught.value.violations} == paths
    assert all(violation.expected and violation.found for violation in caught.value.violations)
    assert upstream.requests == []


@pytest.mark.parametrize(
    ("request_", "text"),
    [
        (
            ChatCompletionRequest(model="m", messages=MESSAGES, metadata="[1]"),
            "metadata: expected the text of an object in the field, found an array of 1 element",
        ),
        (
            ChatCompletionRequest(model="m", messages=MESSAGES, temperature=float("nan")),
            "temperature: expected a value that has a JSON form, "
            "found nan, which JSON does not have; set a finite number",
        ),
    ],
)
async def test_a_request_without_a_json_form_says_why_in_one_sentence(
    request_: ChatCompletionRequest, text: str
) -> None:
    async with serving(HeldUpstream()) as client:
        with pytest.raises(CallError) as caught:
            await client.complete(request_)

    assert [str(violation) for violation in caught.value.violations] == [text]
    assert caught.value.message == text
    assert caught.value.reason == "NO_JSON_FORM"


async def test_a_stream_request_that_breaks_the_contract_fails_before_the_first_chunk() -> None:
    upstream = HeldUpstream()
    async with serving(upstream) as client:
        with pytest.raises(CallError) as caught:
            await anext(client.stream(ChatCompletionStreamRequest(messages=MESSAGES)))

    assert [str(violation) for violation in caught.value.violations] == [
        "model: expected a string, found nothing: the member is required"
    ]
    assert upstream.requests == []


async def test_violations_are_standard_details_that_any_client_can_read() -> None:
    async with channel_to(HeldUpstream()) as channel:
        call = new_stub(channel).ChatCompletion(ChatCompletionRequest(messages=MESSAGES), timeout=30)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await call
        status = status_of(caught.value)

    bad_request, info = error_details_pb2.BadRequest(), error_details_pb2.ErrorInfo()
    assert status.details[0].Unpack(bad_request)
    assert status.details[1].Unpack(info)
    assert [(item.field, item.description) for item in bad_request.field_violations] == [
        ("model", "expected a string, found nothing: the member is required")
    ]
    assert (info.reason, info.domain) == ("CONTRACT_VIOLATION", "mistralwire")


async def test_a_request_with_hundreds_of_violations_still_gets_its_status() -> None:
    request = ChatCompletionRequest(model="m", messages=[{"user": {}}] * 500)
    async with serving(HeldUpstream()) as client:
        with pytest.raises(CallError) as caught:
            await client.complete(request)

    assert caught.value.code == "INVALID_ARGUMENT"
    assert caught.value.violations[0].path == "messages[0].content"
    assert caught.value.metadata["truncated"] == "true"


@pytest.mark.parametrize("method", ["ChatCompletion", "FIMCompletion", "AgentsCompletion"])
@pytest.mark.parametrize(
    "data", [b"\xff\xff\xff", b"\x12\x01\xff"], ids=["no wire bytes", "no UTF-8 in model"]
)
async def test_bytes_that_are_no_request_are_an_invalid_argument(method: str, data: bytes) -> None:
    async with channel_to(HeldUpstream()) as channel:
        call = channel.unary_unary(f"/{SERVICE_NAME}/{method}")
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await call(data, timeout=30)

    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert "3 bytes that can't be parsed" in str(caught.value.details())


@pytest.mark.process
@pytest.mark.parametrize("implementation", ["python", "upb"])
def test_bytes_that_are_no_request_are_the_same_error_in_every_protobuf(implementation: str) -> None:
    program = """
from google.protobuf.internal import api_implementation
from mistralwire.errors import DecodeError
from mistralwire.service._request import parse_checked
from mistralwire.v1 import ChatCompletionRequest

print(api_implementation.Type())
for data in (b"\\xff\\xff\\xff", b"\\x12\\x01\\xff"):
    try:
        parse_checked(ChatCompletionRequest, data)
    except DecodeError as error:
        print(error.reason)
"""
    environment = os.environ | {"PROTOCOL_BUFFERS_PYTHON_IMPLEMENTATION": implementation}
    result = subprocess.run(
        [sys.executable, "-c", program],
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert result.stdout.split() == [implementation, "NOT_PROTOBUF", "NOT_PROTOBUF"], result.stderr


@pytest.mark.parametrize(
    "request_",
    [
        ChatCompletionRequest(
            model="m", messages=[ChatMessage()] * 60_000, stop_array={"items": ["x"] * 50_000}
        ),
        ChatCompletionRequest(model="m", messages=MESSAGES, metadata=f'{{"a": [{"1," * 200_000}1]}}'),
    ],
    ids=["messages and elements", "JSON text"],
)
async def test_a_request_of_more_values_than_the_bound_is_refused(request_: ChatCompletionRequest) -> None:
    upstream = HeldUpstream()
    async with serving(upstream) as client:
        with pytest.raises(CallError, match="at most 100000 values") as caught:
            await client.complete(request_)

    assert (caught.value.code, caught.value.reason) == ("INVALID_ARGUMENT", "LIMIT_EXCEEDED")
    assert upstream.requests == []


async def test_a_small_request_of_many_values_is_checked_in_a_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    threads: list[threading.Thread] = []

    def read(request_type: type[Any], data: bytes, _: int) -> Any:
        threads.append(threading.current_thread())
        return request_type.FromString(data)

    monkeypatch.setattr(request_module, "parse_checked", read)
    upstream = HeldUpstream()
    async with serving(upstream) as client:
        for count in (1, PYTHON_WEIGHT_MAX // 10, PYTHON_WEIGHT_MAX):
            upstream.items.put_nowait(ChatCompletionResponse(id="1"))
            message = ChatMessage(user=UserMessage(content_string="x"))
            await client.complete(ChatCompletionRequest(model="m", messages=[message] * count))

    assert [thread is threading.main_thread() for thread in threads] == [True, True, False]


class OddError(BaseException):
    """An exception that no upstream should raise."""


@pytest.mark.parametrize("is_stream", [False, True])
@pytest.mark.parametrize(
    ("error", "code", "reason"),
    [
        (DecodeError([Violation("a", "b", "the private text")]), "INTERNAL", "UPSTREAM_UNREADABLE"),
        (OddError("the private text"), "INTERNAL", "INTERNAL"),
        (GeneratorExit("the private text"), "INTERNAL", "INTERNAL"),
        (BaseExceptionGroup("the private text", [OddError()]), "INTERNAL", "INTERNAL"),
    ],
    ids=lambda value: type(value).__name__,
)
async def test_whatever_an_upstream_raises_is_not_the_callers_fault_and_ends_his_call(
    error: BaseException, code: str, reason: str, is_stream: bool
) -> None:
    upstream = HeldUpstream()
    upstream.items.put_nowait(error)
    async with serving(upstream) as client:
        with pytest.raises(CallError) as caught:
            await (anext(client.stream(STREAM_REQUEST)) if is_stream else client.complete(REQUEST))

    assert (caught.value.code, caught.value.reason) == (code, reason)
    assert "private" not in str(caught.value)


class WrongUpstream:
    """Responds with messages of the wrong types."""

    async def complete(self, request: Any, context: CallContext) -> Any:
        return chunk(0)

    async def stream(self, request: Any, context: CallContext) -> AsyncIterator[Any]:
        yield ChatCompletionResponse(id="1")


async def test_an_answer_of_another_type_is_never_sent() -> None:
    async with serving(WrongUpstream()) as client:
        with pytest.raises(CallError) as caught:
            await client.complete(REQUEST)
        assert caught.value.code == "INTERNAL"
        with pytest.raises(CallError) as caught:
            await anext(client.stream(STREAM_REQUEST))
        assert caught.value.code == "INTERNAL"


async def test_an_error_with_a_code_that_is_none_is_internal() -> None:
    upstream = HeldUpstream()
    async with serving(upstream) as client:
        for code in ("OK", "mro", "NO_SUCH_CODE"):
            upstream.items.put_nowait(UpstreamError("odd \ud800 text", code=code))
            with pytest.raises(CallError, match=r"odd \? text") as caught:
                await client.complete(REQUEST)
            assert caught.value.code == "INTERNAL"


async def test_an_upstream_error_ends_a_unary_call_with_its_status() -> None:
    upstream = HeldUpstream()
    upstream.items.put_nowait(UpstreamError("over capacity", status=429, code="RESOURCE_EXHAUSTED"))
    async with serving(upstream) as client:
        with pytest.raises(CallError, match="over capacity") as caught:
            await client.complete(REQUEST)

    assert caught.value.code == "RESOURCE_EXHAUSTED"
    assert caught.value.reason == "UPSTREAM_FAILED"
    assert caught.value.metadata == {"http_status": "429", "contract_revision": "1"}


async def test_an_upstream_error_in_a_stream_comes_after_all_chunks() -> None:
    async with serving(ReplayUpstream(REPLAY / "error-in-the-middle.sse")) as client:
        received, error = await read_to_error(client.stream(STREAM_REQUEST))

    assert [as_json(item) for item in received] == recorded("error-in-the-middle.sse")[:2]
    assert error.message == "the capacity of this tier is exceeded"
    assert error.code == "RESOURCE_EXHAUSTED"


@pytest.mark.parametrize("is_stream", [False, True])
async def test_an_unexpected_exception_shows_nothing_of_itself(
    is_stream: bool, caplog: pytest.LogCaptureFixture
) -> None:
    upstream = HeldUpstream()
    upstream.items.put_nowait(LookupError("the private text"))
    with caplog.at_level(logging.DEBUG):
        async with serving(upstream) as client:
            with pytest.raises(CallError) as caught:
                await (anext(client.stream(STREAM_REQUEST)) if is_stream else client.complete(REQUEST))

    assert caught.value.code == "INTERNAL"
    assert caught.value.message == "internal error of the service"
    assert "an unexpected LookupError" in caplog.text
    assert "private" not in caplog.text


@pytest.mark.parametrize("is_stream", [False, True])
async def test_an_upstream_that_cancels_itself_is_an_error_and_no_hang(is_stream: bool) -> None:
    upstream = HeldUpstream()
    upstream.items.put_nowait(asyncio.CancelledError())
    async with serving(upstream) as client:
        with pytest.raises(CallError) as caught:
            await (anext(client.stream(STREAM_REQUEST)) if is_stream else client.complete(REQUEST))

    assert caught.value.code == "INTERNAL"


async def test_the_servicer_joins_a_server_of_ones_own() -> None:
    server = grpc.aio.server()
    ChatCompletionServicer(EagerUpstream(1)).add_to(server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        async with Client(f"127.0.0.1:{port}") as client:
            assert [item.id async for item in client.stream(STREAM_REQUEST)] == ["0"]
    finally:
        await server.stop(None)


class IteratingInterceptor(grpc.aio.ServerInterceptor):  # type: ignore[misc]
    """Iterates over the response stream, as the interceptors of other packages do."""

    async def intercept_service(self, continuation: Any, details: Any) -> Any:
        handler = await continuation(details)

        async def behavior(request: Any, context: Any) -> AsyncIterator[bytes]:
            async for message in handler.stream_stream(request, context):
                yield message

        return grpc.stream_stream_rpc_method_handler(behavior)


async def test_a_stream_goes_through_interceptors_that_iterate_over_it() -> None:
    server = grpc.aio.server(interceptors=[IteratingInterceptor()])
    ChatCompletionServicer(EagerUpstream(1000)).add_to(server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        async with Client(f"127.0.0.1:{port}") as client:
            received = [item.id async for item in client.stream(STREAM_REQUEST)]
    finally:
        await server.stop(None)

    assert received == [str(number) for number in range(1000)]


async def test_a_chunk_of_any_size_reaches_a_client_that_allows_it() -> None:
    content = "x" * 5_000_000
    upstream = HeldUpstream()
    upstream.items.put_nowait(chunk(0, content))
    upstream.items.put_nowait(None)
    async with serving(upstream) as client:
        (received,) = [item async for item in client.stream(STREAM_REQUEST)]

    assert received.choices[0].delta == DeltaMessage(content_string=content)
    assert ChatCompletionStreamResponse(chunks=[received]).ByteSize() > 5_000_000


# Metadata of every call.
OWN = ("x-request-id", "x-contract-revision")
PASSED = {"mistral-correlation-id": "corr-1", "x-ratelimit-remaining": "0"}
# The key of the last is for bytes in gRPC.
LIMITED = {**PASSED, "set-cookie": "a=b", "x-ratelimit-reset-bin": "1"}


def _passed(metadata: Any) -> dict[str, str]:
    return {name: value for name, value in metadata if name in LIMITED}


@pytest.mark.parametrize("accept_encoding", ["identity", "gzip"])
@pytest.mark.parametrize("is_stream", [False, True])
async def test_headers_of_the_upstream_are_metadata_for_any_client(
    is_stream: bool, accept_encoding: str
) -> None:
    body = b'{"id":"1","model":"m","choices":[]}'
    answer = sse_answer(b"data: %b\n\n" % body, b"data: [DONE]\n\n") if is_stream else json_answer(body)
    answer.headers |= LIMITED
    async with UpstreamServer(answer) as server:
        upstream = MistralUpstream(server.url)
        async with channel_to(upstream) as channel:
            stub = new_stub(channel)
            wanted = (("x-accept-encoding", accept_encoding),)
            call: Any = (
                stub.ChatCompletionStream(STREAM_REQUEST, metadata=wanted)
                if is_stream
                else stub.ChatCompletion(REQUEST, metadata=wanted)
            )
            if is_stream:
                assert len([message async for message in call]) == 1
                assert _passed(await call.initial_metadata()) == PASSED
            else:
                await call
            assert _passed(await call.trailing_metadata()) == PASSED
        await upstream.close()


class ToldUpstream(EagerUpstream):
    """Responds by callbacks, after headers of its own."""

    def __init__(self, headers: Mapping[Any, Any]) -> None:
        super().__init__(1)
        self._headers = headers

    def start(
        self, request: Any, wire: bytes, context: CallContext, receiver: Receiver, *, contract_revision: int
    ) -> Self:
        asyncio.get_running_loop().call_soon(self._answer, type(request), receiver)
        return self

    def _answer(self, request_type: type[Message], receiver: Receiver) -> None:
        receiver.headers(self._headers)
        if request_type is ChatCompletionRequest:
            receiver.answer(ChatCompletionResponse(id="1").SerializeToString())
        else:
            receiver.batch(encode_chunk(chunk(0)), 1)
            receiver.end()
        receiver.closed()

    def pause(self) -> None: ...

    def resume(self) -> None: ...

    def cancel(self) -> None: ...


@pytest.mark.parametrize("is_stream", [False, True])
@pytest.mark.parametrize("is_shared", [False, True])
async def test_headers_of_a_programs_own_that_grpc_can_not_carry_are_left_out(
    is_stream: bool, is_shared: bool
) -> None:
    odd = {"x-ratelimit-bin": "1", "x-trace-id": "caf\xe9", "Cf-Ray": "1", 5: "1", "trace-id": 5}
    upstream = ToldUpstream({**odd, "mistral-correlation-id": "corr-1"})
    async with channel_to(upstream, upstream_key_shared=is_shared) as channel:
        stub = new_stub(channel)
        call: Any = stub.ChatCompletionStream(STREAM_REQUEST) if is_stream else stub.ChatCompletion(REQUEST)
        if is_stream:
            assert len([message async for message in call]) == 1
        else:
            assert (await call).id == "1"
        got = [(name, value) for name, value in await call.trailing_metadata() if name not in OWN]
    assert got == [("mistral-correlation-id", "corr-1")]


@pytest.mark.parametrize("is_stream", [False, True])
async def test_headers_of_a_refusal_are_in_its_details_and_trailers(is_stream: bool) -> None:
    violation = {"loc": ["body", "messages", 0], "msg": "is bad", "type": "bad_value", "input": "secret"}
    answer = json_answer(json.dumps({"detail": [violation], "code": 7}).encode(), 422)
    answer.headers |= LIMITED
    async with UpstreamServer(answer) as server:
        upstream = MistralUpstream(server.url)
        async with channel_to(upstream) as channel:
            stub = new_stub(channel)
            with pytest.raises(grpc.aio.AioRpcError) as raised:
                await (
                    anext(aiter(stub.ChatCompletionStream(STREAM_REQUEST)))
                    if is_stream
                    else stub.ChatCompletion(REQUEST)
                )
        await upstream.close()
    error = raised.value
    assert _passed(error.trailing_metadata()) == PASSED
    status: Any = status_of(error)
    bad_request, info = error_details_pb2.BadRequest(), error_details_pb2.ErrorInfo()
    assert status.details[0].Unpack(bad_request)
    assert status.details[1].Unpack(info)
    assert [(each.field, each.description, each.reason) for each in bad_request.field_violations] == [
        ("messages[0]", "is bad", "BAD_VALUE")
    ]
    expected = PASSED | {"http_status": "422", "upstream_code": "7", "upstream_members": '{"code":7}'}
    assert dict(info.metadata).items() >= expected.items()
    assert "secret" not in str(error)
