"""Errors become statuses with details that are small enough for trailers."""

import asyncio
import contextlib
import json
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Any, TypeAlias, TypeVar

import grpc
import pytest
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2
from hypothesis import given
from hypothesis import strategies as st

from mistralwire.errors import (
    CallError,
    DecodeError,
    EncodeError,
    MistralwireError,
    OverloadError,
    UpstreamError,
    UpstreamViolation,
    Violation,
)
from mistralwire.service import to_status
from mistralwire.service._status import CallStatus, call_status, retry_time_s
from mistralwire.v1 import CONTRACT_REVISION

M = TypeVar("M", bound=Message)
Calling: TypeAlias = Callable[[bytes], Awaitable[grpc.aio.AioRpcError]]


REVISION = {"contract_revision": str(CONTRACT_REVISION)}


def details_of(status: status_pb2.Status, kind: type[M]) -> list[M]:
    return [kind.FromString(detail.value) for detail in status.details if detail.Is(kind.DESCRIPTOR)]


def info_of(status: status_pb2.Status) -> error_details_pb2.ErrorInfo:
    (info,) = details_of(status, error_details_pb2.ErrorInfo)
    return info


def bad_request_of(status: status_pb2.Status) -> error_details_pb2.BadRequest:
    (bad_request,) = details_of(status, error_details_pb2.BadRequest)
    return bad_request


def test_a_contract_violation_names_every_place() -> None:
    violations = [Violation("model", "a string", "null"), Violation("messages[0].role", "a string", "true")]

    status = to_status(DecodeError(violations, type_name="ChatCompletionRequest"))

    assert status.code == grpc.StatusCode.INVALID_ARGUMENT.value[0]
    assert status.message.startswith("2 violations in ChatCompletionRequest:")
    assert [(item.field, item.description) for item in bad_request_of(status).field_violations] == [
        ("model", "expected a string, found null"),
        ("messages[0].role", "expected a string, found true"),
    ]
    assert info_of(status).reason == "CONTRACT_VIOLATION"
    assert info_of(status).domain == "mistralwire"


def test_a_long_list_of_violations_is_cut_to_fit_into_trailers() -> None:
    violations = [Violation(f"messages[{n}]." + "é" * 300, "x" * 999, "ö" * 999) for n in range(32)]

    status = to_status(DecodeError(violations, truncated=True))

    assert status.ByteSize() <= 3 * 1024
    assert len(status.message.encode()) <= 512
    assert 0 < len(bad_request_of(status).field_violations) < 32
    assert info_of(status).metadata == REVISION | {"truncated": "true", "violations": "32"}


@pytest.mark.parametrize("length", range(1, 200, 7))
def test_as_many_violations_as_there_is_room_for_still_fit(length: int) -> None:
    status = to_status(DecodeError([Violation("p", "e", "f" * length)] * 500, truncated=True))

    assert 2 * 1024 < status.ByteSize() <= 3 * 1024


def test_each_text_of_a_violation_is_cut_for_itself() -> None:
    status = to_status(DecodeError([Violation("p" * 999, "e" * 999, "f" * 999)]))

    (item,) = bad_request_of(status).field_violations
    assert item.field == "p" * 253 + "..."
    assert item.description == f"expected {'e' * 253}..., found {'f' * 253}..."


def test_the_first_violation_has_room_beside_long_metadata_of_any_script() -> None:
    long = "\N{OWL}" * 2000
    metadata = {f"{number}{long}": long for number in range(50)}
    error = CallError(long, reason=long, violations=[Violation(long, long, long)] * 9, metadata=metadata)

    status = to_status(error)

    assert status.ByteSize() <= 3 * 1024
    assert len(bad_request_of(status).field_violations) >= 1
    assert len(info_of(status).reason.encode()) <= 64
    assert 1 < len(info_of(status).metadata) < 50
    assert info_of(status).metadata["violations"] == "9"


def test_text_that_is_no_unicode_does_not_stop_the_status() -> None:
    bad = "a\ud800b"
    error = CallError(bad, reason=bad, violations=[Violation(bad, bad, bad)], metadata={bad: bad})

    status = to_status(error)

    assert status.message == "a?b"
    (item,) = bad_request_of(status).field_violations
    assert (item.field, item.description) == ("a?b", "expected a?b, found a?b")
    assert (info_of(status).reason, info_of(status).metadata) == ("a?b", REVISION | {"a?b": "a?b"})


