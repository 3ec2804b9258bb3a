"""A typical hand-written schema for a response, with Struct for free-form JSON, and its conversions."""

import functools
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, json_format, message_factory, struct_pb2
from google.protobuf.message import Message

_ENUM = ("unknown", "stop", "length", "model_length", "error", "tool_calls")
_MESSAGES = {
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
_TYPE_NAMES = {name: f".usual.{name}" for name in _MESSAGES} | {"Struct": ".google.protobuf.Struct"}


@functools.cache
def usual_response() -> type[Message]:
    """Return the class of a response."""
    field_type = descriptor_pb2.FieldDescriptorProto
    file = descriptor_pb2.FileDescriptorProto(name="usual.proto", package="usual", syntax="proto3")
    file.dependency.append("google/protobuf/struct.proto")
    reasons = file.enum_type.add(name="FinishReason")
    for number, name in enumerate(_ENUM):
        reasons.value.add(name=name, number=number)
    for message_name, fields in _MESSAGES.items():
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
