"""The metadata of a call, as the service receives it."""

import asyncio
import os
import pathlib
import resource
from collections.abc import Iterator
from typing import Any

import grpc
import pytest
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.duration_pb2 import Duration
from google.rpc import error_details_pb2, status_pb2
from opentelemetry import propagate
from opentelemetry.propagators.textmap import (
    Getter,
    Setter,
    TextMapPropagator,
    default_getter,
    default_setter,
)
from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags, use_span

from mistralwire.client import Client
from mistralwire.client._metadata import token_in
from mistralwire.errors import CallError
from mistralwire.service import ServerConfig, create_server
from mistralwire.v1 import ChatCompletionResponse
from tests.client.peers import ANSWER, service_of
from tests.service.upstreams import REQUEST, STREAM_REQUEST, HeldUpstream, chunk

TOKEN = "s3cret-Token._~+/=="


class Recording:
    """Responds, and keeps the metadata of the last call."""

    def __init__(self) -> None:
        self.metadata: dict[str, Any] = {}

    async def __call__(self, context: Any) -> None:
        self.metadata = dict(context.invocation_metadata())
        await context.write(ANSWER)


async def test_a_call_has_an_id_of_its_own_or_the_callers() -> None:
    upstream = HeldUpstream()
    for _ in range(3):
        upstream.items.put_nowait(None)
    async with create_server(upstream, ServerConfig(port=0)) as server, Client(server.address) as client:
        for request_id in (None, None, "request/7"):
            assert [item async for item in client.stream(STREAM_REQUEST, request_id=request_id)] == []

    ids = [context.request_id for context in upstream.contexts]
    assert len(set(ids)) == 3
    assert [len(item) for item in ids[:2]] == [32, 32]
    assert ids[2] == "request/7"


async def test_the_error_of_a_call_has_its_id() -> None:
    upstream = HeldUpstream()
    upstream.items.put_nowait(RuntimeError())
    async with create_server(upstream, ServerConfig(port=0)) as server, Client(server.address) as client:
        with pytest.raises(CallError) as caught:
            await client.complete(REQUEST, request_id="mine")
        assert caught.value.request_id == "mine"
    with pytest.raises(CallError, match="closed") as caught:
        await client.complete(REQUEST, request_id="mine-too")
    assert caught.value.request_id == "mine-too"


@pytest.mark.parametrize("request_id", ["", "a b", "ü", "a\nb", "x" * 129])
async def test_an_id_that_can_not_go_into_a_log_is_refused(request_id: str) -> None:
    async with Client("127.0.0.1:1") as client:
        with pytest.raises(ValueError, match="request_id must be 1 to 128 characters"):
            await client.complete(REQUEST, request_id=request_id)
        with pytest.raises(TypeError, match="request_id must be a string"):
            await client.complete(REQUEST, request_id=7)  # type: ignore[call-overload]


async def test_metadata_of_the_callers_own_arrives() -> None:
    recording = Recording()
    metadata: dict[str, str | bytes] = {"traceparent": "00-1-2-01", "empty": "", "blob-bin": b"\x00\xff"}
    async with service_of(recording) as target, Client(target) as client:
        await client.complete(REQUEST, metadata=metadata)

    assert metadata.items() <= recording.metadata.items()
    assert "authorization" not in recording.metadata


async def test_the_current_trace_context_is_sent_unless_the_caller_sends_one() -> None:
    recording = Recording()
    current = SpanContext(0xA, 0xB, is_remote=False, trace_flags=TraceFlags(1))
    own = {"traceparent": "00-1-2-01"}
    async with service_of(recording) as target, Client(target) as client:
        received = []
        for metadata in ({}, own):
            with use_span(NonRecordingSpan(current)):
                await client.complete(REQUEST, metadata=metadata)
            received.append(recording.metadata["traceparent"])
        await client.complete(REQUEST)

    assert received == [f"00-{0xA:032x}-{0xB:016x}-01", "00-1-2-01"]
    assert "traceparent" not in recording.metadata


