"""Error bodies of an upstream become errors."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mistralwire import from_json
from mistralwire.errors import UpstreamError
from mistralwire.upstream import error_from_body
from mistralwire.v1 import ErrorResponse
from tests.corpus import files
from tests.strategies import json_objects, loose_documents, to_json_text


def error_of(body: dict[str, Any], **arguments: Any) -> UpstreamError:
    return error_from_body(from_json(ErrorResponse, to_json_text(body), validate=False), **arguments)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"object": "error", "message": "no such model"}, "no such model"),
        ({"message": {"detail": "not today"}}, "not today"),
        ({"detail": "not today"}, "not today"),
        ({"error": {"message": "inside"}}, "inside"),
        ({"error": "in short"}, "in short"),
        ({"message": "", "detail": "behind"}, "behind"),
        ({}, "the upstream failed"),
        ({"message": " \n"}, "the upstream failed"),
    ],
)
def test_the_text_for_people_is_found_in_every_shape(body: dict[str, object], message: str) -> None:
    error = error_of(body)

    assert error.message == message
    assert (error.code, error.reason) == ("UNAVAILABLE", "UPSTREAM_FAILED")
    assert (error.status, error.upstream_code, error.upstream_type, error.retry_after_s) == (None,) * 4


def test_a_number_in_status_is_no_type() -> None:
    assert error_of({"status": 404, "error": "Not Found"}).upstream_type is None
    assert error_of({"error": {"status": "NOT_FOUND", "code": 404}}).upstream_type == "NOT_FOUND"


@pytest.mark.parametrize(
    "body",
    [
        {"detail": [{"loc": ["body", "n"], "msg": "is missing", "type": "missing", "input": "private"}]},
        {"message": {"detail": [{"loc": ["body", "n"], "msg": "is missing", "type": "missing"}]}},
    ],
)
def test_violations_are_an_invalid_request_whether_a_status_says_so_or_not(body: dict[str, Any]) -> None:
    for status in (None, 422):
        error = error_of(body, status=status)
        assert (error.code, error.reason) == ("INVALID_ARGUMENT", "UPSTREAM_INVALID_REQUEST")
        assert (error.message, error.status) == ("n: is missing", status)


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        ({"raw_status_code": 429}, 429, "RESOURCE_EXHAUSTED"),
        ({"raw_status_code": 422, "code": "3051"}, 422, "INVALID_ARGUMENT"),
        ({"error": {"code": 401}}, 401, "FAILED_PRECONDITION"),
        ({"error": {"code": "404"}}, 404, "NOT_FOUND"),
        ({"statusCode": 404, "error": "Not Found"}, 404, "NOT_FOUND"),
        ({"code": 500}, 500, "UNAVAILABLE"),
        ({"code": 3051}, None, "UNAVAILABLE"),
        ({"code": True, "status": 200}, None, "UNAVAILABLE"),
    ],
)
def test_the_status_in_the_body_decides_the_code(
    body: dict[str, object], status: int | None, code: str
) -> None:
    error = error_of(body)

    assert (error.status, error.code) == (status, code)


def test_the_status_of_the_answer_wins_over_the_body() -> None:
    error = error_of({"raw_status_code": 500}, status=404)

    assert (error.status, error.code) == (404, "NOT_FOUND")


def test_an_error_body_under_a_status_that_is_no_error_speaks_for_itself() -> None:
    limited = error_of({"error": {"code": 429, "message": "slow down"}}, status=200)
    unknown = error_of({"error": {"type": "rate_limit_error"}}, status=200)

    assert (limited.status, limited.code) == (429, "RESOURCE_EXHAUSTED")
    assert (unknown.status, unknown.code) == (200, "RESOURCE_EXHAUSTED")


@pytest.mark.parametrize(
    ("body", "upstream_code", "upstream_type", "reason"),
    [
        ({"type": "rate_limited", "code": "1300"}, "1300", "rate_limited", "UPSTREAM_RATE_LIMITED"),
        (
            {"type": "invalid_request_prompt", "code": 3051},
            "3051",
            "invalid_request_prompt",
            "UPSTREAM_INVALID_REQUEST",
        ),
        (
            {"type": "error", "error": {"type": "overloaded_error"}},
            None,
            "overloaded_error",
            "UPSTREAM_OVERLOADED",
        ),
        (
            {"error": {"type": "invalid_request_error", "code": "model_not_found"}},
            "model_not_found",
            "invalid_request_error",
            "UPSTREAM_NOT_FOUND",
        ),
        ({"error": {"status": "RESOURCE_EXHAUSTED"}}, None, "RESOURCE_EXHAUSTED", "UPSTREAM_RATE_LIMITED"),
        ({"type": "Bad Request", "code": "x" * 65}, None, None, "UPSTREAM_INVALID_REQUEST"),
        ({"type": "a\nb", "code": "naïve"}, None, None, "UPSTREAM_FAILED"),
        ({"type": {"a": 1}, "code": 10**100}, None, None, "UPSTREAM_FAILED"),
        ({"type": None, "code": "sk-abcdef"}, None, None, "UPSTREAM_FAILED"),
    ],
)
def test_the_upstreams_own_words_decide_without_a_status_and_are_kept_if_they_are_words(
    body: dict[str, object], upstream_code: str | None, upstream_type: str | None, reason: str
) -> None:
    error = error_of(body)

    assert (error.upstream_code, error.upstream_type) == (upstream_code, upstream_type)
    assert error.reason == reason


@pytest.mark.parametrize(
    ("body", "status", "message"),
    [
        ({"message": "no user hunter"}, 401, "the upstream refused the credentials of the service"),
        (
            {"message": "no user hunter"},
            402,
            "the upstream requires the account of the service to be paid",
        ),
        ({"message": "no user hunter"}, 403, "the upstream denied the service permission"),
        (
            {"error": {"type": "authentication_error", "message": "no user hunter"}},
            None,
            "the upstream refused the credentials of the service",
        ),
    ],
)
def test_what_the_upstream_says_of_the_services_credentials_stays_here(
    body: dict[str, object], status: int | None, message: str
) -> None:
    error = error_of(body, status=status)

    assert error.message == message
    assert error.code == "FAILED_PRECONDITION"


def test_the_time_until_a_new_try_is_kept() -> None:
    assert error_of({}, status=429, retry_after_s=2.5).retry_after_s == 2.5


def test_an_answer_without_a_body_is_an_error_too() -> None:
    error = error_from_body(ErrorResponse(), status=502)

    assert (error.code, error.status, error.message) == ("UNAVAILABLE", 502, "the upstream failed")


def test_a_code_of_endless_digits_is_left_out() -> None:
    body = from_json(ErrorResponse, f'{{"code": 1{"0" * 10_000}, "message": "no"}}', validate=False)

    assert (error_from_body(body).upstream_code, error_from_body(body).message) == (None, "no")


def test_a_body_that_a_program_made_wrong_is_an_error_too() -> None:
    body = ErrorResponse(message_string="lost")
    body.json_extra.members = "no JSON"

    assert error_from_body(body, status=404).reason == "UPSTREAM_NOT_FOUND"


@given(
    json_objects() | loose_documents(ErrorResponse),
    st.none() | st.integers(-1, 700),
    st.none() | st.floats(),
)
def test_any_body_is_an_upstream_error(
    body: dict[str, Any], status: int | None, retry_after_s: float | None
) -> None:
    for document in (body, {"error": body}, {"message": {"detail": [body]}}):
        error = error_of(document, status=status, retry_after_s=retry_after_s)
        assert type(error) is UpstreamError
        assert error.reason.startswith("UPSTREAM_")
        assert 0 < len(error.message) <= 1_000
        assert error.message.isprintable()
        json.dumps([error.upstream_code, error.upstream_type]).encode("ascii")


@pytest.mark.parametrize("bodies", files(("error", "error_quoted", "openai_error", "openrouter_error")))
def test_a_recorded_body_is_an_error_with_a_text(bodies: list[Any]) -> None:
    for body in bodies:
        error = error_from_body(from_json(ErrorResponse, body.text, validate=False))
        assert error.message != "the upstream failed"
        assert "[redacted]" not in error.message
