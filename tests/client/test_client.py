"""The client: channels, deadlines, and the statuses of any service."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest
from google.protobuf.any_pb2 import Any as AnyMessage
from google.rpc import error_details_pb2, status_pb2

from mistralwire.client import DEADLINE_S_MAX, Client
from mistralwire.errors import CallError, Violation
from mistralwire.service import SERVICE_NAME, ServerConfig, create_server
from mistralwire.v1 import (
    AgentsCompletionRequest,
    ChatCompletionResponse,
    ChatCompletionStreamResponse,
    FIMCompletionRequest,
    FIMCompletionResponse,
)
from mistralwire.v1 import chat_completion_service_pb2_grpc as service_grpc
from tests.client.peers import started
from tests.service.upstreams import REQUEST, STREAM_REQUEST, EagerUpstream, HeldUpstream, chunk


@contextlib.asynccontextmanager
async def foreign_service(trailers: tuple[tuple[str, bytes], ...]) -> AsyncIterator[str]:
    """Serve NOT_FOUND with these trailers, as another implementation might."""

    class Servicer(service_grpc.ChatCompletionServiceServicer):
        async def ChatCompletion(self, request: Any, context: Any) -> Any:
            await context.abort(grpc.StatusCode.NOT_FOUND, "not here", trailers)

    server = grpc.aio.server()
    service_grpc.add_ChatCompletionServiceServicer_to_server(Servicer(), server)
    async with started(server) as target:
        yield target


@contextlib.asynccontextmanager
async def service_of_bytes(*answers: bytes) -> AsyncIterator[str]:
    """Serve these bytes: the first as a unary response, all of them as a stream."""

    async def complete(request: bytes, context: Any) -> bytes:
        return answers[0]

    async def stream(request: bytes, context: Any) -> AsyncIterator[bytes]:
        for answer in answers:
            yield answer

    handlers = {
        "ChatCompletion": grpc.unary_unary_rpc_method_handler(complete),
        "ChatCompletionStream": grpc.unary_stream_rpc_method_handler(stream),
    }
    server = grpc.aio.server()
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE_NAME, handlers),))
    async with started(server) as target:
        yield target


async def test_the_kind_of_request_decides_the_kind_of_response() -> None:
    upstream = HeldUpstream()
    upstream.items.put_nowait(ChatCompletionResponse(id="chat"))
    upstream.items.put_nowait(FIMCompletionResponse(id="fim"))
    upstream.items.put_nowait(ChatCompletionResponse(id="agents"))
    async with create_server(upstream, ServerConfig(port=0)) as server, Client(server.address) as client:
        chat = await client.complete(REQUEST)
        fim = await client.complete(FIMCompletionRequest(model="m", prompt="p"))
        agents = await client.complete(AgentsCompletionRequest(agent_id="ag_1", messages=REQUEST.messages))

    assert (type(chat), chat.id) == (ChatCompletionResponse, "chat")
    assert (type(fim), fim.id) == (FIMCompletionResponse, "fim")
    assert (type(agents), agents.id) == (ChatCompletionResponse, "agents")


async def test_batches_come_as_single_chunks() -> None:
    async with (
        create_server(EagerUpstream(1000), ServerConfig(port=0)) as server,
        Client(server.address) as client,
    ):
        received = [item.id async for item in client.stream(STREAM_REQUEST)]

    assert received == [str(number) for number in range(1000)]


async def test_closing_the_stream_inside_a_batch_cancels_the_call() -> None:
    upstream = EagerUpstream(None, "x" * 100)
    async with (
        asyncio.timeout(30),
        create_server(upstream, ServerConfig(port=0)) as server,
        Client(server.address) as client,
    ):
        stream = client.stream(STREAM_REQUEST)
        async with contextlib.aclosing(stream):
            assert (await anext(stream)).id == "0"
        await upstream.closed.wait()


async def test_no_service_is_unavailable() -> None:
    server = create_server(HeldUpstream(), ServerConfig(port=0))
    await server.start()
    await server.stop(0)
    async with Client(server.address, attempts_max=1) as client:
        with pytest.raises(CallError) as caught:
            await client.complete(REQUEST)

    assert caught.value.code == "UNAVAILABLE"
    assert caught.value.reason == "UNAVAILABLE"
    assert caught.value.violations == []


async def test_tls_is_spoken_on_loopback_too_when_asked_for() -> None:
    upstream = HeldUpstream()
    async with (
        create_server(upstream, ServerConfig(port=0)) as server,
        Client(server.address, insecure=False, attempts_max=1) as client,
    ):
        with pytest.raises(CallError) as caught:
            await client.complete(REQUEST)

    assert caught.value.code == "UNAVAILABLE"
    assert upstream.requests == []


async def test_the_clients_deadline_holds_where_the_call_has_none() -> None:
    upstream = HeldUpstream()
    async with (
        create_server(upstream, ServerConfig(port=0)) as server,
        Client(server.address, deadline_s=0.1) as client,
    ):
        with pytest.raises(CallError) as caught:
            await client.complete(REQUEST)

    assert caught.value.code == "DEADLINE_EXCEEDED"


async def test_a_message_beyond_the_limit_is_an_error() -> None:
    upstream = HeldUpstream()
    upstream.items.put_nowait(chunk(0, "x" * 2000))
    async with (
        create_server(upstream, ServerConfig(port=0)) as server,
        Client(server.address, message_bytes_max=1000) as client,
    ):
        with pytest.raises(CallError) as caught:
            await anext(client.stream(STREAM_REQUEST))

    assert caught.value.code == "RESOURCE_EXHAUSTED"


def details(type_name: str, value: bytes) -> tuple[tuple[str, bytes], ...]:
    detail = AnyMessage(type_url=f"type.googleapis.com/{type_name}", value=value)
    return (("grpc-status-details-bin", status_pb2.Status(code=5, details=[detail]).SerializeToString()),)


@pytest.mark.parametrize(
    "trailers",
    [
        (),
        (("grpc-status-details-bin", b"\xff\xff"),),
        details("google.rpc.ErrorInfo", b"\xff\xff"),
        details("google.rpc.BadRequest", b"\xff\xff"),
        details("google.rpc.RetryInfo", b"\xff\xff"),
    ],
)
async def test_a_status_without_details_still_is_an_error(trailers: tuple[tuple[str, bytes], ...]) -> None:
    async with foreign_service(trailers) as target, Client(target) as client:
        with pytest.raises(CallError, match="not here") as caught:
            await client.complete(REQUEST)

    assert (caught.value.code, caught.value.reason) == ("NOT_FOUND", "NOT_FOUND")


async def test_violations_of_another_service_are_kept_in_its_own_words() -> None:
    packed = AnyMessage()
    violation = error_details_pb2.BadRequest.FieldViolation(field="model", description="is unknown")
    packed.Pack(error_details_pb2.BadRequest(field_violations=[violation]))
    status = status_pb2.Status(code=5, message="not here", details=[packed])
    trailers = (("grpc-status-details-bin", status.SerializeToString()),)
    async with foreign_service(trailers) as target, Client(target) as client:
        with pytest.raises(CallError) as caught:
            await client.complete(REQUEST)

    assert caught.value.violations == [Violation("model", "is unknown", "something else")]


async def test_what_is_no_request_is_a_type_error() -> None:
    async with Client("127.0.0.1:1") as client:
        with pytest.raises(
            TypeError, match="expected a dict or ChatCompletionRequest or FIMCompletionRequest"
        ):
            await client.complete(STREAM_REQUEST)  # type: ignore[call-overload]
        with pytest.raises(TypeError, match="expected a dict or ChatCompletionStreamRequest or FIM"):
            await anext(client.stream(REQUEST))  # type: ignore[arg-type]


@pytest.mark.parametrize("data", [b"\xff\xff\xff", b"\x0a\x01\xff"], ids=["no wire bytes", "no UTF-8"])
async def test_an_answer_that_is_no_protobuf_is_an_internal_error(data: bytes) -> None:
    async with service_of_bytes(data) as target, Client(target) as client:
        with pytest.raises(
            CallError, match="of a ChatCompletionResponse from the service, found 3"
        ) as caught:
            await client.complete(REQUEST)

    assert (caught.value.code, caught.value.reason) == ("INTERNAL", "NOT_PROTOBUF")


async def test_a_message_that_is_no_protobuf_breaks_the_stream_behind_the_chunks_before() -> None:
    good = ChatCompletionStreamResponse(chunks=[chunk(0)]).SerializeToString()
    async with service_of_bytes(good, b"\xff\xff\xff", good) as target, Client(target) as client:
        stream = client.stream(STREAM_REQUEST)
        assert await anext(stream) == chunk(0)
        with pytest.raises(CallError, match="of a ChatCompletionStreamResponse") as caught:
            await anext(stream)

    assert (caught.value.code, caught.value.reason) == ("INTERNAL", "NOT_PROTOBUF")


async def test_an_answer_of_no_bytes_is_an_empty_message() -> None:
    async with service_of_bytes(b"") as target, Client(target) as client:
        assert await client.complete(REQUEST) == ChatCompletionResponse()
        assert [item async for item in client.stream(STREAM_REQUEST)] == []


@pytest.mark.parametrize("is_stream", [False, True])
async def test_closing_the_client_ends_its_calls_with_an_error_and_no_cancellation(is_stream: bool) -> None:
    upstream = HeldUpstream()
    async with asyncio.timeout(30), create_server(upstream, ServerConfig(port=0)) as server:
        client = Client(server.address)
        stream = client.stream(STREAM_REQUEST)
        if is_stream:
            upstream.items.put_nowait(chunk(0))
            await anext(stream)
        call = asyncio.ensure_future(anext(stream) if is_stream else client.complete(REQUEST))
        await upstream.started.wait()
        await client.close()
        with pytest.raises(CallError, match="the client is closed") as caught:
            await call
        await upstream.closed.wait()

    assert not call.cancelled()
    assert (caught.value.code, caught.value.reason) == ("CANCELLED", "CLIENT_CLOSED")


async def test_a_task_that_is_cancelled_stays_cancelled_while_the_client_closes() -> None:
    upstream = HeldUpstream()
    async with asyncio.timeout(30), create_server(upstream, ServerConfig(port=0)) as server:
        client = Client(server.address)
        call = asyncio.create_task(client.complete(REQUEST))
        await upstream.started.wait()
        call.cancel()
        await client.close()
        with pytest.raises(asyncio.CancelledError):
            await call


async def test_a_call_of_a_closed_client_is_the_same_error() -> None:
    client = Client("127.0.0.1:1")
    await client.close()
    await client.close()

    for call in (client.complete(REQUEST), anext(client.stream(STREAM_REQUEST))):
        with pytest.raises(CallError, match="the client is closed") as caught:
            await call
        assert (caught.value.code, caught.value.reason) == ("CANCELLED", "CLIENT_CLOSED")


@pytest.mark.parametrize("deadline_s", [0, -1, float("nan"), float("inf"), 1e12, DEADLINE_S_MAX + 1])
async def test_a_deadline_must_be_above_zero_and_within_a_year(deadline_s: float) -> None:
    with pytest.raises(ValueError, match="deadline_s must be a number above 0"):
        Client("127.0.0.1:1", deadline_s=deadline_s)
    with pytest.raises(TypeError, match="deadline_s must be a number"):
        Client("127.0.0.1:1", deadline_s=str(deadline_s))  # type: ignore[arg-type]
    async with Client("127.0.0.1:1") as client:
        with pytest.raises(ValueError, match="deadline_s must be a number above 0"):
            await client.complete(REQUEST, deadline_s=deadline_s)


async def test_the_longest_deadline_is_not_over_at_once() -> None:
    upstream = HeldUpstream()
    upstream.items.put_nowait(ChatCompletionResponse(id="1"))
    async with (
        create_server(upstream, ServerConfig(port=0)) as server,
        Client(server.address, deadline_s=DEADLINE_S_MAX) as client,
    ):
        assert (await client.complete(REQUEST)).id == "1"


async def test_contradicting_and_impossible_arguments_are_refused() -> None:
    with pytest.raises(ValueError, match="found both"):
        Client("127.0.0.1:1", insecure=True, credentials=grpc.ssl_channel_credentials())
    with pytest.raises(ValueError, match="message_bytes_max must be an integer from 1 to"):
        Client("127.0.0.1:1", message_bytes_max=0)
    with pytest.raises(ValueError, match="message_bytes_max must be an integer from 1 to"):
        Client("127.0.0.1:1", message_bytes_max=2**31)
    with pytest.raises(TypeError, match="message_bytes_max must be an integer"):
        Client("127.0.0.1:1", message_bytes_max="5")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"not a URL: 'https://example\.com'"):
        Client("https://example.com")
    with pytest.raises(ValueError, match="target must be an address such as 'localhost:50051', not empty"):
        Client("")
    for target in (None, 50051, b"localhost"):
        with pytest.raises(TypeError, match="target must be a string"):
            Client(target)  # type: ignore[arg-type]
