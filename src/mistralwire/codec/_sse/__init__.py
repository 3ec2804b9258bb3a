"""Server-sent events to messages and back, or to batches of wire bytes and back.

`_framer` finds the events in the bytes of a stream, `_error_body` recognizes errors among them, `_decoder`
is for messages, and `_batch` for wire bytes.
"""

from mistralwire.codec._sse._batch import SseBatch, SseBatchDecoder, batch_to_sse
from mistralwire.codec._sse._decoder import (
    SSE_BUFFER_BYTES_MAX,
    SseDecoder,
    SseDone,
    SseEvent,
    SseMessage,
    encode_sse,
)
from mistralwire.codec._sse._error_body import SseError, is_error_body, read_error_body

__all__ = [
    "SSE_BUFFER_BYTES_MAX",
    "SseBatch",
    "SseBatchDecoder",
    "SseDecoder",
    "SseDone",
    "SseError",
    "SseEvent",
    "SseMessage",
    "batch_to_sse",
    "encode_sse",
    "is_error_body",
    "read_error_body",
]
