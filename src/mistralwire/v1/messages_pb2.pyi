from mistralwire.v1 import content_pb2 as _content_pb2
from mistralwire.v1 import json_extra_pb2 as _json_extra_pb2
from mistralwire.v1 import json_options_pb2 as _json_options_pb2
from mistralwire.v1 import tools_pb2 as _tools_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class AssistantMessage(_message.Message):
    __slots__ = ("json_extra", "role", "content_string", "content_array", "tool_calls", "prefix")
    JSON_EXTRA_FIELD_NUMBER: _ClassVar[int]
    ROLE_FIELD_NUMBER: _ClassVar[int]
    CONTENT_STRING_FIELD_NUMBER: _ClassVar[int]
    CONTENT_ARRAY_FIELD_NUMBER: _ClassVar[int]
    TOOL_CALLS_FIELD_NUMBER: _ClassVar[int]
    PREFIX_FIELD_NUMBER: _ClassVar[int]
    json_extra: _json_extra_pb2.JsonExtra
    role: str
    content_string: str
    content_array: _content_pb2.ContentChunkList
    tool_calls: _containers.RepeatedCompositeFieldContainer[_tools_pb2.ToolCall]
    prefix: bool
    def __init__(self, json_extra: _Optional[_Union[_json_extra_pb2.JsonExtra, _Mapping]] = ..., role: _Optional[str] = ..., content_string: _Optional[str] = ..., content_array: _Optional[_Union[_content_pb2.ContentChunkList, _Mapping]] = ..., tool_calls: _Optional[_Iterable[_Union[_tools_pb2.ToolCall, _Mapping]]] = ..., prefix: bool = ...) -> None: ...

class SystemMessage(_message.Message):
    __slots__ = ("json_extra", "content_string", "content_array", "role")
    JSON_EXTRA_FIELD_NUMBER: _ClassVar[int]
    CONTENT_STRING_FIELD_NUMBER: _ClassVar[int]
    CONTENT_ARRAY_FIELD_NUMBER: _ClassVar[int]
    ROLE_FIELD_NUMBER: _ClassVar[int]
    json_extra: _json_extra_pb2.JsonExtra
    content_string: str
    content_array: _content_pb2.SystemContentChunkList
    role: str
    def __init__(self, json_extra: _Optional[_Union[_json_extra_pb2.JsonExtra, _Mapping]] = ..., content_string: _Optional[str] = ..., content_array: _Optional[_Union[_content_pb2.SystemContentChunkList, _Mapping]] = ..., role: _Optional[str] = ...) -> None: ...

class ToolMessage(_message.Message):
    __slots__ = ("json_extra", "content_string", "content_array", "role", "tool_call_id", "name")
    JSON_EXTRA_FIELD_NUMBER: _ClassVar[int]
    CONTENT_STRING_FIELD_NUMBER: _ClassVar[int]
    CONTENT_ARRAY_FIELD_NUMBER: _ClassVar[int]
    ROLE_FIELD_NUMBER: _ClassVar[int]
    TOOL_CALL_ID_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    json_extra: _json_extra_pb2.JsonExtra
    content_string: str
    content_array: _content_pb2.ContentChunkList
    role: str
    tool_call_id: str
    name: str
    def __init__(self, json_extra: _Optional[_Union[_json_extra_pb2.JsonExtra, _Mapping]] = ..., content_string: _Optional[str] = ..., content_array: _Optional[_Union[_content_pb2.ContentChunkList, _Mapping]] = ..., role: _Optional[str] = ..., tool_call_id: _Optional[str] = ..., name: _Optional[str] = ...) -> None: ...

class UserMessage(_message.Message):
    __slots__ = ("json_extra", "content_string", "content_array", "role")
    JSON_EXTRA_FIELD_NUMBER: _ClassVar[int]
    CONTENT_STRING_FIELD_NUMBER: _ClassVar[int]
    CONTENT_ARRAY_FIELD_NUMBER: _ClassVar[int]
    ROLE_FIELD_NUMBER: _ClassVar[int]
    json_extra: _json_extra_pb2.JsonExtra
    content_string: str
    content_array: _content_pb2.ContentChunkList
    role: str
    def __init__(self, json_extra: _Optional[_Union[_json_extra_pb2.JsonExtra, _Mapping]] = ..., content_string: _Optional[str] = ..., content_array: _Optional[_Union[_content_pb2.ContentChunkList, _Mapping]] = ..., role: _Optional[str] = ...) -> None: ...

class DeltaMessage(_message.Message):
    __slots__ = ("json_extra", "role", "content_string", "content_array", "tool_calls", "tool_call_id", "index", "metadata")
    JSON_EXTRA_FIELD_NUMBER: _ClassVar[int]
    ROLE_FIELD_NUMBER: _ClassVar[int]
    CONTENT_STRING_FIELD_NUMBER: _ClassVar[int]
    CONTENT_ARRAY_FIELD_NUMBER: _ClassVar[int]
    TOOL_CALLS_FIELD_NUMBER: _ClassVar[int]
    TOOL_CALL_ID_FIELD_NUMBER: _ClassVar[int]
    INDEX_FIELD_NUMBER: _ClassVar[int]
    METADATA_FIELD_NUMBER: _ClassVar[int]
    json_extra: _json_extra_pb2.JsonExtra
    role: str
    content_string: str
    content_array: _content_pb2.ContentChunkList
    tool_calls: _containers.RepeatedCompositeFieldContainer[_tools_pb2.ToolCall]
    tool_call_id: str
    index: int
    metadata: str
    def __init__(self, json_extra: _Optional[_Union[_json_extra_pb2.JsonExtra, _Mapping]] = ..., role: _Optional[str] = ..., content_string: _Optional[str] = ..., content_array: _Optional[_Union[_content_pb2.ContentChunkList, _Mapping]] = ..., tool_calls: _Optional[_Iterable[_Union[_tools_pb2.ToolCall, _Mapping]]] = ..., tool_call_id: _Optional[str] = ..., index: _Optional[int] = ..., metadata: _Optional[str] = ...) -> None: ...

class ChatMessage(_message.Message):
    __slots__ = ("user", "system", "assistant", "tool", "unknown_json")
    USER_FIELD_NUMBER: _ClassVar[int]
    SYSTEM_FIELD_NUMBER: _ClassVar[int]
    ASSISTANT_FIELD_NUMBER: _ClassVar[int]
    TOOL_FIELD_NUMBER: _ClassVar[int]
    UNKNOWN_JSON_FIELD_NUMBER: _ClassVar[int]
    user: UserMessage
    system: SystemMessage
    assistant: AssistantMessage
    tool: ToolMessage
    unknown_json: str
    def __init__(self, user: _Optional[_Union[UserMessage, _Mapping]] = ..., system: _Optional[_Union[SystemMessage, _Mapping]] = ..., assistant: _Optional[_Union[AssistantMessage, _Mapping]] = ..., tool: _Optional[_Union[ToolMessage, _Mapping]] = ..., unknown_json: _Optional[str] = ...) -> None: ...