@pytest.mark.parametrize("code", ["OK", "mro", "value", "__class__", "UNHEARD_OF", "ok", 5, ["list"]])
def test_a_code_that_is_no_error_of_grpc_is_internal(code: str) -> None:
    status = to_status(UpstreamError("no", code=code))

    assert status.code == grpc.StatusCode.INTERNAL.value[0]


def test_an_error_that_is_not_as_documented_still_has_a_status() -> None:
    class UnspeakableError(MistralwireError):
        def __str__(self) -> str:
            raise ValueError("secret")

    bad_violation = CallError("no", violations=[Violation("", "", "")], metadata={"secret": "secret"})
    bad_violation.violations = ["secret"]  # type: ignore[list-item]
    bad_reason = UpstreamError("secret")
    bad_reason.reason = 5  # type: ignore[assignment]
    bad_metadata = CallError("secret", metadata=["secret"])  # type: ignore[arg-type]

    for error in (UnspeakableError("secret"), bad_violation, bad_reason, bad_metadata):
        assert to_status(error, "id-1") == to_status(KeyError(), "id-1")


def test_headers_that_are_no_text_are_left_out() -> None:
    headers: Any = {5: "1", None: "1", b"cf-ray": "1", "trace-id": 5, "cf-ray": "an-id"}
    failure = call_status(UpstreamError("no", headers=headers))
    assert failure.code is grpc.StatusCode.UNAVAILABLE
    assert dict(failure.trailing_metadata)["cf-ray"] == "an-id"
    assert "trace-id" not in dict(failure.trailing_metadata)


def test_an_upstream_error_keeps_its_code_and_says_the_http_status() -> None:
    status = to_status(UpstreamError("too many requests", status=429, code="RESOURCE_EXHAUSTED"))

    assert status.code == grpc.StatusCode.RESOURCE_EXHAUSTED.value[0]
    assert status.message == "too many requests"
    assert info_of(status).reason == "UPSTREAM_FAILED"
    assert info_of(status).metadata == REVISION | {"http_status": "429"}


def test_an_upstream_error_says_what_the_upstream_said() -> None:
    error = UpstreamError("m", status=429, upstream_code="1300", upstream_type="rate_limited")

    assert info_of(to_status(error)).metadata == REVISION | {
        "http_status": "429",
        "upstream_code": "1300",
        "upstream_type": "rate_limited",
    }
    assert info_of(to_status(UpstreamError("m"))).metadata == REVISION


@pytest.mark.parametrize("kind", [UpstreamError, OverloadError, CallError])
@pytest.mark.parametrize(
    ("delay_s", "seconds", "nanos"),
    [(0, 0, 0), (1.5, 1, 500_000_000), (1e-9, 0, 1_000_000), (10**9, 86_400, 0)],
)
def test_the_time_until_a_new_try_is_a_detail(kind: Any, delay_s: float, seconds: int, nanos: int) -> None:
    (retry_info,) = details_of(to_status(kind("m", retry_after_s=delay_s)), error_details_pb2.RetryInfo)

    assert (retry_info.retry_delay.seconds, retry_info.retry_delay.nanos) == (seconds, nanos)


def test_without_a_time_or_an_id_there_is_no_detail_of_them() -> None:
    for error in (UpstreamError("m"), OverloadError("m", retry_after_s=None), EncodeError("m"), KeyError()):
        assert len(to_status(error).details) == 1


@pytest.mark.parametrize(
    "error", [UpstreamError("m"), DecodeError([Violation("a", "b", "c")]), KeyError("m")]
)
def test_the_id_of_the_call_is_a_detail(error: Exception) -> None:
    (request_info,) = details_of(to_status(error, "id-1"), error_details_pb2.RequestInfo)

    assert request_info == error_details_pb2.RequestInfo(request_id="id-1")


