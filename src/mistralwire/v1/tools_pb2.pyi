from mistralwire.v1 import json_extra_pb2 as _json_extra_pb2
from mistralwire.v1 import json_options_pb2 as _json_options_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class ToolChoiceMode(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    TOOL_CHOICE_MODE_UNSPECIFIED: _ClassVar[ToolChoiceMode]
    TOOL_CHOICE_MODE_AUTO: _ClassVar[ToolChoiceMode]
    TOOL_CHOICE_MODE_NONE: _ClassVar[ToolChoiceMode]
    TOOL_CHOICE_MODE_ANY: _ClassVar[ToolChoiceMode]
    TOOL_CHOICE_MODE_REQUIRED: _ClassVar[ToolChoiceMode]
    TOOL_CHOICE_MODE_UNLISTED: _ClassVar[ToolChoiceMode]
TOOL_CHOICE_MODE_UNSPECIFIED: ToolChoiceMode
TOOL_CHOICE_MODE_AUTO: ToolChoiceMode
TOOL_CHOICE_MODE_NONE: ToolChoiceMode
TOOL_CHOICE_MODE_ANY: ToolChoiceMode
TOOL_CHOICE_MODE_REQUIRED: ToolChoiceMode
TOOL_CHOICE_MODE_UNLISTED: ToolChoiceMode

class Function(_message.Message):
    __slots__ = ("json_extra", "name", "parameters", "description", "strict")
    JSON_EXTRA_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    PARAMETERS_FIELD_NUMBER: _ClassVar[int]
    DESCRIPTION_FIELD_NUMBER: _ClassVar[int]
    STRICT_FIELD_NUMBER: _ClassVar[int]
    json_extra: _json_extra_pb2.JsonExtra
    name: str
    parameters: str
    description: str
    strict: bool
    def __init__(self, json_extra: _Optional[_Union[_json_extra_pb2.JsonExtra, _Mapping]] = ..., name: _Optional[str] = ..., parameters: _Optional[str] = ..., description: _Optional[str] = ..., strict: bool = ...) -> None: ...

class FunctionName(_message.Message):
    __slots__ = ("json_extra", "name")
    JSON_EXTRA_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    json_extra: _json_extra_pb2.JsonExtra
    name: str
    def __init__(self, json_extra: _Optional[_Union[_json_extra_pb2.JsonExtra, _Mapping]] = ..., name: _Optional[str] = ...) -> None: ...

class FunctionCall(_message.Message):
    __slots__ = ("json_extra", "name", "arguments_string", "arguments_object")
    JSON_EXTRA_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    ARGUMENTS_STRING_FIELD_NUMBER: _ClassVar[int]
    ARGUMENTS_OBJECT_FIELD_NUMBER: _ClassVar[int]
    json_extra: _json_extra_pb2.JsonExtra
    name: str
    arguments_string: str
    arguments_object: str
    def __init__(self, json_extra: _Optional[_Union[_json_extra_pb2.JsonExtra, _Mapping]] = ..., name: _Optional[str] = ..., arguments_string: _Optional[str] = ..., arguments_object: _Optional[str] = ...) -> None: ...

class Tool(_message.Message):
    __slots__ = ("json_extra", "function", "type")
    JSON_EXTRA_FIELD_NUMBER: _ClassVar[int]
    FUNCTION_FIELD_NUMBER: _ClassVar[int]
    TYPE_FIELD_NUMBER: _ClassVar[int]
    json_extra: _json_extra_pb2.JsonExtra
    function: Function
    type: str
    def __init__(self, json_extra: _Optional[_Union[_json_extra_pb2.JsonExtra, _Mapping]] = ..., function: _Optional[_Union[Function, _Mapping]] = ..., type: _Optional[str] = ...) -> None: ...

class ToolCall(_message.Message):
    __slots__ = ("json_extra", "function", "id", "type", "index")
    JSON_EXTRA_FIELD_NUMBER: _ClassVar[int]
    FUNCTION_FIELD_NUMBER: _ClassVar[int]
    ID_FIELD_NUMBER: _ClassVar[int]
    TYPE_FIELD_NUMBER: _ClassVar[int]
    INDEX_FIELD_NUMBER: _ClassVar[int]
    json_extra: _json_extra_pb2.JsonExtra
    function: FunctionCall
    id: str
    type: str
    index: int
    def __init__(self, json_extra: _Optional[_Union[_json_extra_pb2.JsonExtra, _Mapping]] = ..., function: _Optional[_Union[FunctionCall, _Mapping]] = ..., id: _Optional[str] = ..., type: _Optional[str] = ..., index: _Optional[int] = ...) -> None: ...

class ToolChoice(_message.Message):
    __slots__ = ("json_extra", "function", "type")
    JSON_EXTRA_FIELD_NUMBER: _ClassVar[int]
    FUNCTION_FIELD_NUMBER: _ClassVar[int]
    TYPE_FIELD_NUMBER: _ClassVar[int]
    json_extra: _json_extra_pb2.JsonExtra
    function: FunctionName
    type: str
    def __init__(self, json_extra: _Optional[_Union[_json_extra_pb2.JsonExtra, _Mapping]] = ..., function: _Optional[_Union[FunctionName, _Mapping]] = ..., type: _Optional[str] = ...) -> None: ...

class ToolConfiguration(_message.Message):
    __slots__ = ("json_extra", "exclude", "include", "requires_confirmation")
    JSON_EXTRA_FIELD_NUMBER: _ClassVar[int]
    EXCLUDE_FIELD_NUMBER: _ClassVar[int]
    INCLUDE_FIELD_NUMBER: _ClassVar[int]
    REQUIRES_CONFIRMATION_FIELD_NUMBER: _ClassVar[int]
    json_extra: _json_extra_pb2.JsonExtra
    exclude: _containers.RepeatedScalarFieldContainer[str]
    include: _containers.RepeatedScalarFieldContainer[str]
    requires_confirmation: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, json_extra: _Optional[_Union[_json_extra_pb2.JsonExtra, _Mapping]] = ..., exclude: _Optional[_Iterable[str]] = ..., include: _Optional[_Iterable[str]] = ..., requires_confirmation: _Optional[_Iterable[str]] = ...) -> None: ...

