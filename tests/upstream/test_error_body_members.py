"""What an error body says for programs goes out within bounds, without keys and what the request said."""

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mistralwire.errors import UpstreamViolation
from mistralwire.upstream._error_body import MEMBERS_BYTES_MAX, members_of, violations_of
from tests.cases import each_case
from tests.strategies import wild_values
from tests.upstream.test_error_body_text import KEYS

TEXTS = {"message": "no", "detail": "no", "msg": "no", "error": "no", "object": "error"}


def test_members_keep_their_types_and_the_inner_object_counts() -> None:
    inner = {
        "message": "no",
        "code": 1300,
        "type": "x",
        "n": None,
        "flag": True,
        "part": 0.5,
        "more": {"a": [1]},
    }
    outer = {"error": inner, "code": 429, "status": "outer", **TEXTS}
    members = members_of([inner, outer], is_quoted=True)
    assert members == {
        "code": 1300,
        "type": "x",
        "n": None,
        "flag": True,
        "part": 0.5,
        "more": {"a": [1]},
        "status": "outer",
    }
    assert [*members][:2] == ["code", "type"]


def test_of_what_refuses_the_service_itself_only_the_words_go_out() -> None:
    body = {"code": "401", "type": "unauthorized", "param": None, "hint": "the key", **TEXTS}
    assert members_of([body], is_quoted=False) == {"code": "401", "type": "unauthorized", "param": None}


@each_case("key", KEYS)
@each_case("name", ["hint", "code", "type", "param", "nested"])
def test_what_looks_like_a_key_does_not_get_through(name: str, key: str) -> None:
    value = {"deep": [key]} if name == "nested" else key
    members = members_of([{name: value, key: 1, "hint": f"the key {key}"}], is_quoted=True)
    assert key.strip("=-").encode() not in orjson.dumps(members)


@pytest.mark.parametrize("name", ["id", "request_id", "trace.id", "eventId", "x-request-id"])
def test_an_id_goes_out_though_it_looks_like_a_key(name: str) -> None:
    assert members_of([{name: "req_0a1b2c3d4e5f60718293"}], is_quoted=True) == {
        name: "req_0a1b2c3d4e5f60718293" if name != "eventId" else "[redacted]"
    }


def test_values_of_violations_do_not_get_through() -> None:
    body = {"errors": [{"input": "secret", "ctx": {"a": "secret"}, "loc": ["secret"], "kind": "missing"}]}
    assert members_of([body], is_quoted=True) == {"errors": [{"kind": "missing"}]}


def test_an_error_beside_choices_does_not_look_like_a_chunk() -> None:
    """Clients that skip chunks without choices would skip the error with them."""
    inner = {"message": "no", "code": 502, "choices": []}
    outer = {"id": "gen-1", "model": "m", "choices": [], "error": inner}
    assert members_of([inner, outer], is_quoted=True) == {"code": 502, "id": "gen-1", "model": "m"}


@given(st.lists(st.dictionaries(st.text(max_size=70), wild_values, max_size=30), max_size=2))
def test_any_members_are_small_json(holders: list[dict[str, object]]) -> None:
    members = members_of(holders, is_quoted=True)
    assert orjson.loads(orjson.dumps(members)) == members
    assert len(orjson.dumps(members)) <= MEMBERS_BYTES_MAX
    assert len(members) <= 16


@given(wild_values)
def test_any_detail_has_bounded_violations(detail: object) -> None:
    for body in ({"detail": detail}, {"message": {"detail": detail}}, {"error": {"detail": detail}}):
        for violation in violations_of(body):
            assert violation.description
            assert len(violation.description) <= 256


def test_violations_have_place_text_and_type_wherever_they_stand() -> None:
    item = {
        "loc": ["body", "messages", 1, "role"],
        "msg": "Field required",
        "type": "missing",
        "input": "secret",
    }
    odd = {"loc": [], "msg": "\n", "type": "Not A Word"}
    expected = [
        UpstreamViolation("messages[1].role", "Field required", "missing"),
        UpstreamViolation("", "a violation without a text"),
    ]
    detail = [item, odd, "no violation", {"msg": 5, "loc": []}]
    for body in ({"detail": detail}, {"message": {"detail": detail}}, {"error": {"detail": detail}}):
        assert violations_of(body) == expected
    assert str(expected[0]) == "messages[1].role: Field required"
    assert len(violations_of({"detail": [item] * 99})) == 32
