"""Encoded bodies: decoded in bounded pieces, and no further than they are read."""

import gzip
import itertools
import tracemalloc
import zlib
from typing import Any

import pytest

from mistralwire.upstream._http1._content import PIECE_BYTES_MAX, ContentDecoder, Inflater
from mistralwire.upstream._http1._errors import UnreadableError

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


class Flow:
    """An exchange that notes what it hears."""

    def __init__(self) -> None:
        self.is_paused = False
        self.is_over = False
        self.pieces: list[bytes] = []
        self.pieces_before_pause = -1
        self.ends = 0
        self.error: Exception | None = None

    def deliver(self, piece: bytes) -> None:
        assert not self.is_paused
        assert not self.is_over
        self.pieces.append(piece)
        self.is_paused = len(self.pieces) == self.pieces_before_pause

    def finish(self) -> None:
        self.ends += 1
        self.is_over = True

    def fail(self, error: Exception) -> None:
        self.error = error
        self.is_over = True


def _decoded(encoding: str, pieces: list[bytes]) -> Flow:
    flow = Flow()
    decoder = ContentDecoder(encoding, flow)
    for piece in pieces:
        if not flow.is_over:
            decoder.data(piece)
    if not flow.is_over:
        decoder.end()
    return flow


@pytest.mark.parametrize(("encoding", "data"), ENCODED.values(), ids=ENCODED)
def test_a_body_is_decoded_however_it_is_cut(encoding: str, data: bytes) -> None:
    cuts = [(), *((cut,) for cut in range(1, len(data))), range(1, len(data))]
    for cut in cuts:
        edges = [0, *cut, len(data)]
        flow = _decoded(encoding, [data[start:end] for start, end in itertools.pairwise(edges)])
        assert (b"".join(flow.pieces), flow.ends, flow.error) == (TEXT, 1, None)


@pytest.mark.parametrize(("encoding", "data"), ENCODED.values(), ids=ENCODED)
def test_a_body_that_is_cut_short_is_an_error_behind_what_came(encoding: str, data: bytes) -> None:
    flow = _decoded(encoding, [data[:-1]])
    assert (flow.ends, str(flow.error)) == (0, "an encoded body that is cut short")
    assert TEXT.startswith(b"".join(flow.pieces))


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "br"])
def test_an_empty_body_is_none_whatever_its_encoding(encoding: str) -> None:
    flow = _decoded(encoding, [])
    assert (flow.pieces, flow.ends, flow.error) == ([], 1, None)


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
    flow = _decoded(encoding, [data])
    assert isinstance(flow.error, UnreadableError)
    assert (str(flow.error), flow.ends) == (found, 0)


def test_a_bomb_is_decoded_in_bounded_pieces_and_only_while_somebody_takes_them() -> None:
    bomb = gzip.compress(bytes(100 * PIECE_BYTES_MAX), 9)
    flow = Flow()
    flow.pieces_before_pause = 3
    decoder = ContentDecoder("gzip", flow)
    tracemalloc.start()
    try:
        decoder.data(bomb)
        decoder.end()
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert [len(piece) for piece in flow.pieces] == [PIECE_BYTES_MAX] * 3
    assert peak_bytes < 6 * PIECE_BYTES_MAX
    flow.is_paused = False
    decoder.resume()
    assert (sum(map(len, flow.pieces)), flow.ends) == (100 * PIECE_BYTES_MAX, 1)
    assert max(map(len, flow.pieces)) == PIECE_BYTES_MAX


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
    flow = _decoded("gzip", [data])
    assert (b"".join(flow.pieces), flow.ends) == (b"".join([b"%d," % n for n in range(5_000)]), 1)
    # What is given is copied where a member ends in it: all that follows, it would be 2,500 times as much.
    assert sum(given_bytes) < 100 * len(data)


def test_nothing_more_is_decoded_once_the_exchange_is_over() -> None:
    class Leaving(Flow):
        def deliver(self, piece: bytes) -> None:
            super().deliver(piece)
            self.is_over = True

    flow = Leaving()
    ContentDecoder("gzip", flow).data(gzip.compress(bytes(10 * PIECE_BYTES_MAX)))
    assert len(flow.pieces) == 1


def test_who_pauses_and_resumes_within_a_piece_hears_the_rest_once() -> None:
    class Hasty(Flow):
        def deliver(self, piece: bytes) -> None:
            super().deliver(piece)
            self.is_paused = True
            self.is_paused = False
            decoder.resume()

    flow = Hasty()
    decoder = ContentDecoder("gzip", flow)
    decoder.data(gzip.compress(bytes(5 * PIECE_BYTES_MAX)))
    decoder.end()
    assert [len(piece) for piece in flow.pieces] == [PIECE_BYTES_MAX] * 5
    assert flow.ends == 1


def test_an_empty_piece_begins_nothing() -> None:
    inflater = Inflater(is_gzip=True)
    inflater.feed(b"")
    assert inflater.read() == b""
    inflater.close()