@pytest.mark.parametrize(
    ("metadata", "error", "message"),
    [
        ({"Traceparent": "x"}, ValueError, "lower-case"),
        ({"": "x"}, ValueError, "lower-case"),
        ({":path": "x"}, ValueError, "lower-case"),
        ({"grpc-timeout": "x"}, ValueError, "reserved by gRPC"),
        ({"te": "x"}, ValueError, "reserved by gRPC"),
        ({"x-request-id": "x"}, ValueError, "pass it as request_id"),
        ({"a": "s3cret\n"}, ValueError, "printable ASCII"),
        ({"a": " s3cret"}, ValueError, "printable ASCII"),
        ({"a": "s3crët"}, ValueError, "printable ASCII"),
        ({"a": b"s3cret"}, TypeError, "must be a string"),
        ({"a-bin": "s3cret"}, TypeError, "must be bytes"),
        ({7: "s3cret"}, TypeError, "metadata key must be a string"),
        ([("a", "s3cret")], TypeError, "must be a mapping"),
    ],
)
async def test_metadata_that_can_not_be_sent_is_refused_without_its_value(
    metadata: Any, error: type[Exception], message: str
) -> None:
    async with Client("127.0.0.1:1") as client:
        with pytest.raises(error, match=message) as caught:
            await client.complete(REQUEST, metadata=metadata)

    assert "s3cr" not in str(caught.value)


async def test_the_token_is_sent_and_shown_nowhere() -> None:
    recording = Recording()
    async with service_of(recording) as target, Client(target, token=TOKEN) as client:
        await client.complete(REQUEST)
        assert TOKEN not in repr(client)

    assert recording.metadata["authorization"] == f"Bearer {TOKEN}"


async def test_a_token_file_is_read_again_when_it_changes(tmp_path: pathlib.Path) -> None:
    recording, file = Recording(), tmp_path / "token"
    file.write_text("# the token of today\n\n  first  \nsecond\n")
    async with service_of(recording) as target, Client(target, token_file=file) as client:
        await client.complete(REQUEST)
        assert recording.metadata["authorization"] == "Bearer first"

        other = tmp_path / "other"
        other.write_text("third\n")
        other.replace(file)
        await client.complete(REQUEST)
        assert recording.metadata["authorization"] == "Bearer third"


@pytest.mark.parametrize("text", ["\ufefffirst\n", "# mine\nfirst # until May\n"])
async def test_a_token_file_of_the_service_is_one_of_the_client_too(
    tmp_path: pathlib.Path, text: str
) -> None:
    file = tmp_path / "tokens"
    file.write_text(text, encoding="utf-8")
    upstream = HeldUpstream()
    upstream.items.put_nowait(ChatCompletionResponse(id="answer"))
    async with (
        create_server(upstream, ServerConfig(port=0, token_file=file)) as server,
        Client(server.address, token_file=file) as client,
    ):
        assert (await client.complete(REQUEST)).id == "answer"


@pytest.mark.parametrize("harm", ["emptied", "removed"])
async def test_a_token_file_that_was_lost_leaves_the_token_and_is_logged_once(
    tmp_path: pathlib.Path, caplog: pytest.LogCaptureFixture, harm: str
) -> None:
    recording, file = Recording(), tmp_path / "token"
    file.write_text("first")
    async with service_of(recording) as target, Client(target, token_file=file) as client:
        if harm == "emptied":
            file.write_text("")
        else:
            file.unlink()
        for _ in range(3):
            await client.complete(REQUEST)
        assert recording.metadata["authorization"] == "Bearer first"
        assert [record.name for record in caplog.records] == ["mistralwire.client._metadata"]
        assert "first" not in caplog.text

        file.write_text("second")
        await client.complete(REQUEST)
    assert recording.metadata["authorization"] == "Bearer second"


@pytest.mark.parametrize("token", ["", "two words", "line\n", "ü", "x" * 5000])
def test_a_token_that_can_not_be_sent_is_refused_without_quoting_it(
    tmp_path: pathlib.Path, token: str
) -> None:
    with pytest.raises(ValueError, match="token must be 1 to 4096") as caught:
        Client("127.0.0.1:1", token=token)
    assert not token or token not in str(caught.value)
    (tmp_path / "token").write_text(f"{token} {token}".replace("\n", " "))
    with pytest.raises(ValueError, match="expected a bearer token on the first line"):
        Client("127.0.0.1:1", token_file=tmp_path / "token")


