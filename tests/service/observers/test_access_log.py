"""The access log: one line for each call."""

import asyncio
import logging
from typing import Any

import grpc
import pytest

from mistralwire.client import Client
from mistralwire.errors import DecodeError, OverloadError, UpstreamError, Violation
from mistralwire.service import CallRecord, ServerConfig, create_server
from mistralwire.service._observers._observer import AccessLog
from mistralwire.upstream import error_from_body
from mistralwire.v1 import (
    AgentsCompletionRequest,
    ChatCompletionRequest,
    ChatCompletionResponse,
    ErrorResponse,
)
from tests.service.upstreams import REQUEST, STREAM_REQUEST, HeldUpstream, chunk

SECRET = "my secret prompt"


@pytest.fixture(autouse=True)
def _info(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "mistralwire.access")


def record_of(caplog: pytest.LogCaptureFixture) -> Any:
    (record,) = (record for record in caplog.records if record.name == "mistralwire.access")
    return record


def logged(caplog: pytest.LogCaptureFixture, **facts: Any) -> Any:
    """Log a call with these attributes; return the log record."""
    AccessLog().ended(CallRecord(**{"method": "ChatCompletion", "request_id": "id", "ended_s": 0.0, **facts}))
    return record_of(caplog)


async def test_a_stream_is_logged_with_its_id_times_and_count(caplog: pytest.LogCaptureFixture) -> None:
    upstream = HeldUpstream()
    async with (
        create_server(upstream, ServerConfig(port=0), [AccessLog()]) as server,
        Client(server.address) as client,
    ):
        for item in (chunk(1), chunk(2), None):
            upstream.items.put_nowait(item)
        assert len([item async for item in client.stream(STREAM_REQUEST)]) == 2

    record = record_of(caplog)
    assert (record.levelname, record.getMessage()) == ("INFO", "ChatCompletionStream OK")
    assert (record.method, record.code, record.chunks, record.model) == (
        "ChatCompletionStream",
        "OK",
        2,
        "m",
    )
    assert record.request_id == upstream.contexts[0].request_id
    assert record.peer.startswith("ipv4:127.0.0.1:")
    assert 0 <= record.first_chunk_ms <= record.duration_ms
    assert not hasattr(record, "reason")


def test_the_agent_is_logged_in_the_place_of_a_model(caplog: pytest.LogCaptureFixture) -> None:
    request = AgentsCompletionRequest(agent_id="ag_1")
    record = logged(caplog, method="AgentsCompletion", request=request)
    assert record.agent_id == "ag_1"
    assert not hasattr(record, "model")


async def test_an_answer_in_one_piece_is_logged_without_chunks(caplog: pytest.LogCaptureFixture) -> None:
    upstream = HeldUpstream()
    async with (
        create_server(upstream, ServerConfig(port=0), [AccessLog()]) as server,
        Client(server.address) as client,
    ):
        upstream.items.put_nowait(ChatCompletionResponse(id="r", model="m"))
        await client.complete(REQUEST)

    record = record_of(caplog)
    assert record.getMessage() == "ChatCompletion OK"
    assert not hasattr(record, "chunks")
    assert not hasattr(record, "first_chunk_ms")


async def test_a_failure_is_logged_without_its_text(caplog: pytest.LogCaptureFixture) -> None:
    upstream = HeldUpstream()
    async with (
        create_server(upstream, ServerConfig(port=0), [AccessLog()]) as server,
        # Without the retries of the package's client.
        grpc.aio.insecure_channel(server.address) as channel,
    ):
        call = channel.unary_unary("/mistralwire.v1.ChatCompletionService/ChatCompletion")
        failures = (
            UpstreamError(SECRET, status=429, reason="UPSTREAM_BUSY", upstream_code="1300"),
            ValueError(SECRET),
        )
        for failure in failures:
            upstream.items.put_nowait(failure)
            with pytest.raises(grpc.aio.AioRpcError):
                await call(REQUEST.SerializeToString(), timeout=30)

    first, second = (record for record in caplog.records if record.name == "mistralwire.access")
    assert (first.levelname, first.__dict__["code"], first.__dict__["reason"]) == (
        "WARNING",
        "UNAVAILABLE",
        "UPSTREAM_BUSY",
    )
    assert (first.__dict__["http_status"], first.__dict__["upstream_code"]) == (429, "1300")
    assert (second.levelname, second.__dict__["code"]) == ("WARNING", "INTERNAL")
    assert SECRET not in repr([vars(record) for record in caplog.records])


