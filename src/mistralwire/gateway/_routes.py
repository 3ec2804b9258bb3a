"""The routes of completions and of passthrough, and how a body becomes a call of the service."""

import dataclasses
import re
import urllib.parse
from collections.abc import Mapping
from typing import Any, NamedTuple

import httptools
from google.protobuf.message import Message
from starlette.routing import compile_path

from mistralwire._methods import REQUEST_VALUES_MAX
from mistralwire.codec import Limits, from_json, json_to_binary, read_request
from mistralwire.v1 import (
    AgentsCompletionRequest,
    AgentsCompletionStreamRequest,
    ChatCompletionRequest,
    ChatCompletionResponse,
    ChatCompletionStreamRequest,
    FIMCompletionRequest,
    FIMCompletionResponse,
    FIMCompletionStreamRequest,
)

VERTEX_PATH = "/v1/projects/{project}/locations/{location}/publishers/{publisher}/models/{model}"
"""The start of Vertex AI's paths, followed by `:rawPredict` or `:streamRawPredict`."""

PASSTHROUGH_METHODS = frozenset(("GET", "POST", "PUT", "PATCH", "DELETE"))
"""The methods that are forwarded."""

BODY_LIMITS = Limits(values_max=REQUEST_VALUES_MAX)
"""Bounds on the body of a request; its size is bounded while it arrives."""


class CompletionKind(NamedTuple):
    """A kind of completion: the message types of its requests and of its unary responses.

    Both types of requests have the same fields with the same numbers; the unary one is their JSON form.
    """

    request: type[Any]
    stream_request: type[Message]
    response: type[Message]


_CHAT = CompletionKind(ChatCompletionRequest, ChatCompletionStreamRequest, ChatCompletionResponse)
_FIM = CompletionKind(FIMCompletionRequest, FIMCompletionStreamRequest, FIMCompletionResponse)
_AGENTS = CompletionKind(AgentsCompletionRequest, AgentsCompletionStreamRequest, ChatCompletionResponse)


class CompletionRoute(NamedTuple):
    """A route of completions.

    Attributes:
        name: Its name in logs and metrics.
        path: Its path, in Starlette's syntax.
        pattern: Matches the path, with the group `model` if the path names one.
        kind: The kind of its completions; None if the body decides, as on Vertex AI.
        is_stream: Whether it answers with streams; None if the body decides.
    """

    name: str
    path: str
    pattern: re.Pattern[str]
    kind: CompletionKind | None
    is_stream: bool | None


def _route(
    path: str, kind: CompletionKind | None, *, name: str = "", is_stream: bool | None = None
) -> CompletionRoute:
    return CompletionRoute(name or path, path, compile_path(path)[0], kind, is_stream)


ROUTES = (
    _route("/v1/chat/completions", _CHAT),
    _route("/v1/fim/completions", _FIM),
    _route("/v1/agents/completions", _AGENTS),
    _route(f"{VERTEX_PATH}:rawPredict", None, name=":rawPredict", is_stream=False),
    _route(f"{VERTEX_PATH}:streamRawPredict", None, name=":streamRawPredict", is_stream=True),
)
"""All routes of completions; their method is POST."""

OPENAI_PATH = "/openai/v1"
"""The start of the paths of the OpenAI-compatible edge."""

OPENAI_ROUTE = _route(f"{OPENAI_PATH}/chat/completions", _CHAT)
"""The route of completions in OpenAI's format, which a setting turns on; its method is POST."""

_BY_TARGET = {path.encode(): route for route in ROUTES for path in (route.path, f"{route.path}/")}


def is_openai_path(path: str) -> bool:
    """Check whether a path belongs to the OpenAI-compatible edge."""
    return path == OPENAI_PATH or path.startswith(f"{OPENAI_PATH}/")


def find_route(target: bytes, *, has_openai: bool = False) -> tuple[CompletionRoute, str] | None:
    """Find the completion route of a request target, and the model that its path names or an empty string.

    A slash at the end of the path does not count. `has_openai` adds OPENAI_ROUTE.
    """
    if route := _BY_TARGET.get(target):
        return route, ""
    try:
        # An escaped slash belongs to a name.
        raw_path = (httptools.parse_url(target).path or b"").removesuffix(b"/")
        path = urllib.parse.unquote(raw_path.decode("ascii"))
    except (httptools.HttpParserInvalidURLError, UnicodeDecodeError):
        return None
    for route in (*ROUTES, OPENAI_ROUTE) if has_openai else ROUTES:
        if match := route.pattern.match(path):
            return route, match.groupdict().get("model", "")
    return None


class PassthroughRoute(NamedTuple):
    """A passthrough route, and the query of its request with the question mark, empty if there is none."""

    path: str
    query: str


def find_passthrough(paths: Mapping[bytes, str], target: bytes) -> PassthroughRoute | None:
    """Find the passthrough route of a request target among paths, by an exact match of its bytes.

    One slash at the end of the path does not count. Dot segments, escapes, backslashes and double slashes
    never match: an upstream may interpret them in any way.
    """
    path, mark, query = target.partition(b"#")[0].partition(b"?")
    found = paths.get(path) or paths.get(path.removesuffix(b"/"))
    return None if found is None else PassthroughRoute(found, (mark + query).decode("latin-1"))


@dataclasses.dataclass(slots=True)
class CompletionCall:
    """A request as the service accepts it, in wire bytes and as a message of the kind's unary type.

    Model and agent are empty if the request names none.
    """

    kind: CompletionKind
    is_stream: bool
    wire: bytes
    request: Message
    model: str
    agent_id: str


def read_call(route: CompletionRoute, path_model: str, contract_revision: int, body: bytes) -> CompletionCall:
    """Read the body of a request, for services of a contract revision, which check whether it keeps it.

    Raises:
        DecodeError: If the body is no JSON object, or exceeds a limit.
    """
    kind = route.kind or _kind_by_members(body)
    wire = json_to_binary(
        kind.request, body, validate=False, limits=BODY_LIMITS, contract_revision=contract_revision
    )
    request = kind.request.FromString(wire)
    # On Vertex AI only the path has the version of some models: codestral@2405 for codestral.
    name, _, version = path_model.partition("@")
    if version and request.model == name:
        request.model = f"{name}-{version}"
        wire = request.SerializeToString()
    is_stream = request.stream if route.is_stream is None else route.is_stream
    # Requests to agents have no model, and no others have an agent.
    model, agent_id = ("", request.agent_id) if kind is _AGENTS else (request.model, "")
    return CompletionCall(kind, is_stream, wire, request, model, agent_id)


def check_body(kind: CompletionKind, contract_revision: int, body: bytes) -> None:
    """Check a body that the service has rejected, which knows no order of members and lists fewer violations.

    Raises:
        DecodeError: If it breaks the contract of the revision, with all violations.
    """
    read_request(kind.request, body, oldest_revision=contract_revision, limits=BODY_LIMITS)


def _kind_by_members(body: bytes) -> CompletionKind:
    """Distinguish chat from FIM requests where the path does not."""
    if from_json(ChatCompletionRequest, body, validate=False, limits=BODY_LIMITS).messages:
        return _CHAT
    is_fim = from_json(FIMCompletionRequest, body, validate=False, limits=BODY_LIMITS).HasField("prompt")
    return _FIM if is_fim else _CHAT
