"""The end of calls: deadlines, idle timeouts, queues, backpressure, records."""

import asyncio
import contextlib
import socket
import time
from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest

from mistralwire import SseDecoder, SseMessage, encode_sse
from mistralwire.errors import UpstreamError
from mistralwire.service import SERVICE_NAME, CallRecord, Chunks, ServerConfig, create_server
from mistralwire.upstream import (
    CallContext,
    CompletionRequest,
    CompletionResponse,
    CompletionStreamRequest,
    Upstream,
)
from mistralwire.v1 import (
    ChatCompletionRequest,
    ChatCompletionResponse,
    ChatCompletionStreamRequest,
    ChatCompletionStreamResponse,
    CompletionChunk,
)
from mistralwire.v1 import chat_completion_service_pb2_grpc as service_grpc
from tests.service.peers import ACK, PING, Frame, RawPeer
from tests.service.upstreams import MESSAGES, REQUEST, STREAM_REQUEST, EagerUpstream, HeldUpstream, chunk

SECRET = "my secret prompt"


class Watching:
    """Keeps the records of calls, and signals when one has ended."""

    def __init__(self) -> None:
        self.records: list[CallRecord] = []
        self.received: list[CompletionChunk] = []
        self.starts = 0
        self.has_ended = asyncio.Event()

    def started(self, call: CallRecord) -> None:
        assert call.request is not None
        self.starts += 1

    def chunks(self, call: CallRecord, chunks: Chunks) -> None:
        message = ChatCompletionStreamResponse.FromString(chunks.wire)
        assert len(message.chunks) == chunks.count
        self.received += message.chunks

    def ended(self, call: CallRecord) -> None:
        self.records.append(call)
        self.has_ended.set()


@contextlib.asynccontextmanager
async def channel_to(upstream: Upstream, *observers: Watching, **settings: Any) -> AsyncIterator[Any]:
    async with (
        asyncio.timeout(30),
        create_server(upstream, ServerConfig(port=0, **settings), observers) as server,
        grpc.aio.insecure_channel(server.address) as channel,
    ):
        yield channel


def stub_of(channel: Any) -> Any:
    return service_grpc.ChatCompletionServiceAsyncStub(channel)


async def read_to_error(call: Any) -> tuple[list[str], grpc.aio.AioRpcError]:
    """Read a stream that fails; return the ids of its chunks, and the error."""
    received: list[str] = []
    try:
        async for message in call:
            received += [item.id for item in message.chunks]
    except grpc.aio.AioRpcError as error:
        return received, error
    raise AssertionError("the stream did not break")


async def test_the_deadline_of_the_caller_reaches_the_upstream() -> None:
    upstream = HeldUpstream()
    async with channel_to(upstream) as channel:
        upstream.items.put_nowait(ChatCompletionResponse(id="1"))
        await stub_of(channel).ChatCompletion(REQUEST, timeout=20)
        upstream.items.put_nowait(None)
        assert await stub_of(channel).ChatCompletionStream(STREAM_REQUEST, timeout=20).read() is grpc.aio.EOF
        upstream.items.put_nowait(ChatCompletionResponse(id="1"))
        await stub_of(channel).ChatCompletion(REQUEST)

    complete, stream, endless = upstream.contexts
    for context in (complete, stream):
        assert context.deadline_s is not None
        assert time.monotonic() - 30 < context.deadline_s < time.monotonic() + 25
    assert endless.deadline_s is None
    assert endless.remaining_s() is None


@pytest.mark.parametrize("is_stream", [False, True])
async def test_a_cancelled_call_cancels_its_upstream(is_stream: bool) -> None:
    upstream, watching = HeldUpstream(), Watching()
    async with channel_to(upstream, watching) as channel:
        stub = stub_of(channel)
        call = stub.ChatCompletionStream(STREAM_REQUEST) if is_stream else stub.ChatCompletion(REQUEST)
        await upstream.started.wait()
        call.cancel()
        await upstream.closed.wait()
        await watching.has_ended.wait()

    assert watching.records[0].code == "CANCELLED"


