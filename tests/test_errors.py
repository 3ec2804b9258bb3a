"""The errors are one tree, and each says where it happened and what became of it."""

import inspect
import pickle

import pytest

import mistralwire.errors
from mistralwire.errors import (
    CallError,
    CodecError,
    DecodeError,
    EncodeError,
    MistralwireError,
    UpstreamError,
    Violation,
)

ERRORS = [
    error
    for error in vars(mistralwire.errors).values()
    if inspect.isclass(error) and issubclass(error, Exception)
]
# The names of gRPC's status codes.
CODES = {
    *("CANCELLED", "UNKNOWN", "INVALID_ARGUMENT", "DEADLINE_EXCEEDED", "NOT_FOUND", "ALREADY_EXISTS"),
    *("PERMISSION_DENIED", "RESOURCE_EXHAUSTED", "FAILED_PRECONDITION", "ABORTED", "OUT_OF_RANGE"),
    *("UNIMPLEMENTED", "INTERNAL", "UNAVAILABLE", "DATA_LOSS", "UNAUTHENTICATED"),
}


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: error.__name__)
def test_every_error_is_of_the_tree_and_in_its_drawing(error: type[MistralwireError]) -> None:
    assert issubclass(error, MistralwireError)
    assert error.__name__ in (mistralwire.errors.__doc__ or "")
    assert error.__doc__


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: error.__name__)
def test_every_error_has_a_code_and_a_reason(error: type[MistralwireError]) -> None:
    assert error.code in CODES
    assert error.reason == error.reason.upper()
    assert error.reason.replace("_", "").isalpha()


def test_one_handler_catches_what_the_codec_raises() -> None:
    assert issubclass(DecodeError, CodecError)
    assert issubclass(EncodeError, CodecError)


def test_a_violation_is_a_sentence() -> None:
    assert str(Violation("a[0].b", "a string", "null")) == "a[0].b: expected a string, found null"
    assert str(Violation("", "an object", "null")) == "document: expected an object, found null"


def test_one_violation_is_the_message() -> None:
    error = DecodeError([Violation("a", "x", "y")], type_name="UsageInfo")
    assert str(error) == error.message == "a: expected x, found y"
    assert (error.path, error.code, error.reason) == ("a", "INVALID_ARGUMENT", "CONTRACT_VIOLATION")


def test_several_violations_are_a_list() -> None:
    violations = [Violation("a", "x", "y"), Violation("b", "z", "w")]
    assert str(DecodeError(violations, type_name="UsageInfo", truncated=True)) == (
        "more than 2 violations in UsageInfo, the first 2:\n"
        "  a: expected x, found y\n"
        "  b: expected z, found w"
    )
    assert str(DecodeError(violations)).startswith("2 violations in the document:")
    assert str(DecodeError(violations[:1], truncated=True)).startswith(
        "more than 1 violations in the document"
    )


def test_an_encode_error_names_its_place() -> None:
    assert str(EncodeError("no JSON", path="a.b")) == "a.b: no JSON"
    assert str(EncodeError("no JSON")) == "document: no JSON"


@pytest.mark.parametrize(
    "error",
    [
        MistralwireError("m", path="p", code="NOT_FOUND", reason="GONE"),
        DecodeError([Violation("a", "x", "y")] * 2, type_name="T", truncated=True, reason="R"),
        EncodeError("m", path="p"),
        UpstreamError("m", status=503, code="UNAVAILABLE", reason="BUSY"),
        CallError(
            "m", code="NOT_FOUND", reason="R", violations=[Violation("a", "x", "y")], metadata={"k": "v"}
        ),
    ],
    ids=lambda error: type(error).__name__,
)
def test_errors_survive_pickling(error: MistralwireError) -> None:
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is type(error)
    assert str(again) == str(error)
    assert vars(again) == vars(error)


def test_a_call_error_carries_the_first_place() -> None:
    error = CallError("m", code="INVALID_ARGUMENT", reason="R", violations=[Violation("a.b", "x", "y")])
    assert error.path == "a.b"
    assert CallError("m", code="INTERNAL", reason="R").violations == []
    assert CallError("m", code="INTERNAL", reason="R").metadata == {}


def test_an_upstream_error_may_have_no_status() -> None:
    assert UpstreamError("connection refused").status is None
    assert (UpstreamError("m").code, UpstreamError("m").reason) == ("UNAVAILABLE", "UPSTREAM_FAILED")
