"""The events of a batch: those of a large one take turns with all others."""

import threading
from collections.abc import AsyncGenerator
from typing import Any

import pytest

from mistralwire._offload import LOOP_EVENT_BYTES_MAX
from mistralwire.client import ChunkBatch
from mistralwire.codec import SseDone, encode_sse
from mistralwire.gateway import _stream as stream_module
from mistralwire.gateway._exchange import Exchange
from mistralwire.gateway._stream import send_stream
from mistralwire.v1 import ChatCompletionStreamResponse, CompletionChunk
from tests.turns import counted_turns

LARGE = "x" * (2 * LOOP_EVENT_BYTES_MAX)


async def _sent(names: list[str]) -> bytes:
    """Send one batch of chunks with these ids; return the body."""
    chunks = [CompletionChunk(id=name) for name in names]
    data = ChatCompletionStreamResponse(chunks=chunks).SerializeToString()
    sent: list[bytes] = []

    async def batches() -> AsyncGenerator[ChunkBatch, None]:
        yield ChunkBatch(data)

    async def send(message: Any) -> None:
        sent.append(message.get("body", b""))

    async def receive() -> Any:
        raise AssertionError("nothing is left to be received")

    await send_stream(Exchange({"headers": []}, receive, send, 30), batches(), 30)
    return b"".join(sent)


def _expected(names: list[str]) -> bytes:
    events = [encode_sse(CompletionChunk(id=name), id=number) for number, name in enumerate(names)]
    return b"".join(events) + encode_sse(SseDone())


async def test_a_large_batch_is_encoded_in_several_turns_of_the_loop() -> None:
    names = ["0123456789"] * (LOOP_EVENT_BYTES_MAX // 2)
    with counted_turns() as turns:
        body = await _sent(names)
    assert body == _expected(names)
    # Each event is larger than its id of ten characters.
    assert turns() >= 5


async def test_only_a_large_chunk_is_encoded_in_a_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    threads: dict[str, threading.Thread] = {}

    def note(chunk: Any, **options: Any) -> bytes:
        threads[chunk.id[:2]] = threading.current_thread()
        return encode_sse(chunk, **options)

    names = ["1", LARGE, "2"]
    monkeypatch.setattr(stream_module, "encode_sse", note)
    body = await _sent(names)
    assert body == _expected(names)
    assert threads["1"] is threads["2"] is threading.main_thread()
    assert threads["xx"] is not threading.main_thread()
