from mistralwire.v1 import json_extra_pb2 as _json_extra_pb2
from mistralwire.v1 import json_options_pb2 as _json_options_pb2
from mistralwire.v1 import messages_pb2 as _messages_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class FinishReason(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    FINISH_REASON_UNSPECIFIED: _ClassVar[FinishReason]
    FINISH_REASON_STOP: _ClassVar[FinishReason]
    FINISH_REASON_LENGTH: _ClassVar[FinishReason]
    FINISH_REASON_MODEL_LENGTH: _ClassVar[FinishReason]
    FINISH_REASON_ERROR: _ClassVar[FinishReason]
    FINISH_REASON_TOOL_CALLS: _ClassVar[FinishReason]
    FINISH_REASON_UNLISTED: _ClassVar[FinishReason]
FINISH_REASON_UNSPECIFIED: FinishReason
FINISH_REASON_STOP: FinishReason
FINISH_REASON_LENGTH: FinishReason
FINISH_REASON_MODEL_LENGTH: FinishReason
FINISH_REASON_ERROR: FinishReason
FINISH_REASON_TOOL_CALLS: FinishReason
FINISH_REASON_UNLISTED: FinishReason

class PromptTokensDetails(_message.Message):
    __slots__ = ("json_extra", "cached_tokens")
    JSON_EXTRA_FIELD_NUMBER: _ClassVar[int]
    CACHED_TOKENS_FIELD_NUMBER: _ClassVar[int]
    json_extra: _json_extra_pb2.JsonExtra
    cached_tokens: int
    def __init__(self, json_extra: _Optional[_Union[_json_extra_pb2.JsonExtra, _Mapping]] = ..., cached_tokens: _Optional[int] = ...) -> None: ...

class UsageInfo(_message.Message):
    __slots__ = ("json_extra", "prompt_tokens", "completion_tokens", "total_tokens", "prompt_audio_seconds", "service_tier", "num_cached_tokens", "prompt_tokens_details", "prompt_token_details")
    JSON_EXTRA_FIELD_NUMBER: _ClassVar[int]
    PROMPT_TOKENS_FIELD_NUMBER: _ClassVar[int]
    COMPLETION_TOKENS_FIELD_NUMBER: _ClassVar[int]
    TOTAL_TOKENS_FIELD_NUMBER: _ClassVar[int]
    PROMPT_AUDIO_SECONDS_FIELD_NUMBER: _ClassVar[int]
    SERVICE_TIER_FIELD_NUMBER: _ClassVar[int]
    NUM_CACHED_TOKENS_FIELD_NUMBER: _ClassVar[int]
    PROMPT_TOKENS_DETAILS_FIELD_NUMBER: _ClassVar[int]
    PROMPT_TOKEN_DETAILS_FIELD_NUMBER: _ClassVar[int]
    json_extra: _json_extra_pb2.JsonExtra
    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    prompt_audio_seconds: int
    service_tier: str
    num_cached_tokens: int
    prompt_tokens_details: PromptTokensDetails
    prompt_token_details: PromptTokensDetails
    def __init__(self, json_extra: _Optional[_Union[_json_extra_pb2.JsonExtra, _Mapping]] = ..., prompt_tokens: _Optional[int] = ..., completion_tokens: _Optional[int] = ..., total_tokens: _Optional[int] = ..., prompt_audio_seconds: _Optional[int] = ..., service_tier: _Optional[str] = ..., num_cached_tokens: _Optional[int] = ..., prompt_tokens_details: _Optional[_Union[PromptTokensDetails, _Mapping]] = ..., prompt_token_details: _Optional[_Union[PromptTokensDetails, _Mapping]] = ...) -> None: ...

class ChatCompletionResponseTokenLogprobs(_message.Message):
    __slots__ = ("json_extra", "token", "logprob", "bytes", "token_id")
    JSON_EXTRA_FIELD_NUMBER: _ClassVar[int]
    TOKEN_FIELD_NUMBER: _ClassVar[int]
    LOGPROB_FIELD_NUMBER: _ClassVar[int]
    BYTES_FIELD_NUMBER: _ClassVar[int]
    TOKEN_ID_FIELD_NUMBER: _ClassVar[int]
    json_extra: _json_extra_pb2.JsonExtra
    token: str
    logprob: float
    bytes: _containers.RepeatedScalarFieldContainer[int]
    token_id: int
    def __init__(self, json_extra: _Optional[_Union[_json_extra_pb2.JsonExtra, _Mapping]] = ..., token: _Optional[str] = ..., logprob: _Optional[float] = ..., bytes: _Optional[_Iterable[int]] = ..., token_id: _Optional[int] = ...) -> None: ...

class ChatCompletionResponseTokenLogprobsTopK(_message.Message):
    __slots__ = ("json_extra", "token", "logprob", "bytes", "token_id", "top_logprobs")
    JSON_EXTRA_FIELD_NUMBER: _ClassVar[int]
    TOKEN_FIELD_NUMBER: _ClassVar[int]
    LOGPROB_FIELD_NUMBER: _ClassVar[int]
    BYTES_FIELD_NUMBER: _ClassVar[int]
    TOKEN_ID_FIELD_NUMBER: _ClassVar[int]
    TOP_LOGPROBS_FIELD_NUMBER: _ClassVar[int]
    json_extra: _json_extra_pb2.JsonExtra
    token: str
    logprob: float
    bytes: _containers.RepeatedScalarFieldContainer[int]
    token_id: int
    top_logprobs: _containers.RepeatedCompositeFieldContainer[ChatCompletionResponseTokenLogprobs]
    def __init__(self, json_extra: _Optional[_Union[_json_extra_pb2.JsonExtra, _Mapping]] = ..., token: _Optional[str] = ..., logprob: _Optional[float] = ..., bytes: _Optional[_Iterable[int]] = ..., token_id: _Optional[int] = ..., top_logprobs: _Optional[_Iterable[_Union[ChatCompletionResponseTokenLogprobs, _Mapping]]] = ...) -> None: ...

class ChatCompletionResponseChoiceLogprobs(_message.Message):
    __slots__ = ("json_extra", "content")
    JSON_EXTRA_FIELD_NUMBER: _ClassVar[int]
    CONTENT_FIELD_NUMBER: _ClassVar[int]
    json_extra: _json_extra_pb2.JsonExtra
    content: _containers.RepeatedCompositeFieldContainer[ChatCompletionResponseTokenLogprobsTopK]
    def __init__(self, json_extra: _Optional[_Union[_json_extra_pb2.JsonExtra, _Mapping]] = ..., content: _Optional[_Iterable[_Union[ChatCompletionResponseTokenLogprobsTopK, _Mapping]]] = ...) -> None: ...

class ChatCompletionChoice(_message.Message):
    __slots__ = ("json_extra", "index", "finish_reason", "message", "messages", "logprobs", "prompt_logprobs")
    JSON_EXTRA_FIELD_NUMBER: _ClassVar[int]
    INDEX_FIELD_NUMBER: _ClassVar[int]
    FINISH_REASON_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    MESSAGES_FIELD_NUMBER: _ClassVar[int]
    LOGPROBS_FIELD_NUMBER: _ClassVar[int]
    PROMPT_LOGPROBS_FIELD_NUMBER: _ClassVar[int]
    json_extra: _json_extra_pb2.JsonExtra
    index: int
    finish_reason: FinishReason
    message: _messages_pb2.AssistantMessage
    messages: _containers.RepeatedCompositeFieldContainer[_messages_pb2.DeltaMessage]
    logprobs: ChatCompletionResponseChoiceLogprobs
    prompt_logprobs: ChatCompletionResponseChoiceLogprobs
    def __init__(self, json_extra: _Optional[_Union[_json_extra_pb2.JsonExtra, _Mapping]] = ..., index: _Optional[int] = ..., finish_reason: _Optional[_Union[FinishReason, str]] = ..., message: _Optional[_Union[_messages_pb2.AssistantMessage, _Mapping]] = ..., messages: _Optional[_Iterable[_Union[_messages_pb2.DeltaMessage, _Mapping]]] = ..., logprobs: _Optional[_Union[ChatCompletionResponseChoiceLogprobs, _Mapping]] = ..., prompt_logprobs: _Optional[_Union[ChatCompletionResponseChoiceLogprobs, _Mapping]] = ...) -> None: ...

class CompletionResponseStreamChoice(_message.Message):
    __slots__ = ("json_extra", "index", "delta", "finish_reason", "logprobs", "prompt_logprobs")
    JSON_EXTRA_FIELD_NUMBER: _ClassVar[int]
    INDEX_FIELD_NUMBER: _ClassVar[int]
    DELTA_FIELD_NUMBER: _ClassVar[int]
    FINISH_REASON_FIELD_NUMBER: _ClassVar[int]
    LOGPROBS_FIELD_NUMBER: _ClassVar[int]
    PROMPT_LOGPROBS_FIELD_NUMBER: _ClassVar[int]
    json_extra: _json_extra_pb2.JsonExtra
    index: int
    delta: _messages_pb2.DeltaMessage
    finish_reason: FinishReason
    logprobs: ChatCompletionResponseChoiceLogprobs
    prompt_logprobs: ChatCompletionResponseChoiceLogprobs
    def __init__(self, json_extra: _Optional[_Union[_json_extra_pb2.JsonExtra, _Mapping]] = ..., index: _Optional[int] = ..., delta: _Optional[_Union[_messages_pb2.DeltaMessage, _Mapping]] = ..., finish_reason: _Optional[_Union[FinishReason, str]] = ..., logprobs: _Optional[_Union[ChatCompletionResponseChoiceLogprobs, _Mapping]] = ..., prompt_logprobs: _Optional[_Union[ChatCompletionResponseChoiceLogprobs, _Mapping]] = ...) -> None: ...

class CompletionChunk(_message.Message):
    __slots__ = ("json_extra", "id", "model", "choices", "object", "created", "usage")
    JSON_EXTRA_FIELD_NUMBER: _ClassVar[int]
    ID_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    CHOICES_FIELD_NUMBER: _ClassVar[int]
    OBJECT_FIELD_NUMBER: _ClassVar[int]
    CREATED_FIELD_NUMBER: _ClassVar[int]
    USAGE_FIELD_NUMBER: _ClassVar[int]
    json_extra: _json_extra_pb2.JsonExtra
    id: str
    model: str
    choices: _containers.RepeatedCompositeFieldContainer[CompletionResponseStreamChoice]
    object: str
    created: int
    usage: UsageInfo
    def __init__(self, json_extra: _Optional[_Union[_json_extra_pb2.JsonExtra, _Mapping]] = ..., id: _Optional[str] = ..., model: _Optional[str] = ..., choices: _Optional[_Iterable[_Union[CompletionResponseStreamChoice, _Mapping]]] = ..., object: _Optional[str] = ..., created: _Optional[int] = ..., usage: _Optional[_Union[UsageInfo, _Mapping]] = ...) -> None: ...

class CompletionEvent(_message.Message):
    __slots__ = ("json_extra", "data")
    JSON_EXTRA_FIELD_NUMBER: _ClassVar[int]
    DATA_FIELD_NUMBER: _ClassVar[int]
    json_extra: _json_extra_pb2.JsonExtra
    data: CompletionChunk
    def __init__(self, json_extra: _Optional[_Union[_json_extra_pb2.JsonExtra, _Mapping]] = ..., data: _Optional[_Union[CompletionChunk, _Mapping]] = ...) -> None: ...
