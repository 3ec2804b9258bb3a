from mistralwire.v1 import chat_completion_pb2 as _chat_completion_pb2
from mistralwire.v1 import guardrails_pb2 as _guardrails_pb2
from mistralwire.v1 import json_extra_pb2 as _json_extra_pb2
from mistralwire.v1 import json_options_pb2 as _json_options_pb2
from mistralwire.v1 import messages_pb2 as _messages_pb2
from mistralwire.v1 import tools_pb2 as _tools_pb2
from mistralwire.v1 import values_pb2 as _values_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class AgentsCompletionRequest(_message.Message):
    __slots__ = ("json_extra", "agent_id", "messages", "max_tokens", "stream", "stop_string", "stop_array", "random_seed", "metadata", "response_format", "tools", "tool_choice_object", "tool_choice_string", "presence_penalty", "frequency_penalty", "min_tokens", "repetition_penalty", "top_k", "logprobs", "top_logprobs", "prompt_logprobs", "top_prompt_logprobs", "n", "prediction", "parallel_tool_calls", "reasoning_effort", "prompt_mode", "guardrails", "prompt_cache_key", "service_tier")
    JSON_EXTRA_FIELD_NUMBER: _ClassVar[int]
    AGENT_ID_FIELD_NUMBER: _ClassVar[int]
    MESSAGES_FIELD_NUMBER: _ClassVar[int]
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
    json_extra: _json_extra_pb2.JsonExtra
    agent_id: str
    messages: _containers.RepeatedCompositeFieldContainer[_messages_pb2.ChatMessage]
    max_tokens: int
    stream: bool
    stop_string: str
    stop_array: _values_pb2.StringList
    random_seed: int
    metadata: str
    response_format: _chat_completion_pb2.ResponseFormat
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
    prediction: _chat_completion_pb2.Prediction
    parallel_tool_calls: bool
    reasoning_effort: _chat_completion_pb2.ReasoningEffort
    prompt_mode: str
    guardrails: _containers.RepeatedCompositeFieldContainer[_guardrails_pb2.GuardrailConfig]
    prompt_cache_key: str
    service_tier: _chat_completion_pb2.ServiceTier
    def __init__(self, json_extra: _Optional[_Union[_json_extra_pb2.JsonExtra, _Mapping]] = ..., agent_id: _Optional[str] = ..., messages: _Optional[_Iterable[_Union[_messages_pb2.ChatMessage, _Mapping]]] = ..., max_tokens: _Optional[int] = ..., stream: bool = ..., stop_string: _Optional[str] = ..., stop_array: _Optional[_Union[_values_pb2.StringList, _Mapping]] = ..., random_seed: _Optional[int] = ..., metadata: _Optional[str] = ..., response_format: _Optional[_Union[_chat_completion_pb2.ResponseFormat, _Mapping]] = ..., tools: _Optional[_Iterable[_Union[_tools_pb2.ChatTool, _Mapping]]] = ..., tool_choice_object: _Optional[_Union[_tools_pb2.ToolChoice, _Mapping]] = ..., tool_choice_string: _Optional[_Union[_tools_pb2.ToolChoiceMode, str]] = ..., presence_penalty: _Optional[float] = ..., frequency_penalty: _Optional[float] = ..., min_tokens: _Optional[int] = ..., repetition_penalty: _Optional[float] = ..., top_k: _Optional[int] = ..., logprobs: bool = ..., top_logprobs: _Optional[int] = ..., prompt_logprobs: bool = ..., top_prompt_logprobs: _Optional[int] = ..., n: _Optional[int] = ..., prediction: _Optional[_Union[_chat_completion_pb2.Prediction, _Mapping]] = ..., parallel_tool_calls: bool = ..., reasoning_effort: _Optional[_Union[_chat_completion_pb2.ReasoningEffort, str]] = ..., prompt_mode: _Optional[str] = ..., guardrails: _Optional[_Iterable[_Union[_guardrails_pb2.GuardrailConfig, _Mapping]]] = ..., prompt_cache_key: _Optional[str] = ..., service_tier: _Optional[_Union[_chat_completion_pb2.ServiceTier, str]] = ...) -> None: ...

