from google.protobuf import descriptor_pb2 as _descriptor_pb2
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class JsonForm(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    JSON_FORM_UNSPECIFIED: _ClassVar[JsonForm]
    JSON_FORM_ARRAY: _ClassVar[JsonForm]
    JSON_FORM_UNION: _ClassVar[JsonForm]

class JsonFill(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    JSON_FILL_UNSPECIFIED: _ClassVar[JsonFill]
    JSON_FILL_NULL: _ClassVar[JsonFill]
    JSON_FILL_EMPTY_ARRAY: _ClassVar[JsonFill]
    JSON_FILL_EMPTY_OBJECT: _ClassVar[JsonFill]

class JsonText(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    JSON_TEXT_UNSPECIFIED: _ClassVar[JsonText]
    JSON_TEXT_ANY: _ClassVar[JsonText]
    JSON_TEXT_OBJECT: _ClassVar[JsonText]
JSON_FORM_UNSPECIFIED: JsonForm
JSON_FORM_ARRAY: JsonForm
JSON_FORM_UNION: JsonForm
JSON_FILL_UNSPECIFIED: JsonFill
JSON_FILL_NULL: JsonFill
JSON_FILL_EMPTY_ARRAY: JsonFill
JSON_FILL_EMPTY_OBJECT: JsonFill
JSON_TEXT_UNSPECIFIED: JsonText
JSON_TEXT_ANY: JsonText
JSON_TEXT_OBJECT: JsonText
JSON_MESSAGE_FIELD_NUMBER: _ClassVar[int]
json_message: _descriptor.FieldDescriptor
JSON_FIELD_FIELD_NUMBER: _ClassVar[int]
json_field: _descriptor.FieldDescriptor
JSON_ONEOF_FIELD_NUMBER: _ClassVar[int]
json_oneof: _descriptor.FieldDescriptor
JSON_VALUE_FIELD_NUMBER: _ClassVar[int]
json_value: _descriptor.FieldDescriptor

class JsonMessage(_message.Message):
    __slots__ = ("form", "discriminator")
    FORM_FIELD_NUMBER: _ClassVar[int]
    DISCRIMINATOR_FIELD_NUMBER: _ClassVar[int]
    form: JsonForm
    discriminator: str
    def __init__(self, form: _Optional[_Union[JsonForm, str]] = ..., discriminator: _Optional[str] = ...) -> None: ...

class JsonField(_message.Message):
    __slots__ = ("required", "nullable", "text", "constant", "open", "untagged", "fill", "since", "union_with", "expected")
    REQUIRED_FIELD_NUMBER: _ClassVar[int]
    NULLABLE_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    CONSTANT_FIELD_NUMBER: _ClassVar[int]
    OPEN_FIELD_NUMBER: _ClassVar[int]
    UNTAGGED_FIELD_NUMBER: _ClassVar[int]
    FILL_FIELD_NUMBER: _ClassVar[int]
    SINCE_FIELD_NUMBER: _ClassVar[int]
    UNION_WITH_FIELD_NUMBER: _ClassVar[int]
    EXPECTED_FIELD_NUMBER: _ClassVar[int]
    required: bool
    nullable: bool
    text: JsonText
    constant: str
    open: bool
    untagged: bool
    fill: JsonFill
    since: int
    union_with: str
    expected: bool
    def __init__(self, required: bool = ..., nullable: bool = ..., text: _Optional[_Union[JsonText, str]] = ..., constant: _Optional[str] = ..., open: bool = ..., untagged: bool = ..., fill: _Optional[_Union[JsonFill, str]] = ..., since: _Optional[int] = ..., union_with: _Optional[str] = ..., expected: bool = ...) -> None: ...

class JsonValue(_message.Message):
    __slots__ = ("string", "since")
    STRING_FIELD_NUMBER: _ClassVar[int]
    SINCE_FIELD_NUMBER: _ClassVar[int]
    string: str
    since: int
    def __init__(self, string: _Optional[str] = ..., since: _Optional[int] = ...) -> None: ...

class JsonOneof(_message.Message):
    __slots__ = ("required", "nullable")
    REQUIRED_FIELD_NUMBER: _ClassVar[int]
    NULLABLE_FIELD_NUMBER: _ClassVar[int]
    required: bool
    nullable: bool
    def __init__(self, required: bool = ..., nullable: bool = ...) -> None: ...
