from mistralwire.v1 import completion_pb2 as _completion_pb2
from mistralwire.v1 import json_extra_pb2 as _json_extra_pb2
from mistralwire.v1 import json_options_pb2 as _json_options_pb2
from mistralwire.v1 import values_pb2 as _values_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class FIMCompletionRequest(_message.Message):
    __slots__ = ("json_extra", "model", "prompt", "temperature", "top_p", "max_tokens", "stream", "stop_string", "stop_array", "random_seed", "metadata", "suffix", "min_tokens", "prompt_cache_key")
    JSON_EXTRA_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    PROMPT_FIELD_NUMBER: _ClassVar[int]
    TEMPERATURE_FIELD_NUMBER: _ClassVar[int]
    TOP_P_FIELD_NUMBER: _ClassVar[int]
    MAX_TOKENS_FIELD_NUMBER: _ClassVar[int]
    STREAM_FIELD_NUMBER: _ClassVar[int]
    STOP_STRING_FIELD_NUMBER: _ClassVar[int]
    STOP_ARRAY_FIELD_NUMBER: _ClassVar[int]
    RANDOM_SEED_FIELD_NUMBER: _ClassVar[int]
    METADATA_FIELD_NUMBER: _ClassVar[int]
    SUFFIX_FIELD_NUMBER: _ClassVar[int]
    MIN_TOKENS_FIELD_NUMBER: _ClassVar[int]
    PROMPT_CACHE_KEY_FIELD_NUMBER: _ClassVar[int]
    json_extra: _json_extra_pb2.JsonExtra
    model: str
    prompt: str
    temperature: float
    top_p: float
    max_tokens: int
    stream: bool
    stop_string: str
    stop_array: _values_pb2.StringList
    random_seed: int
    metadata: str
    suffix: str
    min_tokens: int
    prompt_cache_key: str
    def __init__(self, json_extra: _Optional[_Union[_json_extra_pb2.JsonExtra, _Mapping]] = ..., model: _Optional[str] = ..., prompt: _Optional[str] = ..., temperature: _Optional[float] = ..., top_p: _Optional[float] = ..., max_tokens: _Optional[int] = ..., stream: bool = ..., stop_string: _Optional[str] = ..., stop_array: _Optional[_Union[_values_pb2.StringList, _Mapping]] = ..., random_seed: _Optional[int] = ..., metadata: _Optional[str] = ..., suffix: _Optional[str] = ..., min_tokens: _Optional[int] = ..., prompt_cache_key: _Optional[str] = ...) -> None: ...

class FIMCompletionStreamRequest(_message.Message):
    __slots__ = ("json_extra", "model", "prompt", "temperature", "top_p", "max_tokens", "stream", "stop_string", "stop_array", "random_seed", "metadata", "suffix", "min_tokens", "prompt_cache_key")
    JSON_EXTRA_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    PROMPT_FIELD_NUMBER: _ClassVar[int]
    TEMPERATURE_FIELD_NUMBER: _ClassVar[int]
    TOP_P_FIELD_NUMBER: _ClassVar[int]
    MAX_TOKENS_FIELD_NUMBER: _ClassVar[int]
    STREAM_FIELD_NUMBER: _ClassVar[int]
    STOP_STRING_FIELD_NUMBER: _ClassVar[int]
    STOP_ARRAY_FIELD_NUMBER: _ClassVar[int]
    RANDOM_SEED_FIELD_NUMBER: _ClassVar[int]
    METADATA_FIELD_NUMBER: _ClassVar[int]
    SUFFIX_FIELD_NUMBER: _ClassVar[int]
    MIN_TOKENS_FIELD_NUMBER: _ClassVar[int]
    PROMPT_CACHE_KEY_FIELD_NUMBER: _ClassVar[int]
    json_extra: _json_extra_pb2.JsonExtra
    model: str
    prompt: str
    temperature: float
    top_p: float
    max_tokens: int
    stream: bool
    stop_string: str
    stop_array: _values_pb2.StringList
    random_seed: int
    metadata: str
    suffix: str
    min_tokens: int
    prompt_cache_key: str
    def __init__(self, json_extra: _Optional[_Union[_json_extra_pb2.JsonExtra, _Mapping]] = ..., model: _Optional[str] = ..., prompt: _Optional[str] = ..., temperature: _Optional[float] = ..., top_p: _Optional[float] = ..., max_tokens: _Optional[int] = ..., stream: bool = ..., stop_string: _Optional[str] = ..., stop_array: _Optional[_Union[_values_pb2.StringList, _Mapping]] = ..., random_seed: _Optional[int] = ..., metadata: _Optional[str] = ..., suffix: _Optional[str] = ..., min_tokens: _Optional[int] = ..., prompt_cache_key: _Optional[str] = ...) -> None: ...

class FIMCompletionResponse(_message.Message):
    __slots__ = ("json_extra", "id", "object", "model", "usage", "created", "choices")
    JSON_EXTRA_FIELD_NUMBER: _ClassVar[int]
    ID_FIELD_NUMBER: _ClassVar[int]
    OBJECT_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    USAGE_FIELD_NUMBER: _ClassVar[int]
    CREATED_FIELD_NUMBER: _ClassVar[int]
    CHOICES_FIELD_NUMBER: _ClassVar[int]
    json_extra: _json_extra_pb2.JsonExtra
    id: str
    object: str
    model: str
    usage: _completion_pb2.UsageInfo
    created: int
    choices: _containers.RepeatedCompositeFieldContainer[_completion_pb2.ChatCompletionChoice]
    def __init__(self, json_extra: _Optional[_Union[_json_extra_pb2.JsonExtra, _Mapping]] = ..., id: _Optional[str] = ..., object: _Optional[str] = ..., model: _Optional[str] = ..., usage: _Optional[_Union[_completion_pb2.UsageInfo, _Mapping]] = ..., created: _Optional[int] = ..., choices: _Optional[_Iterable[_Union[_completion_pb2.ChatCompletionChoice, _Mapping]]] = ...) -> None: ...
