"""Names, buckets and values of telemetry, by the semantic conventions; and which names metrics admit.

The version is 1.41, the last one that had rpc and GenAI both. The rpc conventions have become stable since,
unchanged; the GenAI ones moved out, and have not been released since.

Source: https://github.com/open-telemetry/semantic-conventions/tree/v1.41.0/docs
"""

import re
from collections.abc import Callable, Iterable
from typing import Any
from urllib.parse import unquote

from mistralwire.errors import name_in
from mistralwire.service._observers._observer import OTHER
from mistralwire.v1 import (
    AgentsCompletionRequest,
    AgentsCompletionStreamRequest,
    FinishReason,
    ResponseFormatType,
    UsageInfo,
)

SCHEMA_URL = "https://opentelemetry.io/schemas/1.41.0"

ERROR_TYPE = "error.type"
ERROR_REASON = "mistralwire.error.reason"
EVENT = "mistralwire.event"
FIELD = "mistralwire.field"
FINISH_REASON = "mistralwire.finish_reason"
MESSAGE = "mistralwire.message"
METHOD = "rpc.method"
OPERATION = "gen_ai.operation.name"
PROVIDER = "gen_ai.provider.name"
REQUEST_MODEL = "gen_ai.request.model"
AGENT_ID = "gen_ai.agent.id"
RESPONSE_MODEL = "gen_ai.response.model"
STORED_RESPONSE_ID = "mistralwire.response.id"
STATUS_CODE = "rpc.response.status_code"
SYSTEM = "rpc.system.name"
TIME_TO_FIRST_CHUNK = "gen_ai.response.time_to_first_chunk"
TOKEN_TYPE = "gen_ai.token.type"  # noqa: S105 - no secret, but the kind of a token

MIXED = "mixed"
"""Stands for the finish reasons of several choices that differ."""

RPC_BUCKETS_S = (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10)
MODEL_BUCKETS_S = (0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92)
LOG_BUCKETS_S = tuple(0.0005 * 2**power for power in range(14))
TOKEN_BUCKETS = tuple(4**power for power in range(14))

# Codes that are errors of a server span; the others are the caller's.
# Source: https://opentelemetry.io/docs/specs/semconv/rpc/grpc/
SERVER_FAULTS = frozenset(
    {"UNKNOWN", "DEADLINE_EXCEEDED", "UNIMPLEMENTED", "INTERNAL", "UNAVAILABLE", "DATA_LOSS"}
)
# By the part of the method's name before `Completion`.
_OPERATIONS = {"Chat": "chat", "FIM": "text_completion", "Agents": "invoke_agent"}
_GRPC_PEER = re.compile(r"(ipv4|ipv6):(.+):(\d{1,5})")

# Attributes of the fields of a request. Stop strings are left out on purpose: they are the caller's text.
_REQUEST_FIELDS: dict[str, tuple[str, Callable[[Any], Any]]] = {
    "frequency_penalty": ("gen_ai.request.frequency_penalty", float),
    "max_tokens": ("gen_ai.request.max_tokens", int),
    "presence_penalty": ("gen_ai.request.presence_penalty", float),
    "random_seed": ("gen_ai.request.seed", int),
    "temperature": ("gen_ai.request.temperature", float),
    "top_k": ("gen_ai.request.top_k", float),
    "top_p": ("gen_ai.request.top_p", float),
}
_OUTPUT_TYPES = {
    ResponseFormatType.RESPONSE_FORMAT_TYPE_TEXT: "text",
    ResponseFormatType.RESPONSE_FORMAT_TYPE_JSON_OBJECT: "json",
    ResponseFormatType.RESPONSE_FORMAT_TYPE_JSON_SCHEMA: "json",
}
_KNOWN_FINISH_REASONS = frozenset(
    value.name.removeprefix("FINISH_REASON_").lower()
    for value in FinishReason.DESCRIPTOR.values
    if value.number not in (FinishReason.FINISH_REASON_UNSPECIFIED, FinishReason.FINISH_REASON_UNLISTED)
)


