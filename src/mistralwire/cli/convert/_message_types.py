"""The message types of the contract, and the type of a document by its content."""

import re
from typing import Any

import click
from google.protobuf.descriptor import Descriptor
from google.protobuf.message import Message

from mistralwire import v1
from mistralwire.cli._documents import members_in
from mistralwire.cli._wording import nearest
from mistralwire.errors import DecodeError
from mistralwire.v1 import ChatCompletionResponse, CompletionChunk, FIMCompletionResponse
from mistralwire.v1.json_options_pb2 import JSON_FORM_UNSPECIFIED, json_message

_PACKAGE = "mistralwire.v1."
_HEADER = re.compile(rb"#\s*proto-message:\s*([\w.]+)")
_CONTRACT_TYPES: dict[str, type[Message]] = {
    name: value
    for name in sorted(v1.__all__)
    if isinstance(getattr(value := getattr(v1, name), "DESCRIPTOR", None), Descriptor)
}

MESSAGE_TYPES = {
    name: type_ for name, type_ in _CONTRACT_TYPES.items() if "json_extra" in type_.DESCRIPTOR.fields_by_name
}
"""Every message of the contract that is a JSON object, by its name."""

RESPONSE_TYPES = (ChatCompletionResponse, FIMCompletionResponse)
"""The responses that a stream of chunks can be merged into."""


def is_object(descriptor: Any) -> bool:
    """Check whether a message of the contract is a JSON object, not a union or an array."""
    return bool(descriptor.GetOptions().Extensions[json_message].form == JSON_FORM_UNSPECIFIED)


def choose_type(name: str) -> type[Message]:
    """Return the message type of a name, with or without its package.

    Raises:
        click.BadParameter: If there is none, with the nearest name.
    """
    name = name.removeprefix(_PACKAGE)
    if name in MESSAGE_TYPES:
        return MESSAGE_TYPES[name]
    for known, type_ in _CONTRACT_TYPES.items():
        if known.lower() == name.lower() and not is_object(type_.DESCRIPTOR):
            raise click.BadParameter(
                f"{known} is a part of documents (one of several types, or a list), not a whole document"
            )
    hint = nearest(name, MESSAGE_TYPES) or f"; the types are {', '.join(MESSAGE_TYPES)}"
    raise click.BadParameter(
        f"expected a message of {_PACKAGE[:-1]} that is a JSON object, found {name!r}{hint}"
    )


def type_in_text(text: bytes) -> str:
    """Return the type's name in the `# proto-message:` line of a protobuf text; empty if it has none."""
    header = _HEADER.search(text)
    return header[1].decode().removeprefix(_PACKAGE) if header else ""


_BY_OBJECT = {
    "chat.completion": "ChatCompletionResponse",
    "chat.completion.chunk": "CompletionChunk",
    "error": "ErrorResponse",
}


def type_in_json(document: bytes) -> str:
    """Return the name of the only type that a JSON object fits, or an empty string.

    Raises:
        DecodeError: If the document is not a JSON object.
    """
    members = members_in(document)
    stream = "Stream" if members.get("stream") is True else ""
    match members:
        case {"object": str(kind)} if kind in _BY_OBJECT:
            return _BY_OBJECT[kind]
        case {"model": _, "messages": list()}:
            return f"ChatCompletion{stream}Request"
        case {"model": _, "prompt": str()}:
            return f"FIMCompletion{stream}Request"
        case {"agent_id": _, "messages": list()}:
            return f"AgentsCompletion{stream}Request"
        case {"choices": [{"delta": _}, *_]}:
            return "CompletionChunk"
        case {"choices": [{"message": _} | {"messages": _}, *_]}:
            return "ChatCompletionResponse"
        case {"data": {"choices": list()}}:
            return "CompletionEvent"
        case {"detail": list()}:
            return "HTTPValidationError"
        case {"error": {}} | {"detail": str()} | {"message": _, "type": _} | {"message": _, "code": _}:
            return "ErrorResponse"
    return ""


def confusion_hint(expected: type[Message] | None, document: bytes | None = None) -> str:
    """Return how to go on if a stream was read as a response, or the other way round; empty otherwise.

    Args:
        expected: Type that the input was read as; None if it is not known.
        document: The document; None for an event of a stream.
    """
    try:
        found = "CompletionChunk" if document is None else type_in_json(document)
    except DecodeError:
        return ""
    if expected in RESPONSE_TYPES and found == "CompletionChunk":
        return "; this is a chunk of a stream, which --accumulate merges into one response"
    if expected is CompletionChunk and found == "ChatCompletionResponse":
        return "; this is a whole response, which --explode splits into the chunks of a stream"
    return ""
