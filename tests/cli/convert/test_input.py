"""Reading in bounded pieces."""

import io

import pytest

from mistralwire.cli.convert._input import BLOCK_BYTES, Format, Input, format_of_content
from mistralwire.cli.convert._reader import Reader
from mistralwire.cli.convert._report import Report

from ..commands import CHUNK


def input_of(data: bytes, item_bytes_max: int) -> Input:
    return Input(io.BytesIO(data), lambda count: None, item_bytes_max)


@pytest.mark.parametrize("length", [len(CHUNK) + 1, len(CHUNK) + 3, 10_000, BLOCK_BYTES * 3])
@pytest.mark.parametrize("looks_ahead", [False, True])
def test_a_line_beyond_the_bound_is_one_failure_and_the_next_is_read(
    length: int, looks_ahead: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    source = input_of(CHUNK + b"\r\n" + b"x" * length + b"\n" + CHUNK, len(CHUNK))
    if looks_ahead:
        with source.look() as content:
            assert content.read(len(CHUNK)) == CHUNK
    report = Report("file", keep_going=True, has_progress=False)
    reader = Reader(source, report, None, validate=True, oldest_revision=1, delimited_options="")
    items = reader.read(Format.JSONL, delimited=True)
    assert [place for place, _ in items] == [":1", ":3"]
    problem = f"expected a line of at most {len(CHUNK)} bytes, found a longer one"
    assert (report.failures, capsys.readouterr().err) == (1, f"file:2: {problem}\n")


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"", None),
        (b"\n\n", None),
        (b"a", None),
        (b"\n {a \n\n  {b", Format.JSONL),
        (b"{a\n", Format.JSON),
        (b"{a\nb\n", Format.JSON),
        (b"{a" + b" " * BLOCK_BYTES + b"\n" + b" " * 1_000 + b"\n{", Format.JSONL),
        (b"{a\n" + b" " * BLOCK_BYTES + b"\n{", Format.JSON),
    ],
    ids=["empty", "blank", "text", "two objects", "one line", "two lines", "long lines", "long blank"],
)
def test_looking_ahead_consumes_nothing(data: bytes, expected: Format | None) -> None:
    source = input_of(data, BLOCK_BYTES * 2)
    with source.look() as content:
        assert format_of_content(content, source.item_bytes_max, to_sequence=False) is expected
    assert source.read(len(data) + 1) == data