@pytest.mark.parametrize("request_id", ["", "two words", "a\nb", "é", "\ud800", "x" * 129])
def test_an_id_that_is_none_goes_nowhere(request_id: str) -> None:
    failure = call_status(KeyError(), request_id)

    assert to_status(KeyError(), request_id) == to_status(KeyError())
    names = [name for name, _ in failure.trailing_metadata]
    assert names == ["grpc-status-details-bin", "x-contract-revision"]


def test_an_error_of_a_call_further_in_passes_through() -> None:
    violation = Violation("model", "a string", "null")
    error = CallError(
        "no", code="NOT_FOUND", reason="NO_SUCH_MODEL", violations=[violation], metadata={"model": "m"}
    )

    status = to_status(error)

    assert status.code == grpc.StatusCode.NOT_FOUND.value[0]
    assert bad_request_of(status).field_violations[0].field == "model"
    assert info_of(status).reason == "NO_SUCH_MODEL"
    assert info_of(status).metadata == REVISION | {"model": "m"}


def test_any_other_error_of_the_package_keeps_its_reason() -> None:
    status = to_status(EncodeError("NaN", path="temperature"))

    assert status.code == grpc.StatusCode.INTERNAL.value[0]
    assert status.message == "temperature: NaN"
    assert info_of(status).reason == "NO_JSON_FORM"


def test_an_unexpected_error_gives_nothing_of_its_text() -> None:
    status = to_status(KeyError("secret"))

    assert status.code == grpc.StatusCode.INTERNAL.value[0]
    assert b"secret" not in status.SerializeToString()
    assert info_of(status).reason == "INTERNAL"


def trailers_of(error: BaseException, remaining_s: float | None = None) -> dict[str, Any]:
    return dict(call_status(error, "id-1", remaining_s).trailing_metadata)


def test_a_failure_is_the_status_with_all_trailers() -> None:
    error = UpstreamError("slow down", code="RESOURCE_EXHAUSTED", retry_after_s=2)

    assert call_status(error, "id-1") == CallStatus(
        grpc.StatusCode.RESOURCE_EXHAUSTED,
        "slow down",
        (
            ("grpc-status-details-bin", to_status(error, "id-1").SerializeToString()),
            ("x-contract-revision", str(CONTRACT_REVISION)),
            ("x-request-id", "id-1"),
            ("grpc-retry-pushback-ms", "2000"),
        ),
    )


@pytest.mark.parametrize(
    ("delay_s", "remaining_s", "pushback"),
    [
        (0, None, "1"),
        (0.0001, None, "1"),
        (1.5, None, "1500"),
        (30, None, "30000"),
        (30.1, None, "-1"),
        (10**9, None, "-1"),
        (5, 5.0, "5000"),
        (5, 4.9, "-1"),
        (1, 0.0, "-1"),
        (31, 60.0, "-1"),
    ],
)
def test_a_client_waits_as_long_as_there_is_time_and_else_does_not_retry(
    delay_s: float, remaining_s: float | None, pushback: str
) -> None:
    for error in (OverloadError("m", retry_after_s=delay_s), UpstreamError("m", retry_after_s=delay_s)):
        assert trailers_of(error, remaining_s)["grpc-retry-pushback-ms"] == pushback


@pytest.mark.parametrize(
    "error",
    [
        OverloadError("m", retry_after_s=None),
        MistralwireError("m", code="UNAVAILABLE"),
        UpstreamError("m", code="FAILED_PRECONDITION", retry_after_s=1),
        UpstreamError("m", code="UNHEARD_OF", retry_after_s=1),
        DecodeError([Violation("a", "b", "c")]),
        KeyError("m"),
    ],
)
def test_nothing_is_said_of_a_retry_without_a_time_or_a_use(error: Exception) -> None:
    assert set(trailers_of(error)) == {
        "grpc-status-details-bin",
        "x-contract-revision",
        "x-request-id",
    }


