"""Durable streams: requests of the protocol, a store on a response log, and responses as streams."""

from mistralwire.gateway._streams._readable_response import ReadableResponse
from mistralwire.gateway._streams._requests import (
    RESPONSES,
    STREAM_METHODS,
    STREAM_PATH,
    Reading,
    StreamRoute,
    find_stream,
    read_appending,
    read_creation,
    read_reading,
    stream_name,
)
from mistralwire.gateway._streams._store import StreamPiece, StreamStore
from mistralwire.gateway._streams._stream import JSON, StoredStream, StreamError, media_type_of, offset_of

__all__ = [
    "JSON",
    "RESPONSES",
    "STREAM_METHODS",
    "STREAM_PATH",
    "ReadableResponse",
    "Reading",
    "StoredStream",
    "StreamError",
    "StreamPiece",
    "StreamRoute",
    "StreamStore",
    "find_stream",
    "media_type_of",
    "offset_of",
    "read_appending",
    "read_creation",
    "read_reading",
    "stream_name",
]
