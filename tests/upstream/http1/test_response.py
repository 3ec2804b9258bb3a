"""Responses, read from bytes: what is taken, what is refused, and where each ends."""

import itertools

import hypothesis.strategies as st
import pytest
from hypothesis import given

from mistralwire.upstream._http1._response import HEAD_BYTES_MAX, ResponseReader
from tests.cases import each_case

OK = b"HTTP/1.1 200 OK\r\n"
LENGTH = b"content-length: 2\r\n"
CHUNKED = b"transfer-encoding: chunked\r\n"
BODY = b"\r\nhi"
CHUNKS = b"\r\n2\r\nhi\r\n0\r\n\r\n"

NOT_HTTP = "a response that is not valid HTTP/1.1"
CODING = "a transfer coding other than chunked"
VERSION = "a version of HTTP other than 1.1 and 1.0"
SWITCH = "a switch to another protocol"
SIZE = "more than 65536 bytes of headers"

HOSTILE = {
    "garbage": (b"garbage\r\n\r\n", NOT_HTTP),
    "html": (b"<html><body>no</body></html>", NOT_HTTP),
    "tls-alert": (b"\x15\x03\x03\x00\x02\x02\x46", NOT_HTTP),
    "a-request": (b"GET / HTTP/1.1\r\n\r\n", NOT_HTTP),
    "http2": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", NOT_HTTP),
    "http2-frame": (b"\x00\x00\x12\x04\x00\x00\x00\x00\x00", NOT_HTTP),
    "icy": (b"ICY 200 OK\r\n" + LENGTH + BODY, NOT_HTTP),
    "small-letters": (b"http/1.1 200 OK\r\n" + LENGTH + BODY, NOT_HTTP),
    "leading-space": (b" " + OK + LENGTH + BODY, NOT_HTTP),
    "version-0.9": (b"HTTP/0.9 200 OK\r\n" + LENGTH + BODY, VERSION),
    "version-1.2": (b"HTTP/1.2 200 OK\r\n" + LENGTH + BODY, NOT_HTTP),
    "version-2.0": (b"HTTP/2.0 200 OK\r\n" + LENGTH + BODY, VERSION),
    "status-of-two-digits": (b"HTTP/1.1 20 OK\r\n" + LENGTH + BODY, NOT_HTTP),
    "status-of-four-digits": (b"HTTP/1.1 2000 OK\r\n" + LENGTH + BODY, NOT_HTTP),
    "status-of-letters": (b"HTTP/1.1 abc OK\r\n" + LENGTH + BODY, NOT_HTTP),
    "status-000": (b"HTTP/1.1 000 OK\r\n" + LENGTH + BODY, "a status below 100"),
    "status-099": (b"HTTP/1.1 099 OK\r\n" + LENGTH + BODY, "a status below 100"),
    "cr-in-reason": (b"HTTP/1.1 200 O\rK\r\n" + LENGTH + BODY, NOT_HTTP),
    "line-feeds-alone": (b"HTTP/1.1 200 OK\ncontent-length: 2\n\nhi", NOT_HTTP),
    "line-feed-behind-header": (OK + b"x: a\n" + LENGTH + BODY, NOT_HTTP),
    "folded-header": (OK + b"x: a\r\n b\r\n" + LENGTH + BODY, NOT_HTTP),
    "folded-with-tab": (OK + b"x: a\r\n\tb\r\n" + LENGTH + BODY, NOT_HTTP),
    "folded-first-header": (OK + b" x: a\r\n" + LENGTH + BODY, NOT_HTTP),
    "nul-in-value": (OK + b"x: a\0b\r\n" + LENGTH + BODY, NOT_HTTP),
    "nul-in-name": (OK + b"x\0: a\r\n" + LENGTH + BODY, NOT_HTTP),
    "control-in-value": (OK + b"x: a\x01b\r\n" + LENGTH + BODY, NOT_HTTP),
    "delete-in-value": (OK + b"x: a\x7fb\r\n" + LENGTH + BODY, NOT_HTTP),
    "cr-in-value": (OK + b"x: a\rb\r\n" + LENGTH + BODY, NOT_HTTP),
    "space-before-colon": (OK + b"x : a\r\n" + LENGTH + BODY, NOT_HTTP),
    "space-in-name": (OK + b"x y: a\r\n" + LENGTH + BODY, NOT_HTTP),
    "no-name": (OK + b": a\r\n" + LENGTH + BODY, NOT_HTTP),
    "no-colon": (OK + b"abc\r\n" + LENGTH + BODY, NOT_HTTP),
    "name-beyond-ascii": (OK + b"x\xff: a\r\n" + LENGTH + BODY, NOT_HTTP),
    "two-lengths": (OK + LENGTH + b"content-length: 3\r\n" + BODY, NOT_HTTP),
    "one-length-twice": (OK + LENGTH + LENGTH + BODY, NOT_HTTP),
    "a-list-of-lengths": (OK + b"content-length: 2, 2\r\n" + BODY, NOT_HTTP),
    "length-with-plus": (OK + b"content-length: +2\r\n" + BODY, NOT_HTTP),
    "length-below-0": (OK + b"content-length: -2\r\n" + BODY, NOT_HTTP),
    "length-in-hex": (OK + b"content-length: 0x2\r\n" + BODY, NOT_HTTP),
    "length-of-two-words": (OK + b"content-length: 2 2\r\n" + BODY, NOT_HTTP),
    "no-length": (OK + b"content-length: \r\n" + BODY, NOT_HTTP),
    "length-beyond-64-bits": (OK + b"content-length: " + b"9" * 23 + b"\r\n" + BODY, NOT_HTTP),
    "length-and-chunks": (OK + LENGTH + CHUNKED + CHUNKS, NOT_HTTP),
    "chunks-and-length": (OK + CHUNKED + LENGTH + CHUNKS, NOT_HTTP),
    "gzip-and-chunks": (OK + b"transfer-encoding: gzip, chunked\r\n" + CHUNKS, CODING),
    "chunks-and-gzip": (OK + b"transfer-encoding: chunked, gzip\r\n" + CHUNKS, CODING),
    "chunks-of-chunks": (OK + b"transfer-encoding: chunked, chunked\r\n" + CHUNKS, CODING),
    "chunked-twice": (OK + CHUNKED + CHUNKED + CHUNKS, CODING),
    "identity": (OK + b"transfer-encoding: identity\r\n" + BODY, CODING),
    "nearly-chunked": (OK + b"transfer-encoding: xchunked\r\n" + CHUNKS, CODING),
    "chunked-with-parameter": (OK + b"transfer-encoding: chunked;q=1\r\n" + CHUNKS, CODING),
    "chunks-in-1.0": (b"HTTP/1.0 200 OK\r\n" + CHUNKED + CHUNKS, CODING),
    "websocket": (b"HTTP/1.1 101 S\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n\x81", SWITCH),
    "switch-alone": (b"HTTP/1.1 101 Switching\r\n\r\n", SWITCH),
    "hostile-behind-interim": (b"HTTP/1.1 100 Continue\r\n\r\ngarbage", NOT_HTTP),
}

