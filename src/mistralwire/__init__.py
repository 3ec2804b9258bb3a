"""The Protobuf/gRPC interchange layer for Mistral chat completions.

The messages are in `mistralwire.v1`; this module converts them. They need only protobuf and orjson, which
are imported when a name is first used; the gRPC parts are `mistralwire.client` and `mistralwire.service`.
"""

import importlib
from typing import TYPE_CHECKING, Any

from mistralwire._lazy import lazy_names
from mistralwire.v1 import CONTRACT_REVISION

if TYPE_CHECKING:
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
        text_of,
        to_dict,
        to_json,
        tool_calls_of,
    )
    from mistralwire.errors import DecodeError, EncodeError, MistralwireError, Violation

    __version__: str

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
    "text_of",
    "to_dict",
    "to_json",
    "tool_calls_of",
]

if not TYPE_CHECKING:  # a type checker would take every name for one of the module
    _find, _names = lazy_names(__name__, "codec", "errors", "v1")

    def __getattr__(name: str) -> Any:
        if name == "__version__":
            globals()[name] = importlib.import_module("importlib.metadata").version("mistralwire")
            return globals()[name]
        return _find(name)

    def __dir__() -> list[str]:
        return sorted({*_names(), "__version__"})
