"""The Protobuf/gRPC interchange layer for Mistral chat completions.

The messages are in `mistralwire.v1`; what converts them is here. Importing this module needs protobuf and
orjson alone: the gRPC parts are `mistralwire.client` and `mistralwire.service`.
"""

from mistralwire.codec import (
    Accumulator,
    Limits,
    SseDecoder,
    SseDone,
    SseError,
    SseEvent,
    SseMessage,
    accumulate,
    binary_to_json,
    check,
    clear_member,
    encode_sse,
    explode,
    from_dict,
    from_json,
    json_to_binary,
    lift,
    losses,
    lower,
    to_dict,
    to_json,
)
from mistralwire.errors import DecodeError, EncodeError, MistralwireError, Violation
from mistralwire.v1 import CONTRACT_REVISION

__all__ = [
    "CONTRACT_REVISION",
    "Accumulator",
    "DecodeError",
    "EncodeError",
    "Limits",
    "MistralwireError",
    "SseDecoder",
    "SseDone",
    "SseError",
    "SseEvent",
    "SseMessage",
    "Violation",
    "accumulate",
    "binary_to_json",
    "check",
    "clear_member",
    "encode_sse",
    "explode",
    "from_dict",
    "from_json",
    "json_to_binary",
    "lift",
    "losses",
    "lower",
    "to_dict",
    "to_json",
]