HOSTILE_CHUNKS = {
    "below-0": b"-2\r\nhi\r\n0\r\n\r\n",
    "0x": b"0x2\r\nhi\r\n0\r\n\r\n",
    "space": b"2 \r\nhi\r\n0\r\n\r\n",
    "line-feeds-alone": b"2\nhi\n0\n\n",
    "too-long": b"1\r\nhi\r\n0\r\n\r\n",
    "beyond-64-bits": b"f" * 17 + b"\r\nhi\r\n0\r\n\r\n",
    "no-size": b"\r\nhi\r\n0\r\n\r\n",
    "length-in-trailer": b"2\r\nhi\r\n0\r\ncontent-length: 2\r\n\r\n",
    "folded-trailer": b"2\r\nhi\r\n0\r\nx: a\r\n b\r\n\r\n",
}

# Responses that are complete without the end of the connection: status, body, whether the connection is kept.
GOOD = {
    "length": (OK + LENGTH + BODY, 200, b"hi", True),
    "chunks": (OK + CHUNKED + CHUNKS, 200, b"hi", True),
    "capital-letters": (OK + b"TRANSFER-ENCODING:CHUNKED\r\n" + CHUNKS, 200, b"hi", True),
    "many-chunks": (OK + CHUNKED + b"\r\n1\r\na\r\n2;x=y\r\nbc\r\n0\r\nx: y\r\n\r\n", 200, b"abc", True),
    "coding-in-trailer": (
        OK + CHUNKED + b"\r\n2\r\nhi\r\n0\r\ntransfer-encoding: gzip\r\n\r\n",
        *(200, b"hi", False),
    ),
    "empty": (OK + b"content-length: 0\r\n\r\n", 200, b"", True),
    "no-chunk": (OK + CHUNKED + b"\r\n0\r\n\r\n", 200, b"", True),
    "204": (b"HTTP/1.1 204 No Content\r\n\r\n", 204, b"", True),
    "204-with-length": (b"HTTP/1.1 204 No Content\r\n" + LENGTH + b"\r\n", 204, b"", True),
    "304": (b"HTTP/1.1 304 Not Modified\r\n" + LENGTH + b"\r\n", 304, b"", True),
    "continue": (b"HTTP/1.1 100 Continue\r\n\r\n" + OK + LENGTH + BODY, 200, b"hi", True),
    "early-hints": (
        b"HTTP/1.1 103 Early\r\nlink: x\r\n\r\nHTTP/1.1 102 P\r\n\r\n" + OK + LENGTH + BODY,
        *(200, b"hi", True),
    ),
    "no-reason": (b"HTTP/1.1 404\r\n" + LENGTH + BODY, 404, b"hi", True),
    "status-999": (b"HTTP/1.1 999 Odd\r\n" + LENGTH + BODY, 999, b"hi", True),
    "close": (OK + b"Connection: Close\r\n" + LENGTH + BODY, 200, b"hi", False),
    "close-in-a-list": (OK + b"connection: keep-alive, close\r\n" + LENGTH + BODY, 200, b"hi", False),
    "1.0": (b"HTTP/1.0 200 OK\r\n" + LENGTH + BODY, 200, b"hi", False),
    "1.0-keep-alive": (b"HTTP/1.0 200 OK\r\nconnection: keep-alive\r\n" + LENGTH + BODY, 200, b"hi", False),
    "offers-http2": (OK + b"connection: upgrade\r\nupgrade: h2c\r\n" + LENGTH + BODY, 200, b"hi", True),
    "empty-line-first": (b"\r\n" + OK + LENGTH + BODY, 200, b"hi", True),
}


