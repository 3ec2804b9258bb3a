from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable
from typing import ClassVar as _ClassVar, Optional as _Optional

DESCRIPTOR: _descriptor.FileDescriptor

class JsonExtra(_message.Message):
    __slots__ = ("members", "null_fields", "empty_fields", "absent_fields")
    MEMBERS_FIELD_NUMBER: _ClassVar[int]
    NULL_FIELDS_FIELD_NUMBER: _ClassVar[int]
    EMPTY_FIELDS_FIELD_NUMBER: _ClassVar[int]
    ABSENT_FIELDS_FIELD_NUMBER: _ClassVar[int]
    members: str
    null_fields: _containers.RepeatedScalarFieldContainer[int]
    empty_fields: _containers.RepeatedScalarFieldContainer[int]
    absent_fields: _containers.RepeatedScalarFieldContainer[int]
    def __init__(self, members: _Optional[str] = ..., null_fields: _Optional[_Iterable[int]] = ..., empty_fields: _Optional[_Iterable[int]] = ..., absent_fields: _Optional[_Iterable[int]] = ...) -> None: ...
