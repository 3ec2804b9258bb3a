"""Errors become statuses with details, small enough for trailers."""

import grpc
from google.rpc import error_details_pb2, status_pb2

from mistralwire.errors import CallError, DecodeError, EncodeError, UpstreamError, Violation
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