class AgentsCompletionStreamRequest(_message.Message):
    __slots__ = ("json_extra", "agent_id", "messages", "max_tokens", "stream", "stop_string", "stop_array", "random_seed", "metadata", "response_format", "tools", "tool_choice_object", "tool_choice_string", "presence_penalty", "frequency_penalty", "min_tokens", "repetition_penalty", "top_k", "logprobs", "top_logprobs", "prompt_logprobs", "top_prompt_logprobs", "n", "prediction", "parallel_tool_calls", "reasoning_effort", "prompt_mode", "guardrails", "prompt_cache_key", "service_tier")
    JSON_EXTRA_FIELD_NUMBER: _ClassVar[int]
    AGENT_ID_FIELD_NUMBER: _ClassVar[int]
    MESSAGES_FIELD_NUMBER: _ClassVar[int]
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
    json_extra: _json_extra_pb2.JsonExtra
    agent_id: str
    messages: _containers.RepeatedCompositeFieldContainer[_messages_pb2.ChatMessage]
    max_tokens: int
    stream: bool
    stop_string: str
    stop_array: _values_pb2.StringList
    random_seed: int
    metadata: str
    response_format: _chat_completion_pb2.ResponseFormat
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
    prediction: _chat_completion_pb2.Prediction
    parallel_tool_calls: bool
    reasoning_effort: _chat_completion_pb2.ReasoningEffort
    prompt_mode: str
    guardrails: _containers.RepeatedCompositeFieldContainer[_guardrails_pb2.GuardrailConfig]
    prompt_cache_key: str
    service_tier: _chat_completion_pb2.ServiceTier
    def __init__(self, json_extra: _Optional[_Union[_json_extra_pb2.JsonExtra, _Mapping]] = ..., agent_id: _Optional[str] = ..., messages: _Optional[_Iterable[_Union[_messages_pb2.ChatMessage, _Mapping]]] = ..., max_tokens: _Optional[int] = ..., stream: bool = ..., stop_string: _Optional[str] = ..., stop_array: _Optional[_Union[_values_pb2.StringList, _Mapping]] = ..., random_seed: _Optional[int] = ..., metadata: _Optional[str] = ..., response_format: _Optional[_Union[_chat_completion_pb2.ResponseFormat, _Mapping]] = ..., tools: _Optional[_Iterable[_Union[_tools_pb2.ChatTool, _Mapping]]] = ..., tool_choice_object: _Optional[_Union[_tools_pb2.ToolChoice, _Mapping]] = ..., tool_choice_string: _Optional[_Union[_tools_pb2.ToolChoiceMode, str]] = ..., presence_penalty: _Optional[float] = ..., frequency_penalty: _Optional[float] = ..., min_tokens: _Optional[int] = ..., repetition_penalty: _Optional[float] = ..., top_k: _Optional[int] = ..., logprobs: bool = ..., top_logprobs: _Optional[int] = ..., prompt_logprobs: bool = ..., top_prompt_logprobs: _Optional[int] = ..., n: _Optional[int] = ..., prediction: _Optional[_Union[_chat_completion_pb2.Prediction, _Mapping]] = ..., parallel_tool_calls: bool = ..., reasoning_effort: _Optional[_Union[_chat_completion_pb2.ReasoningEffort, str]] = ..., prompt_mode: _Optional[str] = ..., guardrails: _Optional[_Iterable[_Union[_guardrails_pb2.GuardrailConfig, _Mapping]]] = ..., prompt_cache_key: _Optional[str] = ..., service_tier: _Optional[_Union[_chat_completion_pb2.ServiceTier, str]] = ...) -> None: ...
