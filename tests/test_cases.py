"""Tests that go through many cases."""

import pytest

from tests.cases import each_case


def test_each_case_is_run_with_the_fixtures_of_the_test() -> None:
    found: list[object] = []

    @each_case(("first", "second"), [(1, 2), pytest.param(3, 4, id="three")])
    def test(first: int, second: int, fixture: str) -> None:
        found.append((first, second, fixture))

    test(fixture="f")
    assert found == [(1, 2, "f"), (3, 4, "f")]


async def test_a_coroutine_is_awaited() -> None:
    @each_case("number", [1, 2])
    async def test(number: int) -> None:
        assert number < 2

    with pytest.raises(AssertionError) as caught:
        await test()
    assert caught.value.__notes__ == ["in the case 2"]


@pytest.mark.parametrize("last", ["c", pytest.param("c", id="the last")])
def test_a_failure_names_its_case(last: object) -> None:
    @each_case("letter", ["a", "b", last], ids=lambda case: f"letter {case}")
    def test(letter: str) -> None:
        assert letter != "c"

    with pytest.raises(AssertionError) as caught:
        test()
    [note] = caught.value.__notes__
    assert note == ("in the case letter c" if last == "c" else "in the case the last")


def test_no_case_is_a_mistake() -> None:
    with pytest.raises(AssertionError, match="expected cases, found none"):
        each_case("number", [])
