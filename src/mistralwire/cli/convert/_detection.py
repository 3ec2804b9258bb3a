"""The format and the message type of a file: by name, and by content."""

import codecs
import enum
import json
import pathlib
import re
from typing import Any, BinaryIO

import click
from google.protobuf.descriptor import Descriptor
from google.protobuf.message import Message

from mistralwire import v1
from mistralwire.cli._documents import members_in
from mistralwire.cli._wording import nearest
from mistralwire.v1.json_options_pb2 import JSON_FORM_UNSPECIFIED, json_message

_BLANK_BYTES_MAX = 64 * 1024
_SSE_LINE = re.compile(rb'(data|event|retry)\s*:|id: ?(?!\s*")|:')


class Format(enum.StrEnum):
    """A file format, by the name that the options use."""

    JSON = "json"
    JSONL = "jsonl"
    SSE = "sse"
    BINPB = "binpb"
    TXTPB = "txtpb"

    @property
    def is_json(self) -> bool:
        """Whether its messages are JSON text."""
        return self in (Format.JSON, Format.JSONL, Format.SSE)

    @property
    def is_sequence(self) -> bool:
        """Whether it always holds a sequence of messages; of the others, only binpb can hold one."""
        return self in (Format.JSONL, Format.SSE)


_BY_EXTENSION = {f".{format_}": format_ for format_ in Format} | {".ndjson": Format.JSONL}


def format_of_name(name: str) -> Format | None:
    """Return the format by the file's extension, or None if the extension is not known."""
    return _BY_EXTENSION.get(pathlib.PurePath(name).suffix.lower())


def format_of_content(content: BinaryIO, line_bytes_max: int, *, to_sequence: bool) -> Format | None:
    """Return the format by how the content begins.

    The second line is read only if the first one leaves it open: that may block.

    Args:
        content: The content, from its beginning.
        line_bytes_max: Most bytes of the first line to look at.
        to_sequence: Whether the output is a sequence: then one document is a sequence of one.

    Returns:
        The format, or None if several are possible.
    """
    text = _next_text(content, line_bytes_max).removeprefix(codecs.BOM_UTF8).lstrip()
    if text.startswith(b"{"):
        if to_sequence and _is_json(text):
            return Format.JSONL
        # The second line of a single object begins with a member name or a closing brace.
        return Format.JSONL if _next_text(content, _BLANK_BYTES_MAX).startswith(b"{") else Format.JSON
    if text.startswith(b"["):
        return Format.JSON
    if text.startswith((b"# proto-file:", b"# proto-message:")):
        return Format.TXTPB
    return Format.SSE if _SSE_LINE.match(text) else None


def _next_text(content: BinaryIO, line_bytes_max: int) -> bytes:
    """Read a line that is not blank, without the white space around it; empty if none comes soon."""
    blank_bytes = 0
    while blank_bytes < _BLANK_BYTES_MAX and (line := content.readline(line_bytes_max)):
        if text := line.strip():
            return text
        blank_bytes += len(line)
    return b""


def _is_json(text: bytes) -> bool:
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True


_PACKAGE = "mistralwire.v1."
_HEADER = re.compile(rb"#\s*proto-message:\s*([\w.]+)")
_DESCRIPTORS: dict[str, Descriptor] = {
    name: descriptor
    for name in sorted(v1.__all__)
    if isinstance(descriptor := getattr(getattr(v1, name), "DESCRIPTOR", None), Descriptor)
}

MESSAGE_TYPES: dict[str, type[Message]] = {
    name: getattr(v1, name)
    for name, descriptor in _DESCRIPTORS.items()
    if "json_extra" in descriptor.fields_by_name
}
"""Every message of the contract that is a JSON object, by its name."""


def choose_type(ctx: click.Context, param: click.Parameter, value: str | None) -> type[Message] | None:
    """Return the message type that an option names: a click callback.

    Raises:
        click.BadParameter: If there is none, with the nearest name.
    """
    if value is None:
        return None
    name = value.removeprefix(_PACKAGE)
    if name in MESSAGE_TYPES:
        return MESSAGE_TYPES[name]
    raise click.BadParameter(_problem_with(name), ctx=ctx, param=param)


def _problem_with(name: str) -> str:
    for known, descriptor in _DESCRIPTORS.items():
        # A JSON union or array.
        if known.lower() == name.lower() and _json_form(descriptor) != JSON_FORM_UNSPECIFIED:
            return f"{known} is a part of documents (one of several types, or a list), not a whole document"
    hint = nearest(name, MESSAGE_TYPES) or f"; the types are {', '.join(MESSAGE_TYPES)}"
    return f"expected a message of {_PACKAGE[:-1]} that is a JSON object, found {name!r}{hint}"


def _json_form(descriptor: Descriptor) -> int:
    options: Any = descriptor.GetOptions()
    form: int = options.Extensions[json_message].form
    return form


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