def test_a_token_file_that_is_not_there_is_an_os_error(tmp_path: pathlib.Path) -> None:
    with pytest.raises(FileNotFoundError):
        Client("127.0.0.1:1", token_file=tmp_path / "none")


async def test_a_token_does_not_travel_in_plain_text_to_another_machine(tmp_path: pathlib.Path) -> None:
    file = tmp_path / "token"
    file.write_text(TOKEN)
    for options in ({"token": TOKEN}, {"token_file": os.fspath(file)}):
        with pytest.raises(ValueError, match="would be sent in plaintext") as caught:
            Client("example.com:50051", insecure=True, **options)  # type: ignore[arg-type]
        assert TOKEN not in str(caught.value)
        Client("example.com:50051", **options)  # type: ignore[arg-type]
        Client("127.0.0.1:50051", **options)  # type: ignore[arg-type]
    async with Client("example.com:50051", insecure=True) as client:
        with pytest.raises(ValueError, match="would be sent in plaintext"):
            await client.complete(REQUEST, metadata={"authorization": "Bearer x"})


async def test_one_token_and_no_more() -> None:
    with pytest.raises(ValueError, match="expected token or token_file, found both"):
        Client("127.0.0.1:1", token=TOKEN, token_file="file")
    with pytest.raises(TypeError, match="token must be a string, not a bytes"):
        Client("127.0.0.1:1", token=TOKEN.encode())  # type: ignore[arg-type]
    async with Client("127.0.0.1:1", token=TOKEN) as client:
        with pytest.raises(ValueError, match="found both"):
            await client.complete(REQUEST, metadata={"authorization": "Bearer x"})


async def test_compressed_answers_come_to_those_who_ask() -> None:
    recording = Recording()
    async with service_of(recording) as target:
        async with Client(target) as client:
            await client.complete(REQUEST)
        assert "x-accept-encoding" not in recording.metadata
        async with Client(target, compress_answers=True) as client:
            await client.complete(REQUEST)
        assert recording.metadata["x-accept-encoding"] == "gzip"


async def test_compressed_requests_and_answers_are_the_same_as_plain_ones() -> None:
    async def answer(context: Any) -> None:
        context.set_compression(grpc.Compression.Gzip)
        await context.send_initial_metadata(())
        await context.write(ANSWER)

    async with (
        service_of(answer) as target,
        Client(target, compress_requests=True, compress_answers=True) as client,
    ):
        assert (await client.complete(REQUEST)).id == "answer"


async def test_all_that_the_details_say_is_in_the_error() -> None:
    details = [
        error_details_pb2.ErrorInfo(
            reason="UPSTREAM_BUSY",
            metadata={"http_status": "429", "upstream_code": "1300", "upstream_type": "t"},
        ),
        error_details_pb2.RetryInfo(retry_delay=Duration(seconds=2, nanos=500_000_000)),
        error_details_pb2.RequestInfo(request_id="theirs"),
        error_details_pb2.Help(),
    ]
    status = status_pb2.Status(code=8, message="busy", details=[_packed(detail) for detail in details])

    async def fail(context: Any) -> None:
        trailers = (("grpc-status-details-bin", status.SerializeToString()),)
        await context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "busy", trailers)

    async with service_of(fail) as target, Client(target) as client:
        with pytest.raises(CallError, match="busy") as caught:
            await client.complete(REQUEST, request_id="mine")

    error = caught.value
    assert (error.code, error.reason) == ("RESOURCE_EXHAUSTED", "UPSTREAM_BUSY")
    assert (error.retry_after_s, error.request_id) == (2.5, "theirs")
    assert (error.upstream_status, error.upstream_code, error.upstream_type) == (429, "1300", "t")


