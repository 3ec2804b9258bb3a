"""The Protobuf/gRPC interchange layer for Mistral chat completions.

The messages are in `mistralwire.v1`; this module converts them. Importing it needs only protobuf and orjson:
the gRPC parts are `mistralwire.client` and `mistralwire.service`. The codec is imported when one of its names
is first used, so that the command line can report why it can't be imported.
"""

import importlib
from typing import TYPE_CHECKING, Any

from mistralwire.errors import DecodeError, EncodeError, MistralwireError, Violation
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

    def __getattr__(name: str) -> Any:
        if name == "__version__":
            value = importlib.import_module("importlib.metadata").version("mistralwire")
        elif name == "codec" or name in __all__:
            codec = importlib.import_module("mistralwire.codec")
            value = codec if name == "codec" else getattr(codec, name)
        else:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        globals()[name] = value
        return value

    def __dir__() -> list[str]:
        return sorted({*globals(), *__all__, "__version__"})