async def test_a_request_that_breaks_the_contract_is_the_callers_own(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with (
        create_server(HeldUpstream(), ServerConfig(port=0), [AccessLog()]) as server,
        grpc.aio.insecure_channel(server.address) as channel,
    ):
        call = channel.unary_unary("/mistralwire.v1.ChatCompletionService/ChatCompletion")
        with pytest.raises(grpc.aio.AioRpcError):
            await call(b"\xff", metadata=(("x-request-id", "mine"), ("authorization", SECRET)), timeout=30)

    record = record_of(caplog)
    assert (record.levelname, record.code, record.reason) == ("INFO", "INVALID_ARGUMENT", "NOT_PROTOBUF")
    assert record.request_id == "mine"
    assert not hasattr(record, "model")
    assert SECRET not in repr(vars(record))


async def test_a_cancelled_call_is_the_callers_own(caplog: pytest.LogCaptureFixture) -> None:
    upstream = HeldUpstream()
    async with create_server(upstream, ServerConfig(port=0), [AccessLog()]) as server:
        async with Client(server.address) as client:
            call = asyncio.create_task(client.complete(REQUEST))
            await upstream.started.wait()
            call.cancel()
            await asyncio.wait([call])
        await upstream.closed.wait()

    record = record_of(caplog)
    assert (record.levelname, record.code) == ("INFO", "CANCELLED")


@pytest.mark.parametrize(
    ("code", "level"),
    [
        ("OK", "INFO"),
        ("CANCELLED", "INFO"),
        ("INVALID_ARGUMENT", "INFO"),
        ("UNAUTHENTICATED", "INFO"),
        ("NOT_FOUND", "INFO"),
        ("INTERNAL", "WARNING"),
        ("UNAVAILABLE", "WARNING"),
        ("RESOURCE_EXHAUSTED", "WARNING"),
        ("DEADLINE_EXCEEDED", "WARNING"),
        ("UNKNOWN", "WARNING"),
        ("DATA_LOSS", "WARNING"),
    ],
)
def test_the_level_says_who_has_to_look(code: str, level: str, caplog: pytest.LogCaptureFixture) -> None:
    assert logged(caplog, code=code).levelname == level


@pytest.mark.parametrize("status", [401, 402, 403, 407])
def test_an_upstream_that_refuses_the_service_is_no_fault_of_the_caller(
    status: int,
    caplog: pytest.LogCaptureFixture,
) -> None:
    error = error_from_body(ErrorResponse(), status=status)

    assert logged(caplog, code=error.code, error=error).levelname == "WARNING"


def test_the_code_and_the_type_of_the_upstream_are_logged(caplog: pytest.LogCaptureFixture) -> None:
    error = UpstreamError("no", status=429, upstream_code="1300", upstream_type="rate_limited")
    record = logged(caplog, code=error.code, error=error)

    assert (record.http_status, record.upstream_code, record.upstream_type) == (429, "1300", "rate_limited")


@pytest.mark.parametrize("model", [SECRET, "a" * 127 + " ", "m\nm", "m\x1b[0m", "é", "-m", ""])
def test_what_does_not_look_like_the_name_of_a_model_stays_out(
    model: str, caplog: pytest.LogCaptureFixture
) -> None:
    assert not hasattr(logged(caplog, request=ChatCompletionRequest(model=model)), "model")


def test_a_name_of_any_length_is_cut(caplog: pytest.LogCaptureFixture) -> None:
    assert logged(caplog, request=ChatCompletionRequest(model="a" * 8_000_000)).model == "a" * 128


@pytest.mark.parametrize("model", ["mistral-large-latest", "ft:open-mistral-7b:a1/b2", "codestral@2405", "m"])
def test_the_name_of_a_model_is_logged(model: str, caplog: pytest.LogCaptureFixture) -> None:
    assert logged(caplog, request=ChatCompletionRequest(model=model)).model == model


@pytest.mark.parametrize(
    "error",
    [
        UpstreamError("m", reason=SECRET, upstream_code=SECRET, upstream_type=SECRET),
        DecodeError([Violation(SECRET, SECRET, SECRET)]),
        OverloadError(SECRET),
        ValueError(SECRET),
    ],
)
def test_no_text_of_an_error_is_logged(error: Exception, caplog: pytest.LogCaptureFixture) -> None:
    assert SECRET not in repr(vars(logged(caplog, code="INTERNAL", error=error)))


def test_nothing_is_put_together_below_the_level(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING, "mistralwire.access")
    AccessLog().ended(CallRecord(method="ChatCompletion", request_id="id"))

    assert not caplog.records