# The worst for trailers: characters that are percent-encoded, line ends, NUL, lone surrogates.
NASTY = ["\ud800", "\n\r\x00\x1b\x7f", "%", "%0A", "é", "\u2028", "\N{OWL}", "\uffff", " ", "\t", "x" * 9]
nasty_texts = st.builds(
    lambda text, count: text * count,
    st.text(st.characters(exclude_categories=()), max_size=6) | st.sampled_from(NASTY),
    st.sampled_from([0, 1, 2, 63, 64, 65, 127, 128, 255, 256, 257, 512, 3000]),
)
codes = st.sampled_from([code.name for code in grpc.StatusCode]) | nasty_texts
violations = st.builds(Violation, nasty_texts, nasty_texts, nasty_texts)
upstream_violations = st.builds(UpstreamViolation, nasty_texts, nasty_texts, nasty_texts)
delays = st.none() | st.floats() | st.integers()
nasty_errors: st.SearchStrategy[BaseException] = st.one_of(
    st.builds(MistralwireError, nasty_texts, code=codes, reason=nasty_texts),
    st.builds(EncodeError, nasty_texts, path=nasty_texts, code=codes, reason=nasty_texts),
    st.builds(DecodeError, st.lists(violations, min_size=1), type_name=nasty_texts, truncated=st.booleans()),
    st.builds(
        UpstreamError,
        nasty_texts,
        status=st.none() | st.integers(),
        code=codes,
        reason=nasty_texts,
        upstream_code=nasty_texts,
        upstream_type=nasty_texts,
        upstream_param=nasty_texts,
        retry_after_s=delays,
        violations=st.lists(upstream_violations),
        members=st.dictionaries(st.text(max_size=300), st.text(max_size=300)),
        headers=st.dictionaries(
            st.sampled_from(["ratelimit", "cf-ray", "x-request-id"]) | nasty_texts, nasty_texts
        ),
        should_retry=st.booleans(),
    ),
    st.builds(OverloadError, nasty_texts, reason=nasty_texts, retry_after_s=delays),
    st.builds(
        CallError,
        nasty_texts,
        code=codes,
        reason=nasty_texts,
        violations=st.lists(violations),
        metadata=st.dictionaries(nasty_texts, nasty_texts),
        request_id=nasty_texts,
        retry_after_s=delays,
    ),
    st.builds(KeyError, nasty_texts),
)
request_ids = nasty_texts | st.sampled_from(["", "id-1", "~" * 128])


@contextlib.asynccontextmanager
async def failing(
    failure_at: Callable[[bytes, grpc.aio.ServicerContext], CallStatus], options: Any = ()
) -> AsyncIterator[tuple[Calling, Calling]]:
    """Serve two methods that fail, a unary one, and a stream that fails after as many messages as it got.

    Args:
        failure_at: What each call ends with.
        options: Those of the client's channel.

    Yields:
        For each method what calls it, and gives what the client gets.
    """

    async def complete(request: bytes, context: grpc.aio.ServicerContext[bytes, bytes]) -> bytes:
        await context.abort(*failure_at(request, context))
        raise AssertionError

    async def stream(request: bytes, context: grpc.aio.ServicerContext[bytes, bytes]) -> None:
        if request:
            await context.write(request)
        await context.abort(*failure_at(request, context))

    handlers = {
        "Complete": grpc.unary_unary_rpc_method_handler(complete),
        "Stream": grpc.unary_stream_rpc_method_handler(stream),
    }
    server = grpc.aio.server()
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("test.Failing", handlers),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        async with (
            asyncio.timeout(30),
            grpc.aio.insecure_channel(f"127.0.0.1:{port}", options=options) as channel,
        ):

            async def call_complete(request: bytes) -> grpc.aio.AioRpcError:
                with pytest.raises(grpc.aio.AioRpcError) as caught:
                    await channel.unary_unary("/test.Failing/Complete")(request, timeout=60)
                return caught.value

            async def call_stream(request: bytes) -> grpc.aio.AioRpcError:
                messages = channel.unary_stream("/test.Failing/Stream")(request, timeout=60)
                if request:
                    assert await messages.read() == request
                with pytest.raises(grpc.aio.AioRpcError) as caught:
                    await messages.read()
                return caught.value

            yield call_complete, call_stream
    finally:
        await server.stop(None)


async def assert_delivered(failures: Sequence[CallStatus]) -> None:
    async with failing(lambda request, _: failures[int(request)]) as calls:
        for number, failure in enumerate(failures):
            for call in calls:
                error = await call(str(number).encode())
                assert error.code() is failure.code
                assert error.details() == failure.details
                # In any order.
                assert sorted(error.trailing_metadata() or ()) == sorted(failure.trailing_metadata)


