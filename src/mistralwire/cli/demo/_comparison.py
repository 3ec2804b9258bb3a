"""Round trips of JSON: what changes in a document, and a typical hand-written schema to compare with."""

import functools
import json
from collections.abc import Iterator, Mapping
from typing import Any, TypeAlias

from google.protobuf import descriptor_pb2, descriptor_pool, json_format, message_factory, struct_pb2
from google.protobuf.message import Message

Place: TypeAlias = tuple[str | int, ...]

# The schema, with Struct for free-form JSON.
_USUAL_FINISH_REASONS = ("unknown", "stop", "length", "model_length", "error", "tool_calls")
_USUAL_MESSAGES = {
    "Part": {"type": "string", "text": "string", "thinking": "repeated Part", "closed": "bool"},
    "Function": {"name": "string", "arguments": "Struct"},
    "ToolCall": {"id": "string", "type": "string", "index": "int32", "function": "Function"},
    "ChatMessage": {"role": "string", "content": "repeated Part", "tool_calls": "repeated ToolCall"},
    "Choice": {"index": "int32", "message": "ChatMessage", "finish_reason": "FinishReason"},
    "Usage": {"prompt_tokens": "int32", "completion_tokens": "int32", "total_tokens": "int32"},
    "Response": {
        "id": "string",
        "object": "string",
        "created": "int64",
        "model": "string",
        "usage": "Usage",
        "choices": "repeated Choice",
        "metadata": "Struct",
    },
}
_TYPE_NAMES = {name: f".usual.{name}" for name in _USUAL_MESSAGES} | {"Struct": ".google.protobuf.Struct"}


@functools.cache
def usual_response() -> type[Message]:
    """Return the class of a response."""
    field_type = descriptor_pb2.FieldDescriptorProto
    file = descriptor_pb2.FileDescriptorProto(name="usual.proto", package="usual", syntax="proto3")
    file.dependency.append("google/protobuf/struct.proto")
    reasons = file.enum_type.add(name="FinishReason")
    for number, name in enumerate(_USUAL_FINISH_REASONS):
        reasons.value.add(name=name, number=number)
    for message_name, fields in _USUAL_MESSAGES.items():
        message = file.message_type.add(name=message_name)
        for number, (name, words) in enumerate(fields.items(), 1):
            *repeated, kind = words.split()
            field = message.field.add(name=name, number=number)
            field.label = field_type.LABEL_REPEATED if repeated else field_type.LABEL_OPTIONAL
            if kind == "FinishReason":
                field.type, field.type_name = field_type.TYPE_ENUM, ".usual.FinishReason"
            elif kind in _TYPE_NAMES:
                field.type, field.type_name = field_type.TYPE_MESSAGE, _TYPE_NAMES[kind]
            else:
                field.type = field_type.Type.Value(f"TYPE_{kind.upper()}")
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(struct_pb2.DESCRIPTOR.serialized_pb)
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("usual.Response"))


def usual_from_json(text: str | bytes) -> Message:
    """Convert JSON to a message with json_format, ignoring unknown members, which it refuses by default."""
    return json_format.Parse(text, usual_response()(), ignore_unknown_fields=True)


def usual_to_json(message: Message) -> str:
    """Convert a message to JSON with json_format, with the names of the API."""
    text: Any = json_format.MessageToJson(message, preserving_proto_field_name=True, indent=None)
    return str(text)


def changes(before: Any, after: Any, path: Place = ()) -> Iterator[tuple[Place, str]]:
    """Yield each place that changed between two documents, with the JSON there now, `lost` or `added`."""
    match before, after:
        case dict(), dict():
            for name in before | after:
                if name in before and name in after:
                    yield from changes(before[name], after[name], (*path, name))
                else:
                    yield (*path, name), "lost" if name in before else "added"
        case list(), list() if len(before) == len(after):
            for index, (one, other) in enumerate(zip(before, after, strict=True)):
                yield from changes(one, other, (*path, index))
        case _:
            # 1 and 1.0 are equal, but not the same JSON.
            if type(before) is not type(after) or before != after:
                yield path, json.dumps(after)


def outline(
    value: dict[str, Any], changed: Mapping[Place, object], path: Place = ()
) -> Iterator[tuple[str, Place]]:
    """Yield the lines that show an object, each with its place: a line for each change, few for the rest."""
    indent = "  " * sum(isinstance(step, str) for step in path)
    same: list[str] = []
    for name, item, place in _members(value, changed, path):
        if not _is_in(place, changed):
            same.append(f"{name}: {json.dumps(item)}")
            continue
        if same:
            yield indent + ", ".join(same), path
            same = []
        if place in changed or not isinstance(item, dict):
            yield f"{indent}{name}: {json.dumps(item)}", place
        else:
            yield f"{indent}{name}", path
            yield from outline(item, changed, place)
    if same:
        yield indent + ", ".join(same), path


def _members(
    value: dict[str, Any], changed: Mapping[Place, object], path: Place
) -> Iterator[tuple[str, Any, Place]]:
    """Yield members; in place of a list that changed inside, its elements; and of an object, its only one."""
    for name, item in value.items():
        place = (*path, name)
        if isinstance(item, list) and place not in changed and _is_in(place, changed):
            for index, element in enumerate(item):
                yield f"{name}[{index}]", element, (*place, index)
        elif isinstance(item, dict) and len(item) == 1 and place not in changed:
            yield from ((f"{name}.{inner}", *rest) for inner, *rest in _members(item, changed, place))
        else:
            yield name, item, place


def _is_in(place: Place, changed: Mapping[Place, object]) -> bool:
    """Check whether a place, or one inside it, changed."""
    return any(other[: len(place)] == place for other in changed)