class ImageGenerationTool(_message.Message):
    __slots__ = ("json_extra", "tool_configuration", "type")
    JSON_EXTRA_FIELD_NUMBER: _ClassVar[int]
    TOOL_CONFIGURATION_FIELD_NUMBER: _ClassVar[int]
    TYPE_FIELD_NUMBER: _ClassVar[int]
    json_extra: _json_extra_pb2.JsonExtra
    tool_configuration: ToolConfiguration
    type: str
    def __init__(self, json_extra: _Optional[_Union[_json_extra_pb2.JsonExtra, _Mapping]] = ..., tool_configuration: _Optional[_Union[ToolConfiguration, _Mapping]] = ..., type: _Optional[str] = ...) -> None: ...

class DocumentLibraryTool(_message.Message):
    __slots__ = ("json_extra", "library_ids", "tool_configuration", "type")
    JSON_EXTRA_FIELD_NUMBER: _ClassVar[int]
    LIBRARY_IDS_FIELD_NUMBER: _ClassVar[int]
    TOOL_CONFIGURATION_FIELD_NUMBER: _ClassVar[int]
    TYPE_FIELD_NUMBER: _ClassVar[int]
    json_extra: _json_extra_pb2.JsonExtra
    library_ids: _containers.RepeatedScalarFieldContainer[str]
    tool_configuration: ToolConfiguration
    type: str
    def __init__(self, json_extra: _Optional[_Union[_json_extra_pb2.JsonExtra, _Mapping]] = ..., library_ids: _Optional[_Iterable[str]] = ..., tool_configuration: _Optional[_Union[ToolConfiguration, _Mapping]] = ..., type: _Optional[str] = ...) -> None: ...

class APIKeyAuth(_message.Message):
    __slots__ = ("json_extra", "value", "type")
    JSON_EXTRA_FIELD_NUMBER: _ClassVar[int]
    VALUE_FIELD_NUMBER: _ClassVar[int]
    TYPE_FIELD_NUMBER: _ClassVar[int]
    json_extra: _json_extra_pb2.JsonExtra
    value: str
    type: str
    def __init__(self, json_extra: _Optional[_Union[_json_extra_pb2.JsonExtra, _Mapping]] = ..., value: _Optional[str] = ..., type: _Optional[str] = ...) -> None: ...

class OAuth2TokenAuth(_message.Message):
    __slots__ = ("json_extra", "value", "type")
    JSON_EXTRA_FIELD_NUMBER: _ClassVar[int]
    VALUE_FIELD_NUMBER: _ClassVar[int]
    TYPE_FIELD_NUMBER: _ClassVar[int]
    json_extra: _json_extra_pb2.JsonExtra
    value: str
    type: str
    def __init__(self, json_extra: _Optional[_Union[_json_extra_pb2.JsonExtra, _Mapping]] = ..., value: _Optional[str] = ..., type: _Optional[str] = ...) -> None: ...

class ConnectorAuthorization(_message.Message):
    __slots__ = ("api_key", "oauth2_token", "unknown_json")
    API_KEY_FIELD_NUMBER: _ClassVar[int]
    OAUTH2_TOKEN_FIELD_NUMBER: _ClassVar[int]
    UNKNOWN_JSON_FIELD_NUMBER: _ClassVar[int]
    api_key: APIKeyAuth
    oauth2_token: OAuth2TokenAuth
    unknown_json: str
    def __init__(self, api_key: _Optional[_Union[APIKeyAuth, _Mapping]] = ..., oauth2_token: _Optional[_Union[OAuth2TokenAuth, _Mapping]] = ..., unknown_json: _Optional[str] = ...) -> None: ...