@given(st.lists(st.tuples(nasty_errors, request_ids), min_size=1, max_size=5))
def test_any_error_has_a_small_status_that_a_call_delivers_whole(
    errors: list[tuple[BaseException, str]],
) -> None:
    failures = [call_status(error, request_id) for error, request_id in errors]

    for failure in failures:
        status = status_pb2.Status.FromString(dict(failure.trailing_metadata)["grpc-status-details-bin"])
        assert status.ByteSize() <= 3 * 1024
        assert len(status.message.encode()) <= 512
        assert status.code == failure.code.value[0] != 0
        assert len(details_of(status, error_details_pb2.ErrorInfo)) == 1
    asyncio.run(assert_delivered(failures))


@pytest.mark.parametrize("nasty", ["\x00", "\n", "\N{OWL}", "\ud800", "%", "\x7f"], ids=ascii)
def test_the_largest_status_of_all_fits_beside_everything_else(nasty: str) -> None:
    long = nasty * 3000
    error = CallError(
        long,
        code="RESOURCE_EXHAUSTED",
        reason=long,
        violations=[Violation(long, long, long)] * 99 + [Violation("p", "e", "f")] * 99,
        metadata={f"{number}{long}": long for number in range(50)},
        retry_after_s=86_399.999,
    )

    failure = call_status(error, "~" * 128)

    status = to_status(error, "~" * 128)
    assert [detail.type_url.rpartition(".")[2] for detail in status.details] == [
        "BadRequest",
        "ErrorInfo",
        "RetryInfo",
        "RequestInfo",
    ]
    assert 2 * 1024 < status.ByteSize() <= 3 * 1024
    assert bad_request_of(status).field_violations
    # As HTTP/2 counts trailers, with the worst encodings of the two that grpc writes itself.
    trailers = [*failure.trailing_metadata, ("grpc-status", "8"), ("grpc-message", long[:512])]
    sizes = {"grpc-status-details-bin": 4 * 1024, "grpc-message": 3 * 512}
    assert sum(32 + len(name) + sizes.get(name, len(value)) for name, value in trailers) <= 7 * 1024
    asyncio.run(assert_delivered([failure]))


@pytest.mark.parametrize("count", [0, 99])
def test_the_largest_answer_of_an_upstream_fits_into_trailers(count: int) -> None:
    long = "~" * 3000
    headers = {f"x-ratelimit-{number:03}": "9" * 200 for number in range(99)} | {"cf-ray": "an-id"}
    error = UpstreamError(
        "\N{OWL}" * 3000,
        code="RESOURCE_EXHAUSTED",
        reason=long,
        status=429,
        upstream_code="c" * 64,
        upstream_type="t" * 64,
        upstream_param="p" * 64,
        retry_after_s=86_399.999,
        violations=[UpstreamViolation("p" * 99, "t" * 256, "a_type")] * count,
        members={"code": "c" * 64, "more": "m" * 500},
        headers=headers,
        should_retry=False,
    )

    failure = call_status(error, "~" * 128)

    trailers = [*failure.trailing_metadata, ("grpc-status", "8"), ("grpc-message", "")]
    sizes = {"grpc-status-details-bin": 4 * 1024, "grpc-message": 3 * 512}
    assert sum(32 + len(name) + sizes.get(name, len(value)) for name, value in trailers) <= 8 * 1024 - 200
    metadata = info_of(to_status(error)).metadata
    expected = {"http_status": "429", "upstream_code": "c" * 64, "upstream_type": "t" * 64}
    expected |= {"upstream_param": "p" * 64, "should_retry": "false", "cf-ray": "an-id"}
    assert metadata.items() >= expected.items()
    passed_on = {name for name, _ in failure.trailing_metadata} & headers.keys()
    assert "cf-ray" in passed_on
    assert len(passed_on) == 7
    if count:
        found = bad_request_of(to_status(error)).field_violations
        assert found[0].description == "t" * 256
        assert found[0].reason == "A_TYPE"
    asyncio.run(assert_delivered([failure]))