def _pieces(data: bytes, *cuts: int) -> list[bytes]:
    edges = [0, *cuts, len(data)]
    return [data[start:end] for start, end in itertools.pairwise(edges)]


def _read(
    pieces: list[bytes], *, is_head: bool = False, reader: ResponseReader | None = None
) -> tuple[ResponseReader, bytes]:
    reader = reader or ResponseReader(is_head=is_head)
    body = b""
    for piece in pieces:
        if not reader.is_ended and reader.error is None:
            body += reader.feed(piece)
    return reader, body


@each_case(("data", "found"), HOSTILE.values())
@each_case("is_whole", [True, False])
def test_a_hostile_head_is_refused_before_anything_of_it_is_used(
    data: bytes, found: str, is_whole: bool
) -> None:
    reader, body = _read([data] if is_whole else _pieces(data, *range(1, len(data))))
    assert reader.error is not None
    assert reader.error.startswith(found)
    assert (reader.status, body, reader.is_ended) == (0, b"", False)


@each_case("chunks", HOSTILE_CHUNKS.values())
@each_case("is_whole", [True, False])
def test_a_hostile_chunk_ends_the_response_with_an_error(chunks: bytes, is_whole: bool) -> None:
    data = OK + CHUNKED + b"\r\n" + chunks
    reader, _ = _read([data] if is_whole else _pieces(data, *range(1, len(data))))
    assert reader.error is not None
    assert reader.error.startswith(NOT_HTTP)
    assert (reader.status, reader.is_ended) == (200, False)


@pytest.mark.parametrize(("data", "status", "body", "is_reusable"), GOOD.values(), ids=GOOD)
def test_a_response_is_the_same_however_its_bytes_are_cut(
    data: bytes, status: int, body: bytes, is_reusable: bool
) -> None:
    cuts = [(), *((cut,) for cut in range(1, len(data))), range(1, len(data))]
    for cut in cuts:
        reader, found = _read(_pieces(data, *cut))
        assert reader.error is None
        assert (reader.status, found) == (status, body)
        assert (reader.is_ended, reader.is_reusable) == (True, is_reusable)