class KnownNames:
    """The names that may become attributes of metrics, which keep them as long as the process lives.

    Callers choose the names of models, and may choose a new one in every call, so their number is bounded.
    """

    def __init__(self, names_max: int) -> None:
        self._names_max = names_max
        self._names: set[str] = set()

    def admit(self, name: str) -> str:
        """Admit a name, if there is room for it; return it, or `_OTHER`."""
        if name not in self._names and len(self._names) < self._names_max and name != OTHER:
            self._names.add(name)
        return self.known(name)

    def known(self, name: str) -> str:
        """Return a name that was admitted before, or else `_OTHER`."""
        return name if name in self._names else OTHER


def name_of(value: str) -> str:
    """Return the name of a model or an agent if it looks like one, or else `_OTHER`: it may be any text."""
    return name_in(value) or OTHER


def target_of(request: Any) -> tuple[str, str]:
    """Return the attribute for the model or the agent of a request, and its value."""
    if isinstance(request, AgentsCompletionRequest | AgentsCompletionStreamRequest):
        return AGENT_ID, name_of(request.agent_id)
    return REQUEST_MODEL, name_of(request.model)


def peer_attributes(peer: str) -> dict[str, Any]:
    """Return the attributes of the caller's address, from gRPC's format of it."""
    if peer.startswith("unix:"):
        return {"network.transport": "unix"}
    match = _GRPC_PEER.fullmatch(peer)
    if match is None:
        return {}
    return {
        "network.transport": "tcp",
        "network.type": match[1],
        "network.peer.address": unquote(match[2]).strip("[]"),
        "network.peer.port": int(match[3]),
    }


def request_attributes(request: Any, method: str) -> dict[str, Any]:
    """Return the attributes of a request: its parameters, but no texts."""
    attributes: dict[str, Any] = {
        OPERATION: _OPERATIONS[method.partition("Completion")[0]],
        PROVIDER: "mistral_ai",
    }
    target, name = target_of(request)
    attributes[target] = name
    if method.endswith("Stream"):
        attributes["gen_ai.request.stream"] = True
    for field, value in request.ListFields():
        if field.name in _REQUEST_FIELDS:
            attribute, convert = _REQUEST_FIELDS[field.name]
            attributes[attribute] = convert(value)
        elif field.name == "n" and value != 1:
            attributes["gen_ai.request.choice.count"] = value
        elif field.name == "response_format" and value.type in _OUTPUT_TYPES:
            attributes["gen_ai.output.type"] = _OUTPUT_TYPES[value.type]
    return attributes


def answer_attributes(
    answers: Iterable[Any], usage: UsageInfo | None, finish_reasons: dict[int, str]
) -> dict[str, Any]:
    """Return the attributes of a response, or of the first chunk and the last one, which takes precedence."""
    attributes: dict[str, Any] = {}
    for answer in answers:
        if (answer_id := name_in(answer.id)) is not None:
            attributes["gen_ai.response.id"] = answer_id
        if answer.model:
            attributes[RESPONSE_MODEL] = name_of(answer.model)
    if usage is not None:
        attributes.update(_usage_attributes(usage))
    if finish_reasons:
        attributes["gen_ai.response.finish_reasons"] = [finish_reasons[key] for key in sorted(finish_reasons)]
    return attributes


def _usage_attributes(usage: Any) -> dict[str, Any]:
    attributes = {}
    if usage.HasField("prompt_tokens"):
        attributes["gen_ai.usage.input_tokens"] = usage.prompt_tokens
    if usage.HasField("completion_tokens"):
        attributes["gen_ai.usage.output_tokens"] = usage.completion_tokens
    if usage.HasField("num_cached_tokens"):
        attributes["gen_ai.usage.cache_read.input_tokens"] = usage.num_cached_tokens
    elif usage.prompt_tokens_details.HasField("cached_tokens"):
        attributes["gen_ai.usage.cache_read.input_tokens"] = usage.prompt_tokens_details.cached_tokens
    return attributes


def known_finish_reasons(reasons: Iterable[tuple[int, str]]) -> dict[int, str]:
    """Return finish reasons by the index of their choices; `_OTHER` for one that is not listed."""
    return {index: text if text in _KNOWN_FINISH_REASONS else OTHER for index, text in reasons}


def common_finish_reason(finish_reasons: dict[int, str]) -> str | None:
    """Return the one finish reason of all choices, `mixed` if they differ, None if there is none."""
    reasons = set(finish_reasons.values())
    return MIXED if len(reasons) > 1 else next(iter(reasons), None)
