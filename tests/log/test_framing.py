"""Events in a row are counted, skipped and split, and anything else is refused."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mistralwire.log import count_events, framed, split
from mistralwire.log._framing import skip

CONTENTS = st.lists(st.binary(max_size=300), max_size=5)


@given(CONTENTS, st.data())
def test_events_are_what_was_framed(contents: list[bytes], data: st.DataObject) -> None:
    events = b"".join(map(framed, contents))
    assert count_events(events) == len(contents)
    assert split(events) == contents
    known = data.draw(st.integers(0, len(contents)))
    assert split(skip(events, known)) == contents[known:]


@given(CONTENTS, st.binary(min_size=1, max_size=300), st.data())
def test_a_part_of_an_event_is_none(contents: list[bytes], last: bytes, data: st.DataObject) -> None:
    event = framed(last)
    cut = data.draw(st.integers(1, len(event) - 1))
    with pytest.raises(ValueError, match="a part of one at the end"):
        count_events(b"".join(map(framed, contents)) + event[:cut])


def test_a_field_of_another_type_is_no_event() -> None:
    with pytest.raises(ValueError, match="an event at byte 3, found a field of another type"):
        count_events(framed(b"a") + b"\x08\x01")


@given(st.binary(max_size=30))
def test_whatever_comes_is_counted_or_refused(data: bytes) -> None:
    try:
        count = count_events(data)
    except ValueError:
        return
    assert len(split(data)) == count
