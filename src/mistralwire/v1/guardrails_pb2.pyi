from mistralwire.v1 import json_extra_pb2 as _json_extra_pb2
from mistralwire.v1 import json_options_pb2 as _json_options_pb2
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class GuardrailAction(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    GUARDRAIL_ACTION_UNSPECIFIED: _ClassVar[GuardrailAction]
    GUARDRAIL_ACTION_NONE: _ClassVar[GuardrailAction]
    GUARDRAIL_ACTION_BLOCK: _ClassVar[GuardrailAction]
    GUARDRAIL_ACTION_UNLISTED: _ClassVar[GuardrailAction]
GUARDRAIL_ACTION_UNSPECIFIED: GuardrailAction
GUARDRAIL_ACTION_NONE: GuardrailAction
GUARDRAIL_ACTION_BLOCK: GuardrailAction
GUARDRAIL_ACTION_UNLISTED: GuardrailAction

class ModerationLlmv1CategoryThresholds(_message.Message):
    __slots__ = ("json_extra", "sexual", "hate_and_discrimination", "violence_and_threats", "dangerous_and_criminal_content", "selfharm", "health", "financial", "law", "pii")
    JSON_EXTRA_FIELD_NUMBER: _ClassVar[int]
    SEXUAL_FIELD_NUMBER: _ClassVar[int]
    HATE_AND_DISCRIMINATION_FIELD_NUMBER: _ClassVar[int]
    VIOLENCE_AND_THREATS_FIELD_NUMBER: _ClassVar[int]
    DANGEROUS_AND_CRIMINAL_CONTENT_FIELD_NUMBER: _ClassVar[int]
    SELFHARM_FIELD_NUMBER: _ClassVar[int]
    HEALTH_FIELD_NUMBER: _ClassVar[int]
    FINANCIAL_FIELD_NUMBER: _ClassVar[int]
    LAW_FIELD_NUMBER: _ClassVar[int]
    PII_FIELD_NUMBER: _ClassVar[int]
    json_extra: _json_extra_pb2.JsonExtra
    sexual: float
    hate_and_discrimination: float
    violence_and_threats: float
    dangerous_and_criminal_content: float
    selfharm: float
    health: float
    financial: float
    law: float
    pii: float
    def __init__(self, json_extra: _Optional[_Union[_json_extra_pb2.JsonExtra, _Mapping]] = ..., sexual: _Optional[float] = ..., hate_and_discrimination: _Optional[float] = ..., violence_and_threats: _Optional[float] = ..., dangerous_and_criminal_content: _Optional[float] = ..., selfharm: _Optional[float] = ..., health: _Optional[float] = ..., financial: _Optional[float] = ..., law: _Optional[float] = ..., pii: _Optional[float] = ...) -> None: ...

class ModerationLlmv1Config(_message.Message):
    __slots__ = ("json_extra", "model_name", "custom_category_thresholds", "ignore_other_categories", "action")
    JSON_EXTRA_FIELD_NUMBER: _ClassVar[int]
    MODEL_NAME_FIELD_NUMBER: _ClassVar[int]
    CUSTOM_CATEGORY_THRESHOLDS_FIELD_NUMBER: _ClassVar[int]
    IGNORE_OTHER_CATEGORIES_FIELD_NUMBER: _ClassVar[int]
    ACTION_FIELD_NUMBER: _ClassVar[int]
    json_extra: _json_extra_pb2.JsonExtra
    model_name: str
    custom_category_thresholds: ModerationLlmv1CategoryThresholds
    ignore_other_categories: bool
    action: GuardrailAction
    def __init__(self, json_extra: _Optional[_Union[_json_extra_pb2.JsonExtra, _Mapping]] = ..., model_name: _Optional[str] = ..., custom_category_thresholds: _Optional[_Union[ModerationLlmv1CategoryThresholds, _Mapping]] = ..., ignore_other_categories: bool = ..., action: _Optional[_Union[GuardrailAction, str]] = ...) -> None: ...

class ModerationLlmv2CategoryThresholds(_message.Message):
    __slots__ = ("json_extra", "sexual", "hate_and_discrimination", "violence_and_threats", "dangerous", "criminal", "selfharm", "health", "financial", "law", "pii", "jailbreaking")
    JSON_EXTRA_FIELD_NUMBER: _ClassVar[int]
    SEXUAL_FIELD_NUMBER: _ClassVar[int]
    HATE_AND_DISCRIMINATION_FIELD_NUMBER: _ClassVar[int]
    VIOLENCE_AND_THREATS_FIELD_NUMBER: _ClassVar[int]
    DANGEROUS_FIELD_NUMBER: _ClassVar[int]
    CRIMINAL_FIELD_NUMBER: _ClassVar[int]
    SELFHARM_FIELD_NUMBER: _ClassVar[int]
    HEALTH_FIELD_NUMBER: _ClassVar[int]
    FINANCIAL_FIELD_NUMBER: _ClassVar[int]
    LAW_FIELD_NUMBER: _ClassVar[int]
    PII_FIELD_NUMBER: _ClassVar[int]
    JAILBREAKING_FIELD_NUMBER: _ClassVar[int]
    json_extra: _json_extra_pb2.JsonExtra
    sexual: float
    hate_and_discrimination: float
    violence_and_threats: float
    dangerous: float
    criminal: float
    selfharm: float
    health: float
    financial: float
    law: float
    pii: float
    jailbreaking: float
    def __init__(self, json_extra: _Optional[_Union[_json_extra_pb2.JsonExtra, _Mapping]] = ..., sexual: _Optional[float] = ..., hate_and_discrimination: _Optional[float] = ..., violence_and_threats: _Optional[float] = ..., dangerous: _Optional[float] = ..., criminal: _Optional[float] = ..., selfharm: _Optional[float] = ..., health: _Optional[float] = ..., financial: _Optional[float] = ..., law: _Optional[float] = ..., pii: _Optional[float] = ..., jailbreaking: _Optional[float] = ...) -> None: ...

class ModerationLlmv2Config(_message.Message):
    __slots__ = ("json_extra", "model_name", "custom_category_thresholds", "ignore_other_categories", "action")
    JSON_EXTRA_FIELD_NUMBER: _ClassVar[int]
    MODEL_NAME_FIELD_NUMBER: _ClassVar[int]
    CUSTOM_CATEGORY_THRESHOLDS_FIELD_NUMBER: _ClassVar[int]
    IGNORE_OTHER_CATEGORIES_FIELD_NUMBER: _ClassVar[int]
    ACTION_FIELD_NUMBER: _ClassVar[int]
    json_extra: _json_extra_pb2.JsonExtra
    model_name: str
    custom_category_thresholds: ModerationLlmv2CategoryThresholds
    ignore_other_categories: bool
    action: GuardrailAction
    def __init__(self, json_extra: _Optional[_Union[_json_extra_pb2.JsonExtra, _Mapping]] = ..., model_name: _Optional[str] = ..., custom_category_thresholds: _Optional[_Union[ModerationLlmv2CategoryThresholds, _Mapping]] = ..., ignore_other_categories: bool = ..., action: _Optional[_Union[GuardrailAction, str]] = ...) -> None: ...

class GuardrailConfig(_message.Message):
    __slots__ = ("json_extra", "block_on_error", "moderation_llm_v1", "moderation_llm_v2")
    JSON_EXTRA_FIELD_NUMBER: _ClassVar[int]
    BLOCK_ON_ERROR_FIELD_NUMBER: _ClassVar[int]
    MODERATION_LLM_V1_FIELD_NUMBER: _ClassVar[int]
    MODERATION_LLM_V2_FIELD_NUMBER: _ClassVar[int]
    json_extra: _json_extra_pb2.JsonExtra
    block_on_error: bool
    moderation_llm_v1: ModerationLlmv1Config
    moderation_llm_v2: ModerationLlmv2Config
    def __init__(self, json_extra: _Optional[_Union[_json_extra_pb2.JsonExtra, _Mapping]] = ..., block_on_error: bool = ..., moderation_llm_v1: _Optional[_Union[ModerationLlmv1Config, _Mapping]] = ..., moderation_llm_v2: _Optional[_Union[ModerationLlmv2Config, _Mapping]] = ...) -> None: ...
