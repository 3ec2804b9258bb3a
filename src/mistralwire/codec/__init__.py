"""JSON <-> protobuf, without loss and without I/O.

`from_json` and `to_json` convert between JSON text and messages, `from_dict` and `to_dict` between Python
values and messages, `json_to_binary` and `binary_to_json` between JSON text and protobuf wire bytes.
`SseDecoder` and `encode_sse` do the framing of streams; `accumulate` and `explode` go between the chunks of
a stream and one response.
"""

from mistralwire.codec._convert import (
    binary_to_json,
    from_dict,
    from_json,
    json_to_binary,
    to_dict,
    to_json,
)
from mistralwire.codec._limits import (
    DEFAULT_LIMITS,
    DEPTH_MAX,
    DOCUMENT_BYTES_MAX,
    MEMBERS_MAX,
    VIOLATIONS_MAX,
    Limits,
)

__all__ = [
    "DEFAULT_LIMITS",
    "DEPTH_MAX",
    "DOCUMENT_BYTES_MAX",
    "MEMBERS_MAX",
    "VIOLATIONS_MAX",
    "Limits",
    "binary_to_json",
    "from_dict",
    "from_json",
    "json_to_binary",
    "to_dict",
    "to_json",
]
