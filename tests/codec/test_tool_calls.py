"""Tool calls in the pieces in which servers send them; the rules are in the docstring of Accumulator."""

import itertools
from typing import Any

import pytest

from mistralwire.codec import Accumulator, accumulate
from tests.codec.chunks import Json, called, make_call, make_piece, read_chunk


def _summary(calls: list[Json]) -> list[tuple[Any, ...]]:
    return [
        (call.get("id"), call["function"].get("name"), call["function"].get("arguments")) for call in calls
    ]


def test_pieces_with_one_index_are_one_call_within_a_chunk() -> None:
    """Azure sends a call's head and the beginning of its arguments so."""
    calls = called(
        [make_call("", "f", id="a", index=0), make_call('{"x"', index=0), make_call(":", index=0)],
        [make_call("1}", index=0)],
    )
    assert calls == [make_call('{"x":1}', "f", id="a", index=0)]


def test_interleaved_pieces_within_a_chunk_go_to_their_calls() -> None:
    calls = called(
        [
            *(make_call("", "f", id="a", index=0), make_call("", "g", id="b", index=1)),
            *(make_call("1", index=0), make_call("3", index=1), make_call("2", index=0)),
        ],
        [make_call("4", index=1), make_call("5", index=0)],
    )
    assert _summary(calls) == [("a", "f", "125"), ("b", "g", "34")]


@pytest.mark.parametrize("name", [None, ""])
def test_a_piece_without_a_name_continues_its_index_whatever_its_id(name: str | None) -> None:
    calls = called(
        [make_call("", "f", id="a1", index=0)],
        [make_call("{", name, id="a2", index=0)],
        [make_call("}", name, id="a3", index=0)],
    )
    assert _summary(calls) == [("a1", "f", "{}")]


def test_a_named_piece_with_another_id_begins_a_call_at_the_same_index() -> None:
    """Ollama numbers all calls 0, in one chunk or in several."""
    pieces = [make_call("{}", name, id=name, index=0) for name in ("f", "g", "f2")]
    expected = [("f", "f", "{}"), ("g", "g", "{}"), ("f2", "f2", "{}")]
    assert _summary(called(pieces)) == _summary(called(*([piece] for piece in pieces))) == expected


def test_calls_that_share_an_index_are_told_apart_by_their_ids() -> None:
    calls = called(
        [make_call("", "f", id="a", index=0)],
        [make_call("", "g", id="b", index=0)],
        [make_call("1", id="a", index=0)],
        [make_call("2", id="b", index=0)],
        [make_call("3", index=0)],
        [make_call("4", "f", id="a", index=0)],
    )
    assert _summary(calls) == [("a", "f", "14"), ("b", "g", "23")]


def test_calls_that_share_an_id_are_told_apart_by_their_indexes() -> None:
    calls = called(
        [make_call("", "f", id="x", index=0), make_call("", "g", id="x", index=1)],
        [make_call("1", id="x", index=0), make_call("2", id="x", index=1)],
        [make_call("3", "f", id="x", index=0)],
    )
    assert _summary(calls) == [("x", "f", "13"), ("x", "g", "2")]


def test_a_call_at_a_shared_index_goes_on_at_an_index_of_its_own() -> None:
    """Some servers number the head of a second call 0, and the rest of it 1."""
    calls = called(
        [make_call("{}", "f", id="a", index=0)],
        [make_call("", "g", id="b", index=0)],
        [make_call("{", id="b", index=1)],
        [make_call("}", index=1)],
    )
    assert _summary(calls) == [("a", "f", "{}"), ("b", "g", "{}")]


@pytest.mark.parametrize("members", [{"index": 0}, {"index": 0, "id": "a"}, {"id": "a"}])
@pytest.mark.parametrize("arguments", [("", "", "{}"), ("{", "}", ""), ("{}", "", ""), ("", "{", "}")])
def test_names_are_joined_before_and_after_arguments(members: Json, arguments: tuple[str, ...]) -> None:
    pieces = zip(arguments, ("get_", "weat", "her"), strict=True)
    calls = called(*([make_call(part, name, **members)] for part, name in pieces))
    assert calls == [make_call("{}", "get_weather", **members)]


