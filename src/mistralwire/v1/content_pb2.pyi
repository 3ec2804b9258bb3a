from mistralwire.v1 import json_extra_pb2 as _json_extra_pb2
from mistralwire.v1 import json_options_pb2 as _json_options_pb2
from mistralwire.v1 import values_pb2 as _values_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class ImageDetail(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    IMAGE_DETAIL_UNSPECIFIED: _ClassVar[ImageDetail]
    IMAGE_DETAIL_LOW: _ClassVar[ImageDetail]
    IMAGE_DETAIL_AUTO: _ClassVar[ImageDetail]
    IMAGE_DETAIL_HIGH: _ClassVar[ImageDetail]
    IMAGE_DETAIL_UNLISTED: _ClassVar[ImageDetail]

class BuiltInTool(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    BUILT_IN_TOOL_UNSPECIFIED: _ClassVar[BuiltInTool]
    BUILT_IN_TOOL_WEB_SEARCH: _ClassVar[BuiltInTool]
    BUILT_IN_TOOL_WEB_SEARCH_PREMIUM: _ClassVar[BuiltInTool]
    BUILT_IN_TOOL_CODE_INTERPRETER: _ClassVar[BuiltInTool]
    BUILT_IN_TOOL_IMAGE_GENERATION: _ClassVar[BuiltInTool]
    BUILT_IN_TOOL_DOCUMENT_LIBRARY: _ClassVar[BuiltInTool]
    BUILT_IN_TOOL_MISTRAL_MCP: _ClassVar[BuiltInTool]
    BUILT_IN_TOOL_UNLISTED: _ClassVar[BuiltInTool]
IMAGE_DETAIL_UNSPECIFIED: ImageDetail
IMAGE_DETAIL_LOW: ImageDetail
IMAGE_DETAIL_AUTO: ImageDetail
IMAGE_DETAIL_HIGH: ImageDetail
IMAGE_DETAIL_UNLISTED: ImageDetail
BUILT_IN_TOOL_UNSPECIFIED: BuiltInTool
BUILT_IN_TOOL_WEB_SEARCH: BuiltInTool
BUILT_IN_TOOL_WEB_SEARCH_PREMIUM: BuiltInTool
BUILT_IN_TOOL_CODE_INTERPRETER: BuiltInTool
BUILT_IN_TOOL_IMAGE_GENERATION: BuiltInTool
BUILT_IN_TOOL_DOCUMENT_LIBRARY: BuiltInTool
BUILT_IN_TOOL_MISTRAL_MCP: BuiltInTool
BUILT_IN_TOOL_UNLISTED: BuiltInTool

class ImageURL(_message.Message):
    __slots__ = ("json_extra", "url", "detail")
    JSON_EXTRA_FIELD_NUMBER: _ClassVar[int]
    URL_FIELD_NUMBER: _ClassVar[int]
    DETAIL_FIELD_NUMBER: _ClassVar[int]
    json_extra: _json_extra_pb2.JsonExtra
    url: str
    detail: ImageDetail
    def __init__(self, json_extra: _Optional[_Union[_json_extra_pb2.JsonExtra, _Mapping]] = ..., url: _Optional[str] = ..., detail: _Optional[_Union[ImageDetail, str]] = ...) -> None: ...

class ImageURLChunk(_message.Message):
    __slots__ = ("json_extra", "image_url_string", "image_url_object", "type")
    JSON_EXTRA_FIELD_NUMBER: _ClassVar[int]
    IMAGE_URL_STRING_FIELD_NUMBER: _ClassVar[int]
    IMAGE_URL_OBJECT_FIELD_NUMBER: _ClassVar[int]
    TYPE_FIELD_NUMBER: _ClassVar[int]
    json_extra: _json_extra_pb2.JsonExtra
    image_url_string: str
    image_url_object: ImageURL
    type: str
    def __init__(self, json_extra: _Optional[_Union[_json_extra_pb2.JsonExtra, _Mapping]] = ..., image_url_string: _Optional[str] = ..., image_url_object: _Optional[_Union[ImageURL, _Mapping]] = ..., type: _Optional[str] = ...) -> None: ...

class DocumentURLChunk(_message.Message):
    __slots__ = ("json_extra", "document_url", "type", "document_name")
    JSON_EXTRA_FIELD_NUMBER: _ClassVar[int]
    DOCUMENT_URL_FIELD_NUMBER: _ClassVar[int]
    TYPE_FIELD_NUMBER: _ClassVar[int]
    DOCUMENT_NAME_FIELD_NUMBER: _ClassVar[int]
    json_extra: _json_extra_pb2.JsonExtra
    document_url: str
    type: str
    document_name: str
    def __init__(self, json_extra: _Optional[_Union[_json_extra_pb2.JsonExtra, _Mapping]] = ..., document_url: _Optional[str] = ..., type: _Optional[str] = ..., document_name: _Optional[str] = ...) -> None: ...

class TextChunk(_message.Message):
    __slots__ = ("json_extra", "text", "type")
    JSON_EXTRA_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    TYPE_FIELD_NUMBER: _ClassVar[int]
    json_extra: _json_extra_pb2.JsonExtra
    text: str
    type: str
    def __init__(self, json_extra: _Optional[_Union[_json_extra_pb2.JsonExtra, _Mapping]] = ..., text: _Optional[str] = ..., type: _Optional[str] = ...) -> None: ...

class ReferenceChunk(_message.Message):
    __slots__ = ("json_extra", "reference_ids", "type")
    JSON_EXTRA_FIELD_NUMBER: _ClassVar[int]
    REFERENCE_IDS_FIELD_NUMBER: _ClassVar[int]
    TYPE_FIELD_NUMBER: _ClassVar[int]
    json_extra: _json_extra_pb2.JsonExtra
    reference_ids: _containers.RepeatedCompositeFieldContainer[_values_pb2.IntegerOrString]
    type: str
    def __init__(self, json_extra: _Optional[_Union[_json_extra_pb2.JsonExtra, _Mapping]] = ..., reference_ids: _Optional[_Iterable[_Union[_values_pb2.IntegerOrString, _Mapping]]] = ..., type: _Optional[str] = ...) -> None: ...

class FileChunk(_message.Message):
    __slots__ = ("json_extra", "file_id", "type")
    JSON_EXTRA_FIELD_NUMBER: _ClassVar[int]
    FILE_ID_FIELD_NUMBER: _ClassVar[int]
    TYPE_FIELD_NUMBER: _ClassVar[int]
    json_extra: _json_extra_pb2.JsonExtra
    file_id: str
    type: str
    def __init__(self, json_extra: _Optional[_Union[_json_extra_pb2.JsonExtra, _Mapping]] = ..., file_id: _Optional[str] = ..., type: _Optional[str] = ...) -> None: ...

class ToolReferenceChunk(_message.Message):
    __slots__ = ("json_extra", "tool", "title", "type", "url", "favicon", "description")
    JSON_EXTRA_FIELD_NUMBER: _ClassVar[int]
    TOOL_FIELD_NUMBER: _ClassVar[int]
    TITLE_FIELD_NUMBER: _ClassVar[int]
    TYPE_FIELD_NUMBER: _ClassVar[int]
    URL_FIELD_NUMBER: _ClassVar[int]
    FAVICON_FIELD_NUMBER: _ClassVar[int]
    DESCRIPTION_FIELD_NUMBER: _ClassVar[int]
    json_extra: _json_extra_pb2.JsonExtra
    tool: BuiltInTool
    title: str
    type: str
    url: str
    favicon: str
    description: str
    def __init__(self, json_extra: _Optional[_Union[_json_extra_pb2.JsonExtra, _Mapping]] = ..., tool: _Optional[_Union[BuiltInTool, str]] = ..., title: _Optional[str] = ..., type: _Optional[str] = ..., url: _Optional[str] = ..., favicon: _Optional[str] = ..., description: _Optional[str] = ...) -> None: ...

class ThinkContentChunk(_message.Message):
    __slots__ = ("text", "reference", "tool_reference", "unknown_json")
    TEXT_FIELD_NUMBER: _ClassVar[int]
    REFERENCE_FIELD_NUMBER: _ClassVar[int]
    TOOL_REFERENCE_FIELD_NUMBER: _ClassVar[int]
    UNKNOWN_JSON_FIELD_NUMBER: _ClassVar[int]
    text: TextChunk
    reference: ReferenceChunk
    tool_reference: ToolReferenceChunk
    unknown_json: str
    def __init__(self, text: _Optional[_Union[TextChunk, _Mapping]] = ..., reference: _Optional[_Union[ReferenceChunk, _Mapping]] = ..., tool_reference: _Optional[_Union[ToolReferenceChunk, _Mapping]] = ..., unknown_json: _Optional[str] = ...) -> None: ...

class ThinkChunk(_message.Message):
    __slots__ = ("json_extra", "thinking", "type", "signature", "closed")
    JSON_EXTRA_FIELD_NUMBER: _ClassVar[int]
    THINKING_FIELD_NUMBER: _ClassVar[int]
    TYPE_FIELD_NUMBER: _ClassVar[int]
    SIGNATURE_FIELD_NUMBER: _ClassVar[int]
    CLOSED_FIELD_NUMBER: _ClassVar[int]
    json_extra: _json_extra_pb2.JsonExtra
    thinking: _containers.RepeatedCompositeFieldContainer[ThinkContentChunk]
    type: str
    signature: str
    closed: bool
    def __init__(self, json_extra: _Optional[_Union[_json_extra_pb2.JsonExtra, _Mapping]] = ..., thinking: _Optional[_Iterable[_Union[ThinkContentChunk, _Mapping]]] = ..., type: _Optional[str] = ..., signature: _Optional[str] = ..., closed: bool = ...) -> None: ...

class InputAudio(_message.Message):
    __slots__ = ("json_extra", "data", "format")
    JSON_EXTRA_FIELD_NUMBER: _ClassVar[int]
    DATA_FIELD_NUMBER: _ClassVar[int]
    FORMAT_FIELD_NUMBER: _ClassVar[int]
    json_extra: _json_extra_pb2.JsonExtra
    data: str
    format: str
    def __init__(self, json_extra: _Optional[_Union[_json_extra_pb2.JsonExtra, _Mapping]] = ..., data: _Optional[str] = ..., format: _Optional[str] = ...) -> None: ...

class AudioChunk(_message.Message):
    __slots__ = ("json_extra", "input_audio_string", "input_audio_object", "type")
    JSON_EXTRA_FIELD_NUMBER: _ClassVar[int]
    INPUT_AUDIO_STRING_FIELD_NUMBER: _ClassVar[int]
    INPUT_AUDIO_OBJECT_FIELD_NUMBER: _ClassVar[int]
    TYPE_FIELD_NUMBER: _ClassVar[int]
    json_extra: _json_extra_pb2.JsonExtra
    input_audio_string: str
    input_audio_object: InputAudio
    type: str
    def __init__(self, json_extra: _Optional[_Union[_json_extra_pb2.JsonExtra, _Mapping]] = ..., input_audio_string: _Optional[str] = ..., input_audio_object: _Optional[_Union[InputAudio, _Mapping]] = ..., type: _Optional[str] = ...) -> None: ...

class ResourceContent(_message.Message):
    __slots__ = ("text", "image_url", "unknown_json")
    TEXT_FIELD_NUMBER: _ClassVar[int]
    IMAGE_URL_FIELD_NUMBER: _ClassVar[int]
    UNKNOWN_JSON_FIELD_NUMBER: _ClassVar[int]
    text: TextChunk
    image_url: ImageURLChunk
    unknown_json: str
    def __init__(self, text: _Optional[_Union[TextChunk, _Mapping]] = ..., image_url: _Optional[_Union[ImageURLChunk, _Mapping]] = ..., unknown_json: _Optional[str] = ...) -> None: ...

class ResourceChunk(_message.Message):
    __slots__ = ("json_extra", "uri", "content", "type")
    JSON_EXTRA_FIELD_NUMBER: _ClassVar[int]
    URI_FIELD_NUMBER: _ClassVar[int]
    CONTENT_FIELD_NUMBER: _ClassVar[int]
    TYPE_FIELD_NUMBER: _ClassVar[int]
    json_extra: _json_extra_pb2.JsonExtra
    uri: str
    content: ResourceContent
    type: str
    def __init__(self, json_extra: _Optional[_Union[_json_extra_pb2.JsonExtra, _Mapping]] = ..., uri: _Optional[str] = ..., content: _Optional[_Union[ResourceContent, _Mapping]] = ..., type: _Optional[str] = ...) -> None: ...

class ResourceLinkChunk(_message.Message):
    __slots__ = ("json_extra", "uri", "type", "metadata")
    JSON_EXTRA_FIELD_NUMBER: _ClassVar[int]
    URI_FIELD_NUMBER: _ClassVar[int]
    TYPE_FIELD_NUMBER: _ClassVar[int]
    METADATA_FIELD_NUMBER: _ClassVar[int]
    json_extra: _json_extra_pb2.JsonExtra
    uri: str
    type: str
    metadata: str
    def __init__(self, json_extra: _Optional[_Union[_json_extra_pb2.JsonExtra, _Mapping]] = ..., uri: _Optional[str] = ..., type: _Optional[str] = ..., metadata: _Optional[str] = ...) -> None: ...

class ContentChunk(_message.Message):
    __slots__ = ("image_url", "document_url", "text", "reference", "file", "thinking", "input_audio", "resource", "resource_link", "unknown_json")
    IMAGE_URL_FIELD_NUMBER: _ClassVar[int]
    DOCUMENT_URL_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    REFERENCE_FIELD_NUMBER: _ClassVar[int]
    FILE_FIELD_NUMBER: _ClassVar[int]
    THINKING_FIELD_NUMBER: _ClassVar[int]
    INPUT_AUDIO_FIELD_NUMBER: _ClassVar[int]
    RESOURCE_FIELD_NUMBER: _ClassVar[int]
    RESOURCE_LINK_FIELD_NUMBER: _ClassVar[int]
    UNKNOWN_JSON_FIELD_NUMBER: _ClassVar[int]
    image_url: ImageURLChunk
    document_url: DocumentURLChunk
    text: TextChunk
    reference: ReferenceChunk
    file: FileChunk
    thinking: ThinkChunk
    input_audio: AudioChunk
    resource: ResourceChunk
    resource_link: ResourceLinkChunk
    unknown_json: str
    def __init__(self, image_url: _Optional[_Union[ImageURLChunk, _Mapping]] = ..., document_url: _Optional[_Union[DocumentURLChunk, _Mapping]] = ..., text: _Optional[_Union[TextChunk, _Mapping]] = ..., reference: _Optional[_Union[ReferenceChunk, _Mapping]] = ..., file: _Optional[_Union[FileChunk, _Mapping]] = ..., thinking: _Optional[_Union[ThinkChunk, _Mapping]] = ..., input_audio: _Optional[_Union[AudioChunk, _Mapping]] = ..., resource: _Optional[_Union[ResourceChunk, _Mapping]] = ..., resource_link: _Optional[_Union[ResourceLinkChunk, _Mapping]] = ..., unknown_json: _Optional[str] = ...) -> None: ...

class ContentChunkList(_message.Message):
    __slots__ = ("items",)
    ITEMS_FIELD_NUMBER: _ClassVar[int]
    items: _containers.RepeatedCompositeFieldContainer[ContentChunk]
    def __init__(self, items: _Optional[_Iterable[_Union[ContentChunk, _Mapping]]] = ...) -> None: ...

class SystemContentChunk(_message.Message):
    __slots__ = ("text", "thinking", "unknown_json")
    TEXT_FIELD_NUMBER: _ClassVar[int]
    THINKING_FIELD_NUMBER: _ClassVar[int]
    UNKNOWN_JSON_FIELD_NUMBER: _ClassVar[int]
    text: TextChunk
    thinking: ThinkChunk
    unknown_json: str
    def __init__(self, text: _Optional[_Union[TextChunk, _Mapping]] = ..., thinking: _Optional[_Union[ThinkChunk, _Mapping]] = ..., unknown_json: _Optional[str] = ...) -> None: ...

class SystemContentChunkList(_message.Message):
    __slots__ = ("items",)
    ITEMS_FIELD_NUMBER: _ClassVar[int]
    items: _containers.RepeatedCompositeFieldContainer[SystemContentChunk]
    def __init__(self, items: _Optional[_Iterable[_Union[SystemContentChunk, _Mapping]]] = ...) -> None: ...