@pytest.mark.slow
async def test_callers_who_leave_in_the_middle_of_a_message_are_no_failures(
    caplog: pytest.LogCaptureFixture,
) -> None:
    watching = Watching()
    async with channel_to(EagerUpstream(None, "x" * 1000), watching) as channel:
        stub = stub_of(channel)

        async def leave(messages: int) -> None:
            call = stub.ChatCompletionStream(STREAM_REQUEST)
            for _ in range(messages):
                await call.read()
            call.cancel()

        await asyncio.gather(*(leave(1 + number % 7) for number in range(42)))
        while len(watching.records) < 42:
            watching.has_ended.clear()
            await watching.has_ended.wait()

    assert {record.code for record in watching.records} == {"CANCELLED"}
    assert [record for record in caplog.records if record.levelname == "ERROR"] == []


@pytest.mark.slow
@pytest.mark.parametrize("is_stream", [False, True])
async def test_a_call_that_runs_out_of_time_ends_its_upstream(is_stream: bool) -> None:
    upstream, watching = HeldUpstream(), Watching()
    async with channel_to(upstream, watching) as channel:
        stub = stub_of(channel)
        stream, complete = stub.ChatCompletionStream, stub.ChatCompletion
        call = stream(STREAM_REQUEST, timeout=1) if is_stream else complete(REQUEST, timeout=1)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await (call.read() if is_stream else call)
        await upstream.closed.wait()
        await watching.has_ended.wait()

    assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    assert watching.records[0].code == "DEADLINE_EXCEEDED"


async def test_a_silent_upstream_ends_the_stream_after_what_was_received() -> None:
    upstream = HeldUpstream()
    async with channel_to(upstream, upstream_idle_s=0.3) as channel:
        call = stub_of(channel).ChatCompletionStream(STREAM_REQUEST)
        for number in range(2):
            upstream.items.put_nowait(chunk(number))
        received, error = await read_to_error(call)
        await upstream.closed.wait()

    assert received == ["0", "1"]
    assert error.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    assert error.details() == "the upstream was silent for 0.3 seconds"


class BreakingUpstream:
    """Fails each stream after as many chunks as the request's `max_tokens`."""

    async def complete(self, request: CompletionRequest, context: CallContext) -> CompletionResponse:
        raise NotImplementedError

    async def stream(
        self, request: CompletionStreamRequest, context: CallContext
    ) -> AsyncIterator[CompletionChunk]:
        for number in range(request.max_tokens):
            yield chunk(number, "x" * (number % 700))
            if number % 97 == 0:
                await asyncio.sleep(0)
        raise UpstreamError("broken")


@pytest.mark.slow
async def test_no_chunk_is_lost_behind_an_error_however_slow_the_reader() -> None:
    async with channel_to(BreakingUpstream()) as channel:
        stub = stub_of(channel)

        async def read(count: int) -> None:
            request = ChatCompletionStreamRequest(model="m", messages=MESSAGES, max_tokens=count)
            call = stub.ChatCompletionStream(request)
            await asyncio.sleep(count % 5 / 10)
            received, error = await read_to_error(call)
            assert received == [str(number) for number in range(count)]
            assert error.details() == "broken"

        await asyncio.gather(*(read(count) for count in range(1, 2000, 37)))


async def test_a_silent_upstream_ends_a_call_in_one_piece() -> None:
    upstream = HeldUpstream()
    async with channel_to(upstream, upstream_idle_s=0.3) as channel:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await stub_of(channel).ChatCompletion(REQUEST)
        await upstream.closed.wait()

    assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    assert caught.value.details() == "the upstream was silent for 0.3 seconds"


class Clumsy(HeldUpstream):
    """Fails when it is cancelled."""

    async def complete(self, request: CompletionRequest, context: CallContext) -> CompletionResponse:
        try:
            return await super().complete(request, context)
        except asyncio.CancelledError:
            raise UpstreamError("the connection broke") from None

    async def stream(
        self, request: CompletionStreamRequest, context: CallContext
    ) -> AsyncIterator[CompletionChunk]:
        try:
            async for item in super().stream(request, context):
                yield item
        except asyncio.CancelledError:
            raise UpstreamError("the connection broke") from None


@pytest.mark.parametrize("is_stream", [False, True])
async def test_a_silent_upstream_is_that_whatever_it_makes_of_being_cancelled(is_stream: bool) -> None:
    async with channel_to(Clumsy(), upstream_idle_s=0.05) as channel:
        stub = stub_of(channel)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await (
                stub.ChatCompletionStream(STREAM_REQUEST).read()
                if is_stream
                else stub.ChatCompletion(REQUEST)
            )

    assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    assert caught.value.details() == "the upstream was silent for 0.05 seconds"


