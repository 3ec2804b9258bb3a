"""The message types that are JSON objects: by name, and by a document's content."""

import difflib
import re
from typing import Any

import click
from google.protobuf.descriptor import Descriptor
from google.protobuf.message import Message

from mistralwire import v1
from mistralwire.codec import from_json, to_dict
from mistralwire.v1.json_options_pb2 import JSON_FORM_UNSPECIFIED, json_message

PACKAGE = "mistralwire.v1"
_HEADER = re.compile(rb"#\s*proto-message:\s*([\w.]+)")


def _json_objects() -> dict[str, type[Message]]:
    named = ((name, getattr(v1, name)) for name in sorted(v1.__all__))
    messages = (
        (name, value) for name, value in named if isinstance(value, type) and issubclass(value, Message)
    )
    return {name: value for name, value in messages if "json_extra" in value.DESCRIPTOR.fields_by_name}


MESSAGE_TYPES = _json_objects()
"""Every message of the contract that is a JSON object, by its name."""


def _parts_of_documents() -> list[str]:
    """Give the names of the messages that stand for a JSON union or array."""
    descriptors = ((name, getattr(getattr(v1, name), "DESCRIPTOR", None)) for name in v1.__all__)
    options: list[tuple[str, Any]] = [
        (name, descriptor.GetOptions())
        for name, descriptor in descriptors
        if isinstance(descriptor, Descriptor)
    ]
    return [name for name, option in options if option.Extensions[json_message].form != JSON_FORM_UNSPECIFIED]


def choose_type(ctx: click.Context, param: click.Parameter, value: str | None) -> type[Message] | None:
    """Give the message type of a name that an option has: a click callback.

    Raises:
        click.BadParameter: If there is none; with the nearest names.
    """
    if value is None:
        return None
    name = value.removeprefix(f"{PACKAGE}.")
    if name in MESSAGE_TYPES:
        return MESSAGE_TYPES[name]
    raise click.BadParameter(_problem_with(name), ctx=ctx, param=param)


def _problem_with(name: str) -> str:
    folded = name.lower()
    if part := next((known for known in _parts_of_documents() if known.lower() == folded), None):
        return f"{part} is a part of documents (one of several types, or a list), not a document of its own"
    by_folded_name = {known.lower(): known for known in MESSAGE_TYPES}
    if folded in by_folded_name:
        near = [by_folded_name[folded]]
    else:
        near = [by_folded_name[key] for key in difflib.get_close_matches(folded, by_folded_name, n=3)]
    hint = f"did you mean {' or '.join(near)}?" if near else f"the types are {', '.join(MESSAGE_TYPES)}"
    return f"{name!r} is no message of {PACKAGE} that is a JSON object; {hint}"


class TypeChoice:
    """The type of a file's messages: as given, or as the first message tells.

    Args:
        given: What `--type` says, or None.
        file: Name of the input, for the error.
    """

    def __init__(self, given: type[Message] | None, file: str) -> None:
        self._type = given
        self._file = file

    def of_json(self, data: bytes) -> type[Message]:
        """Give the type, by the members of a JSON object if need be.

        Raises:
            DecodeError: If the data is no JSON object.
            click.UsageError: If the object can be of several types.
        """
        if self._type is None:
            self._type = self._known(_type_of_members(_members(data)))
        return self._type

    def of_text(self, data: bytes) -> type[Message]:
        """Give the type, by the `# proto-message:` line of a protobuf text if need be.

        Raises:
            click.UsageError: If there is no such line, or it names no type of the contract.
        """
        if self._type is None:
            header = _HEADER.search(data)
            name = header[1].decode().removeprefix(f"{PACKAGE}.") if header else ""
            self._type = self._known(name)
        return self._type

    def of_stream(self) -> type[Message]:
        """Give the type; a stream of server-sent events consists of chunks."""
        return self._type or v1.CompletionChunk

    def of_binary(self) -> type[Message]:
        """Give the type.

        Raises:
            click.UsageError: If it was not given: wire bytes do not say.
        """
        return self._known("")

    def _known(self, name: str) -> type[Message]:
        message_type = self._type or MESSAGE_TYPES.get(name)
        if message_type is None:
            raise click.UsageError(
                f"the content of {self._file} does not tell the type of its messages; "
                "say which with --type, as in --type ChatCompletionResponse"
            )
        return message_type


def _members(data: bytes) -> dict[str, Any]:
    # Without validation every JSON object can be read as a message of any type, and comes back the same.
    return to_dict(from_json(v1.ErrorResponse, data, validate=False))


_BY_OBJECT = {
    "chat.completion": "ChatCompletionResponse",
    "chat.completion.chunk": "CompletionChunk",
    "error": "ErrorResponse",
}


def _type_of_members(members: dict[str, Any]) -> str:
    """Give the name of the only type that the members fit, or an empty string."""
    match members:
        case {"object": str(kind)} if kind in _BY_OBJECT:
            return _BY_OBJECT[kind]
        case {"model": _, "messages": list()}:
            return f"ChatCompletion{_stream(members)}Request"
        case {"model": _, "prompt": str()}:
            return f"FIMCompletion{_stream(members)}Request"
        case {"agent_id": _, "messages": list()}:
            return f"AgentsCompletion{_stream(members)}Request"
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


def _stream(members: dict[str, Any]) -> str:
    return "Stream" if members.get("stream") is True else ""
