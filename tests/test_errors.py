"""The errors are one tree, and each says where it happened and what became of it."""

import copy
import inspect
import math
import pickle
from typing import Any

import pytest

import mistralwire.errors
from mistralwire.errors import (
    BrokenStreamError,
    CallError,
    CodecError,
    DecodeError,
    EncodeError,
    MistralwireError,
    OverloadError,
    ResponseError,
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


# One of each class, with something in every attribute.
EXAMPLES = [
    MistralwireError("m", path="p", code="NOT_FOUND", reason="GONE"),
    CodecError("m", path="p", code="NOT_FOUND", reason="GONE"),
    DecodeError([Violation("a", "x", "y")] * 2, type_name="T", truncated=True, reason="R"),
    EncodeError("m", path="p"),
    UpstreamError(
        "m",
        status=503,
        code="ABORTED",
        reason="BUSY",
        upstream_code="1300",
        upstream_type="busy",
        retry_after_s=2.5,
    ),
    OverloadError("m", reason="FULL", retry_after_s=7),
    ResponseError("m", code="ABORTED", reason="STALE", metadata={"epoch": "3"}),
    CallError(
        "m",
        code="NOT_FOUND",
        reason="R",
        violations=[Violation("a", "x", "y")],
        metadata={"k": "v", "http_status": "404"},
        request_id="id-1",
        retry_after_s=0,
    ),
    BrokenStreamError("m"),
]


def test_there_is_an_example_of_every_error() -> None:
    assert {type(example) for example in EXAMPLES} == set(ERRORS)


@pytest.mark.parametrize("again_of", [lambda e: pickle.loads(pickle.dumps(e)), copy.copy, copy.deepcopy])
@pytest.mark.parametrize("error", EXAMPLES, ids=lambda error: type(error).__name__)
def test_errors_survive_pickling_and_copying(error: MistralwireError, again_of: Any) -> None:
    error = copy.copy(error)
    error.add_note("seen on the way")

    again = again_of(error)

    assert again is not error
    assert type(again) is type(error)
    assert str(again) == str(error)
    assert again.args == error.args
    assert vars(again) == vars(error)
    assert again.__notes__ == ["seen on the way"]


def test_an_error_of_ones_own_survives_pickling() -> None:
    again = pickle.loads(pickle.dumps(OwnDecodeError([Violation("a", "x", "y")])))

    assert type(again) is OwnDecodeError
    assert again.violations == [Violation("a", "x", "y")]


class OwnDecodeError(DecodeError):
    """What a user of the package may derive."""


def test_a_call_error_carries_the_first_place() -> None:
    error = CallError("m", code="INVALID_ARGUMENT", reason="R", violations=[Violation("a.b", "x", "y")])
    assert error.path == "a.b"
    assert CallError("m", code="INTERNAL", reason="R").violations == []
    assert CallError("m", code="INTERNAL", reason="R").metadata == {}


@pytest.mark.parametrize(
    ("delay_s", "kept_s"),
    [
        (0, 0.0),
        (2.5, 2.5),
        (86_400, 86_400.0),
        (86_401, 86_400.0),
        (10**400, 86_400.0),
        (-0.1, None),
        (math.nan, None),
        (math.inf, None),
        (None, None),
        (True, None),
        ("5", None),
    ],
)
def test_a_time_to_wait_is_kept_if_it_makes_sense(delay_s: Any, kept_s: float | None) -> None:
    for error in (
        UpstreamError("m", retry_after_s=delay_s),
        OverloadError("m", retry_after_s=delay_s),
        CallError("m", retry_after_s=delay_s),
    ):
        assert error.retry_after_s == kept_s
        assert type(error.retry_after_s) is type(kept_s)


@pytest.mark.parametrize("word", ["", "a b", "a\n", "é", "\x7f", "\ud800", "x" * 65])
def test_words_of_an_upstream_that_do_not_go_into_logs_are_left_out(word: str) -> None:
    upstream = UpstreamError("m", upstream_code=word, upstream_type=word)
    call = CallError("m", metadata={"upstream_code": word, "upstream_type": word}, request_id=word)

    assert (upstream.upstream_code, upstream.upstream_type) == (None, None)
    assert (call.upstream_code, call.upstream_type) == (None, None)
    assert call.request_id == ("" if len(word) < 65 else word)


def test_a_call_error_says_what_the_upstream_said() -> None:
    metadata = {"http_status": "429", "upstream_code": "1300", "upstream_type": "rate_limited"}
    error = CallError("m", metadata=metadata, request_id="id-1", retry_after_s=1)
    assert (error.upstream_status, error.upstream_code, error.upstream_type) == (429, "1300", "rate_limited")
    assert (error.request_id, error.retry_after_s) == ("id-1", 1.0)

    nothing = CallError("m")
    assert (nothing.upstream_status, nothing.upstream_code, nothing.upstream_type) == (None, None, None)
    assert (nothing.request_id, nothing.retry_after_s) == ("", None)


@pytest.mark.parametrize("text", ["", "0", "42", "-429", "4290", "099", "٤٢٩", "429\n", "9" * 5000])
def test_what_is_no_http_status_is_none(text: str) -> None:
    assert CallError("m", metadata={"http_status": text}).upstream_status is None


def test_an_id_of_a_call_has_128_characters_at_most() -> None:
    assert CallError("m", request_id="x" * 128).request_id == "x" * 128
    assert CallError("m", request_id="x" * 129).request_id == ""


def test_an_upstream_error_may_have_no_status() -> None:
    assert UpstreamError("connection refused").status is None
    assert (UpstreamError("m").code, UpstreamError("m").reason) == ("UNAVAILABLE", "UPSTREAM_FAILED")