@pytest.mark.parametrize(
    ("names", "expected"),
    [(("f", "f", "f"), "f"), (("f", "", "f"), "f"), (("ab", "a", "aba"), "aba"), (("a", "b", "ab"), "ab")],
)
def test_a_name_that_equals_the_whole_so_far_is_not_appended(names: tuple[str, ...], expected: str) -> None:
    calls = called(*([make_call("", name, id="a", index=0)] for name in names))
    assert calls == [make_call("", expected, id="a", index=0)]


@pytest.mark.parametrize("members", [{"index": 0, "id": ""}, {"index": 0}, {"id": "null"}, {"id": "a"}, {}])
def test_the_name_null_says_nothing(members: Json) -> None:
    """Some servers write an absent name as the string, behind the first piece of a call or in it."""
    pieces = [
        make_call("", "f", id="a"),
        make_call("{", "null", **members),
        make_call("}", "null", **members),
    ]
    if "index" in members:
        pieces[0]["index"] = 0
    assert _summary(called(pieces)) == _summary(called(*([piece] for piece in pieces))) == [("a", "f", "{}")]
    late = [
        make_call("{", "null", id="a", index=0),
        make_call("}", "get_", index=0),
        make_call("", "f", index=0),
    ]
    assert _summary(called(late)) == [("a", "get_f", "{}")]
    assert called([make_call("{}", "null", id="a")]) == [make_call("{}", "null", id="a")]


def test_an_id_joins_pieces_without_an_index_whatever_their_names() -> None:
    calls = called(
        [make_call("1", "get_", id="a"), make_call("2", "f", id="b")],
        [make_call("3", "time", id="a"), make_call("4", "f", id="b")],
    )
    assert _summary(calls) == [("a", "get_time", "13"), ("b", "f", "24")]


@pytest.mark.parametrize("names", [("f", "g"), ("f", "f")])
@pytest.mark.parametrize("nothing", [{}, {"id": None}, {"id": ""}, {"id": "null"}])
def test_a_name_begins_a_call_where_neither_index_nor_id_decides(names: list[str], nothing: Json) -> None:
    pieces = [make_call("{", names[0], **nothing), make_call("}"), make_call("{}", names[1], **nothing)]
    expected = [make_call("{}", names[0], **nothing), make_call("{}", names[1], **nothing)]
    assert called(pieces) == called(*([piece] for piece in pieces)) == expected


def test_a_piece_without_name_and_index_continues_the_last_call_whatever_its_id() -> None:
    calls = called(
        [make_call("", "f", id="a")],
        [make_call("1", id="a2")],
        [make_call("", "g", id="b")],
        [make_call("2", "", id="b2"), make_call("3", id="b3")],
        [make_call("4", id="a2")],
    )
    assert _summary(calls) == [("a", "f", "14"), ("b", "g", "23")]


@pytest.mark.parametrize("index", [0, 1, -1])
def test_a_call_that_began_without_an_index_takes_the_first_that_comes(index: int) -> None:
    calls = called(
        [make_call("", "f", id="a")],
        [make_call("1", index=index)],
        [make_call("2", "f", id="a", index=index)],
    )
    assert calls == [make_call("12", "f", id="a", index=index)]


def test_a_named_piece_contradicts_a_call_without_index_by_its_id_or_name() -> None:
    head = make_call("1", "f", id="a")
    for other in (make_call("2", "f", id="b", index=0), make_call("2", "g", index=0)):
        assert called([head], [other]) == [head, other]
    assert called([head], [make_call("2", "f", index=0)]) == [make_call("12", "f", id="a", index=0)]


def test_a_call_is_named_by_the_first_piece_that_has_a_name() -> None:
    for members in ({"index": 0, "id": "a"}, {"index": 0}, {"id": "a"}, {}):
        calls = called(
            [members | {"type": "function"}],
            [make_call("", "f", **members)],
            [make_call("{}", **members)],
        )
        assert calls == [members | {"type": "function"} | make_call("{}", "f")]


def test_the_first_id_type_and_index_stay() -> None:
    pieces = [
        make_call("1", "f", id=None, index=0, type=""),
        make_call("2", id="null", index=0, type=None),
        make_call("3", id="a", index=0, type="function"),
        make_call("4", id="b", index=0, type="tool"),
    ]
    (call,) = called(*([piece] for piece in pieces))
    assert call == make_call("1234", "f", id="a", index=0, type="function")


