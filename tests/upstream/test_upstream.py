"""Error bodies of an upstream become errors."""

import json

import pytest

from mistralwire import from_json
from mistralwire.upstream import error_from_body
from mistralwire.v1 import ErrorResponse


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"object": "error", "message": "no such model"}, "no such model"),
        ({"message": {"detail": [{"msg": "too short"}, {"msg": "too long"}]}}, "too short; too long"),
        ({"detail": "not today"}, "not today"),
        ({"detail": [{"loc": ["body"], "msg": "is missing", "type": "missing"}]}, "is missing"),
        ({"error": {"message": "inside"}}, "inside"),
        ({"error": "in short"}, "in short"),
        ({}, "expected a completion from the upstream, found an error without a message"),
    ],
)
def test_the_text_for_people_is_found_in_every_shape(body: dict[str, object], message: str) -> None:
    error = error_from_body(from_json(ErrorResponse, json.dumps(body), validate=False))

    assert error.message == message
    assert error.code == "UNAVAILABLE"
    assert error.status is None


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        ({"raw_status_code": 429}, 429, "RESOURCE_EXHAUSTED"),
        ({"raw_status_code": 422, "code": "3051"}, 422, "INVALID_ARGUMENT"),
        ({"error": {"code": 401}}, 401, "FAILED_PRECONDITION"),
        ({"code": 500}, 500, "UNAVAILABLE"),
        ({"code": 3051}, None, "UNAVAILABLE"),
    ],
)
def test_the_status_in_the_body_decides_the_code(
    body: dict[str, object], status: int | None, code: str
) -> None:
    error = error_from_body(from_json(ErrorResponse, json.dumps(body), validate=False))

    assert (error.status, error.code) == (status, code)


def test_the_status_of_the_answer_wins_over_the_body() -> None:
    error = error_from_body(ErrorResponse(raw_status_code=500), status=404)

    assert (error.status, error.code) == (404, "NOT_FOUND")