@pytest.mark.parametrize(
    "before",
    [data for data, *_, is_reusable in GOOD.values() if is_reusable] + [OK + LENGTH + BODY + b"\r\n"],
)
def test_a_response_behind_another_is_read_like_the_first_of_a_connection(before: bytes) -> None:
    for data in _SEEDS:
        for pieces in ([data], _pieces(data, *range(1, len(data)))):
            reader, _ = _read([before])
            assert reader.is_reusable
            reader.begin(is_head=False)
            assert _shown(*_read(pieces, reader=reader)) == _shown(*_read(pieces))


def _shown(reader: ResponseReader, body: bytes) -> tuple[object, ...]:
    state = reader.has_begun, reader.is_ended, reader.is_reusable, reader.error
    return reader.status, reader.headers, body, state


def test_headers_have_small_names_and_repeated_ones_are_joined() -> None:
    data = OK + b"X-One: a \r\nx-empty:\r\nx-ONE:\tb\r\nx-8: \xe9\r\n" + LENGTH + BODY
    reader, _ = _read([data])
    assert reader.headers == {"x-one": "a, b", "x-empty": "", "x-8": "\xe9", "content-length": "2"}


def test_headers_of_interim_responses_and_trailers_are_not_those_of_the_response() -> None:
    data = b"HTTP/1.1 103 Early\r\nlink: x\r\n\r\n" + OK + CHUNKED + b"\r\n0\r\nx: y\r\n\r\n"
    for pieces in ([data], _pieces(data, *range(1, len(data)))):
        assert _read(pieces)[0].headers == {"transfer-encoding": "chunked"}


def test_chunks_that_arrive_together_are_one_piece() -> None:
    reader = ResponseReader(is_head=False)
    assert reader.feed(OK + CHUNKED + b"\r\n1\r\na\r\n1\r\nb\r\n") == b"ab"
    assert reader.feed(b"1\r\nc\r\n1") == b"c"
    assert reader.feed(b"\r\nd\r\n0\r\n\r\n") == b"d"
    assert reader.is_ended


@pytest.mark.parametrize(
    "surplus", [b"x", b"0", OK, b"HTTP/1.1 408 Timeout\r\n\r\n", b"\0"], ids=["x", "0", "ok", "408", "nul"]
)
@pytest.mark.parametrize("data", [OK + LENGTH + BODY, OK + CHUNKED + CHUNKS, b"HTTP/1.1 204 N\r\n\r\n"])
def test_what_stands_behind_the_end_makes_the_connection_unusable(data: bytes, surplus: bytes) -> None:
    reader, body = _read([data + surplus])
    assert reader.error is None
    assert (reader.is_ended, reader.is_reusable, body) == (True, False, b"" if b"204" in data else b"hi")


@pytest.mark.parametrize("head", [LENGTH, CHUNKED, b""], ids=["length", "chunked", "neither"])
@pytest.mark.parametrize("surplus", [b"", b"hi", CHUNKS])
def test_the_response_to_head_ends_with_its_head(head: bytes, surplus: bytes) -> None:
    reader, body = _read([OK + head + b"\r\n" + surplus], is_head=True)
    assert (reader.status, body, reader.error) == (200, b"", None)
    assert (reader.is_ended, reader.is_reusable) == (True, False)


@pytest.mark.parametrize("first", [OK, b"HTTP/1.0 200 OK\r\n"], ids=["1.1", "1.0"])
def test_a_body_without_a_length_ends_with_the_connection(first: bytes) -> None:
    reader, body = _read([first + b"\r\n", b"hel", b"lo"])
    assert (body, reader.is_ended) == (b"hello", False)
    reader.close()
    assert (reader.is_ended, reader.is_reusable, reader.error) == (True, False, None)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"HTTP/1.1 2",
        OK,
        OK + LENGTH,
        OK + LENGTH + b"\r\n",
        OK + LENGTH + b"\r\nh",
        OK + CHUNKED + b"\r\n",
        OK + CHUNKED + b"\r\n2\r\nhi\r\n",
        OK + CHUNKED + b"\r\n2\r\nhi\r\n0\r\n",
        b"HTTP/1.1 100 Continue\r\n\r\n",
    ],
)
def test_the_end_of_the_connection_is_no_end_of_other_responses(data: bytes) -> None:
    reader, _ = _read([data] if data else [])
    reader.close()
    assert not reader.is_ended
    assert reader.has_begun == bool(data)


