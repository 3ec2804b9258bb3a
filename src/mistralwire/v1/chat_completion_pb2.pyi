from mistralwire.v1 import completion_pb2 as _completion_pb2
from mistralwire.v1 import guardrails_pb2 as _guardrails_pb2
from mistralwire.v1 import json_extra_pb2 as _json_extra_pb2
from mistralwire.v1 import json_options_pb2 as _json_options_pb2
from mistralwire.v1 import messages_pb2 as _messages_pb2
from mistralwire.v1 import tools_pb2 as _tools_pb2
from mistralwire.v1 import values_pb2 as _values_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class ReasoningEffort(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    REASONING_EFFORT_UNSPECIFIED: _ClassVar[ReasoningEffort]
    REASONING_EFFORT_NONE: _ClassVar[ReasoningEffort]
    REASONING_EFFORT_MINIMAL: _ClassVar[ReasoningEffort]
    REASONING_EFFORT_LOW: _ClassVar[ReasoningEffort]
    REASONING_EFFORT_MEDIUM: _ClassVar[ReasoningEffort]
    REASONING_EFFORT_HIGH: _ClassVar[ReasoningEffort]
    REASONING_EFFORT_XHIGH: _ClassVar[ReasoningEffort]
    REASONING_EFFORT_MAX: _ClassVar[ReasoningEffort]
    REASONING_EFFORT_UNLISTED: _ClassVar[ReasoningEffort]

class ServiceTier(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    SERVICE_TIER_UNSPECIFIED: _ClassVar[ServiceTier]
    SERVICE_TIER_AUTO: _ClassVar[ServiceTier]
    SERVICE_TIER_STANDARD_ONLY: _ClassVar[ServiceTier]
    SERVICE_TIER_UNLISTED: _ClassVar[ServiceTier]

class ResponseFormatType(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    RESPONSE_FORMAT_TYPE_UNSPECIFIED: _ClassVar[ResponseFormatType]
    RESPONSE_FORMAT_TYPE_TEXT: _ClassVar[ResponseFormatType]
    RESPONSE_FORMAT_TYPE_JSON_OBJECT: _ClassVar[ResponseFormatType]
    RESPONSE_FORMAT_TYPE_JSON_SCHEMA: _ClassVar[ResponseFormatType]
    RESPONSE_FORMAT_TYPE_UNLISTED: _ClassVar[ResponseFormatType]
REASONING_EFFORT_UNSPECIFIED: ReasoningEffort
REASONING_EFFORT_NONE: ReasoningEffort
REASONING_EFFORT_MINIMAL: ReasoningEffort
REASONING_EFFORT_LOW: ReasoningEffort
REASONING_EFFORT_MEDIUM: ReasoningEffort
REASONING_EFFORT_HIGH: ReasoningEffort
REASONING_EFFORT_XHIGH: ReasoningEffort
REASONING_EFFORT_MAX: ReasoningEffort
REASONING_EFFORT_UNLISTED: ReasoningEffort
SERVICE_TIER_UNSPECIFIED: ServiceTier
SERVICE_TIER_AUTO: ServiceTier
SERVICE_TIER_STANDARD_ONLY: ServiceTier
SERVICE_TIER_UNLISTED: ServiceTier
RESPONSE_FORMAT_TYPE_UNSPECIFIED: ResponseFormatType
RESPONSE_FORMAT_TYPE_TEXT: ResponseFormatType
RESPONSE_FORMAT_TYPE_JSON_OBJECT: ResponseFormatType
RESPONSE_FORMAT_TYPE_JSON_SCHEMA: ResponseFormatType
RESPONSE_FORMAT_TYPE_UNLISTED: ResponseFormatType

class JSONSchema(_message.Message):
    __slots__ = ("json_extra", "name", "schema", "description", "strict")
    JSON_EXTRA_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    SCHEMA_FIELD_NUMBER: _ClassVar[int]
    DESCRIPTION_FIELD_NUMBER: _ClassVar[int]
    STRICT_FIELD_NUMBER: _ClassVar[int]
    json_extra: _json_extra_pb2.JsonExtra
    name: str
    schema: str
    description: str
    strict: bool
    def __init__(self, json_extra: _Optional[_Union[_json_extra_pb2.JsonExtra, _Mapping]] = ..., name: _Optional[str] = ..., schema: _Optional[str] = ..., description: _Optional[str] = ..., strict: bool = ...) -> None: ...

class ResponseFormat(_message.Message):
    __slots__ = ("json_extra", "type", "json_schema")
    JSON_EXTRA_FIELD_NUMBER: _ClassVar[int]
    TYPE_FIELD_NUMBER: _ClassVar[int]
    JSON_SCHEMA_FIELD_NUMBER: _ClassVar[int]
    json_extra: _json_extra_pb2.JsonExtra
    type: ResponseFormatType
    json_schema: JSONSchema
    def __init__(self, json_extra: _Optional[_Union[_json_extra_pb2.JsonExtra, _Mapping]] = ..., type: _Optional[_Union[ResponseFormatType, str]] = ..., json_schema: _Optional[_Union[JSONSchema, _Mapping]] = ...) -> None: ...

class Prediction(_message.Message):
    __slots__ = ("json_extra", "type", "content")
    JSON_EXTRA_FIELD_NUMBER: _ClassVar[int]
    TYPE_FIELD_NUMBER: _ClassVar[int]
    CONTENT_FIELD_NUMBER: _ClassVar[int]
    json_extra: _json_extra_pb2.JsonExtra
    type: str
    content: str
    def __init__(self, json_extra: _Optional[_Union[_json_extra_pb2.JsonExtra, _Mapping]] = ..., type: _Optional[str] = ..., content: _Optional[str] = ...) -> None: ...

class ChatCompletionRequest(_message.Message):
    __slots__ = ("json_extra", "model", "messages", "temperature", "top_p", "max_tokens", "stream", "stop_string", "stop_array", "random_seed", "metadata", "response_format", "tools", "tool_choice_object", "tool_choice_string", "presence_penalty", "frequency_penalty", "min_tokens", "repetition_penalty", "top_k", "logprobs", "top_logprobs", "prompt_logprobs", "top_prompt_logprobs", "n", "prediction", "parallel_tool_calls", "reasoning_effort", "prompt_mode", "guardrails", "prompt_cache_key", "service_tier", "safe_prompt")
    JSON_EXTRA_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    MESSAGES_FIELD_NUMBER: _ClassVar[int]
    TEMPERATURE_FIELD_NUMBER: _ClassVar[int]
    TOP_P_FIELD_NUMBER: _ClassVar[int]
    MAX_TOKENS_FIELD_NUMBER: _ClassVar[int]
    STREAM_FIELD_NUMBER: _ClassVar[int]
    STOP_STRING_FIELD_NUMBER: _ClassVar[int]
    STOP_ARRAY_FIELD_NUMBER: _ClassVar[int]
    RANDOM_SEED_FIELD_NUMBER: _ClassVar[int]
    METADATA_FIELD_NUMBER: _ClassVar[int]
    RESPONSE_FORMAT_FIELD_NUMBER: _ClassVar[int]
    TOOLS_FIELD_NUMBER: _ClassVar[int]
    TOOL_CHOICE_OBJECT_FIELD_NUMBER: _ClassVar[int]
    TOOL_CHOICE_STRING_FIELD_NUMBER: _ClassVar[int]
    PRESENCE_PENALTY_FIELD_NUMBER: _ClassVar[int]
    FREQUENCY_PENALTY_FIELD_NUMBER: _ClassVar[int]
    MIN_TOKENS_FIELD_NUMBER: _ClassVar[int]
    REPETITION_PENALTY_FIELD_NUMBER: _ClassVar[int]
    TOP_K_FIELD_NUMBER: _ClassVar[int]
    LOGPROBS_FIELD_NUMBER: _ClassVar[int]
    TOP_LOGPROBS_FIELD_NUMBER: _ClassVar[int]
    PROMPT_LOGPROBS_FIELD_NUMBER: _ClassVar[int]
    TOP_PROMPT_LOGPROBS_FIELD_NUMBER: _ClassVar[int]
    N_FIELD_NUMBER: _ClassVar[int]
    PREDICTION_FIELD_NUMBER: _ClassVar[int]
    PARALLEL_TOOL_CALLS_FIELD_NUMBER: _ClassVar[int]
    REASONING_EFFORT_FIELD_NUMBER: _ClassVar[int]
    PROMPT_MODE_FIELD_NUMBER: _ClassVar[int]
    GUARDRAILS_FIELD_NUMBER: _ClassVar[int]
    PROMPT_CACHE_KEY_FIELD_NUMBER: _ClassVar[int]
    SERVICE_TIER_FIELD_NUMBER: _ClassVar[int]
    SAFE_PROMPT_FIELD_NUMBER: _ClassVar[int]
    json_extra: _json_extra_pb2.JsonExtra
    model: str
    messages: _containers.RepeatedCompositeFieldContainer[_messages_pb2.ChatMessage]
    temperature: float
    top_p: float
    max_tokens: int
    stream: bool
    stop_string: str
    stop_array: _values_pb2.StringList
    random_seed: int
    metadata: str
    response_format: ResponseFormat
    tools: _containers.RepeatedCompositeFieldContainer[_tools_pb2.ChatTool]
    tool_choice_object: _tools_pb2.ToolChoice
    tool_choice_string: _tools_pb2.ToolChoiceMode
    presence_penalty: float
    frequency_penalty: float
    min_tokens: int
    repetition_penalty: float
    top_k: int
    logprobs: bool
    top_logprobs: int
    prompt_logprobs: bool
    top_prompt_logprobs: int
    n: int
    prediction: Prediction
    parallel_tool_calls: bool
    reasoning_effort: ReasoningEffort
    prompt_mode: str
    guardrails: _containers.RepeatedCompositeFieldContainer[_guardrails_pb2.GuardrailConfig]
    prompt_cache_key: str
    service_tier: ServiceTier
    safe_prompt: bool
    def __init__(self, json_extra: _Optional[_Union[_json_extra_pb2.JsonExtra, _Mapping]] = ..., model: _Optional[str] = ..., messages: _Optional[_Iterable[_Union[_messages_pb2.ChatMessage, _Mapping]]] = ..., temperature: _Optional[float] = ..., top_p: _Optional[float] = ..., max_tokens: _Optional[int] = ..., stream: bool = ..., stop_string: _Optional[str] = ..., stop_array: _Optional[_Union[_values_pb2.StringList, _Mapping]] = ..., random_seed: _Optional[int] = ..., metadata: _Optional[str] = ..., response_format: _Optional[_Union[ResponseFormat, _Mapping]] = ..., tools: _Optional[_Iterable[_Union[_tools_pb2.ChatTool, _Mapping]]] = ..., tool_choice_object: _Optional[_Union[_tools_pb2.ToolChoice, _Mapping]] = ..., tool_choice_string: _Optional[_Union[_tools_pb2.ToolChoiceMode, str]] = ..., presence_penalty: _Optional[float] = ..., frequency_penalty: _Optional[float] = ..., min_tokens: _Optional[int] = ..., repetition_penalty: _Optional[float] = ..., top_k: _Optional[int] = ..., logprobs: bool = ..., top_logprobs: _Optional[int] = ..., prompt_logprobs: bool = ..., top_prompt_logprobs: _Optional[int] = ..., n: _Optional[int] = ..., prediction: _Optional[_Union[Prediction, _Mapping]] = ..., parallel_tool_calls: bool = ..., reasoning_effort: _Optional[_Union[ReasoningEffort, str]] = ..., prompt_mode: _Optional[str] = ..., guardrails: _Optional[_Iterable[_Union[_guardrails_pb2.GuardrailConfig, _Mapping]]] = ..., prompt_cache_key: _Optional[str] = ..., service_tier: _Optional[_Union[ServiceTier, str]] = ..., safe_prompt: bool = ...) -> None: ...

class ChatCompletionStreamRequest(_message.Message):
    __slots__ = ("json_extra", "model", "messages", "temperature", "top_p", "max_tokens", "stream", "stop_string", "stop_array", "random_seed", "metadata", "response_format", "tools", "tool_choice_object", "tool_choice_string", "presence_penalty", "frequency_penalty", "min_tokens", "repetition_penalty", "top_k", "logprobs", "top_logprobs", "prompt_logprobs", "top_prompt_logprobs", "n", "prediction", "parallel_tool_calls", "reasoning_effort", "prompt_mode", "guardrails", "prompt_cache_key", "service_tier", "safe_prompt")
    JSON_EXTRA_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    MESSAGES_FIELD_NUMBER: _ClassVar[int]
    TEMPERATURE_FIELD_NUMBER: _ClassVar[int]
    TOP_P_FIELD_NUMBER: _ClassVar[int]
    MAX_TOKENS_FIELD_NUMBER: _ClassVar[int]
    STREAM_FIELD_NUMBER: _ClassVar[int]
    STOP_STRING_FIELD_NUMBER: _ClassVar[int]
    STOP_ARRAY_FIELD_NUMBER: _ClassVar[int]
    RANDOM_SEED_FIELD_NUMBER: _ClassVar[int]
    METADATA_FIELD_NUMBER: _ClassVar[int]
    RESPONSE_FORMAT_FIELD_NUMBER: _ClassVar[int]
    TOOLS_FIELD_NUMBER: _ClassVar[int]
    TOOL_CHOICE_OBJECT_FIELD_NUMBER: _ClassVar[int]
    TOOL_CHOICE_STRING_FIELD_NUMBER: _ClassVar[int]
    PRESENCE_PENALTY_FIELD_NUMBER: _ClassVar[int]
    FREQUENCY_PENALTY_FIELD_NUMBER: _ClassVar[int]
    MIN_TOKENS_FIELD_NUMBER: _ClassVar[int]
    REPETITION_PENALTY_FIELD_NUMBER: _ClassVar[int]
    TOP_K_FIELD_NUMBER: _ClassVar[int]
    LOGPROBS_FIELD_NUMBER: _ClassVar[int]
    TOP_LOGPROBS_FIELD_NUMBER: _ClassVar[int]
    PROMPT_LOGPROBS_FIELD_NUMBER: _ClassVar[int]
    TOP_PROMPT_LOGPROBS_FIELD_NUMBER: _ClassVar[int]
    N_FIELD_NUMBER: _ClassVar[int]
    PREDICTION_FIELD_NUMBER: _ClassVar[int]
    PARALLEL_TOOL_CALLS_FIELD_NUMBER: _ClassVar[int]
    REASONING_EFFORT_FIELD_NUMBER: _ClassVar[int]
    PROMPT_MODE_FIELD_NUMBER: _ClassVar[int]
    GUARDRAILS_FIELD_NUMBER: _ClassVar[int]
    PROMPT_CACHE_KEY_FIELD_NUMBER: _ClassVar[int]
    SERVICE_TIER_FIELD_NUMBER: _ClassVar[int]
    SAFE_PROMPT_FIELD_NUMBER: _ClassVar[int]
    json_extra: _json_extra_pb2.JsonExtra
    model: str
    messages: _containers.RepeatedCompositeFieldContainer[_messages_pb2.ChatMessage]
    temperature: float
    top_p: float
    max_tokens: int
    stream: bool
    stop_string: str
    stop_array: _values_pb2.StringList
    random_seed: int
    metadata: str
    response_format: ResponseFormat
    tools: _containers.RepeatedCompositeFieldContainer[_tools_pb2.ChatTool]
    tool_choice_object: _tools_pb2.ToolChoice
    tool_choice_string: _tools_pb2.ToolChoiceMode
    presence_penalty: float
    frequency_penalty: float
    min_tokens: int
    repetition_penalty: float
    top_k: int
    logprobs: bool
    top_logprobs: int
    prompt_logprobs: bool
    top_prompt_logprobs: int
    n: int
    prediction: Prediction
    parallel_tool_calls: bool
    reasoning_effort: ReasoningEffort
    prompt_mode: str
    guardrails: _containers.RepeatedCompositeFieldContainer[_guardrails_pb2.GuardrailConfig]
    prompt_cache_key: str
    service_tier: ServiceTier
    safe_prompt: bool
    def __init__(self, json_extra: _Optional[_Union[_json_extra_pb2.JsonExtra, _Mapping]] = ..., model: _Optional[str] = ..., messages: _Optional[_Iterable[_Union[_messages_pb2.ChatMessage, _Mapping]]] = ..., temperature: _Optional[float] = ..., top_p: _Optional[float] = ..., max_tokens: _Optional[int] = ..., stream: bool = ..., stop_string: _Optional[str] = ..., stop_array: _Optional[_Union[_values_pb2.StringList, _Mapping]] = ..., random_seed: _Optional[int] = ..., metadata: _Optional[str] = ..., response_format: _Optional[_Union[ResponseFormat, _Mapping]] = ..., tools: _Optional[_Iterable[_Union[_tools_pb2.ChatTool, _Mapping]]] = ..., tool_choice_object: _Optional[_Union[_tools_pb2.ToolChoice, _Mapping]] = ..., tool_choice_string: _Optional[_Union[_tools_pb2.ToolChoiceMode, str]] = ..., presence_penalty: _Optional[float] = ..., frequency_penalty: _Optional[float] = ..., min_tokens: _Optional[int] = ..., repetition_penalty: _Optional[float] = ..., top_k: _Optional[int] = ..., logprobs: bool = ..., top_logprobs: _Optional[int] = ..., prompt_logprobs: bool = ..., top_prompt_logprobs: _Optional[int] = ..., n: _Optional[int] = ..., prediction: _Optional[_Union[Prediction, _Mapping]] = ..., parallel_tool_calls: bool = ..., reasoning_effort: _Optional[_Union[ReasoningEffort, str]] = ..., prompt_mode: _Optional[str] = ..., guardrails: _Optional[_Iterable[_Union[_guardrails_pb2.GuardrailConfig, _Mapping]]] = ..., prompt_cache_key: _Optional[str] = ..., service_tier: _Optional[_Union[ServiceTier, str]] = ..., safe_prompt: bool = ...) -> None: ...

class ChatCompletionResponse(_message.Message):
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