class CustomConnector(_message.Message):
    __slots__ = ("json_extra", "connector_id", "type", "authorization", "tool_configuration")
    JSON_EXTRA_FIELD_NUMBER: _ClassVar[int]
    CONNECTOR_ID_FIELD_NUMBER: _ClassVar[int]
    TYPE_FIELD_NUMBER: _ClassVar[int]
    AUTHORIZATION_FIELD_NUMBER: _ClassVar[int]
    TOOL_CONFIGURATION_FIELD_NUMBER: _ClassVar[int]
    json_extra: _json_extra_pb2.JsonExtra
    connector_id: str
    type: str
    authorization: ConnectorAuthorization
    tool_configuration: ToolConfiguration
    def __init__(self, json_extra: _Optional[_Union[_json_extra_pb2.JsonExtra, _Mapping]] = ..., connector_id: _Optional[str] = ..., type: _Optional[str] = ..., authorization: _Optional[_Union[ConnectorAuthorization, _Mapping]] = ..., tool_configuration: _Optional[_Union[ToolConfiguration, _Mapping]] = ...) -> None: ...

class CodeInterpreterTool(_message.Message):
    __slots__ = ("json_extra", "type", "tool_configuration")
    JSON_EXTRA_FIELD_NUMBER: _ClassVar[int]
    TYPE_FIELD_NUMBER: _ClassVar[int]
    TOOL_CONFIGURATION_FIELD_NUMBER: _ClassVar[int]
    json_extra: _json_extra_pb2.JsonExtra
    type: str
    tool_configuration: ToolConfiguration
    def __init__(self, json_extra: _Optional[_Union[_json_extra_pb2.JsonExtra, _Mapping]] = ..., type: _Optional[str] = ..., tool_configuration: _Optional[_Union[ToolConfiguration, _Mapping]] = ...) -> None: ...

class WebSearchTool(_message.Message):
    __slots__ = ("json_extra", "type", "tool_configuration")
    JSON_EXTRA_FIELD_NUMBER: _ClassVar[int]
    TYPE_FIELD_NUMBER: _ClassVar[int]
    TOOL_CONFIGURATION_FIELD_NUMBER: _ClassVar[int]
    json_extra: _json_extra_pb2.JsonExtra
    type: str
    tool_configuration: ToolConfiguration
    def __init__(self, json_extra: _Optional[_Union[_json_extra_pb2.JsonExtra, _Mapping]] = ..., type: _Optional[str] = ..., tool_configuration: _Optional[_Union[ToolConfiguration, _Mapping]] = ...) -> None: ...

class WebSearchPremiumTool(_message.Message):
    __slots__ = ("json_extra", "type", "tool_configuration")
    JSON_EXTRA_FIELD_NUMBER: _ClassVar[int]
    TYPE_FIELD_NUMBER: _ClassVar[int]
    TOOL_CONFIGURATION_FIELD_NUMBER: _ClassVar[int]
    json_extra: _json_extra_pb2.JsonExtra
    type: str
    tool_configuration: ToolConfiguration
    def __init__(self, json_extra: _Optional[_Union[_json_extra_pb2.JsonExtra, _Mapping]] = ..., type: _Optional[str] = ..., tool_configuration: _Optional[_Union[ToolConfiguration, _Mapping]] = ...) -> None: ...

class ChatTool(_message.Message):
    __slots__ = ("function", "image_generation", "document_library", "connector", "code_interpreter", "web_search", "web_search_premium", "unknown_json")
    FUNCTION_FIELD_NUMBER: _ClassVar[int]
    IMAGE_GENERATION_FIELD_NUMBER: _ClassVar[int]
    DOCUMENT_LIBRARY_FIELD_NUMBER: _ClassVar[int]
    CONNECTOR_FIELD_NUMBER: _ClassVar[int]
    CODE_INTERPRETER_FIELD_NUMBER: _ClassVar[int]
    WEB_SEARCH_FIELD_NUMBER: _ClassVar[int]
    WEB_SEARCH_PREMIUM_FIELD_NUMBER: _ClassVar[int]
    UNKNOWN_JSON_FIELD_NUMBER: _ClassVar[int]
    function: Tool
    image_generation: ImageGenerationTool
    document_library: DocumentLibraryTool
    connector: CustomConnector
    code_interpreter: CodeInterpreterTool
    web_search: WebSearchTool
    web_search_premium: WebSearchPremiumTool
    unknown_json: str
    def __init__(self, function: _Optional[_Union[Tool, _Mapping]] = ..., image_generation: _Optional[_Union[ImageGenerationTool, _Mapping]] = ..., document_library: _Optional[_Union[DocumentLibraryTool, _Mapping]] = ..., connector: _Optional[_Union[CustomConnector, _Mapping]] = ..., code_interpreter: _Optional[_Union[CodeInterpreterTool, _Mapping]] = ..., web_search: _Optional[_Union[WebSearchTool, _Mapping]] = ..., web_search_premium: _Optional[_Union[WebSearchPremiumTool, _Mapping]] = ..., unknown_json: _Optional[str] = ...) -> None: ...
