"""Reading in bounded pieces."""

import io

import pytest

from mistralwire.cli._failures import Failure
from mistralwire.cli.convert._formats import Format
from mistralwire.cli.convert._input import BLOCK_BYTES, Source
from mistralwire.cli.convert._message_types import TypeChoice
from mistralwire.cli.convert._reader import Reader

from .commands import CHUNK


def source_of(data: bytes, item_bytes_max: int) -> Source:
    return Source(io.BytesIO(data), lambda count: None, item_bytes_max)


@pytest.mark.parametrize("length", [len(CHUNK) + 1, len(CHUNK) + 3, 10_000, BLOCK_BYTES * 3])
@pytest.mark.parametrize("looks_ahead", [False, True])
def test_a_line_beyond_the_bound_is_one_failure_and_the_next_is_read(length: int, looks_ahead: bool) -> None:
    source = source_of(CHUNK + b"\r\n" + b"x" * length + b"\n" + CHUNK, len(CHUNK))
    if looks_ahead:
        source.first_line()
        source.byte_after_first_line()
    reader = Reader(source, TypeChoice(None, "file"), validate=True, oldest_revision=1)
    first, failure, last = reader.read(Format.JSONL, delimited=True)
    assert not isinstance(first, Failure)
    assert not isinstance(last, Failure)
    assert (first.place, last.place) == (":1", ":3")
    problem = f"expected a line of at most {len(CHUNK)} bytes, found a longer one"
    assert failure == Failure(":2", (problem,))


@pytest.mark.parametrize(
    ("data", "line", "following"),
    [
        (b"", b"", b""),
        (b"\n\n", b"", b""),
        (b"a", b"a", b""),
        (b"\n a \n\n  b", b"a", b"b"),
        (b"a\n", b"a", b""),
        (b"a\nb\n", b"a", b"b"),
    ],
)
def test_looking_ahead_consumes_nothing(data: bytes, line: bytes, following: bytes) -> None:
    source = source_of(data, 1_000)
    assert source.first_line() == line
    assert source.byte_after_first_line() == following
    assert source.read(1_000) == data
