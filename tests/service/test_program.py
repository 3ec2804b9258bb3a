"""A program's own upstream, chunk by chunk."""

import pytest

from mistralwire.service._program import encode_chunk
from mistralwire.v1 import ChatCompletionStreamResponse, FIMCompletionStreamResponse
from tests.service.upstreams import chunk


@pytest.mark.parametrize("length", [0, 1, 100, 127, 128, 16_383, 16_384, 3_000_000])
def test_an_encoded_chunk_is_an_element_of_a_stream_response(length: int) -> None:
    item = chunk(7, "x" * length)

    assert encode_chunk(item) == ChatCompletionStreamResponse(chunks=[item]).SerializeToString()
    assert encode_chunk(item) == FIMCompletionStreamResponse(chunks=[item]).SerializeToString()
