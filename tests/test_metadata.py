"""Headers of an upstream's response that reach the caller, within their bounds."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mistralwire._metadata import (
    HEADERS_BYTES_MAX,
    headers_in,
    response_headers,
    upstream_id,
    without_limits,
)

IDS = [
    *("mistral-correlation-id", "x-correlation-id", "x-kong-request-id", "request-id", "apim-request-id"),
    *("x-ms-request-id", "x-amzn-requestid", "cf-ray", "x-trace-id", "trace-id", "x-upstream-request-id"),
]
LIMITS = [
    *("x-ratelimit-limit-tokens-minute", "x-ratelimit-reset-requests", "x-ratelimit-tokens-query-cost"),
    *("x-rate-limit-remaining", "ratelimit", "ratelimit-policy", "ratelimitbysize-remaining"),
    *("anthropic-ratelimit-tokens-reset", "retry-after", "retry-after-ms"),
]
OTHERS = [
    *("set-cookie", "server", "date", "authorization", "content-type", "location", "via", "x-envoy-upstream"),
    *(
        "x-request-identity",
        "x-ratelimit-reset-bin",
        "strict-transport-security",
        "x-my-ratelimiter",
        "grpc-status",
        "valid",
        "id",
        "",
    ),
]


@pytest.mark.parametrize("name", IDS + LIMITS)
def test_ids_and_rate_limits_are_passed_on(name: str) -> None:
    headers = {name: "a value; of=1"}
    assert response_headers(headers) == headers
    assert headers_in([*headers.items()]) == headers
    assert without_limits(headers) == (headers if name in IDS else {})
    assert upstream_id(headers) == ("a value; of=1" if name in IDS else None)


@pytest.mark.parametrize("name", OTHERS)
def test_all_else_is_not(name: str) -> None:
    assert response_headers({name: "1"}) == {}
    assert headers_in([(name, "1")]) == {}


@pytest.mark.parametrize(
    "value", ["", " ", "a\nb", "a\r\nset-cookie: b", "\x00", "caf\xe9", "a\x7f", " a", "a ", "9" * 257]
)
def test_a_value_that_is_too_long_or_has_other_characters_is_left_out(value: str) -> None:
    assert response_headers({"x-ratelimit": value, "ratelimit": "1"}) == {"ratelimit": "1"}


def test_the_id_of_the_call_is_not_the_upstreams() -> None:
    assert response_headers({"x-request-id": "its-own"}, "mine") == {"x-upstream-request-id": "its-own"}
    assert response_headers({"x-request-id": "mine"}, "mine") == {}
    both = {"x-upstream-request-id": "further-up", "x-request-id": "mine"}
    assert response_headers(both, "mine") == {"x-upstream-request-id": "further-up"}
    assert headers_in([("x-request-id", "of-the-call")]) == {}


def test_an_error_has_its_retry_after_as_a_number() -> None:
    headers = {"retry-after": "1", "retry-after-ms": "1000", "ratelimit": "2"}
    assert response_headers(headers, is_error=True) == {"ratelimit": "2"}


def test_the_id_for_a_log_is_the_one_that_its_support_asks_for() -> None:
    headers = {"cf-ray": "1", "x-upstream-request-id": "2", "mistral-correlation-id": "3"}
    assert upstream_id(headers) == "3"
    assert upstream_id({"ratelimit": "1", "x-trace-id": "4"}) == "4"


names = (
    st.sampled_from(IDS + LIMITS + OTHERS) | st.text(max_size=80) | st.from_regex(r"x-ratelimit-[a-z]{1,70}")
)
values = st.text(max_size=300) | st.from_regex(r"[ -~]{0,300}")


@given(st.dictionaries(names, values, max_size=80))
def test_whatever_comes_is_bounded_printable_and_ids_come_first(headers: dict[str, str]) -> None:
    kept = response_headers(headers)
    assert len(kept) <= 24
    assert sum(len(name) + len(value) + 32 for name, value in kept.items()) <= HEADERS_BYTES_MAX
    assert all(re.fullmatch("[a-z0-9_.-]{1,64}", name) for name in kept)
    assert all(re.fullmatch("[!-~]([ -~]*[!-~])?", value) and len(value) <= 256 for value in kept.values())
    order = [name in without_limits(kept) for name in kept]
    assert order == sorted(order, reverse=True)
    assert headers_in([*kept.items()]) == kept
