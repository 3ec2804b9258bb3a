"""The Protobuf/gRPC interchange layer for Mistral chat completions.

The messages are in `mistralwire.v1`; what converts them is here. Importing this module needs protobuf and
orjson alone: the gRPC parts are `mistralwire.client` and `mistralwire.service`.
"""

from mistralwire.codec import (
    Limits,
    binary_to_json,
    from_dict,
    from_json,
    json_to_binary,
    to_dict,
    to_json,
)
from mistralwire.errors import DecodeError, EncodeError, MistralwireError, Violation

__all__ = [
    "DecodeError",
    "EncodeError",
    "Limits",
    "MistralwireError",
    "Violation",
    "binary_to_json",
    "from_dict",
    "from_json",
    "json_to_binary",
    "to_dict",
    "to_json",
]