async def test_a_timeout_of_the_upstream_itself_is_not_taken_for_silence() -> None:
    upstream = HeldUpstream()
    upstream.items.put_nowait(TimeoutError("its own"))
    async with channel_to(upstream) as channel:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await stub_of(channel).ChatCompletion(REQUEST)

    assert caught.value.code() is grpc.StatusCode.INTERNAL


@pytest.mark.slow
async def test_a_caller_who_sends_no_request_is_not_waited_for_without_end() -> None:
    upstream, watching = HeldUpstream(), Watching()
    async with channel_to(upstream, watching, request_s=0.3) as channel:
        for kind, method in (
            (channel.stream_stream, "ChatCompletionStream"),
            (channel.stream_unary, "ChatCompletion"),
        ):
            call = kind(f"/{SERVICE_NAME}/{method}")()
            assert await call.code() is grpc.StatusCode.DEADLINE_EXCEEDED
            assert await call.details() == "the caller was silent for 0.3 seconds"

    assert upstream.requests == []
    assert watching.starts == 0
    assert len(watching.records) == 2


async def test_a_call_without_a_request_is_an_invalid_argument() -> None:
    async with channel_to(HeldUpstream()) as channel:
        call = channel.stream_stream(f"/{SERVICE_NAME}/ChatCompletionStream")()
        await call.done_writing()
        assert await call.code() is grpc.StatusCode.INVALID_ARGUMENT


@pytest.mark.parametrize("method", ["ChatCompletion", "ChatCompletionStream"])
async def test_a_caller_who_is_gone_before_his_request_has_cancelled_his_call(method: str) -> None:
    watching = Watching()
    server = create_server(HeldUpstream(), ServerConfig(port=0), [watching])
    async with asyncio.timeout(30), server:
        async with RawPeer(server.port) as peer:
            peer.call(f"/{SERVICE_NAME}/{method}")
            # It is answered after the call has begun.
            peer.send(Frame(PING, 0, 0, bytes(8)))
            await peer.received(PING, ACK)
        await watching.has_ended.wait()

    (record,) = watching.records
    assert (record.code, record.error) == ("CANCELLED", None)


async def test_a_caller_who_does_not_read_loses_his_upstream() -> None:
    upstream = EagerUpstream(None, "x" * 10_000)
    async with channel_to(upstream, caller_idle_s=0.3) as channel:
        call = stub_of(channel).ChatCompletionStream(STREAM_REQUEST)
        await upstream.closed.wait()

        # What is in flight arrives, and then the reason.
        received, error = await read_to_error(call)

    assert received == [str(number) for number in range(len(received))]
    assert len(received) < upstream.produced
    assert error.details() == "the caller was silent for 0.3 seconds"


async def test_a_caller_who_never_reads_is_gone_with_his_connection() -> None:
    upstream, watching = EagerUpstream(None, "x" * 10_000), Watching()
    async with channel_to(upstream, watching, caller_idle_s=0.3, connection_age_s=0.5) as channel:
        # Referenced, so that it is not cancelled.
        call = stub_of(channel).ChatCompletionStream(STREAM_REQUEST)
        await watching.has_ended.wait()
        assert not call.done()

    assert str(watching.records[0].error) == "the caller was silent for 0.3 seconds"


async def test_calls_wait_for_the_upstream_and_those_beyond_are_told_when_to_come_again() -> None:
    upstream = HeldUpstream()
    async with channel_to(upstream, upstream_calls_max=1, upstream_queue_max=1) as channel:
        stub = stub_of(channel)
        first = stub.ChatCompletion(REQUEST)
        await upstream.started.wait()
        others = [asyncio.ensure_future(_result(stub.ChatCompletion(REQUEST))) for _ in range(2)]
        done, waiting = await asyncio.wait(others, return_when=asyncio.FIRST_COMPLETED)
        (refused,) = done
        error = refused.result()
        assert isinstance(error, grpc.aio.AioRpcError)
        assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED

        for number in "12":
            upstream.items.put_nowait(ChatCompletionResponse(id=number))
        assert (await first).id == "1"
        (waited,) = waiting
        assert (await waited).id == "2"

    assert len(upstream.requests) == 2


