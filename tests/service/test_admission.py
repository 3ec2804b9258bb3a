"""Upstream slots: concurrent calls are bounded, further ones wait in order, the rest is rejected."""

import functools
from collections.abc import Callable

import pytest

from mistralwire.errors import OverloadError
from mistralwire.service._admission import UpstreamSlots


class Turns:
    """Records whose turn it was."""

    def __init__(self) -> None:
        self.order: list[int] = []
        self._calls = [functools.partial(self.order.append, number) for number in range(5)]

    def __getitem__(self, number: int) -> Callable[[], None]:
        return self._calls[number]


def test_calls_wait_in_the_order_of_their_coming() -> None:
    slots, turns = UpstreamSlots(1, 3), Turns()
    for number in range(4):
        slots.take(turns[number])
    for count in range(1, 5):
        assert turns.order == list(range(count))
        slots.release()
    slots.take(turns[4])
    assert turns.order == [0, 1, 2, 3, 4]


def test_a_call_beyond_the_queue_is_turned_away_at_once() -> None:
    slots, turns = UpstreamSlots(1, 1), Turns()
    slots.take(turns[0])
    slots.take(turns[1])
    with pytest.raises(OverloadError) as caught:
        slots.take(turns[2])

    assert (caught.value.code, caught.value.reason) == ("RESOURCE_EXHAUSTED", "UPSTREAM_BUSY")
    assert caught.value.retry_after_s == 1
    slots.release()
    assert turns.order == [0, 1]


def test_a_queue_of_none_turns_away_what_finds_no_slot() -> None:
    slots, turns = UpstreamSlots(2, 0), Turns()
    slots.take(turns[0])
    slots.take(turns[1])
    with pytest.raises(OverloadError):
        slots.take(turns[2])
    slots.release()
    slots.take(turns[3])
    assert turns.order == [0, 1, 3]


def test_a_call_that_ends_while_it_waits_leaves_its_place_to_others() -> None:
    slots, turns = UpstreamSlots(1, 1), Turns()
    slots.take(turns[0])
    slots.take(turns[1])
    slots.leave(turns[1])
    slots.take(turns[2])
    slots.release()
    assert turns.order == [0, 2]
