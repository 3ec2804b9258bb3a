"""Errors become statuses with details, small enough for trailers."""

import grpc
import pytest
from google.rpc import error_details_pb2, status_pb2

from mistralwire.errors import (
    CallError,
    DecodeError,
    EncodeError,
    MistralwireError,
    UpstreamError,
    Violation,
)
from mistralwire.service import to_status


def info_of(status: status_pb2.Status) -> error_details_pb2.ErrorInfo:
    info = error_details_pb2.ErrorInfo()
    assert status.details[-1].Unpack(info)
    return info


def bad_request_of(status: status_pb2.Status) -> error_details_pb2.BadRequest:
    bad_request = error_details_pb2.BadRequest()
    assert status.details[0].Unpack(bad_request)
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
    assert info_of(status).metadata == {"truncated": "true", "violations": "32"}


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
    assert (info_of(status).reason, info_of(status).metadata) == ("a?b", {"a?b": "a?b"})


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
        assert to_status(error) == to_status(KeyError())


def test_an_upstream_error_keeps_its_code_and_says_the_http_status() -> None:
    status = to_status(UpstreamError("too many requests", status=429, code="RESOURCE_EXHAUSTED"))

    assert status.code == grpc.StatusCode.RESOURCE_EXHAUSTED.value[0]
    assert status.message == "too many requests"
    assert info_of(status).reason == "UPSTREAM_FAILED"
    assert info_of(status).metadata == {"http_status": "429"}


def test_an_error_of_a_call_further_in_passes_through() -> None:
    violation = Violation("model", "a string", "null")
    error = CallError(
        "no", code="NOT_FOUND", reason="NO_SUCH_MODEL", violations=[violation], metadata={"model": "m"}
    )

    status = to_status(error)

    assert status.code == grpc.StatusCode.NOT_FOUND.value[0]
    assert bad_request_of(status).field_violations[0].field == "model"
    assert info_of(status).reason == "NO_SUCH_MODEL"
    assert info_of(status).metadata == {"model": "m"}


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