async def _result(call: Any) -> Any:
    try:
        return await call
    except grpc.aio.AioRpcError as error:
        return error


async def test_a_call_that_is_cancelled_in_the_queue_never_reaches_the_upstream() -> None:
    upstream, watching = HeldUpstream(), Watching()
    async with channel_to(upstream, watching, upstream_calls_max=1) as channel:
        stub = stub_of(channel)
        first = stub.ChatCompletion(REQUEST)
        await upstream.started.wait()
        with pytest.raises(grpc.aio.AioRpcError):
            await stub.ChatCompletion(REQUEST, timeout=0.3)
        await watching.has_ended.wait()
        upstream.items.put_nowait(ChatCompletionResponse(id="1"))
        assert (await first).id == "1"

    assert len(upstream.requests) == 1


async def test_calls_beyond_the_limit_of_the_service_are_turned_away() -> None:
    upstream = HeldUpstream()
    async with channel_to(upstream, calls_max=1) as channel:
        stub = stub_of(channel)
        first = stub.ChatCompletion(REQUEST)
        await upstream.started.wait()
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await stub.ChatCompletion(REQUEST)
        upstream.items.put_nowait(ChatCompletionResponse(id="1"))
        assert (await first).id == "1"
        upstream.items.put_nowait(ChatCompletionResponse(id="2"))
        assert (await stub.ChatCompletion(REQUEST)).id == "2"

    assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert str(caught.value.details()).startswith("the service has 1 calls")


def trailer(metadata: Any, name: str = "x-request-id") -> Any:
    return next(value for key, value in metadata if key == name)


async def test_the_id_of_a_call_is_the_callers_own_or_a_new_one() -> None:
    upstream = HeldUpstream()
    async with channel_to(upstream) as channel:
        ids = []
        for metadata in (
            (("x-request-id", "abc-1"),),
            (),
            (("x-request-id", "two words"),),
            (("x-request-id", "x" * 129),),
        ):
            upstream.items.put_nowait(ChatCompletionResponse(id="1"))
            call = stub_of(channel).ChatCompletion(REQUEST, metadata=metadata)
            await call
            ids.append(trailer(await call.trailing_metadata()))
        failing = stub_of(channel).ChatCompletion(
            ChatCompletionRequest(), metadata=(("x-request-id", "abc-2"),)
        )
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await failing

    assert ids[0] == "abc-1"
    assert all(len(new) == 32 for new in ids[1:])
    assert len({*ids}) == 4
    assert [context.request_id for context in upstream.contexts] == ids
    assert trailer(caught.value.trailing_metadata()) == "abc-2"


async def test_observers_see_each_call_from_its_start_to_its_end() -> None:
    upstream, watching = HeldUpstream(), Watching()
    async with channel_to(upstream, watching) as channel:
        stub = stub_of(channel)
        for item in (chunk(0), chunk(1), UpstreamError("broken")):
            upstream.items.put_nowait(item)
        call = stub.ChatCompletionStream(STREAM_REQUEST)
        await read_to_error(call)
        upstream.items.put_nowait(ChatCompletionResponse(id="1"))
        await stub.ChatCompletion(REQUEST)
        with pytest.raises(grpc.aio.AioRpcError):
            await stub.ChatCompletion(ChatCompletionRequest())

    stream, complete, refused = watching.records
    assert watching.starts == 2
    assert watching.received == [chunk(0), chunk(1)]
    assert (stream.method, stream.code, stream.chunks) == ("ChatCompletionStream", "UNAVAILABLE", 2)
    assert stream.first_chunk_s is not None
    assert stream.ended_s is not None
    assert stream.started_s <= stream.first_chunk_s <= stream.ended_s
    assert isinstance(stream.error, UpstreamError)
    assert (complete.code, complete.response, complete.request) == (
        "OK",
        ChatCompletionResponse(id="1"),
        REQUEST,
    )
    assert (refused.code, refused.request) == ("INVALID_ARGUMENT", None)
    assert stream.peer.startswith("ipv4:127.0.0.1:")


class Raising(Watching):
    """Raises what it is told to, with a secret in the text.

    Args:
        what: Name of the method that raises.
    """

    def __init__(self, what: str) -> None:
        super().__init__()
        self._what = what

    def started(self, call: CallRecord) -> None:
        super().started(call)
        self._raise("started")

    def chunks(self, call: CallRecord, chunks: Chunks) -> None:
        super().chunks(call, chunks)
        self._raise("chunks")

    def ended(self, call: CallRecord) -> None:
        super().ended(call)
        self._raise("ended")

    def _raise(self, what: str) -> None:
        if what == self._what:
            raise ValueError(SECRET)


