import pytest

from mistralwire.client import ChunkBatch, Client
from mistralwire.errors import CallError
from mistralwire.service import ServerConfig, create_server
from mistralwire.v1 import (
    ChatCompletionStreamResponse,
    FIMCompletionStreamRequest,
    FIMCompletionStreamResponse,
)
from tests.service.upstreams import STREAM_REQUEST, EagerUpstream, chunk

CHUNKS = [chunk(number) for number in range(3)]
DATA = ChatCompletionStreamResponse(chunks=CHUNKS).SerializeToString()


def test_a_batch_is_the_sequence_of_its_chunks() -> None:
    batch = ChunkBatch(DATA)

    assert list(batch) == CHUNKS
    assert len(batch) == 3
    assert (batch[0], batch[-1]) == (CHUNKS[0], CHUNKS[2])
    assert list(batch[1:]) == CHUNKS[1:]
    assert CHUNKS[1] in batch
    assert list(reversed(batch)) == CHUNKS[::-1]


def test_the_bytes_stay_as_they_came_and_fit_either_kind_of_stream() -> None:
    data = DATA + b"\x9a\x06\x01x"  # with a field that nobody knows
    batch = ChunkBatch(data)
    list(batch)

    assert batch.data is data
    assert list(FIMCompletionStreamResponse.FromString(batch.data).chunks) == CHUNKS


def test_nothing_is_decoded_before_it_is_read() -> None:
    batch = ChunkBatch(b"\xff\xff\xff", "the-id")

    assert batch.data == b"\xff\xff\xff"
    assert repr(batch) == "ChunkBatch(3 bytes)"
    for read in (list, len, lambda it: it[0]):
        with pytest.raises(CallError, match="found 3 bytes that can't be parsed") as caught:
            read(batch)
        assert (caught.value.reason, caught.value.request_id) == ("NOT_PROTOBUF", "the-id")


def test_a_message_without_chunks_is_an_empty_batch() -> None:
    assert list(ChunkBatch(b"")) == []


@pytest.mark.parametrize("request_", [STREAM_REQUEST, FIMCompletionStreamRequest(model="m", prompt="p")])
async def test_the_batches_of_a_stream_have_its_chunks_in_order(request_: object) -> None:
    async with (
        create_server(EagerUpstream(1000), ServerConfig(port=0)) as server,
        Client(server.address) as client,
    ):
        batches = [batch async for batch in client.stream_batches(request_)]  # type: ignore[arg-type]

    assert [item.id for batch in batches for item in batch] == [str(number) for number in range(1000)]
    assert len(batches) < 1000