def test_members_of_an_upstreams_error_are_json_or_not_there() -> None:
    members = {"code": 1300, "type": "x", "more": {"a": [None, 1.5]}}
    metadata = dict(info_of(to_status(UpstreamError("no", members=members))).metadata)
    assert json.loads(metadata["upstream_members"]) == members
    assert CallError("no", metadata=metadata).upstream_members == members
    too_many = {f"member_{number}": "x" * 250 for number in range(9)}
    assert "upstream_members" not in info_of(to_status(UpstreamError("no", members=too_many))).metadata


@pytest.mark.parametrize("text", ["", "[]", "5", "{", "null"])
def test_members_that_are_no_object_are_none(text: str) -> None:
    assert CallError("no", metadata={"upstream_members": text}).upstream_members == {}


@pytest.mark.parametrize(
    ("value", "remaining_s", "expected"),
    [
        ("585000", 600.0, 15.0),
        ("585000", 580.0, -5.0),
        ("0", 600.0, 600.0),
        ("-1", 600.0, 600.0),
        ("1e3", 600.0, 600.0),
        ("9" * 13, 600.0, 600.0),
        (b"585000", 600.0, 600.0),
        ("585000", None, None),
    ],
)
def test_a_caller_says_how_long_it_may_wait_for_another_attempt(
    value: str | bytes, remaining_s: float | None, expected: float | None
) -> None:
    metadata = [("a", "b"), ("x-retry-time-left-ms", value)]
    assert retry_time_s(metadata, remaining_s) == expected
    assert retry_time_s([], remaining_s) == remaining_s


async def attempts_of(error: BaseException, backoff: str) -> list[int]:
    """Return the attempts of grpc's own retries at a service that fails so: a unary call and a stream."""
    attempts = 0

    def fail(_: bytes, context: grpc.aio.ServicerContext[bytes, bytes]) -> CallStatus:
        nonlocal attempts
        attempts += 1
        return call_status(error, "id-1", context.time_remaining())

    policy = {
        "maxAttempts": 3,
        "initialBackoff": backoff,
        "maxBackoff": backoff,
        "backoffMultiplier": 1,
        "retryableStatusCodes": ["UNAVAILABLE", "RESOURCE_EXHAUSTED"],
    }
    config = {"methodConfig": [{"name": [{"service": "test.Failing"}], "retryPolicy": policy}]}
    result = []
    async with failing(fail, [("grpc.service_config", json.dumps(config))]) as calls:
        for call in calls:
            attempts = 0
            assert (await call(b"")).code() is call_status(error).code
            result.append(attempts)
    return result


async def test_grpc_retries_after_the_time_that_the_error_says() -> None:
    # Its own backoff would exceed the timeout.
    assert await attempts_of(OverloadError("full", retry_after_s=0), backoff="1000s") == [3, 3]


async def test_grpc_does_not_retry_what_can_not_succeed_in_time() -> None:
    assert await attempts_of(UpstreamError("down", retry_after_s=600), backoff="0.01s") == [1, 1]


async def test_grpc_retries_by_its_own_backoff_where_the_error_says_no_time() -> None:
    assert await attempts_of(MistralwireError("m", code="UNAVAILABLE"), backoff="0.01s") == [3, 3]


async def test_grpc_does_not_retry_what_the_service_has_tried_again() -> None:
    error = UpstreamError("down", retry_after_s=0, should_retry=False)
    assert await attempts_of(error, backoff="0.01s") == [1, 1]


async def test_grpc_does_not_ask_again_an_upstream_that_has_failed() -> None:
    assert await attempts_of(UpstreamError("down"), backoff="0.01s") == [1, 1]


def test_an_error_that_has_no_status_leaves_nothing_of_itself_in_the_log(
    caplog: pytest.LogCaptureFixture,
) -> None:
    error = UpstreamError("secret text")
    error.retry_after_s = "secret time"  # type: ignore[assignment]

    with caplog.at_level(logging.DEBUG):
        failure = call_status(error, "id-1")

    assert failure == call_status(KeyError(), "id-1")
    assert "UpstreamError" in caplog.text
    assert "secret" not in caplog.text
