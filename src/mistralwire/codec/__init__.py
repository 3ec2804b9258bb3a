"""JSON <-> protobuf, without loss and without I/O.

`from_json` and `to_json` convert between JSON text and messages, `from_dict` and `to_dict` between Python
values and messages, `json_to_binary` and `binary_to_json` between JSON text and protobuf wire bytes.
`SseDecoder` and `encode_sse` do the framing of streams, `SseBatchDecoder` and `batch_to_sse` do it for those
who only pass wire bytes on; `accumulate` and `explode` go between the chunks of a stream and one response.
`check` returns what keeps a message from being a valid document; `clear_member` removes a member from it.
`lower` and `lift` are for processes whose contracts have different revisions.

`ENGINE` names what converts: `native` where the distribution `mistralwire-native` is installed, or `python`.
"""

from mistralwire.codec._accumulate import Accumulator, accumulate
from mistralwire.codec._check import check, check_answer, check_request, newer_content, request_to_json
from mistralwire.codec._clear import clear_member
from mistralwire.codec._convert import (
    binary_to_json,
    from_dict,
    from_json,
    json_to_binary,
    to_dict,
    to_json,
)
from mistralwire.codec._dropped_events import dropped_events
from mistralwire.codec._explode import explode
from mistralwire.codec._limits import (
    DEFAULT_LIMITS,
    DEPTH_MAX,
    DOCUMENT_BYTES_MAX,
    MEMBERS_MAX,
    VALUES_MAX,
    VIOLATIONS_MAX,
    Limits,
)
from mistralwire.codec._losses import losses
from mistralwire.codec._native import ENGINE
from mistralwire.codec._revision import lift, lower, read_request
from mistralwire.codec._sse import (
    SSE_BUFFER_BYTES_MAX,
    SseDecoder,
    SseDone,
    SseError,
    SseEvent,
    SseMessage,
    encode_sse,
    is_error_body,
    read_error_body,
)
from mistralwire.codec._sse_batch import SseBatch, SseBatchDecoder, batch_to_sse

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
    "to_dict",
    "to_json",
]