def test_calls_appear_in_the_order_of_their_index() -> None:
    heads = [make_call("", name, id=name, index=index) for name, index in (("c", 5), ("a", -1), ("b", 2))]
    ends = [make_call(str(index), index=index) for index in (2, 5, -1)]
    expected = [("a", "a", "-1"), ("b", "b", "2"), ("c", "c", "5")]
    assert _summary(called(heads, ends)) == expected
    assert _summary(called(*([piece] for piece in heads + ends))) == expected


def test_a_call_without_an_index_follows_the_one_that_it_began_behind() -> None:
    pieces = [make_call("", "z", id="z"), make_call("", "c", id="c", index=2), make_call("", "d", id="d")]
    pieces += [make_call("", "a", id="a", index=0), make_call("", "b", id="b")]
    assert [call["id"] for call in called(pieces)] == ["z", "a", "b", "c", "d"]


def test_calls_grow_further_after_they_were_put_in_order() -> None:
    accumulator = Accumulator()
    for index in (1, 0):
        call = make_call("", "f", id=str(index), index=index)
        accumulator.add(read_chunk(make_piece({"tool_calls": [call]})))
    first = accumulator.result()
    accumulator.add(read_chunk(make_piece({"tool_calls": [make_call("one"), make_call("!", index=1)]})))
    calls = accumulator.result().choices[0].message.tool_calls
    assert [(call.id, call.function.arguments_string) for call in calls] == [("0", "one"), ("1", "!")]
    assert [call.function.arguments_string for call in first.choices[0].message.tool_calls] == ["", ""]


def test_constant_members_of_a_call_are_not_doubled() -> None:
    google = {"google": {"thought_signature": "s=="}}
    pieces = [
        make_call("1", "f", index=0, extra_content=google),
        make_call("2", index=0, extra_content=google),
    ]
    assert called(pieces[:1], pieces[1:]) == [make_call("12", "f", index=0, extra_content=google)]


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        ({"a": 1}, {"b": 2}, {"a": 1, "b": 2}),
        ('{"a":', {"a": 1}, {"a": 1}),
        ({"a": 1}, '{"b":2}', '{"b":2}'),
        ({"a": 1}, "", {"a": 1}),
        ('{"a":1}', {}, '{"a":1}'),
    ],
)
def test_arguments_that_are_an_object_in_one_of_the_pieces(first: Any, second: Any, expected: Any) -> None:
    pieces = [make_call(first, "f", index=0), make_call(second, index=0)]
    assert called(pieces) == [make_call(expected, "f", index=0)]


def test_what_an_object_of_arguments_holds_is_left_alone() -> None:
    arguments = {"rows": [{"index": 0, "x": "a"}, {"index": 0, "x": "b"}], "type": "t"}
    call = make_call(arguments, "f", id="a", index=0)
    assert called([call], [make_call("", index=0)]) == [call]


@pytest.mark.parametrize("wrong", [None, 3, "x", []])
def test_pieces_that_are_no_objects_stand_where_they_came(wrong: Any) -> None:
    call = make_call("{", "f")
    assert called([wrong, call, make_call("}")], [wrong]) == [wrong, make_call("{}", "f"), wrong]


@pytest.mark.parametrize("index", ["0", True, 1.5, [1], {"a": 1}])
def test_an_index_of_any_type_tells_calls_apart(index: Any) -> None:
    calls = called(
        [make_call("1", "f", index=index)], [make_call("x", "g", index=7)], [make_call("2", index=index)]
    )
    assert sorted(call["function"]["arguments"] for call in calls) == ["12", "x"]


@pytest.mark.slow
def test_long_names_and_many_calls_come_to_an_end() -> None:
    """Each of these takes minutes if a piece costs what was there before."""
    count = 50_000
    parts = [make_call("", name, index=0) for name in ("x", *("ab",) * count)]
    assert called(parts)[0]["function"]["name"] == "x" + "ab" * count
    heads = [make_call("", "f", id=f"i{number}", index=number) for number in range(10_000)]
    ends = [make_call("{}", index=number) for number in range(10_000)]
    chunks = [read_chunk(make_piece({"tool_calls": pieces})) for pieces in (heads[::-1], ends)]
    calls = accumulate(itertools.chain(chunks)).choices[0].message.tool_calls
    assert [call.index for call in calls] == list(range(10_000))
    same = [make_call("{}", "f", id=f"i{number}", index=0) for number in range(10_000)]
    assert len(called(same)) == 10_000