@pytest.mark.parametrize(("what", "chunks"), [("started", 0), ("chunks", 1), ("ended", 3)])
async def test_an_observer_that_raises_harms_neither_the_call_nor_other_observers(
    what: str, chunks: int, caplog: pytest.LogCaptureFixture
) -> None:
    raising, watching = Raising(what), Watching()
    received: list[str] = []
    upstream = HeldUpstream()
    upstream.items.put_nowait(chunk(0))
    async with channel_to(upstream, raising, watching) as channel:
        async for message in stub_of(channel).ChatCompletionStream(STREAM_REQUEST):
            received += [item.id for item in message.chunks]
            upstream.items.put_nowait(chunk(len(received)) if len(received) < 3 else None)
        await watching.has_ended.wait()

    assert received == ["0", "1", "2"]
    assert (watching.starts, len(watching.received), watching.records[0].code) == (1, 3, "OK")
    assert (raising.starts, len(raising.received), len(raising.records)) == (1, chunks, 1)
    (record,) = (record for record in caplog.records if record.levelname == "ERROR")
    assert "the observer Raising raised an unexpected ValueError" in record.getMessage()
    assert SECRET not in caplog.text


class SocketUpstream:
    """Reads server-sent events from a socket, as fast as they are requested.

    Args:
        port: Of the socket.
    """

    def __init__(self, port: int) -> None:
        self._port = port

    async def complete(self, request: CompletionRequest, context: CallContext) -> CompletionResponse:
        raise NotImplementedError

    async def stream(
        self, request: CompletionStreamRequest, context: CallContext
    ) -> AsyncIterator[CompletionChunk]:
        reader, writer = await asyncio.open_connection("127.0.0.1", self._port, limit=1 << 16)
        try:
            decoder = SseDecoder(CompletionChunk, validate=False)
            while data := await reader.read(1 << 16):
                for event in decoder.feed(data):
                    if isinstance(event, SseMessage):
                        yield event.message
        finally:
            writer.close()


class EventSender(asyncio.Protocol):
    """Sends a fixed number of events as fast as the socket takes them.

    Attributes:
        sent: How many events the socket has taken.
        has_paused: Set when the socket takes no more for now.
    """

    COUNT = 20_000
    EVENT_BYTES = 4_000

    def __init__(self) -> None:
        self.sent = 0
        self.has_paused = asyncio.Event()
        self._may_send = True

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 16)
        self.transport = transport
        self._send()

    def pause_writing(self) -> None:
        self._may_send = False
        self.has_paused.set()

    def resume_writing(self) -> None:
        self._may_send = True
        asyncio.get_running_loop().call_soon(self._send)

    def _send(self) -> None:
        while self._may_send and self.sent < self.COUNT:
            self.transport.write(encode_sse(chunk(self.sent, "x" * self.EVENT_BYTES)))
            self.sent += 1
        if self.sent == self.COUNT:
            self.transport.write_eof()


@pytest.mark.slow
async def test_a_slow_caller_slows_the_socket_of_the_upstream() -> None:
    sender = EventSender()
    loop = asyncio.get_running_loop()
    listener = await loop.create_server(lambda: sender, "127.0.0.1", 0)
    port = listener.sockets[0].getsockname()[1]
    async with listener, channel_to(SocketUpstream(port)) as channel:
        call = stub_of(channel).ChatCompletionStream(STREAM_REQUEST)
        message: ChatCompletionStreamResponse = await call.read()
        received = [item.id for item in message.chunks]
        # Nothing is read until the sender is blocked, several times in a row.
        quiet = 0
        while quiet < 20:
            before = sender.sent
            await asyncio.sleep(0.01)
            quiet = quiet + 1 if sender.sent == before else 0
        assert sender.has_paused.is_set()
        # 80 MB in total; the buffers of both sockets, of the service and of gRPC hold a part of it.
        assert sender.sent < sender.COUNT / 2

        while (message := await call.read()) is not grpc.aio.EOF:
            received += [item.id for item in message.chunks]

    assert received == [str(number) for number in range(sender.COUNT)]