def _head_of(size: int) -> bytes:
    """Return a head of this many bytes."""
    start, end = OK + b"x: ", b"\r\n" + LENGTH + b"\r\n"
    return start + b"a" * (size - len(start) - len(end)) + end


@pytest.mark.parametrize("piece_bytes", [1 << 20, 1000])
def test_a_head_up_to_the_bound_is_read(piece_bytes: int) -> None:
    data = _head_of(HEAD_BYTES_MAX) + b"hi"
    reader, body = _read(_pieces(data, *range(piece_bytes, len(data), piece_bytes)))
    assert (reader.error, reader.is_ended, body) == (None, True, b"hi")


@pytest.mark.parametrize("piece_bytes", [1 << 20, 1000])
@pytest.mark.parametrize(
    "data",
    [
        _head_of(HEAD_BYTES_MAX + 100) + b"hi",
        OK + b"a: b\r\n" * 20_000 + LENGTH + BODY,
        b"HTTP/1.1 103 Early\r\nlink: x\r\n\r\n" * 10_000 + OK + LENGTH + BODY,
    ],
    ids=["one-header", "many-headers", "interim"],
)
def test_a_head_beyond_the_bound_is_refused(data: bytes, piece_bytes: int) -> None:
    reader, body = _read(_pieces(data, *range(piece_bytes, len(data), piece_bytes)))
    assert (reader.error, reader.status, body) == (SIZE, 0, b"")


@pytest.mark.parametrize(
    "begin",
    [
        OK,
        OK + b"x: ",
        b"HTTP/1.1 200 ",
        OK + CHUNKED + b"\r\n2\r\nhi\r\n0\r\nx: ",
        OK + CHUNKED + b"\r\n2\r\nhi\r\n2;",
    ],
    ids=["name", "value", "reason", "trailer", "chunk-extension"],
)
def test_what_never_ends_and_is_no_body_is_refused(begin: bytes) -> None:
    reader = ResponseReader(is_head=False)
    reader.feed(begin)
    for _ in range(100):
        if reader.error is None:
            reader.feed(b"a" * 1000)
    assert reader.error == SIZE


def test_a_long_body_in_small_chunks_is_read() -> None:
    reader = ResponseReader(is_head=False)
    reader.feed(OK + CHUNKED + b"\r\n")
    for _ in range(20_000):
        reader.feed(b"1;extension=1\r\n")
        assert reader.feed(b"a\r\n") == b"a"
    assert reader.error is None


_SEEDS: list[bytes] = [
    *(data for data, *_ in GOOD.values()),
    *(data for data, _ in HOSTILE.values()),
    *(OK + CHUNKED + b"\r\n" + chunks for chunks in HOSTILE_CHUNKS.values()),
]
_TOKENS = st.sampled_from(
    [b"", b"\r\n", b"\r", b"\n", b" ", b":", b",", b"0", b"\0", b"\xff", LENGTH, CHUNKED, OK, b"\r\n\r\n"]
)


@given(st.data())
def test_any_bytes_are_read_or_refused_and_alike_however_they_are_cut(data: st.DataObject) -> None:
    seed, other = data.draw(st.sampled_from(_SEEDS)), data.draw(st.sampled_from(_SEEDS))
    start = data.draw(st.integers(0, len(seed)))
    end = data.draw(st.integers(start, min(len(seed), start + 6)))
    text = seed[:start] + data.draw(_TOKENS) + (seed[end:] if data.draw(st.booleans()) else other)
    is_head = data.draw(st.booleans())
    found = []
    cuts: list[tuple[int, ...]] = [(), tuple(range(1, len(text)))]
    cuts.append(tuple(sorted(data.draw(st.sets(st.integers(1, max(1, len(text) - 1)), max_size=3)))))
    for cut in cuts:
        reader, body = _read(_pieces(text, *cut), is_head=is_head)
        reader.close()
        found.append((reader.status, reader.headers, reader.is_ended, reader.error is None, body))
    assert found[0] == found[1] == found[2]
