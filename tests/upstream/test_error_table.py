"""One table for both directions: what an upstream says, gRPC codes, HTTP statuses at the edge."""

import pathlib
import re

import grpc
from hypothesis import given
from hypothesis import strategies as st

from mistralwire.upstream import http_status
from mistralwire.upstream._error_table import ERROR_STATUSES, FAULTS, HTTP_STATUSES, fault_of
from tests.cases import each_case


def test_the_table_has_every_code_of_grpc_once_and_in_order() -> None:
    codes = sorted(grpc.StatusCode, key=lambda code: code.value[0])
    assert [*HTTP_STATUSES] == [code.name for code in codes]
    assert {fault.code for fault in FAULTS} <= HTTP_STATUSES.keys()


def test_no_status_word_or_reason_is_in_the_table_twice() -> None:
    statuses = [status for fault in FAULTS for status in fault.statuses]
    words = [re.sub("[^a-z0-9]", "", word) for fault in FAULTS for word in fault.words]
    reasons = [fault.reason for fault in FAULTS]

    assert len(set(statuses)) == len(statuses)
    assert len(set(words)) == len(words)
    assert len(set(reasons)) == len(reasons)
    assert set(statuses) <= set(ERROR_STATUSES)
    assert all(re.fullmatch("UPSTREAM_[A-Z_]{1,54}", reason) for reason in reasons)
    assert all(fault.text for fault in FAULTS)


@each_case(
    ("status", "code", "reason"),
    [
        (400, "INVALID_ARGUMENT", "UPSTREAM_INVALID_REQUEST"),
        (401, "FAILED_PRECONDITION", "UPSTREAM_UNAUTHENTICATED"),
        (402, "FAILED_PRECONDITION", "UPSTREAM_PAYMENT_REQUIRED"),
        (403, "FAILED_PRECONDITION", "UPSTREAM_PERMISSION_DENIED"),
        (404, "NOT_FOUND", "UPSTREAM_NOT_FOUND"),
        (405, "UNIMPLEMENTED", "UPSTREAM_UNSUPPORTED"),
        (408, "DEADLINE_EXCEEDED", "UPSTREAM_TIMEOUT"),
        (409, "ABORTED", "UPSTREAM_CONFLICT"),
        (413, "INVALID_ARGUMENT", "UPSTREAM_REQUEST_TOO_LARGE"),
        (418, "INVALID_ARGUMENT", "UPSTREAM_INVALID_REQUEST"),
        (422, "INVALID_ARGUMENT", "UPSTREAM_INVALID_REQUEST"),
        (429, "RESOURCE_EXHAUSTED", "UPSTREAM_RATE_LIMITED"),
        (500, "UNAVAILABLE", "UPSTREAM_FAILED"),
        (502, "UNAVAILABLE", "UPSTREAM_FAILED"),
        (503, "UNAVAILABLE", "UPSTREAM_OVERLOADED"),
        (504, "DEADLINE_EXCEEDED", "UPSTREAM_TIMEOUT"),
        (529, "UNAVAILABLE", "UPSTREAM_OVERLOADED"),
        (599, "UNAVAILABLE", "UPSTREAM_FAILED"),
    ],
)
def test_a_status_has_a_code_and_a_reason(status: int, code: str, reason: str) -> None:
    fault = fault_of(status, ["rate_limited"] if status != 429 else [])

    assert (fault.code, fault.reason) == (code, reason)


@each_case(
    ("words", "code", "reason"),
    [
        (["1300", "rate_limited"], "RESOURCE_EXHAUSTED", "UPSTREAM_RATE_LIMITED"),
        (["rate_limit_exceeded"], "RESOURCE_EXHAUSTED", "UPSTREAM_RATE_LIMITED"),
        (["RateLimitError"], "RESOURCE_EXHAUSTED", "UPSTREAM_RATE_LIMITED"),
        (["RESOURCE_EXHAUSTED"], "RESOURCE_EXHAUSTED", "UPSTREAM_RATE_LIMITED"),
        (["3505", "service_tier_capacity_exceeded"], "RESOURCE_EXHAUSTED", "UPSTREAM_RATE_LIMITED"),
        (["invalid_request_error"], "INVALID_ARGUMENT", "UPSTREAM_INVALID_REQUEST"),
        (["3280", "invalid_function_call"], "INVALID_ARGUMENT", "UPSTREAM_INVALID_REQUEST"),
        (["Bad Request"], "INVALID_ARGUMENT", "UPSTREAM_INVALID_REQUEST"),
        (["model_not_found", "invalid_request_error"], "NOT_FOUND", "UPSTREAM_NOT_FOUND"),
        (["invalid_api_key", "invalid_request_error"], "FAILED_PRECONDITION", "UPSTREAM_UNAUTHENTICATED"),
        (["unreachable_backend"], "UNAVAILABLE", "UPSTREAM_OVERLOADED"),
        (["InternalServerError"], "UNAVAILABLE", "UPSTREAM_FAILED"),
        (["9999", "unheard_of"], "UNAVAILABLE", "UPSTREAM_FAILED"),
        (["error", "", "-"], "UNAVAILABLE", "UPSTREAM_FAILED"),
        ([], "UNAVAILABLE", "UPSTREAM_FAILED"),
    ],
)
@each_case("status", [None, 200, 302, 399, 600, -1])
def test_without_a_status_of_an_error_the_words_decide(
    status: int | None, words: list[str], code: str, reason: str
) -> None:
    fault = fault_of(status, words)

    assert (fault.code, fault.reason) == (code, reason)


@each_case(
    ("code", "status"),
    [
        ("OK", 200),
        ("CANCELLED", 499),
        ("UNKNOWN", 500),
        ("INVALID_ARGUMENT", 400),
        ("DEADLINE_EXCEEDED", 504),
        ("NOT_FOUND", 404),
        ("ALREADY_EXISTS", 409),
        ("PERMISSION_DENIED", 403),
        ("RESOURCE_EXHAUSTED", 429),
        ("FAILED_PRECONDITION", 500),
        ("ABORTED", 409),
        ("OUT_OF_RANGE", 400),
        ("UNIMPLEMENTED", 501),
        ("INTERNAL", 500),
        ("UNAVAILABLE", 503),
        ("DATA_LOSS", 500),
        ("UNAUTHENTICATED", 401),
        ("UNHEARD_OF", 500),
    ],
)
def test_a_code_has_one_status_at_the_edge(code: str, status: int) -> None:
    assert http_status(code) == status


@each_case("status", ERROR_STATUSES)
def test_an_error_stays_an_error_of_its_side_through_both_directions(status: int) -> None:
    """What the upstream blames on the service does not become the caller's fault, nor the other way round."""
    fault = fault_of(status)
    again = http_status(fault.code)

    if fault.is_quoted and status not in (405, 408):
        assert again // 100 == status // 100
    else:
        assert again >= 500


@given(st.none() | st.integers(), st.lists(st.text(), max_size=3))
def test_everything_has_a_fault(status: int | None, words: list[str]) -> None:
    assert fault_of(status, words) in FAULTS


def test_the_documentation_has_the_table() -> None:
    text = (pathlib.Path(__file__).parents[2] / "docs" / "service.md").read_text()
    table = text.partition("<!-- statuses -->")[2].partition("<!-- /statuses -->")[0]

    rows = [line.strip("| ").split(" | ") for line in table.strip().splitlines()[2:]]
    assert rows == [
        [", ".join(map(str, fault.statuses)), f"`{fault.code}`", f"`{fault.reason}`"] for fault in FAULTS
    ]
