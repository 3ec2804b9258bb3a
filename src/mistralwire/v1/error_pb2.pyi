from mistralwire.v1 import json_extra_pb2 as _json_extra_pb2
from mistralwire.v1 import json_options_pb2 as _json_options_pb2
from mistralwire.v1 import values_pb2 as _values_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class ValidationError(_message.Message):
    __slots__ = ("json_extra", "loc", "msg", "type", "input", "ctx")
    JSON_EXTRA_FIELD_NUMBER: _ClassVar[int]
    LOC_FIELD_NUMBER: _ClassVar[int]
    MSG_FIELD_NUMBER: _ClassVar[int]
    TYPE_FIELD_NUMBER: _ClassVar[int]
    INPUT_FIELD_NUMBER: _ClassVar[int]
    CTX_FIELD_NUMBER: _ClassVar[int]
    json_extra: _json_extra_pb2.JsonExtra
    loc: _containers.RepeatedCompositeFieldContainer[_values_pb2.IntegerOrString]
    msg: str
    type: str
    input: str
    ctx: str
    def __init__(self, json_extra: _Optional[_Union[_json_extra_pb2.JsonExtra, _Mapping]] = ..., loc: _Optional[_Iterable[_Union[_values_pb2.IntegerOrString, _Mapping]]] = ..., msg: _Optional[str] = ..., type: _Optional[str] = ..., input: _Optional[str] = ..., ctx: _Optional[str] = ...) -> None: ...

class ValidationErrorList(_message.Message):
    __slots__ = ("items",)
    ITEMS_FIELD_NUMBER: _ClassVar[int]
    items: _containers.RepeatedCompositeFieldContainer[ValidationError]
    def __init__(self, items: _Optional[_Iterable[_Union[ValidationError, _Mapping]]] = ...) -> None: ...

class HTTPValidationError(_message.Message):
    __slots__ = ("json_extra", "detail")
    JSON_EXTRA_FIELD_NUMBER: _ClassVar[int]
    DETAIL_FIELD_NUMBER: _ClassVar[int]
    json_extra: _json_extra_pb2.JsonExtra
    detail: _containers.RepeatedCompositeFieldContainer[ValidationError]
    def __init__(self, json_extra: _Optional[_Union[_json_extra_pb2.JsonExtra, _Mapping]] = ..., detail: _Optional[_Iterable[_Union[ValidationError, _Mapping]]] = ...) -> None: ...

class ErrorResponse(_message.Message):
    __slots__ = ("json_extra", "object", "message_string", "message_object", "type", "param", "code_string", "code_integer", "raw_status_code", "detail_string", "detail_array")
    JSON_EXTRA_FIELD_NUMBER: _ClassVar[int]
    OBJECT_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_STRING_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_OBJECT_FIELD_NUMBER: _ClassVar[int]
    TYPE_FIELD_NUMBER: _ClassVar[int]
    PARAM_FIELD_NUMBER: _ClassVar[int]
    CODE_STRING_FIELD_NUMBER: _ClassVar[int]
    CODE_INTEGER_FIELD_NUMBER: _ClassVar[int]
    RAW_STATUS_CODE_FIELD_NUMBER: _ClassVar[int]
    DETAIL_STRING_FIELD_NUMBER: _ClassVar[int]
    DETAIL_ARRAY_FIELD_NUMBER: _ClassVar[int]
    json_extra: _json_extra_pb2.JsonExtra
    object: str
    message_string: str
    message_object: HTTPValidationError
    type: str
    param: str
    code_string: str
    code_integer: int
    raw_status_code: int
    detail_string: str
    detail_array: ValidationErrorList
    def __init__(self, json_extra: _Optional[_Union[_json_extra_pb2.JsonExtra, _Mapping]] = ..., object: _Optional[str] = ..., message_string: _Optional[str] = ..., message_object: _Optional[_Union[HTTPValidationError, _Mapping]] = ..., type: _Optional[str] = ..., param: _Optional[str] = ..., code_string: _Optional[str] = ..., code_integer: _Optional[int] = ..., raw_status_code: _Optional[int] = ..., detail_string: _Optional[str] = ..., detail_array: _Optional[_Union[ValidationErrorList, _Mapping]] = ...) -> None: ...
