"""Pieces of a stream: read in turns of the event loop, and large events in threads."""

import threading
from collections.abc import Sequence

import pytest

from mistralwire import to_json
from mistralwire._offload import LOOP_EVENT_BYTES_MAX
from mistralwire.errors import UpstreamError
from mistralwire.upstream._http_answer import ChunkReader
from mistralwire.v1 import CompletionChunk
from tests.turns import counted_turns

DONE = b"data: [DONE]\n\n"
LARGE = "x" * (3 * LOOP_EVENT_BYTES_MAX)


def _event(name: str) -> bytes:
    return b"data: %s\n\n" % to_json(CompletionChunk(id=name))


async def _read(reader: ChunkReader, pieces: Sequence[bytes], ids: list[str]) -> None:
    """Read pieces as an upstream does, until the stream is at its end."""
    for piece in pieces:
        for part in reader.parts_of(piece):
            ids.extend(chunk.id for chunk in await reader.chunks_of(part))
        if reader.is_done:
            return


@pytest.mark.parametrize("piece_bytes", [100, LOOP_EVENT_BYTES_MAX, LOOP_EVENT_BYTES_MAX + 1, 10**9])
async def test_chunks_come_in_order_whatever_the_pieces_and_the_events_are(piece_bytes: int) -> None:
    names = [str(number) for number in range(500)]
    names[100:100] = [LARGE, "between", LARGE]
    data = b"".join(map(_event, names)) + DONE + _event("too late")
    pieces = [data[start : start + piece_bytes] for start in range(0, len(data), piece_bytes)]
    reader, ids = ChunkReader(), list[str]()
    await _read(reader, pieces, ids)
    assert ids == names
    assert reader.is_done


async def test_a_burst_of_events_is_read_in_several_turns_of_the_loop() -> None:
    data = _event("1") * (10 * LOOP_EVENT_BYTES_MAX // len(_event("1")))
    reader = ChunkReader()
    assert all(len(part) <= LOOP_EVENT_BYTES_MAX for part in ChunkReader().parts_of(data))
    with counted_turns() as turns:
        await _read(reader, [data], [])
    assert turns() >= 9


async def test_only_a_large_event_is_read_in_a_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    threads: set[threading.Thread] = set()
    read = ChunkReader._read

    def note(reader: ChunkReader, piece: bytes) -> object:
        threads.add(threading.current_thread())
        return read(reader, piece)

    monkeypatch.setattr(ChunkReader, "_read", note)
    reader = ChunkReader()
    await _read(reader, [_event("1") * 500], [])
    assert threads == {threading.main_thread()}
    ids = list[str]()
    await _read(reader, [_event(LARGE)], ids)
    assert ids == [LARGE]
    assert len(threads) == 2
    threads.clear()
    await _read(reader, [_event("1")], [])
    assert threads == {threading.main_thread()}


@pytest.mark.parametrize("last", [b'data: {"object":"error","message":"no"}\n\n', b"data: none\n\n", b""])
async def test_an_error_behind_a_large_event_comes_after_the_chunks_before(last: bytes) -> None:
    ids = list[str]()
    with pytest.raises(UpstreamError):
        await _read(ChunkReader(), [_event(LARGE) + _event("2") + last, b""], ids)
    assert ids == [LARGE, "2"]
