from mistralwire.v1 import agents_completion_pb2 as _agents_completion_pb2
from mistralwire.v1 import chat_completion_pb2 as _chat_completion_pb2
from mistralwire.v1 import completion_pb2 as _completion_pb2
from mistralwire.v1 import fim_completion_pb2 as _fim_completion_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class ChatCompletionStreamResponse(_message.Message):
    __slots__ = ("chunks", "first_sequence")
    CHUNKS_FIELD_NUMBER: _ClassVar[int]
    FIRST_SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    chunks: _containers.RepeatedCompositeFieldContainer[_completion_pb2.CompletionChunk]
    first_sequence: int
    def __init__(self, chunks: _Optional[_Iterable[_Union[_completion_pb2.CompletionChunk, _Mapping]]] = ..., first_sequence: _Optional[int] = ...) -> None: ...

class FIMCompletionStreamResponse(_message.Message):
    __slots__ = ("chunks", "first_sequence")
    CHUNKS_FIELD_NUMBER: _ClassVar[int]
    FIRST_SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    chunks: _containers.RepeatedCompositeFieldContainer[_completion_pb2.CompletionChunk]
    first_sequence: int
    def __init__(self, chunks: _Optional[_Iterable[_Union[_completion_pb2.CompletionChunk, _Mapping]]] = ..., first_sequence: _Optional[int] = ...) -> None: ...