async def test_a_time_to_wait_is_never_below_zero() -> None:
    retry = error_details_pb2.RetryInfo(retry_delay=Duration(seconds=-5))
    status = status_pb2.Status(code=8, message="busy", details=[_packed(retry)])

    async def fail(context: Any) -> None:
        trailers = (("grpc-status-details-bin", status.SerializeToString()),)
        await context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "busy", trailers)

    async with service_of(fail) as target, Client(target) as client:
        with pytest.raises(CallError) as caught:
            await client.complete(REQUEST)

    assert caught.value.retry_after_s == 0


def _packed(detail: Any) -> AnyMessage:
    packed = AnyMessage()
    packed.Pack(detail)
    return packed


def test_a_client_can_be_made_without_a_loop_and_belongs_to_the_one_that_calls() -> None:
    client = Client("127.0.0.1:1", attempts_max=1)

    async def call() -> None:
        with pytest.raises(CallError):
            await client.complete(REQUEST)

    async def call_again() -> None:
        with pytest.raises(RuntimeError, match="belongs to another event loop"):
            await client.complete(REQUEST)
        await client.close()

    asyncio.run(call())
    asyncio.run(call_again())


@pytest.mark.parametrize(
    ("option", "value", "error"),
    [
        ("attempts_max", 0, ValueError),
        ("attempts_max", 6, ValueError),
        ("attempts_max", 2.0, TypeError),
        ("attempts_max", True, TypeError),
        ("connections", 0, ValueError),
        ("connections", 257, ValueError),
        ("connections", 2.0, TypeError),
        ("keepalive_s", 0.5, ValueError),
        ("keepalive_s", float("nan"), ValueError),
        ("keepalive_s", 7201, ValueError),
        ("keepalive_s", "30", TypeError),
        ("keepalive_timeout_s", 0, ValueError),
        ("keepalive_timeout_s", float("inf"), ValueError),
    ],
)
def test_numbers_out_of_their_range_are_refused(option: str, value: Any, error: type[Exception]) -> None:
    with pytest.raises(error, match=f"{option} must be "):
        Client("127.0.0.1:1", **{option: value})


async def test_an_upstream_in_a_stream_sees_the_same_id_as_the_log() -> None:
    upstream = HeldUpstream()
    upstream.items.put_nowait(chunk(0))
    upstream.items.put_nowait(None)
    async with create_server(upstream, ServerConfig(port=0)) as server, Client(server.address) as client:
        batches = [batch async for batch in client.stream_batches(STREAM_REQUEST, request_id="a-1")]

    assert len(batches) == 1
    assert upstream.contexts[0].request_id == "a-1"


class _Propagator(TextMapPropagator):
    """Injects what gRPC takes, and what it does not."""

    fields = {"x-tenant"}  # noqa: RUF012 - as the base class has it

    def inject(self, carrier: Any, context: Any = None, setter: Setter[Any] = default_setter) -> None:
        for name, value in {"X-Tenant": "a b", "x-user": "Zo\xeb", "x y": "1", "x-bin": "1"}.items():
            setter.set(carrier, name, value)

    def extract(self, carrier: Any, context: Any = None, getter: Getter[Any] = default_getter) -> Any:
        return context


@pytest.fixture
def propagator() -> Iterator[None]:
    before = propagate.get_global_textmap()
    propagate.set_global_textmap(_Propagator())
    yield
    propagate.set_global_textmap(before)


@pytest.mark.usefixtures("propagator")
async def test_a_context_that_can_not_be_sent_costs_no_call() -> None:
    recording = Recording()
    current = SpanContext(0xA, 0xB, is_remote=False, trace_flags=TraceFlags(1))
    async with service_of(recording) as target, Client(target) as client:
        with use_span(NonRecordingSpan(current)):
            await client.complete(REQUEST)
    assert recording.metadata["x-tenant"] == "a b"
    assert not {"x-user", "x y", "x-bin"} & {*recording.metadata}


async def test_a_token_that_could_not_be_read_for_a_moment_is_read_afterwards(
    tmp_path: pathlib.Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = tmp_path / "token"
    file.write_text("first")
    token = token_in(file)
    file.write_text("second")
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, hard))
    try:
        assert token() == token() == "first"
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert len(caplog.records) == 1
    assert token() == "second"
