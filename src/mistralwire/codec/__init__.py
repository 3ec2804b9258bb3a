"""JSON <-> protobuf without loss, and without I/O.

- JSON text and messages: `from_json`, `to_json`; and wire bytes: `json_to_binary`, `binary_to_json`; Python
  values and messages: `from_dict`, `to_dict`.
- Server-sent events and messages: `SseDecoder`, `encode_sse`; batches of wire bytes, for programs that only
  forward them: `SseBatchDecoder`, `batch_to_sse`.
- The chunks of a stream and one response: `accumulate`, `explode`; the calls that pieces of one belong to:
  `ToolCalls`.
- `text_of` and `tool_calls_of` read one choice of a response or a chunk.
- `check` returns what keeps a message from being a valid document; `clear_member` removes a member.
- `lower` and `lift` are for processes whose contracts have different revisions.

`ENGINE` is the engine in use: `native` where the distribution `mistralwire-native` is installed, or `python`.
"""

from typing import TYPE_CHECKING

from mistralwire._lazy import lazy_names

if TYPE_CHECKING:
    from mistralwire.codec._check import check, check_answer, check_request, newer_content, request_to_json
    from mistralwire.codec._choice import text_of, tool_calls_of
    from mistralwire.codec._chunks import Accumulator, accumulate, explode
    from mistralwire.codec._convert import binary_to_json, clear_member, from_json, json_to_binary, to_json
    from mistralwire.codec._counts import dropped_events, losses
    from mistralwire.codec._dict import from_dict, to_dict
    from mistralwire.codec._limits import (
        DEFAULT_LIMITS,
        DEPTH_MAX,
        DOCUMENT_BYTES_MAX,
        MEMBERS_MAX,
        VALUES_MAX,
        VIOLATIONS_MAX,
        Limits,
    )
    from mistralwire.codec._merge import ToolCalls
    from mistralwire.codec._native import ENGINE
    from mistralwire.codec._revision import lift, lower, read_request
    from mistralwire.codec._sse import (
        SSE_BUFFER_BYTES_MAX,
        SseBatch,
        SseBatchDecoder,
        SseDecoder,
        SseDone,
        SseError,
        SseEvent,
        SseMessage,
        batch_to_sse,
        encode_sse,
        is_error_body,
        read_error_body,
    )

__all__ = [
    "DEFAULT_LIMITS",
    "DEPTH_MAX",
    "DOCUMENT_BYTES_MAX",
    "ENGINE",
    "MEMBERS_MAX",
    "SSE_BUFFER_BYTES_MAX",
    "VALUES_MAX",
    "VIOLATIONS_MAX",
    "Accumulator",
    "Limits",
    "SseBatch",
    "SseBatchDecoder",
    "SseDecoder",
    "SseDone",
    "SseError",
    "SseEvent",
    "SseMessage",
    "ToolCalls",
    "accumulate",
    "batch_to_sse",
    "binary_to_json",
    "check",
    "check_answer",
    "check_request",
    "clear_member",
    "dropped_events",
    "encode_sse",
    "explode",
    "from_dict",
    "from_json",
    "is_error_body",
    "json_to_binary",
    "lift",
    "losses",
    "lower",
    "newer_content",
    "read_error_body",
    "read_request",
    "request_to_json",
    "text_of",
    "to_dict",
    "to_json",
    "tool_calls_of",
]

if not TYPE_CHECKING:  # a type checker would take every name for one of the module
    __getattr__, __dir__ = lazy_names(
        __name__,
        *(
            "_limits",
            "_counts",
            "_choice",
            "_revision",
            "_convert",
            "_dict",
            "_check",
            "_chunks",
            "_merge",
            "_sse",
        ),
    )
