"""Encoded bodies of responses: decoded in bounded pieces, and no further than they are read."""

import gzip
import itertools
import tracemalloc
import zlib
from typing import Any

import pytest

from mistralwire.upstream._http1._exchange import PIECE_BYTES_MAX, Exchange, Inflater, UnreadableError
from mistralwire.upstream._http1._request import Origin

JSON = b'{"id": "1", "choices": []}'
TEXT = bytes(range(256)) * 40
FRAMELESS = zlib.compressobj(wbits=-zlib.MAX_WBITS)
RAW = FRAMELESS.compress(TEXT) + FRAMELESS.flush()
ENCODED = {
    "gzip": ("gzip", gzip.compress(TEXT)),
    "x-gzip": ("x-gzip", gzip.compress(TEXT)),
    "gzip-members": ("gzip", gzip.compress(TEXT[:100]) + gzip.compress(b"") + gzip.compress(TEXT[100:])),
    "deflate": ("deflate", zlib.compress(TEXT)),
    "deflate-without-frame": ("deflate", RAW),
}


class Receiver:
    """Notes what it hears of a response whose body is encoded.

    Attributes:
        pieces_before_pause: After so many pieces it pauses.
    """

    def __init__(self, encoding: str) -> None:
        self.pieces: list[bytes] = []
        self.pieces_before_pause = -1
        self.ends = 0
        self.error: Exception | None = None
        self.exchange = Exchange(Origin(False, "a.example", 80), b"", b"", self, is_head=False)
        self.exchange.begin(200, {"content-encoding": encoding})

    def head(self, status: int, headers: dict[str, str]) -> None:
        assert status == 200

    def data(self, piece: bytes) -> None:
        assert not self.exchange.is_paused
        assert not self.exchange.is_over
        self.pieces.append(piece)
        if len(self.pieces) == self.pieces_before_pause:
            self.exchange.pause()

    def end(self) -> None:
        self.ends += 1

    def failed(self, error: Exception) -> None:
        self.error = error


def _decoded(encoding: str, pieces: list[bytes]) -> Receiver:
    receiver = Receiver(encoding)
    for piece in pieces:
        if not receiver.exchange.is_over:
            receiver.exchange.data(piece)
    if not receiver.exchange.is_over:
        receiver.exchange.end()
    return receiver


@pytest.mark.parametrize(("encoding", "data"), ENCODED.values(), ids=ENCODED)
def test_a_body_is_decoded_however_it_is_cut(encoding: str, data: bytes) -> None:
    cuts = [(), *((cut,) for cut in range(1, len(data))), range(1, len(data))]
    for cut in cuts:
        edges = [0, *cut, len(data)]
        receiver = _decoded(encoding, [data[start:end] for start, end in itertools.pairwise(edges)])
        assert (b"".join(receiver.pieces), receiver.ends, receiver.error) == (TEXT, 1, None)


@pytest.mark.parametrize(("encoding", "data"), ENCODED.values(), ids=ENCODED)
def test_a_body_that_is_cut_short_is_an_error_behind_what_came(encoding: str, data: bytes) -> None:
    receiver = _decoded(encoding, [data[:-1]])
    assert (receiver.ends, str(receiver.error)) == (0, "an encoded body that is cut short")
    assert TEXT.startswith(b"".join(receiver.pieces))


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "br"])
def test_an_empty_body_is_none_whatever_its_encoding(encoding: str) -> None:
    receiver = _decoded(encoding, [])
    assert (receiver.pieces, receiver.ends, receiver.error) == ([], 1, None)


@pytest.mark.parametrize(
    ("encoding", "data", "found"),
    [
        ("gzip", JSON, "a body that is not encoded as its headers say"),
        ("deflate", b"\x78\x9c" + JSON, "a body that is not encoded as its headers say"),
        ("deflate", JSON, "a body that is not encoded as its headers say"),
        ("gzip", gzip.compress(b"a") + JSON, "a body that is not encoded as its headers say"),
        ("deflate", zlib.compress(b"a") + b"x", "bytes after the end of an encoded body"),
        ("br", b"\x0b\x02\x80hi\x03", "a content encoding other than gzip and deflate"),
        ("zstd", b"\x28\xb5\x2f\xfd", "a content encoding other than gzip and deflate"),
        ("gzip, gzip", gzip.compress(gzip.compress(b"a")), "a content encoding other than gzip and deflate"),
    ],
    ids=["gzip", "deflate", "deflate-frameless", "behind-gzip", "behind-deflate", "br", "zstd", "twice"],
)
def test_what_can_not_be_decoded_is_unreadable(encoding: str, data: bytes, found: str) -> None:
    receiver = _decoded(encoding, [data])
    assert isinstance(receiver.error, UnreadableError)
    assert (str(receiver.error), receiver.ends) == (found, 0)


def test_a_bomb_is_decoded_in_bounded_pieces_and_only_while_somebody_takes_them() -> None:
    bomb = gzip.compress(bytes(100 * PIECE_BYTES_MAX), 9)
    receiver = Receiver("gzip")
    receiver.pieces_before_pause = 3
    tracemalloc.start()
    try:
        receiver.exchange.data(bomb)
        receiver.exchange.end()
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert [len(piece) for piece in receiver.pieces] == [PIECE_BYTES_MAX] * 3
    assert peak_bytes < 6 * PIECE_BYTES_MAX
    receiver.exchange.resume()
    assert (sum(map(len, receiver.pieces)), receiver.ends) == (100 * PIECE_BYTES_MAX, 1)
    assert max(map(len, receiver.pieces)) == PIECE_BYTES_MAX


def test_many_members_cost_no_more_than_their_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    data = b"".join([gzip.compress(b"%d," % n) for n in range(5_000)])
    given_bytes: list[int] = []
    decompressobj = zlib.decompressobj

    class Counting:
        def __init__(self, wbits: int) -> None:
            self._inflate = decompressobj(wbits)

        def __getattr__(self, name: str) -> Any:
            return getattr(self._inflate, name)

        def decompress(self, data: bytes, bytes_max: int) -> bytes:
            given_bytes.append(len(data))
            return self._inflate.decompress(data, bytes_max)

    monkeypatch.setattr(zlib, "decompressobj", Counting)
    receiver = _decoded("gzip", [data])
    assert (b"".join(receiver.pieces), receiver.ends) == (b"".join([b"%d," % n for n in range(5_000)]), 1)
    # What is given is copied where a member ends in it: all that follows, it would be 2,500 times as much.
    assert sum(given_bytes) < 100 * len(data)


def test_nothing_more_is_decoded_once_the_exchange_is_over() -> None:
    class Leaving(Receiver):
        def data(self, piece: bytes) -> None:
            super().data(piece)
            self.exchange.cancel()

    receiver = Leaving("gzip")
    receiver.exchange.data(gzip.compress(bytes(10 * PIECE_BYTES_MAX)))
    assert len(receiver.pieces) == 1


def test_who_pauses_and_resumes_within_a_piece_hears_the_rest_once() -> None:
    class Hasty(Receiver):
        def data(self, piece: bytes) -> None:
            super().data(piece)
            self.exchange.pause()
            self.exchange.resume()

    receiver = Hasty("gzip")
    receiver.exchange.data(gzip.compress(bytes(5 * PIECE_BYTES_MAX)))
    receiver.exchange.end()
    assert [len(piece) for piece in receiver.pieces] == [PIECE_BYTES_MAX] * 5
    assert receiver.ends == 1


def test_an_empty_piece_begins_nothing() -> None:
    inflater = Inflater(is_gzip=True)
    inflater.feed(b"")
    assert inflater.read() == b""
    inflater.close()
